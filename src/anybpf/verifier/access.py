"""What memory requires of an access, region by region."""

from __future__ import annotations

from typing import Final

from anybpf.isa import opcodes as op
from anybpf.spec import MapSpec
from anybpf.verifier.failure import Rejection
from anybpf.verifier.state import State
from anybpf.verifier.subject import Subject
from anybpf.verifier.transfer_alu import fail_uninitialised
from anybpf.verifier.transfer_jump import MAX_PACKET_OFFSET
from anybpf.verifier.values import Pointer, Region, describe_value

__all__ = ("is_read_only", "pointer_in", "require_inside", "use_stack")

_BPF_F_RDONLY_PROG: Final = 1 << 7
_BPF_F_WRONLY_PROG: Final = 1 << 8


def pointer_in(state: State, register: int) -> Pointer:
    """The pointer in ``register``, which is about to be dereferenced; rejects what is none or may be NULL."""
    value = state.registers[register]
    if value.__class__ is not Pointer:
        if value is None:
            raise fail_uninitialised(register)
        raise Rejection("not-a-pointer", register=register, value=describe_value(value))
    assert isinstance(value, Pointer)
    if value.nullable:
        raise Rejection("null-pointer", what=f"r{register}", value=describe_value(value))
    return value


def require_inside(
    subject: Subject, state: State, pointer: Pointer, offset: int, size: int, write: bool, register: int
) -> None:
    """Reject an access of ``size`` bytes at ``pointer + offset`` that may leave its region, or is not allowed there."""
    region = pointer.region
    low, high = pointer.low + offset, pointer.high + offset
    if region is Region.STACK:
        if low < -op.STACK_SIZE or high + size > 0:
            raise Rejection("stack-bounds", size=size, offset=_spread(pointer, offset))
        if pointer.index == state.depth:
            use_stack(subject, state, low)
    elif region is Region.PACKET or region is Region.PACKET_META:
        _require_packet(subject, state, pointer, offset, size, write)
    elif region is Region.MAP_VALUE:
        assert pointer.map is not None
        if low < 0 or high + size > pointer.size:
            raise Rejection(
                "map-value-bounds", size=size, offset=_spread(pointer, offset), map=pointer.map.name, limit=pointer.size
            )
        if write and is_read_only(pointer.map):
            raise Rejection("read-only", what=f"map {pointer.map.name!r}")
        if not write and pointer.map.flags & _BPF_F_WRONLY_PROG:
            raise Rejection("not-accessible", register=register, value="pointer into a map that programs only write")
        for start, length, field in subject.special_fields(pointer.map):
            if low < start + length and high + size > start:
                raise Rejection("special-field", field=field, map=pointer.map.name)
    elif region is Region.MEMORY:
        if low < 0 or high + size > pointer.size:
            raise Rejection(
                "memory-bounds", size=size, offset=_spread(pointer, offset), limit=pointer.size, register=register
            )
        if write and not pointer.writable:
            raise Rejection("read-only", what=f"the memory that r{register} points to")
    else:
        raise Rejection("not-accessible", register=register, value=describe_value(pointer))


def is_read_only(map: MapSpec) -> bool:
    """Whether programs may not change the map's values."""
    return map.read_only or bool(map.flags & _BPF_F_RDONLY_PROG)


def _require_packet(subject: Subject, state: State, pointer: Pointer, offset: int, size: int, write: bool) -> None:
    """The same for the packet, its metadata, and buffers."""
    where, end = (f"buffer {pointer.buffer!r}", "its end") if pointer.buffer else ("packet", "data_end")
    if pointer.region is Region.PACKET:
        proven, start = state.ranges.get(pointer.start, 0), pointer.offset + offset
    else:  # one range for all pointers into the metadata, from its start
        proven, start = state.meta_range, pointer.high + offset
    why = ""
    if pointer.low + offset < 0:
        why = "this may lie before its start"
    elif start + size > proven:
        if pointer.variable is not None and pointer.high > MAX_PACKET_OFFSET:
            why = f"the offset is not known to be small enough to compare with {end}"
        elif not proven:
            why = f"no comparison with {end} has proven that the {'buffer' if pointer.buffer else where} reaches so far"
        else:
            why = (
                f"only {proven} bytes from there on are proven" if pointer.terms else f"only {proven} bytes are proven"
            )
    if why:
        raise Rejection("packet-bounds", size=size, where=where, offset=_spread(pointer, offset), proven=why)
    if write and pointer.region is Region.PACKET and not _is_writable(subject, pointer):
        raise Rejection("read-only", what=where if pointer.buffer else "the packet")


def _is_writable(subject: Subject, pointer: Pointer) -> bool:
    """Whether programs may store to the packet or buffer that ``pointer`` points into."""
    program_type = subject.program_type
    return pointer.writable if pointer.buffer else program_type.packet_writable or program_type.context.memory


def _spread(pointer: Pointer, offset: int) -> str:
    low, high = pointer.low + offset, pointer.high + offset
    return str(low) if low == high else f"{low}..{high}"


def use_stack(subject: Subject, state: State, low: int) -> None:
    """Note that the current function uses its stack down to ``low``."""
    function = state.function
    if -low > subject.depths.get(function, 0):
        subject.depths[function] = -low
