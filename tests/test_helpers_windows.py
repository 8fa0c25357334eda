"""What eBPF for Windows does otherwise than Linux, and the helpers of its sample extension."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybpf.platforms import windows
from anybpf.runtime import binding
from anybpf.runtime._engine import ffi
from anybpf.runtime.trace import TracePipe
from anybpf.spec import MapSpec
from helpercalls import Helpers, load, stack_bytes

EINVAL = -22
MODES = ("interpreter", "checked", "jit")
HASH, RINGBUF = 1, 13  # Windows' numbers
SAMPLE = struct.Struct("<QQIH2xII")  # sample_program_context_t


@pytest.fixture
def helpers():
    """The helpers of an engine of their own."""
    made = Helpers()
    yield made
    made.close()


def windows_helper(helpers: Helpers, number: int, program_type: str = "xdp"):
    """The engine's function behind a number."""
    known = windows.find_helper(number, windows.program_type(program_type))
    assert known is not None
    assert binding.helper_address(known)
    return getattr(helpers, known.implementation or known.name)


@given(before=st.binary(max_size=12), after=st.binary(max_size=12))
def test_checksum_sizes_are_multiples_of_4(before, after):
    """Other sizes are -EINVAL; sums of whole words are what Linux computes."""
    helpers = Helpers()
    arguments = (before, len(before), after, len(after), 7)
    expected = EINVAL if len(before) % 4 or len(after) % 4 else helpers.csum_diff(*arguments)
    assert windows_helper(helpers, 10)(*arguments) == expected
    helpers.close()


@pytest.mark.parametrize("mode", MODES)
def test_ring_buffer_flags_are_ignored(mode):
    """A record is written whatever the flags are."""
    source = stack_bytes(-8, b"8 bytes!") + "r1 = map[0] ll\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 99\ncall 11\nexit\n"
    with load("xdp", source, (MapSpec("m", RINGBUF, 0, 0, 4096),), platform="windows") as loaded:
        assert loaded.programs["test"].test_run(bytes(64), mode=mode).retval == 0
        assert loaded.maps["m"].drain() == [b"8 bytes!"]


def test_printk_wants_as_many_arguments_as_conversions(helpers):
    """bpf_trace_printk2 to 5 print with 0 to 3 arguments; any other number of conversions gives -1."""
    pipe = TracePipe(helpers.engine)
    formats = [b"none\0", b"%d\0", b"%d %x\0", b"%d %x %llu\0"]
    for given_count in range(4):
        printk = windows_helper(helpers, 12 + given_count)
        for wanted, text in enumerate(formats):
            result = printk(text, len(text), *[5] * given_count)
            assert (result == -1) == (wanted != given_count)
    assert [line.text for line in pipe] == ["none", "5", "5 5", "5 5 5"]


def test_printk_knows_only_plain_numbers(helpers):
    """%d, %i, %u and %x with l or ll, and %%; widths, strings, characters and pointers give -1 and print nothing."""
    pipe = TracePipe(helpers.engine)
    printk = windows_helper(helpers, 13)
    for text in (b"%d", b"%i", b"%lu", b"%llx", b"100%% of %d\n"):
        assert printk(text + b"\0", len(text) + 1, 7) > 0
    assert [line.text for line in pipe] == ["7", "7", "7", "7", "100% of 7"]
    for text in (b"%s", b"%5d", b"%p", b"%c", b"%X", b"%llld", b"%", b"%l", b"%pI4"):
        assert printk(text + b"\0", len(text) + 1, 7) == -1, text
    assert pipe.read() == []


def test_printk_limits_formats(helpers):
    """A format has 2 to 511 bytes, its NUL included."""
    printk = windows_helper(helpers, 12)
    assert printk(b"\0", 1) == -1
    assert printk(b"z\0", 2) == 1
    assert printk(b"z" * 510 + b"\0", 511) == 510
    assert printk(b"z" * 511 + b"\0", 512) == -1
    assert printk(b"no end", 6) == -1


@given(buffer=st.binary(max_size=12), text=st.binary(min_size=1, max_size=3))
def test_sample_find(buffer, text):
    """The position of a text in a buffer, both up to their NUL; -1 when it is not there."""
    helpers = Helpers()
    expected = buffer.split(b"\0")[0].find(text.split(b"\0")[0])
    assert helpers.sample_ebpf_extension_find(buffer, len(buffer), text, len(text)) == expected
    helpers.close()


def test_sample_replace(helpers):
    """A text is written over the buffer's bytes; the last one stays, and positions outside are -1."""
    replace = helpers.sample_ebpf_extension_replace
    for position, text, result, expected in (
        (0, b"xy", 0, b"xycdef"),
        (2, b"xy\0z", 0, b"abxyef"),
        (3, b"vwxyz", 0, b"abcvwf"),
        (5, b"xy", 0, b"abcdef"),
        (6, b"xy", -1, b"abcdef"),
        (-1, b"xy", -1, b"abcdef"),
    ):
        buffer = ffi.new("char[]", b"abcdef")
        assert replace(buffer, 6, position, text, len(text)) == result
        assert ffi.string(buffer) == expected


@pytest.mark.parametrize("mode", MODES)
def test_sample_helpers_see_the_context(mode):
    """The two that take no context read their numbers from it all the same."""
    context = SAMPLE.pack(0, 0, 1, 2, 30, 400)
    first = "call 65539\nexit\n"
    second = "r1 = 5\ncall 65540\nexit\n"
    for source, expected in ((first, 30), (second, 405)):
        with load("sample", source, platform="windows") as loaded:
            assert loaded.programs["test"].test_run(b"data", context, mode=mode).retval == expected


@pytest.mark.parametrize("mode", MODES)
def test_sample_map_helpers(mode):
    """They find and copy a map's value; a missing key is NULL or -1, and so is a size that is not the value's."""
    key = stack_bytes(-8, bytes(8)) + "r1 = map[0] ll\nr2 = r10\nr2 += -8\n"
    look_up = key + "call 65541\nif r0 == 0 goto +1\nr0 = *(u64 *)(r0 + 0)\nexit\n"
    copy = (
        key
        + "r3 = r10\nr3 += -16\nr4 = {}\n*(u64 *)(r10 - 16) = 0\ncall 65542\nr1 = *(u64 *)(r10 - 16)\nr0 += r1\nexit\n"
    )
    maps = (MapSpec("m", HASH, 4, 8, 4),)
    for source, missing, found in (
        (look_up, 0, 77),
        (copy.format(8), 2**32 - 1, 77),
        (copy.format(4), *[2**32 - 1] * 2),
    ):
        with load("sample", source, maps, platform="windows") as loaded:
            program = loaded.programs["test"]
            assert program.test_run(b"data", mode=mode).retval == missing
            loaded.maps["m"][0] = 77
            assert program.test_run(b"data", mode=mode).retval == found


def test_what_only_a_network_stack_knows(helpers):
    """Redirect contexts and events go nowhere, network contexts and image paths are unknown: -1, and zeros."""
    out = ffi.new("char[]", b"????????")
    assert windows_helper(helpers, 0x10001, "sock_addr")(0, out, 8) == -1
    assert windows_helper(helpers, 0x10000, "netevent")(0) == -1
    assert ffi.string(out) == b"????????"
    for program_type, number in (("sock_addr", 0x10002), ("process", 0x10000)):
        filled = ffi.new("char[]", b"????????")
        assert windows_helper(helpers, number, program_type)(0, filled, 8) == -1
        assert bytes(ffi.buffer(filled, 8)) == bytes(8)


def context_of(program_type: str, **fields: int) -> bytes:
    """The bytes of a context with these fields."""
    context = windows.program_type(program_type).context
    made = bytearray(context.size)
    for name, value in fields.items():
        place = context.field_named(name)
        made[place.offset : place.offset + place.size] = value.to_bytes(place.size, "little")
    return bytes(made)


def number_of(helpers: Helpers, number: int, program_type: str, **fields: int) -> int:
    """What a helper answers for a context."""
    with helpers.on(program_type, b"", context_of(program_type, **fields), platform=windows) as address:
        return windows_helper(helpers, number, program_type)(address)


CONNECTION = {"family": 2, "protocol": 6, "compartment_id": 1}


def test_flow_ids_tell_flows_apart(helpers):
    """A flow's events have one id, other flows another; what happens to the flow does not change it."""
    flow = {**CONNECTION, "local_ip": 1, "local_port": 1, "remote_ip": 2, "remote_port": 80}
    variants = ({"op": 0}, {"op": 2}, {"local_port": 2}, {"protocol": 17}, {"compartment_id": 2})
    ids = [number_of(helpers, 0x10000, "sockops", **{**flow, **variant}) for variant in variants]
    assert ids[0] == ids[1] != 0
    assert len(set(ids)) == 4


def test_cookies_tell_connections_apart(helpers):
    """The same addresses and ports give the same cookie, others another; a context of zeros has none."""
    connection = {**CONNECTION, "msg_src_ip": 1, "user_ip": 2, "user_port": 80}
    variants = ({}, {"interface_luid": 9}, {"user_port": 81}, {"user_ip": 3}, {"protocol": 17}, {"compartment_id": 2})
    cookies = [number_of(helpers, 26, "sock_addr", **{**connection, **variant}) for variant in variants]
    assert cookies[0] == cookies[1] != 0
    assert len(set(cookies)) == 5
    assert number_of(helpers, 26, "sock_addr") == 0


def test_who_connects(helpers):
    """The process and thread are those that brought the event."""
    with helpers.on("sock_addr", b"", platform=windows) as context:
        assert windows_helper(helpers, 0x10000, "sock_addr")(context) == helpers.get_current_pid_tgid()
