"""The checked interpreter: it stops at the first access that a program may not make, and says which and where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import anybpf
from anybpf.elf import from_instructions
from anybpf.errors import LoadError, ProgramFault
from anybpf.isa import assemble
from anybpf.runtime import Object
from anybpf.spec import LineSpec, MapSpec, ObjectSpec, ProgramSpec, SourceLine
from running import program

HASH, ARRAY, PROG_ARRAY, RINGBUF = 1, 2, 3, 27
RDONLY_PROG = 0x80
PACKET = bytes(range(64))


def spec(source: str, *maps: MapSpec, section: str = "xdp", name: str = "program") -> ObjectSpec:
    """An object with one program and maps."""
    return replace(from_instructions(assemble(source), section, name), maps=maps)


def array(name: str = "cells", flags: int = 0, **more: Any) -> MapSpec:
    """An array of two 8-byte values."""
    return MapSpec(name, ARRAY, 4, 8, 2, flags=flags, **more)


def unverified(source: str, *maps: MapSpec, section: str = "xdp") -> Object:
    """Load without verification."""
    return anybpf.load(spec(source, *maps, section=section), platform="linux", unverified=True)


def fault(source: str, *maps: MapSpec, section: str = "xdp", data: bytes = PACKET) -> ProgramFault:
    """Run unverified; return the fault that stops it."""
    with unverified(source, *maps, section=section) as loaded, pytest.raises(ProgramFault) as raised:
        loaded.programs["program"].test_run(data)
    return raised.value


LOOKUP = """
    *(u32 *)(r10 - 4) = {key}
    r2 = r10
    r2 += -4
    r1 = map[0] ll
    call 1
"""


@pytest.mark.parametrize(
    ("source", "instruction", "reason", "region"),
    [
        ("r0 = *(u64 *)(r10 - 520)\nexit", 0, "it read 8 bytes", "8 bytes before stack"),
        ("r0 = 0\n*(u32 *)(r10 - 2) = 1\nexit", 1, "it wrote 4 bytes", "stack, offset 510 of 512 bytes"),
        ("r1 = 0\nr0 = *(u8 *)(r1 + 8)\nexit", 1, "it read 1 byte ", "a null pointer"),
        ("r1 = 0x123456789ab ll\nr0 = *(u8 *)(r1 + 0)\nexit", 2, "it read 1 byte ", "nothing"),
        ("r0 = *(u32 *)(r1 + 24)\nexit", 0, "it read 4 bytes", "context, offset 24 of 24 bytes"),
        ("r0 = *(u8 *)(r1 + 0)\nexit", 0, "it read 1 byte ", "context, offset 0 of 24 bytes"),
        ("r0 = 0\n*(u32 *)(r1 + 16) = r0\nexit", 1, "it wrote 4 bytes", "context, offset 16 of 24 bytes"),
        ("r0 = *(u64 *)(r1 - 64)\nexit", 0, "it read 8 bytes", "64 bytes before context"),
        ("r1 = *(u32 *)(r1 + 0)\nr0 = *(u32 *)(r1 + 61)\nexit", 1, "it read 4 bytes", "packet, offset 61 of 64 bytes"),
        ("r1 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r1 - 1)\nexit", 1, "it read 1 byte ", "1 byte before packet"),
        ("r1 = *(u32 *)(r1 + 4)\nr0 = *(u8 *)(r1 + 0)\nexit", 1, "it read 1 byte ", "packet, offset 64 of 64 bytes"),
        (LOOKUP.format(key=1) + "r0 = *(u64 *)(r0 + 1)\nexit", 6, "it read 8 bytes", "map cells, offset 1 of 8 bytes"),
        (LOOKUP.format(key=2) + "r0 = *(u64 *)(r0 + 0)\nexit", 6, "it read 8 bytes", "a null pointer"),
        ("r1 = map_value[0] + 12 ll\nr0 = *(u64 *)(r1 + 0)\nexit", 2, "it read 8 bytes", "map cells, offset 12 of 16"),
        ("r1 = map[0] ll\nr0 = *(u32 *)(r1 + 0)\nexit", 2, "it read 4 bytes", ""),
        ("r2 = 1\nlock *(u32 *)(r10 - 6) += w2\nr0 = 0\nexit", 1, "needs an aligned address", "stack, offset 506 of"),
    ],
)
def test_bad_accesses_are_named(source: str, instruction: int, reason: str, region: str) -> None:
    """A fault has the instruction, what it tried, the address, and the memory at or next to that address."""
    found = fault(source, array())
    assert (found.program, found.instruction) == ("program", instruction)
    assert reason in str(found) + " "
    assert region in (found.region or "")
    assert found.address is not None


@pytest.mark.parametrize(
    ("source", "register"),
    [
        ("r0 = r3\nexit", "r3"),
        ("r0 += 1\nexit", "r0"),
        ("exit", "r0"),
        ("r0 = *(u32 *)(r2 + 0)\nexit", "r2"),
        ("if r4 == 1 goto +0\nr0 = 0\nexit", "r4"),
        ("call 5\nr0 = r1\nexit", "r1"),
        ("call pc+1\nexit\nr0 = r6\nexit", "r6"),
        ("r0 = 0\n*(u64 *)(r10 - 8) = r9\nexit", "r9"),
        ("r1 = 1\ncall 6\nr0 = 0\nexit", "r2"),
    ],
)
def test_registers_without_a_value_are_not_read(source: str, register: str) -> None:
    """Reading a register that nothing has written, or that a call has clobbered, is a fault that names it."""
    assert f"used {register}," in fault(source).reason


@pytest.mark.parametrize(
    "source",
    [
        "r1 = 5\nr2 = r10\nr2 += -4\ncall 1\nr0 = 0\nexit",  # no map
        "r1 = map[0] ll\nr2 = r10\ncall 1\nr0 = 0\nexit",  # a key beyond the frame
        "r1 = map[0] ll\nr2 = 0\ncall 1\nr0 = 0\nexit",  # no key
        "r2 = r10\nr2 += -4\nr1 = map[0] ll\nr3 = r10\nr3 += -7\nr4 = 0\ncall 2\nr0 = 0\nexit",  # a value too short
        "r1 += 4\nr2 = -4\ncall 44\nr0 = 0\nexit",  # not the context
        "r1 = 3\nr2 = 9\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit",  # no function
        LOOKUP.format(key=0) + "r1 = r0\nr2 = r10\nr2 += -4\ncall 1\nr0 = 0\nexit",  # a value for a map
        LOOKUP.format(key=0) + "r1 = r0\nr2 = 0\ncall 132\nr0 = 0\nexit",  # a value for a record
    ],
)
def test_helpers_get_what_they_demand(source: str) -> None:
    """A helper is not called with an argument that it would misuse."""
    assert "argument" in fault(source, array()).reason


def test_a_read_only_map_is_read_and_not_written() -> None:
    """Programs may read a map with BPF_F_RDONLY_PROG, by lookup and directly, and not write it."""
    constants = array(flags=RDONLY_PROG)
    read = LOOKUP.format(key=0) + "r0 = *(u64 *)(r0 + 0)\nexit"
    with unverified(read, constants) as loaded:
        loaded.maps["cells"][0] = 9
        assert loaded.programs["program"].test_run(PACKET).retval == 9
    assert "wrote" in fault(LOOKUP.format(key=0) + "*(u64 *)(r0 + 0) = 1\nexit", constants).reason
    assert "wrote" in fault("r1 = map_value[0] + 0 ll\n*(u64 *)(r1 + 0) = 1\nr0 = 0\nexit", constants).reason


def test_the_packet_is_looked_at_anew_after_it_moved() -> None:
    """After bpf_xdp_adjust_head the old first bytes are out of bounds, and the new ones are in."""
    move = """
        r6 = r1
        r7 = *(u32 *)(r1 + 0)
        r2 = {delta}
        call 44
        r1 = *(u32 *)(r6 + 0)
        r0 = *(u8 *)({base} + 0)
        exit
    """
    assert program(move.format(delta=4, base="r1"), "xdp", unverified=True).test_run(PACKET).retval == 4
    assert "read 1 byte" in fault(move.format(delta=4, base="r7")).reason
    assert program(move.format(delta=-4, base="r1"), "xdp", unverified=True).test_run(PACKET).retval == 0


def test_records_are_checked_and_never_lost() -> None:
    """A ring-buffer record may be used until it is submitted, within its size; one that is forgotten is discarded."""
    events = MapSpec("events", RINGBUF, 0, 0, 4096)
    reserve = "r1 = map[0] ll\nr2 = 16\nr3 = 0\ncall 131\nif r0 == 0 goto out\nr6 = r0\n{use}\nout:\nr0 = 0\nexit"
    submit = "r1 = r6\nr2 = 0\ncall 132\n"
    with unverified(reserve.format(use="*(u64 *)(r6 + 8) = 7\n" + submit), events) as loaded:
        loaded.programs["program"].test_run(PACKET)
        assert [record[8:] for record in loaded.maps["events"].drain()] == [bytes([7, *bytes(7)])]
    assert "record, offset 12 of 16" in str(fault(reserve.format(use="*(u64 *)(r6 + 12) = 7\n" + submit), events))
    assert "wrote" in fault(reserve.format(use=submit + "*(u64 *)(r6 + 0) = 7"), events).reason
    assert "argument 1" in fault(reserve.format(use=submit + submit), events).reason
    assert "argument 1" in fault(reserve.format(use="r1 = r6\nr1 += 8\nr2 = 0\ncall 132\n"), events).reason
    forget = reserve.format(use="*(u64 *)(r6 + 0) = 7")
    with unverified(forget, events) as loaded:
        for _ in range(1000):  # the reader skips what was discarded; what is still held would end this soon
            with pytest.raises(ProgramFault, match="without submitting or discarding a record of 16 bytes"):
                loaded.programs["program"].test_run(PACKET)
            assert loaded.maps["events"].drain() == []


def test_a_fault_leaves_maps_as_they_were_written() -> None:
    """What a program stored before it stopped stays, the map works on, and so does the program."""
    source = LOOKUP.format(key=0) + "r1 = 1\nlock *(u64 *)(r0 + 0) += r1\nr0 = *(u64 *)(r0 + 8)\nexit"
    with unverified(source, array()) as loaded:
        for _ in range(3):
            with pytest.raises(ProgramFault):
                loaded.programs["program"].test_run(PACKET)
        assert loaded.maps["cells"][0] == 3


def test_a_fault_in_a_callback_ends_the_loop() -> None:
    """bpf_loop stops when its callback faults, and the fault is the callback's."""
    source = """
        r1 = 1000000
        r2 = function[+6] ll
        r3 = 0
        r4 = 0
        call 181
        r0 = 0
        exit
        r0 = *(u64 *)(r2 + 0)
        exit
    """
    found = fault(source)
    assert (found.instruction, found.region) == (8, "a null pointer")


def test_a_callback_writes_its_callers_frame() -> None:
    """A callback's context is the caller's stack, which it may write through the pointer that it gets."""
    source = """
        *(u64 *)(r10 - 8) = 0
        r1 = 10
        r2 = function[+7] ll
        r3 = r10
        r3 += -8
        r4 = 0
        call 181
        r0 = *(u64 *)(r10 - 8)
        exit
        r3 = *(u64 *)(r2 + 0)
        r3 += r1
        *(u64 *)(r2 + 0) = r3
        r0 = 0
        exit
    """
    with unverified(source) as loaded:
        assert loaded.programs["program"].test_run(PACKET).retval == 45


def test_a_fault_after_a_tail_call_names_the_target() -> None:
    """The program named is the one that stopped, not the one that was run."""
    first = "r2 = map[0] ll\nr3 = 0\ncall 12\nr0 = 0\nexit"
    second = "r0 = 0\nr0 = *(u8 *)(r0 + 0)\nexit"
    programs: tuple[ProgramSpec, ...] = (
        *spec(first, name="first").programs,
        *spec(second, name="second").programs,
    )
    jumps = MapSpec("jumps", PROG_ARRAY, 4, 4, 1, values=((0, "second"),))
    both = replace(spec(first), programs=programs, maps=(jumps,))
    with anybpf.load(both, unverified=True) as loaded, pytest.raises(ProgramFault) as raised:
        loaded.programs["first"].test_run(PACKET)
    assert (raised.value.program, raised.value.instruction) == ("second", 1)


def test_a_fault_has_its_source_line() -> None:
    """Where the object has line information, the fault shows the line."""
    line = SourceLine("count.c", 7, 3, "  return *missing;")
    plain = spec("r1 = 0\nr0 = *(u8 *)(r1 + 0)\nexit")
    with_line = replace(plain, programs=(replace(plain.programs[0], lines=(LineSpec(1, line),)),))
    with anybpf.load(with_line, unverified=True) as loaded, pytest.raises(ProgramFault) as raised:
        loaded.programs["program"].test_run(PACKET)
    assert raised.value.source == line
    assert str(raised.value).endswith("count.c:7: return *missing;")


def test_an_endless_program_is_stopped() -> None:
    """A program that nobody verified cannot run for ever."""
    assert "instruction limit" in fault("goto -1").reason


def test_running_past_the_end_is_a_fault() -> None:
    """The end of the text is not an exit."""
    assert "past its last instruction" in fault("r0 = 0").reason


def test_legacy_packet_loads_read_big_endian_numbers() -> None:
    """LD_ABS and LD_IND read the packet in network order; outside it the program exits with 0."""
    source = "r6 = r1\nr0 = *(u16 *)skb[{offset}]\nr7 = r0\nr1 = 2\nr6 = r6\nexit"
    with unverified(source.format(offset=2), section="socket") as loaded:
        assert loaded.programs["program"].test_run(bytes(14) + PACKET).retval == 0x0203
    with unverified(source.format(offset=63), section="socket") as loaded:
        assert loaded.programs["program"].test_run(bytes(14) + PACKET).retval == 0
    indirect = "r6 = r1\nr3 = 3\nr0 = *(u32 *)skb[r3 + 1]\nexit"
    with unverified(indirect, section="socket") as loaded:
        assert loaded.programs["program"].test_run(bytes(14) + PACKET).retval == 0x04050607


def test_unverified_programs_run_checked_only() -> None:
    """A program that nobody verified or trusts has no other mode."""
    with unverified("r0 = 2\nexit") as loaded:
        chosen = loaded.programs["program"]
        assert chosen.checked_only
        for mode in ("jit", "interpreter"):
            with pytest.raises(LoadError, match="was not verified, so it runs in mode 'checked' only"):
                chosen.test_run(PACKET, mode=mode)
        with pytest.raises(LoadError, match="checked"):
            chosen.compile()
