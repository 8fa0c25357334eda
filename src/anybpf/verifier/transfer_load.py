"""Loads: from the stack, from plain memory, from the context."""

from __future__ import annotations

from typing import Final

from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.verifier import stack
from anybpf.verifier.access import pointer_in, require_inside
from anybpf.verifier.failure import Rejection
from anybpf.verifier.fields import load_field, note_memory
from anybpf.verifier.needs import PACKET_BIT, Need, register_bit, stack_bits
from anybpf.verifier.scalar import Scalar, constant, of_size, sign_extend
from anybpf.verifier.state import State
from anybpf.verifier.subject import Back, Step, Subject
from anybpf.verifier.values import Linked, Pointer, Region, Value, number_of

__all__ = ("FRAME_POINTER", "back_load", "compile_load", "load", "read_stack", "read_through")

FRAME_POINTER: Final = 10


def compile_load(subject: Subject, instruction: Instruction, slot: int) -> tuple[Step, Back]:
    """The step and backward step of a load from memory, zero- or sign-extending."""
    size = op.SIZE_BYTES[instruction.opcode & 0x18]
    extends = instruction.opcode & 0xE0 == op.MODE_MEMSX
    dst, base, offset = instruction.dst, instruction.src, instruction.offset
    if base == FRAME_POINTER and -op.STACK_SIZE <= offset <= -size:
        bits = stack_bits(offset, size)
        return _frame_load(dst, offset, size, extends), _back_frame_load(register_bit(dst), bits)
    return load(subject, slot, dst, base, offset, size, extends), back_load(register_bit(dst), register_bit(base))


def _back_frame_load(bit: int, bytes_: int) -> Back:
    def back(read: int, exact: int, trace: list[object]) -> Need:
        if exact & bit:
            exact = exact & ~bit | bytes_
        return read & ~bit | bytes_, exact

    return back


def back_load(bit: int, base: int) -> Back:
    """What a load through the register ``base`` needs; the trace holds the bits of the stack bytes that it read."""

    def back(read: int, exact: int, trace: list[object]) -> Need:
        source: int = trace.pop()  # type: ignore[assignment]
        if exact & bit:
            exact = exact & ~bit | source
        return read & ~bit | source | base, exact | base

    return back


def _frame_load(dst: int, offset: int, size: int, extends: bool) -> Step:
    place = offset + op.STACK_SIZE
    whole = size == 8 and not place & 7
    index = place >> 3

    def step(state: State) -> None:
        if whole:
            value = state.frames[-1][index]
            if value.__class__ is Scalar or value.__class__ is Pointer or value.__class__ is Linked:
                state.registers[dst] = value
                return
        state.registers[dst] = _extended(read_stack(state, state.depth, offset, size), size, extends)

    return step


def read_stack(state: State, frame: int, offset: int, size: int) -> Value:
    """What ``size`` bytes at ``offset`` of a frame hold; rejects uninitialised bytes and pieces of pointers."""
    value = stack.read(state.frames[frame], offset, size)
    if value is None:
        place = offset + op.STACK_SIZE
        slots = state.frames[frame][place >> 3 : (place + size + 7) >> 3]
        code = "partial-pointer" if any(isinstance(slot, Pointer) for slot in slots) else "uninitialised-stack"
        raise Rejection(code, size=size, offset=offset)
    return value


def _extended(value: Value, size: int, extends: bool) -> Value:
    if not extends:
        return value
    number = number_of(value)
    assert number is not None  # sign-extending loads are of at most 4 bytes, which hold no pointer
    return sign_extend(number, 8 * size)


def load(subject: Subject, slot: int, dst: int, base: int, offset: int, size: int, extends: bool) -> Step:
    """The step of a load through the register ``base``."""
    unknown = sign_extend(of_size(size), 8 * size) if extends and size < 8 else of_size(size)

    def step(state: State) -> None:
        pointer = pointer_in(state, base)
        region = pointer.region
        if region is Region.CONTEXT or region is Region.SOCKET:
            value = load_field(subject, slot, pointer, offset, size)
            state.registers[dst] = _extended(value, size, extends)
            state.trace.append(PACKET_BIT if value.__class__ is Pointer and region is Region.CONTEXT else 0)
            return
        note_memory(subject, slot)
        require_inside(subject, state, pointer, offset, size, False, base)
        if region is Region.STACK:
            value, bits = read_through(state, pointer, offset, size)
            state.registers[dst] = _extended(value, size, extends)
            state.trace.append(bits)
            return
        if region is Region.MAP_VALUE and pointer.variable is None:
            assert pointer.map is not None
            if pointer.map.read_only and pointer.map.contents is not None and not pointer.map.kconfig:
                number = constant(_contents(pointer.map.contents, pointer.offset + offset, size))
                state.registers[dst] = _extended(number, size, extends)
                state.trace.append(0)
                return
        state.registers[dst] = unknown
        state.trace.append(0)

    return step


def _contents(contents: bytes, offset: int, size: int) -> int:
    """Constant data; behind what the file gives, a data section is zero."""
    return int.from_bytes(contents[offset : offset + size], "little")


def read_through(state: State, pointer: Pointer, offset: int, size: int) -> tuple[Value, int]:
    """Load from the stack through ``pointer``, already known to stay inside: the value, and the bits of its bytes."""
    level = state.depth - pointer.index
    low, high = pointer.low + offset, pointer.high + offset
    bits = stack_bits(low, high - low + size, level)
    if low == high:
        return read_stack(state, pointer.index, low, size), bits
    if not stack.initialised(state.frames[pointer.index], low, high + size):
        raise Rejection("uninitialised-stack", size=size, offset=f"{low}..{high}")
    return of_size(size), bits
