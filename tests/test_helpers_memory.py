"""Reads of addresses that nobody has proven: bpf_probe_read and its kin, and the strings that programs print.

They give the program's own memory and nothing else of the process, the same in every mode.
"""

from __future__ import annotations

import pytest

from anybpf.errors import ProgramFault
from anybpf.platforms import MapKind, linux
from anybpf.runtime.maps import Map
from anybpf.spec import MapSpec
from helpercalls import load, stack_bytes

HASH, ARRAY, PROG_ARRAY, PERCPU_HASH, LPM, RINGBUF = 1, 2, 3, 5, 11, 27
EFAULT = 2**32 - 14
MODES = ("interpreter", "checked", "jit")
XDP = "xdp"
PACKET = bytes(range(64))

every_mode = pytest.mark.parametrize("mode", MODES)


def retval(loaded, mode, program: str = "test", packet: bytes = PACKET) -> int:
    """What the program returns, 32 bits."""
    return loaded.programs[program].test_run(packet, mode=mode).retval


def linux_number(kind: MapKind) -> int:
    """The number of a kind of map on Linux."""
    return next(number for number, known in linux.map_types.items() if known is kind)


def probe(address: str, size: int, helper: int = 113) -> str:
    """A program that reads ``size`` bytes at ``address`` (assembly that sets r3) and puts them into the packet."""
    return (
        "r6 = r1\n" + stack_bytes(-16, b"\xee" * 16) + f"{address}r1 = r10\nr1 += -16\nr2 = {size}\ncall {helper}\n"
        "r7 = r0\nr1 = r6\nr2 = 0\nr3 = r10\nr3 += -16\nr4 = 16\ncall 190\nr0 = r7\nexit\n"
    )


PLACES = {
    "packet": "r3 = *(u32 *)(r6 + 0)\nr3 += 4\n",
    "stack": "r3 = r10\nr3 += -16\n",
    "array": "r3 = map_value[0] + 0 ll\n",
    "hash": stack_bytes(-24, bytes(8)) + "r1 = map[1] ll\nr2 = r10\nr2 += -24\ncall 1\nr3 = r0\n",
    "lpm": stack_bytes(-24, bytes(8)) + "r1 = map[2] ll\nr2 = r10\nr2 += -24\ncall 1\nr3 = r0\n",
    "percpu": stack_bytes(-24, bytes(8)) + "r1 = map[3] ll\nr2 = r10\nr2 += -24\ncall 1\nr3 = r0\n",
}
PROBED = (
    MapSpec("array", ARRAY, 4, 8, 1),
    MapSpec("hash", HASH, 4, 8, 4),
    MapSpec("lpm", LPM, 8, 8, 4, 1),
    MapSpec("percpu", PERCPU_HASH, 4, 8, 4),
)


@every_mode
@pytest.mark.parametrize("place", PLACES)
def test_probe_read_of_the_programs_own_memory(mode, place):
    """Packet, stack and map values of every kind can be read through an address that nobody proved."""
    with load(XDP, probe(PLACES[place], 8), PROBED) as loaded:
        value = int.from_bytes(b"in a map", "little")
        loaded.maps["array"][0] = value
        loaded.maps["hash"][0] = value
        loaded.maps["lpm"].raw[bytes(8)] = b"in a map"
        loaded.maps["percpu"][0] = [value] * loaded.context.cpus
        result = loaded.programs["test"].test_run(PACKET, mode=mode)
        assert result.retval == 0
        expected = {"packet": PACKET[4:12], "stack": b"\xee" * 8}.get(place, b"in a map")
        assert result.data[:8] == expected


@every_mode
@pytest.mark.parametrize("address", [0, 1, 8, 2**47, 2**63, 2**64 - 8])
def test_probe_read_of_other_memory_is_an_error(mode, address):
    """Addresses that are not the program's give zeros and -EFAULT; the process lives on."""
    for helper in (4, 112, 113):
        with load(XDP, probe(f"r3 = {address} ll\n", 8, helper)) as loaded:
            result = loaded.programs["test"].test_run(PACKET, mode=mode)
            assert result.retval == EFAULT
            assert result.data[:16] == bytes(8) + b"\xee" * 8


@every_mode
def test_probe_read_past_the_end_is_an_error(mode):
    """A read that begins in the packet and ends behind it is refused as a whole."""
    with load(XDP, probe("r3 = *(u32 *)(r6 + 4)\nr3 += -4\n", 8)) as loaded:
        assert retval(loaded, mode) == EFAULT
    with load(XDP, probe("r3 = *(u32 *)(r6 + 4)\nr3 += -8\n", 8)) as loaded:
        assert retval(loaded, mode) == 0


@every_mode
@pytest.mark.parametrize(
    ("size", "expected", "text"), [(16, 4, b"abc\0"), (4, 4, b"abc\0"), (3, 3, b"ab\0"), (1, 1, b"\0")]
)
def test_probe_read_str(mode, size, expected, text):
    """Strings are cut to the buffer; the result counts their NUL; no NUL in the program's memory is -EFAULT."""
    with load(XDP, probe("r3 = *(u32 *)(r6 + 0)\n", size, 115)) as loaded:
        result = loaded.programs["test"].test_run(b"abc\0" + bytes(60), mode=mode)
        assert (result.retval, result.data[: len(text)]) == (len(text), text)
    with load(XDP, probe("r3 = *(u32 *)(r6 + 4)\nr3 += -4\n", 16, 115)) as loaded:
        assert retval(loaded, mode, packet=b"\xff" * 64) == EFAULT


def test_checked_runs_see_bad_buffers_before_the_helper_does():
    """A helper's destination outside the program's memory stops a checked run at the call."""
    with load(XDP, "r1 = 64 ll\nr2 = 8\nr3 = r10\ncall 113\nexit\n") as loaded, pytest.raises(ProgramFault) as stopped:
        loaded.programs["test"].test_run(PACKET, mode="checked")
    assert stopped.value.instruction == 4


LOOK_UP = stack_bytes(-24, bytes(8)) + "r1 = map[0] ll\nr2 = r10\nr2 += -24\ncall 1\n"
#: Ends a program that has an address in r7: it returns the number there, or the error of reading it.
RETURN_NUMBER = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = r7\ncall 113\nif r0 != 0 goto +1\nr0 = *(u64 *)(r10 - 8)\nexit\n"
#: The number that the one value of map 1 holds comes to r7.
RECALL = "r1 = map_value[1] + 0 ll\nr7 = *(u64 *)(r1 + 0)\n"
#: The number in r7 goes there.
KEEP = "r1 = map_value[1] + 0 ll\n*(u64 *)(r1 + 0) = r7\n"
KEPT = MapSpec("kept", ARRAY, 4, 8, 1)


@every_mode
@pytest.mark.parametrize("outer", [MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS])
@pytest.mark.parametrize("kind", [MapKind.ARRAY, MapKind.HASH])
def test_probe_read_of_values_of_inner_maps(mode, outer, kind):
    """What a map in a map holds is the program's, as long as the outer map holds that map."""
    inner = MapSpec("inner", linux_number(kind), 4, 8, 4)
    maps = (MapSpec("outer", linux_number(outer), 4, 4, 2, inner=inner), KEPT)
    found = "if r0 != 0 goto +1\nexit\n"
    look_up_in_it = found + "r1 = r0\nr2 = r10\nr2 += -24\ncall 1\n" + found + "r7 = r0\n"
    source = LOOK_UP + look_up_in_it + KEEP + RETURN_NUMBER
    loading = load(XDP, source, maps, again=RECALL + RETURN_NUMBER)
    with loading as loaded, Map(loaded.context.engine, inner, kind) as held:
        held[0] = 4711
        loaded.maps["outer"][0] = held
        assert retval(loaded, mode) == 4711
        assert retval(loaded, mode, "again") == 4711
        del loaded.maps["outer"][0]
        assert retval(loaded, mode, "again") == EFAULT


@every_mode
def test_probe_read_of_a_record(mode):
    """A record that the program has reserved is its memory."""
    source = (
        "r1 = map[0] ll\nr2 = 8\nr3 = 0\ncall 131\nif r0 != 0 goto +1\nexit\nr6 = r0\n*(u64 *)(r0 + 0) = 4711\n"
        "r1 = r10\nr1 += -8\nr2 = 8\nr3 = r6\ncall 113\nr7 = r0\nr1 = r6\nr2 = 0\ncall 132\n"
        "r0 = r7\nif r0 != 0 goto +1\nr0 = *(u64 *)(r10 - 8)\nexit\n"
    )
    with load(XDP, source, (MapSpec("events", RINGBUF, 0, 0, 4096),)) as loaded:
        assert retval(loaded, mode) == 4711


def scan(functions: int = 1) -> str:
    """A program that counts the addresses, 8 bytes apart, at which 8 bytes can be read.

    It looks from 128 bytes below the frames of ``functions`` functions, the last of which runs, to 64 KiB above.
    """
    below, above = 512 * functions + 128, 65536
    return (
        f"r6 = r10\nr6 += -{below}\nr7 = {(below + above) // 8}\nr8 = 0\n"
        "again:\nr1 = r10\nr1 += -8\nr2 = 8\nr3 = r6\ncall 113\nif r0 != 0 goto +1\nr8 += 1\n"
        "r6 += 8\nr7 += -1\nif r7 != 0 goto again\nr0 = r8\nexit\n"
    )


@every_mode
def test_around_its_frame_a_program_reads_nothing(mode):
    """Around r10 only the frame's 512 bytes can be read: nothing of the host process's own stack."""
    with load(XDP, scan()) as loaded:
        for _ in range(2):
            assert retval(loaded, mode) == 512 / 8


@every_mode
def test_a_function_reads_its_callers_frames(mode):
    """All frames of the program are its memory, and no more: two functions have 1024 bytes."""
    with load(XDP, "*(u64 *)(r10 - 8) = 1\ncall pc+1\nexit\n" + scan(2)) as loaded:
        assert retval(loaded, mode) == 1024 / 8


@every_mode
def test_a_callback_reads_its_callers_frames(mode):
    """That holds for functions that a helper calls, too."""
    source = (
        "*(u64 *)(r10 - 8) = 0\nr1 = 1\nr2 = function[seen] ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall 181\n"
        "r0 = *(u64 *)(r10 - 8)\nexit\nseen:\nr9 = r2\n" + scan(2).replace("r0 = r8", "*(u64 *)(r9 + 0) = r8\nr0 = 0")
    )
    with load(XDP, source) as loaded:
        assert retval(loaded, mode) == 1024 / 8


@every_mode
def test_frames_begin_with_zeros(mode):
    """Bytes of a frame that the program has not written are zeros, whatever ran before."""
    ones = "".join(f"*(u64 *)(r10 - {8 * i}) = -1\n" for i in range(1, 65))
    total = (
        "r1 = map_value[0] + 0 ll\nr2 = 512\nr3 = r10\nr3 += -512\ncall 113\n"
        "r1 = map_value[0] + 0 ll\nr2 = 64\nr0 = 0\nagain:\nr3 = *(u64 *)(r1 + 0)\nr0 |= r3\nr1 += 8\n"
        "r2 += -1\nif r2 != 0 goto again\n"
    )
    with load(XDP, total + ones + "exit\n", (MapSpec("seen", ARRAY, 4, 512, 1),)) as loaded:
        for _ in range(3):
            assert retval(loaded, mode) == 0


@every_mode
def test_a_tail_calls_target_does_not_read_its_callers_frame(mode):
    """The program that was left has no frame any more, as in Linux, where the target gets that frame itself."""
    jump = (
        "r6 = r1\n*(u64 *)(r10 - 16) = 4711\nr7 = r10\nr7 += -16\n"
        + KEEP
        + "r1 = r6\nr2 = map[0] ll\nr3 = 0\ncall 12\nexit\n"
    )
    maps = (MapSpec("jumps", PROG_ARRAY, 4, 4, 1), KEPT)
    with load(XDP, jump, maps, target=RECALL + RETURN_NUMBER) as loaded:
        loaded.maps["jumps"][0] = loaded.programs["target"]
        if mode == "jit":
            loaded.programs["target"].compile()
        assert retval(loaded, mode) == EFAULT


@every_mode
def test_all_frames_of_all_tail_calls_fit(mode):
    """34 programs, each eight functions deep, which the verifier allows: the last one reads 8 frames and returns."""
    deeper = "*(u64 *)(r10 - 8) = 1\ncall pc+1\nexit\n" * 7
    jump = "r6 = r1\nr2 = map[0] ll\nr3 = 0\ncall 12\n"
    with load(XDP, deeper + jump + scan(8), (MapSpec("jumps", PROG_ARRAY, 4, 4, 1),)) as loaded:
        loaded.maps["jumps"][0] = loaded.programs["test"]
        assert retval(loaded, mode) == 8 * 512 / 8


@every_mode
def test_strings_that_programs_print_are_their_own(mode):
    """%s prints text on the program's stack, and nothing of what lies beyond its frame."""
    text = stack_bytes(-8, b"mine!!!\0") + stack_bytes(-16, b"<%s>\0")
    for offset, expected in ((-8, "<mine!!!>"), (8, "<>"), (-520, "<>")):
        source = text + f"r1 = r10\nr1 += -16\nr2 = 5\nr3 = r10\nr3 += {offset}\ncall 6\nr0 = 2\nexit\n"
        with load(XDP, source) as loaded:
            loaded.context.trace.read()
            assert retval(loaded, mode) == 2
            assert [line.text for line in loaded.context.trace.read()] == [expected]
