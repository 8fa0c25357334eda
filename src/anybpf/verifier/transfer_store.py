"""Stores of registers and immediates."""

from __future__ import annotations

from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.verifier import stack
from anybpf.verifier.access import pointer_in, require_inside, use_stack
from anybpf.verifier.failure import Rejection
from anybpf.verifier.fields import store_field
from anybpf.verifier.needs import Need, register_bit, stack_bits
from anybpf.verifier.scalar import Scalar, constant, truncate
from anybpf.verifier.state import State
from anybpf.verifier.subject import Back, Step, Subject
from anybpf.verifier.transfer_alu import copy_value, fail_uninitialised
from anybpf.verifier.transfer_load import FRAME_POINTER
from anybpf.verifier.values import Linked, Pointer, Region, Value, describe_value, number_of

__all__ = ("back_store", "compile_store", "store", "write_through")


def compile_store(subject: Subject, instruction: Instruction, slot: int) -> tuple[Step, Back]:
    """The step and backward step of a store of a register or an immediate."""
    size = op.SIZE_BYTES[instruction.opcode & 0x18]
    base, offset = instruction.dst, instruction.offset
    src = instruction.src if instruction.class_ == op.CLASS_STX else None
    immediate = constant(instruction.imm)
    source = 0 if src is None else register_bit(src)
    if base == FRAME_POINTER and -op.STACK_SIZE <= offset <= -size:
        bits = stack_bits(offset, size)
        return _frame_store(subject, src, immediate, offset, size), _back_frame_store(bits, source)
    return store(subject, slot, base, offset, size, src, immediate), back_store(register_bit(base), source)


def _back_frame_store(bits: int, source: int) -> Back:
    def back(read: int, exact: int, trace: list[object]) -> Need:
        if exact & bits:
            exact = exact & ~bits | source
        return read & ~bits | source, exact

    return back


def back_store(base: int, source: int) -> Back:
    """What a store through the register ``base`` needs; the trace holds the bits of the stack bytes that it wrote,
    negative where it wrote somewhere among them."""

    def back(read: int, exact: int, trace: list[object]) -> Need:
        event: int = trace.pop()  # type: ignore[assignment]
        if not event:  # not the stack: the value must be a number
            return read | base | source, exact | base
        bits = abs(event)
        if exact & bits:
            exact |= source
        if event > 0:  # these very bytes; a negative event is a store somewhere among them
            read, exact = read & ~bits, exact & ~bits
        return read | base | source, exact | base

    return back


def _frame_store(subject: Subject, src: int | None, immediate: Scalar, offset: int, size: int) -> Step:
    place = offset + op.STACK_SIZE
    index, whole = place >> 3, size == 8 and not place & 7
    low_bits = truncate(immediate, 8 * size) if size < 8 else immediate

    def step(state: State) -> None:
        function = state.function
        if -offset > subject.depths.get(function, 0):
            use_stack(subject, state, offset)
        if src is None:
            if whole:
                state.frames[-1][index] = immediate
            else:
                stack.write(state.frames[-1], offset, size, low_bits)
            return
        value = state.registers[src]
        if value is None:
            raise fail_uninitialised(src)
        if whole:
            if value.__class__ is Scalar and value.known is None:
                value = state.registers[src] = copy_value(value)
            if value.__class__ is Linked:
                value.link.spilled = True
            state.frames[-1][index] = value
        else:
            _write_part(state, state.depth, offset, size, src, value)

    return step


def _write_part(state: State, frame: int, offset: int, size: int, src: int | None, value: Value) -> None:
    """Store a value that does not fill one aligned slot."""
    number = number_of(value)
    if number is None:
        raise Rejection("pointer-leak", what=f"r{src}", value=f"{describe_value(value)}, stored in part or unaligned")
    if size == 8 or number.umax < 1 << 8 * size:
        if (offset & 7) + size <= 8:
            value = copy_value(value)
            if value.__class__ is Linked:
                value.link.spilled = True
                if src is not None:
                    state.registers[src] = value
            stack.write(state.frames[frame], offset, size, value)
            return
        stack.write(state.frames[frame], offset, size, number)
        return
    stack.write(state.frames[frame], offset, size, truncate(number, 8 * size))


def store(subject: Subject, slot: int, base: int, offset: int, size: int, src: int | None, immediate: Scalar) -> Step:
    """The step of a store of register ``src``, or of ``immediate`` when that is None, through the register ``base``."""
    low_bits = truncate(immediate, 8 * size) if size < 8 else immediate

    def step(state: State) -> None:
        pointer = pointer_in(state, base)
        value: Value | None = low_bits if src is None else state.registers[src]
        if value is None:
            assert src is not None
            raise fail_uninitialised(src)
        region = pointer.region
        if region is Region.STACK:
            require_inside(subject, state, pointer, offset, size, True, base)
            state.trace.append(write_through(state, pointer, offset, size, src, value))
            return
        if value.__class__ is Pointer:
            raise Rejection("pointer-leak", what=f"r{src}", value=describe_value(value))
        if region is Region.CONTEXT:
            store_field(subject, pointer, offset, size)
        else:
            require_inside(subject, state, pointer, offset, size, True, base)
        state.trace.append(0)

    return step


def write_through(state: State, pointer: Pointer, offset: int, size: int, src: int | None, value: Value | None) -> int:
    """Store through a stack pointer that is known to stay inside; returns the event for the trace.

    ``value`` None stands for numbers of which nothing is known.
    """
    level = state.depth - pointer.index
    low, high = pointer.low + offset, pointer.high + offset
    bits = stack_bits(low, high - low + size, level)
    frame = state.frames[pointer.index]
    if value.__class__ is Pointer and value.region is Region.STACK and value.index > pointer.index:
        raise Rejection(
            "pointer-leak", what=f"r{src}", value=f"{describe_value(value)}, which ends before its copy does"
        )
    if low != high:
        if value.__class__ is Pointer:
            raise Rejection(
                "pointer-leak", what=f"r{src}", value=f"{describe_value(value)}, stored at a varying offset"
            )
        stack.blur(frame, low, high + size)
        return -bits
    if value is None:
        stack.write(frame, low, size, None)
    elif value.__class__ is Pointer and size == 8 and not low & 7:
        stack.write(frame, low, size, value)
    else:
        _write_part(state, pointer.index, low, size, src, value)
    return bits
