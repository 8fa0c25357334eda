"""Programs: test runs, batches, replays, modes, threads."""

from __future__ import annotations

import struct
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

import anybpf
from anybpf.elf import from_instructions
from anybpf.errors import EventError, LoadError, ProgramFault
from anybpf.isa import assemble
from anybpf.runtime import Program
from anybpf.spec import MapSpec
from running import MASK, TIERS, load, program

PACKET = bytes(range(64))
VERDICT_BY_FIRST_BYTE = """
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 1
    r0 = 0
    if r4 > r3 goto +1
    r0 = *(u8 *)(r2 + 0)
    exit
"""


@dataclass
class Capture:
    """Packets as a capture reader gives them."""

    data: bytes
    offsets: array[int]
    lengths: array[int]
    times: array[int]


def capture(packets: Sequence[bytes]) -> Capture:
    """Packets that lie one behind the other, a second apart."""
    starts = [sum(map(len, packets[:i])) for i in range(len(packets))]
    times = array("Q", (1_700_000_000_000_000_001 + i * 1_000_000_000 for i in range(len(packets))))
    return Capture(b"".join(packets), array("Q", starts), array("I", map(len, packets)), times)


@pytest.mark.parametrize("mode", TIERS)
def test_a_test_run_gives_what_the_program_returned_and_left(mode: str) -> None:
    """retval is r0 (32 bits for events, 64 on plain memory), data and context are as the program left them."""
    memory = program("r2 = 0x1122334455667788 ll\n*(u64 *)(r1 + 0) = r2\nr0 = -1\nexit")
    result = memory.test_run(bytes(9), mode=mode)
    assert (result.retval, result.data, result.context) == (MASK, bytes.fromhex("887766554433221100"), b"")
    mark = program("r2 = 77\n*(u32 *)(r1 + 8) = r2\nr0 = -1\nexit", "tc").test_run(PACKET, mode=mode)
    assert (mark.retval, mark.data) == (0xFFFFFFFF, PACKET)
    assert struct.unpack_from("<I", mark.context, 8) == (77,)
    push = program("r2 = -8\ncall 44\nr0 = 2\nexit", "xdp").test_run(PACKET, mode=mode)
    assert (push.retval, push.data[8:]) == (2, PACKET)


def test_a_context_can_be_given() -> None:
    """Context bytes are what the program sees, apart from packet pointers, which are not the caller's to set."""
    queue = program("r0 = *(u32 *)(r1 + 16)\nexit", "xdp")
    assert queue.test_run(PACKET, struct.pack("<6I", 0, 0, 0, 0, 99, 0)).retval == 99
    with pytest.raises(EventError, match="context"):
        queue.test_run(PACKET, bytes(25))


def test_metadata_comes_before_the_packet() -> None:
    """As in Linux, a given xdp_md whose data is 4 says that the first 4 bytes given are metadata."""
    source = "r2 = *(u32 *)(r1 + 8)\nr3 = *(u32 *)(r1 + 0)\nr0 = r3\nr0 -= r2\nexit"
    given = struct.pack("<6I", 4, len(PACKET), 0, 0, 0, 0)
    assert program(source, "xdp").test_run(PACKET, given).retval == 4


def test_repeated_runs_go_on_where_the_last_one_ended() -> None:
    """As in Linux, repeat runs the program on what the run before has left, and duration is the mean of the runs."""
    result = program("r0 = *(u64 *)(r1 + 0)\nr0 += 1\n*(u64 *)(r1 + 0) = r0\nexit").test_run(bytes(8), repeat=1000)
    assert result.retval == 1000
    assert result.data == struct.pack("<Q", 1000)
    slow = "r0 = 0\nagain:\nr0 += 1\nif r0 != 100000 goto again\nexit"
    once = program(slow).test_run(mode="interpreter", repeat=20).duration_ns
    assert 10_000 < once < 20_000_000  # 200,000 instructions, not 20 times as many


def test_a_redirect_is_reported() -> None:
    """What a redirect helper decided is in the result: an interface index, or an entry of a map."""
    direct = program("r1 = 7\nr2 = 0\ncall 23\nexit", "xdp").test_run(PACKET)
    assert (direct.retval, direct.redirect.target, direct.redirect.map) == (4, 7, None)
    spec = from_instructions(assemble("r1 = map[0] ll\nr2 = 3\nr3 = 0\ncall 51\nexit"), "xdp", "program")
    with anybpf.load(replace(spec, maps=(MapSpec("ports", 14, 4, 4, 8),)), platform="linux") as loaded:
        loaded.maps["ports"][3] = 2
        through = loaded.programs["program"].test_run(PACKET)
        assert (through.retval, through.redirect.target, through.redirect.map) == (4, 3, "ports")
    assert program("r0 = 2\nexit", "xdp").test_run(PACKET).redirect is None


@pytest.mark.parametrize("mode", TIERS)
def test_a_batch_returns_what_each_run_returned(mode: str) -> None:
    """run_batch gives a number for each packet, in order, as test_run would; each starts from the initial context."""
    packets = [bytes([i % 256]) * (i % 90) for i in range(600)]
    loaded = program(VERDICT_BY_FIRST_BYTE, "xdp")
    expected = [loaded.test_run(packet, mode=mode).retval for packet in packets]
    assert list(loaded.run_batch(packets, mode=mode)) == expected
    marks = program("r0 = *(u32 *)(r1 + 8)\nr0 += 1\n*(u32 *)(r1 + 8) = r0\nexit", "tc")
    assert list(marks.run_batch([PACKET] * 5, mode=mode)) == [1] * 5
    assert list(loaded.run_batch([], mode=mode)) == []
    assert list(loaded.run_batch(iter(packets), mode=mode)) == expected
    assert list(program("r0 = r2\nexit").run_batch([b"a", b"bcd", b""], mode=mode)) == [1, 3, 0]


def test_a_batch_copies_packets_of_every_length() -> None:
    """A packet arrives whole and alone whatever its length, at the end of the data as well as in the middle."""
    source = """
        r2 = *(u32 *)(r1 + 0)
        r3 = *(u32 *)(r1 + 4)
        r0 = 0
    again:
        if r2 >= r3 goto out
        r4 = *(u8 *)(r2 + 0)
        r0 *= 31
        r0 += r4
        r2 += 1
        goto again
    out:
        exit
    """
    loaded = program(source, "xdp")
    packets = [bytes((i * 7 + j * 13) % 251 for j in range(i)) for i in [*range(330), 1500, 9000, 3, 70_000, 1]]

    def expected(packet: bytes) -> int:
        number = 0
        for byte in packet:
            number = (number * 31 + byte) & MASK
        return number & 0xFFFFFFFF

    assert list(loaded.run_batch(packets, mode="interpreter")) == [expected(packet) for packet in packets]


def test_a_replay_counts_and_keeps() -> None:
    """A replay counts return values and keeps chosen packets, as the program left them, as pcap records with times."""
    loaded = program(VERDICT_BY_FIRST_BYTE, "xdp")
    packets = [bytes([n]) + bytes(20 + n) for n in (1, 2, 3, 2, 200, 63)]
    result = loaded.replay(capture(packets), keep=(2, 63))
    assert list(result.results) == [1, 2, 3, 2, 200, 63]
    assert result.counts == {1: 1, 2: 2, 3: 1, 63: 1, 200: 1}
    kept, at = [], 0
    while at < len(result.kept):
        seconds, nanoseconds, captured, length = struct.unpack_from("=4I", result.kept, at)
        assert captured == length
        kept.append((seconds - 1_700_000_000, nanoseconds, result.kept[at + 16 : at + 16 + length]))
        at += 16 + length
    assert kept == [(1, 1, packets[1]), (3, 1, packets[3]), (4, 1, packets[4]), (5, 1, packets[5])]
    grown = program("r6 = r1\nr2 = -14\ncall 44\nr0 = 2\nexit", "xdp").replay(capture([PACKET]), keep=(2,))
    assert grown.kept[16 + 14 :] == PACKET


def test_a_replay_that_leaves_its_data_is_refused() -> None:
    """Offsets and lengths that point outside the data are an error, not a read of other memory."""
    loaded = program(VERDICT_BY_FIRST_BYTE, "xdp")
    for offset, length in ((0, 65), (65, 0), (2**64 - 1, 2), (1, 2**32 - 1)):
        with pytest.raises(EventError, match="EINVAL"):
            loaded.replay(Capture(PACKET, array("Q", [offset]), array("I", [length]), array("Q", [0])))


def test_a_fault_ends_a_batch_and_not_the_process() -> None:
    """A checked batch stops at the packet at which the program faults; packets before it have been run."""
    source = VERDICT_BY_FIRST_BYTE.replace("r4 += 1", "r4 += 0")
    with load(source, "xdp", unverified=True) as loaded:
        chosen = loaded.programs["program"]
        with pytest.raises(ProgramFault, match="it read 1 byte that it may not read"):
            chosen.run_batch([b"\x05", b"\x06", b"", b"\x07"])
        assert list(chosen.run_batch([b"\x05", b"\x06"])) == [5, 6]


def test_socket_filters_see_the_link_layer_in_captures_only() -> None:
    """Test runs show socket filters packets from the network header on, as Linux's do; replays show whole frames."""
    loaded = program("r6 = r1\nr0 = *(u8 *)skb[0]\nexit", "socket")
    frame = bytes([7]) * 14 + bytes([9]) * 30
    assert loaded.test_run(frame).retval == 9
    assert list(loaded.replay(capture([frame])).results) == [7]


def test_modes_must_exist() -> None:
    """An unknown mode is refused, and the message lists the modes."""
    with pytest.raises(LoadError, match="jit, interpreter, checked"):
        program("r0 = 0\nexit").test_run(mode="turbo")  # type: ignore[arg-type]
    spec = from_instructions(assemble("r0 = 0\nexit"), section="xdp", name="program")
    with pytest.raises(LoadError, match="jit, interpreter, checked"):
        anybpf.load(spec, mode="turbo")  # type: ignore[arg-type]


@pytest.mark.parametrize("repeat", [0, -1, 1 << 32])
def test_runs_are_counted_in_32_bits(repeat: int) -> None:
    """Numbers of runs that the engine cannot count to are refused."""
    with pytest.raises(EventError, match="repeat is"):
        program("r0 = 0\nexit").test_run(repeat=repeat)


def test_automatic_moves_to_machine_code() -> None:
    """A program that runs often is compiled in the background and then runs as machine code, with the same results."""
    loaded = program("r0 = r2\nr0 *= 3\nexit")
    assert loaded.test_run(b"abc").retval == 9
    assert not loaded.native.compiled
    for _ in range(3):
        assert set(loaded.run_batch([b"abcd"] * 500)) == {12}
    deadline = time.monotonic() + 60
    while not loaded.native.compiled and time.monotonic() < deadline:
        time.sleep(0.01)
    assert loaded.native.compiled
    assert set(loaded.run_batch([b"abcd"] * 500)) == {12}


def test_the_interpreter_is_used_when_asked_for() -> None:
    """mode="interpreter" runs the interpreter even when there is machine code."""
    source = "r0 = 0\nagain:\nr0 += 1\nr0 ^= 0\nif r0 != 200000 goto again\nexit"
    loaded = program(source)
    loaded.compile()
    compiled = min(loaded.test_run(mode="jit").duration_ns for _ in range(5))
    interpreted = min(loaded.test_run(mode="interpreter").duration_ns for _ in range(5))
    assert interpreted > 2 * compiled


def test_tail_calls_run_33_deep_in_every_tier() -> None:
    """A chain of tail calls ends after 33; the program that cannot go on sees an error and continues."""
    source = """
        r6 = r1
        r2 = map_value[1] + 0 ll
        r3 = *(u64 *)(r2 + 0)
        r3 += 1
        *(u64 *)(r2 + 0) = r3
        r1 = r6
        r2 = map[0] ll
        r3 = 0
        call 12
        r0 = 2
        exit
    """
    jumps = MapSpec("jumps", 3, 4, 4, 1, values=((0, "program"),))
    runs = MapSpec(".bss", 2, 4, 8, 1, contents=bytes(8), is_data=True)
    spec = replace(from_instructions(assemble(source), "xdp", "program"), maps=(jumps, runs))
    for mode in TIERS:
        with anybpf.load(spec, platform="linux", mode=mode) as loaded:
            assert loaded.programs["program"].test_run(PACKET).retval == 2
            assert loaded.maps[".bss"].raw[bytes(4)] == struct.pack("<Q", 34)


@pytest.mark.parametrize("mode", TIERS)
def test_tail_calls_reach_only_programs_that_are_safe_there(mode: str) -> None:
    """A target of another type, which would misread the context, and one that nobody verified are not run."""
    jumps = MapSpec("jumps", 3, 4, 4, 4)
    entry = "r2 = map[0] ll\nr3 = {}\ncall 12\nr0 = 9\nexit"
    programs = [
        replace(from_instructions(assemble(entry.format(n)), "xdp", f"to{n}").programs[0], name=f"to{n}")
        for n in range(3)
    ]
    spec = replace(from_instructions(assemble("r0 = 0\nexit"), "xdp", "same"), maps=(jumps,))
    with (
        anybpf.load(replace(spec, programs=(*spec.programs, *programs)), platform="linux") as loaded,
        load("r0 = 1\nexit", "tc", verified=True) as other_type,
        load("r0 = 2\nexit", "xdp", unverified=True) as unverified,
    ):
        loaded.maps["jumps"].update({0: loaded.programs["same"], 1: other_type.programs["program"]})
        loaded.maps["jumps"][2] = unverified.programs["program"]
        results = [loaded.programs[f"to{n}"].test_run(PACKET, mode=mode).retval for n in range(3)]
        assert results == [0, 9, 2 if mode == "checked" else 9]


def test_threads_run_one_program_at_once() -> None:
    """Threads that run the same program, each in its own cpu slot, count every packet."""
    source = "r1 = map_value[0] + 0 ll\nr2 = 1\nlock *(u64 *)(r1 + 0) += r2\nr0 = 2\nexit"
    total = MapSpec(".bss", 2, 4, 8, 1, contents=bytes(8), is_data=True)
    spec = replace(from_instructions(assemble(source), "xdp", "program"), maps=(total,))
    with anybpf.Context(cpus=2) as context, anybpf.load(spec, platform="linux", context=context) as loaded:
        chosen = loaded.programs["program"]

        def run() -> None:
            for _ in range(20):
                chosen.run_batch([PACKET] * 500)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert loaded.maps[".bss"].raw[bytes(4)] == struct.pack("<Q", 40_000)


def test_a_closed_program_says_so() -> None:
    """A closed program cannot be run, and closing it again does nothing."""
    loaded = program("r0 = 2\nexit")
    loaded.close()
    loaded.close()
    with pytest.raises(LoadError, match="is closed"):
        loaded.test_run()
    assert "closed" in repr(loaded)


def test_a_replaced_program_stays_until_nothing_can_run_it() -> None:
    """Programs may be swapped in a prog array, and closed, while another thread runs through it."""
    entry = "r2 = map[0] ll\nr3 = 0\ncall 12\nr0 = 0\nexit"
    jumps = MapSpec("jumps", 3, 4, 4, 1)
    spec = replace(from_instructions(assemble(entry), "xdp", "program"), maps=(jumps,))

    def target(number: int) -> Program:
        made = from_instructions(assemble(f"r0 = {number}\nexit"), "xdp", "program")
        return anybpf.load(made, platform="linux", mode="jit").programs["program"]

    with anybpf.load(spec, platform="linux") as loaded:
        loaded.maps["jumps"][0] = target(1)
        seen: set[int] = set()
        stop = threading.Event()

        def run() -> None:
            while not stop.is_set():
                seen.update(loaded.programs["program"].run_batch([PACKET] * 200))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            for number in range(2, 30):
                new = target(number)
                loaded.maps["jumps"][0] = new
                new.close()
        finally:
            stop.set()
            thread.join()
        assert 0 not in seen
        assert loaded.programs["program"].test_run(PACKET).retval == 29
