"""Text: formats, what programs print, numbers out of text."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybpf.runtime._engine import ffi, lib
from anybpf.runtime.trace import TracePipe
from helpercalls import MASK, Helpers

EINVAL, ERANGE = -22, -34
int64 = st.integers(-(2**63), 2**63 - 1)


@pytest.fixture
def helpers():
    """The helpers of an engine of their own."""
    made = Helpers()
    yield made
    made.close()


@pytest.fixture
def pipe(helpers):
    """What those helpers print."""
    return TracePipe(helpers.engine)


def snprintf(helpers: Helpers, text: str, *arguments: int, size: int = 200) -> tuple[int, bytes]:
    """The result of bpf_snprintf and what it wrote."""
    out = ffi.new("char[]", 200)
    data = ffi.new("uint64_t[]", [a & MASK for a in arguments] or [0])
    result = helpers.snprintf(out, size, text.encode() + b"\0", data if arguments else 0, 8 * len(arguments))
    return result, ffi.string(out)


@given(number=int64, width=st.integers(0, 30), flags=st.sampled_from(["", "0", "-", "+", " ", "+0"]))
def test_signed_numbers_print_as_in_c(number, width, flags):
    """%lld with flags and a width prints what C's printf prints (Python's % operator agrees with it)."""
    helpers = Helpers()
    text = f"[%{flags}{width or ''}lld]"
    expected = text.replace("lld", "d") % number
    assert snprintf(helpers, text, number) == (len(expected) + 1, expected.encode())
    helpers.close()


def test_integer_sizes(helpers):
    """%d and %u take 32 bits, l and ll take 64; also where the C type long has 32."""
    assert snprintf(helpers, "%d %u %x", 2**32 - 1, 2**32 + 5, 2**36 + 0xABC)[1] == b"-1 5 abc"
    assert snprintf(helpers, "%ld %lu %lX", -1, 2**40, 0xABCDEF0123)[1] == b"-1 1099511627776 ABCDEF0123"


def test_formats_that_linux_refuses(helpers):
    """Unknown conversions, precisions, control characters, missing arguments, and formats without an end."""
    for text in ("%f", "%.3d", "%o", "%", "%l", "%lllx", "%pI5", "%p1", "\x01", "%d %d"):
        assert snprintf(helpers, text, 1)[0] == EINVAL, text
    assert helpers.trace_printk(b"no end", 3, 0, 0, 0) == EINVAL
    assert helpers.trace_printk(b"", 0, 0, 0, 0) == EINVAL
    assert helpers.snprintf(0, 0, b"%d\0", b"x" * 8, 7) == EINVAL
    assert helpers.snprintf(0, 0, b"%d\0", b"x" * 104, 104) == EINVAL
    assert helpers.snprintf(0, 0, b"%d\0", 0, 8) == EINVAL


def test_truncated_text_ends_with_nul(helpers):
    """The result counts the whole text; what does not fit is cut off before the NUL."""
    assert snprintf(helpers, "%d", 123456, size=4) == (7, b"123")
    assert snprintf(helpers, "%d", 123456, size=1) == (7, b"")
    assert snprintf(helpers, "%d", 123456, size=0) == (7, b"")


def test_addresses_outside_the_program_are_not_followed(helpers):
    """%s and %pI4 of memory that is not the program's print nothing and zeros, and do not crash."""
    elsewhere = ffi.new("char[]", b"secret")
    address = int(ffi.cast("uintptr_t", elsewhere))
    assert snprintf(helpers, "<%s>", address)[1] == b"<>"
    assert snprintf(helpers, "<%s>", 0)[1] == b"<>"
    assert snprintf(helpers, "<%pI4>", address)[1] == b"<0.0.0.0>"


def test_addresses_in_the_packet_are_followed(helpers):
    """%pI4, %pI6 and %s of packet bytes print them; what has no NUL before the packet ends prints nothing."""
    packet = bytes([10, 0, 0, 1]) + bytes(range(16)) + b"name\0tail"
    with helpers.on("xdp", packet):
        address = int(ffi.cast("uintptr_t", lib.ab_event_data(helpers.event.handle)))
        assert snprintf(helpers, "%pI4 %pi4", address, address)[1] == b"10.0.0.1 010.000.000.001"
        assert snprintf(helpers, "%pI6", address + 4)[1] == b"0001:0203:0405:0607:0809:0a0b:0c0d:0e0f"
        assert snprintf(helpers, "%pi6", address + 4)[1] == b"000102030405060708090a0b0c0d0e0f"
        assert snprintf(helpers, "%s|%10s", address + 20, address + 20)[1] == b"name|      name"
        assert snprintf(helpers, "<%s>", address + 25)[1] == b"<>"


def test_printed_lines_come_out_in_order(helpers, pipe):
    """trace_printk returns the text's length; lines carry the printing thread, its cpu slot and the time."""
    before = helpers.ktime_get_boot_ns()
    assert helpers.trace_printk(b"n=%d %c\n\0", 9, 7, 65, 0) == len("n=7 A\n")
    assert helpers.trace_vprintk(b"%d%d%d%d\0", 9, ffi.new("uint64_t[]", [1, 2, 3, 4]), 32) == 4
    first, second = pipe.read()
    assert (first.text, second.text) == ("n=7 A", "1234")
    assert before <= first.time_ns <= second.time_ns <= helpers.ktime_get_boot_ns()
    assert first.thread == helpers.get_current_pid_tgid() & 0xFFFFFFFF
    assert first.cpu == helpers.get_smp_processor_id()
    assert first.lost == 0
    assert pipe.read() == []


def test_a_line_reads_like_trace_pipe(helpers, pipe):
    """str() of a line has the thread's name and number, the cpu, seconds with microseconds, and the text."""
    helpers.trace_printk(b"hello\0", 6, 0, 0, 0)
    (line,) = pipe
    assert str(line).lstrip().startswith(f"{line.comm}-{line.thread} ")
    assert f"[{line.cpu:03d}]" in str(line)
    assert str(line).endswith(f".{line.time_ns // 1000 % 1_000_000:06d}: bpf_trace_printk: hello")


def test_a_full_pipe_loses_the_oldest_lines_and_says_so(helpers, pipe):
    """When nobody reads, the newest lines stay, and the first of them tells how many are gone."""
    text = b"%d " + b"x" * 900 + b"\0"
    for number in range(1000):
        helpers.trace_printk(text, len(text), number, 0, 0)
    lines = pipe.read()
    kept = [int(line.text.split()[0]) for line in lines]
    assert kept == list(range(1000 - len(kept), 1000))
    assert len(kept) < 1000
    assert lines[0].lost == 1000 - len(kept)
    assert all(line.lost == 0 for line in lines[1:])


def test_long_lines_are_cut(helpers, pipe):
    """A line holds 1023 characters."""
    text = b"y" * 2000 + b"\0"
    assert helpers.trace_printk(text, len(text), 0, 0, 0) == 2000
    assert pipe.read()[0].text == "y" * 1023


def test_following_sees_lines_of_other_threads(helpers, pipe):
    """follow() waits for lines, and stops when there has been none for the time given."""

    def work():
        address, slot = lib.ab_helper_address(b"bpf_trace_printk"), lib.ab_slot_acquire(helpers.engine)
        fmt = ffi.new("char[]", b"late %d")
        where = int(ffi.cast("uintptr_t", fmt))
        for number in range(3):
            lib.ab_helper_call(address, where, 8, number, 0, 0, slot, ffi.NULL)
        lib.ab_slot_release(slot)

    thread = threading.Timer(0.05, work)
    thread.start()
    assert [line.text for line in pipe.follow(timeout=0.5)] == ["late 0", "late 1", "late 2"]
    thread.join()


def parse(helpers: Helpers, name: str, text: bytes, flags: int) -> tuple[int, int]:
    """The helper's result, and the number that it stored."""
    out = ffi.new("int64_t *", 0x7777)
    return getattr(helpers, name)(text, len(text), flags, out), out[0]


@given(number=int64, base=st.sampled_from([0, 8, 10, 16]), before=st.text(" \t\n", max_size=5))
def test_strtol_reads_what_python_writes(number, base, before):
    """Every signed number comes back, in every base, with the characters consumed; what follows is left alone."""
    helpers = Helpers()
    digits = {0: hex(abs(number)), 8: f"{abs(number):o}", 10: str(abs(number)), 16: f"{abs(number):x}"}[base]
    text = before + "-" * (number < 0) + digits
    assert parse(helpers, "strtol", f"{text} rest".encode(), base) == (len(text), number)
    helpers.close()


def test_strtol_refuses(helpers):
    """Overflow is -ERANGE; no digits, unknown bases and negative numbers for strtoul are -EINVAL; 0 is stored."""
    for name, text, flags, error in (
        ("strtol", b"9223372036854775808", 0, ERANGE),
        ("strtol", b"-9223372036854775809", 0, ERANGE),
        ("strtoul", b"18446744073709551616", 0, ERANGE),
        ("strtoul", b"-1", 0, EINVAL),
        ("strtol", b"x", 0, EINVAL),
        ("strtol", b"-", 0, EINVAL),
        ("strtol", b"1", 2, EINVAL),
        ("strtol", b"1", 32, EINVAL),
    ):
        assert parse(helpers, name, text, flags) == (error, 0), text
    assert parse(helpers, "strtol", b"-9223372036854775808", 0) == (20, -(2**63))
    assert parse(helpers, "strtoul", b"18446744073709551615", 0) == (20, -1)


@given(left=st.binary(max_size=12), right=st.binary(max_size=12), size=st.integers(0, 12))
def test_strncmp_compares_c_strings(left, right, size):
    """The sign is that of comparing the texts up to their NUL, at most `size` bytes of them."""
    helpers = Helpers()
    first, second = (text.split(b"\0")[0][:size] for text in (left, right))
    expected = (first > second) - (first < second)
    assert helpers.strncmp(left + bytes(13), size, right + bytes(13)) == expected
    helpers.close()
