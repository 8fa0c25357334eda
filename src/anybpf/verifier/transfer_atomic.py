"""Atomic operations, load-acquire and store-release."""

from __future__ import annotations

from typing import Final

from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.verifier.access import pointer_in, require_inside
from anybpf.verifier.failure import Rejection
from anybpf.verifier.fields import note_memory
from anybpf.verifier.needs import Need, register_bit
from anybpf.verifier.scalar import constant, of_size
from anybpf.verifier.state import State
from anybpf.verifier.subject import Back, Step, Subject
from anybpf.verifier.transfer_alu import fail_uninitialised
from anybpf.verifier.transfer_load import back_load, load, read_through
from anybpf.verifier.transfer_store import back_store, store, write_through
from anybpf.verifier.values import Pointer, Region, describe_value, number_of

__all__ = ("compile_atomic",)


def compile_atomic(subject: Subject, instruction: Instruction, slot: int) -> tuple[Step, Back]:
    """The step and backward step of an atomic operation, load-acquire or store-release."""
    size = op.SIZE_BYTES[instruction.opcode & 0x18]
    operation, base, src, offset = instruction.imm, instruction.dst, instruction.src, instruction.offset
    if operation == op.ATOMIC_LOAD_ACQUIRE:
        step, back = (
            load(subject, slot, base, src, offset, size, False),
            back_load(register_bit(base), register_bit(src)),
        )
        return _aligned(src, offset, size, step), back
    if operation == op.ATOMIC_STORE_RELEASE:
        step = store(subject, slot, base, offset, size, src, constant(0))
        return _aligned(base, offset, size, step), back_store(register_bit(base), register_bit(src))
    exchange = operation == op.ATOMIC_CMPXCHG
    result = 0 if exchange else src if operation & op.ATOMIC_FETCH else None
    operands = (src, 0) if exchange else (src,)

    def step_atomic(state: State) -> None:
        pointer = pointer_in(state, base)
        for register in operands:
            value = state.registers[register]
            if value is None:
                raise fail_uninitialised(register)
            if value.__class__ is Pointer:
                raise Rejection("number-expected", what=f"r{register}", value=describe_value(value))
        require_inside(subject, state, pointer, offset, size, True, base)
        if pointer.region is Region.STACK:
            before, bits = read_through(state, pointer, offset, size)
            if number_of(before) is None:
                raise Rejection("atomic-access", what=f"the stack at {pointer.low + offset} holds a pointer")
            write_through(state, pointer, offset, size, None, None)
            state.trace.append(bits)
        else:
            note_memory(subject, slot)
            state.trace.append(0)
        if result is not None:
            state.registers[result] = of_size(size)

    killed = 0 if result is None else register_bit(result)
    needed = register_bit(base)
    for register in operands:
        needed |= register_bit(register)

    def back_atomic(read: int, exact: int, trace: list[object]) -> Need:
        bits: int = trace.pop()  # type: ignore[assignment]
        return read & ~killed | needed | bits, exact & ~killed | register_bit(base)

    return _aligned(base, offset, size, step_atomic), back_atomic


_ATOMIC_REGIONS: Final = frozenset({Region.STACK, Region.MAP_VALUE, Region.MEMORY})


def _aligned(base: int, offset: int, size: int, then: Step) -> Step:
    """``then``, for plain memory at an aligned address only."""

    def step(state: State) -> None:
        pointer = pointer_in(state, base)
        if pointer.region not in _ATOMIC_REGIONS:
            raise Rejection("atomic-access", what=f"r{base} is a {describe_value(pointer)}")
        place = pointer.place()
        if (place.value + offset) % size or place.mask & size - 1:
            raise Rejection("atomic-access", what=f"the address r{base} + {offset} is not aligned to {size} bytes")
        then(state)

    return step
