"""LD_ABS and LD_IND: the legacy loads from a packet, which end the program when they reach outside it."""

from __future__ import annotations

from typing import Final

from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.verifier.failure import Rejection
from anybpf.verifier.needs import Need, register_bit
from anybpf.verifier.scalar import of_size
from anybpf.verifier.state import State
from anybpf.verifier.subject import Back, Step, Subject
from anybpf.verifier.transfer_alu import fail_uninitialised
from anybpf.verifier.values import Pointer, Region, number_of

__all__ = ("compile_packet_load",)

#: The register that holds the context, by the convention of classic BPF.
_CONTEXT: Final = 6


def compile_packet_load(subject: Subject, instruction: Instruction) -> tuple[Step, Back]:
    """The step and backward step of LD_ABS or LD_IND. The load swaps bytes, so nothing is known of the number."""
    size = op.SIZE_BYTES[instruction.opcode & 0x18]
    index = instruction.src if instruction.opcode & 0xE0 == op.MODE_IND else None
    needed = register_bit(_CONTEXT) | (0 if index is None else register_bit(index))

    def step(state: State) -> None:
        if not subject.program_type.legacy_packet:
            raise Rejection("legacy-packet", what=f"programs of type {subject.program_type.name} cannot use it")
        context = state.registers[_CONTEXT]
        if not isinstance(context, Pointer) or context.region is not Region.CONTEXT:
            raise Rejection("legacy-packet", what="r6 does not hold the context")
        if context.offset or context.variable is not None:
            raise Rejection("legacy-packet", what="r6 does not hold the context, but a pointer into it")
        if index is not None:
            value = state.registers[index]
            if value is None:
                raise fail_uninitialised(index)
            if number_of(value) is None:
                raise Rejection("legacy-packet", what=f"r{index} is a pointer, where the offset should be")
        if state.references:
            raise Rejection("reference-leak", acquired=state.references[0][1])
        if state.lock is not None:
            raise Rejection("lock", what="the program may end here while a lock is held")
        if state.chain:
            raise Rejection("legacy-packet", what="it may end the program, which a subprogram cannot do")
        state.registers[0] = of_size(size)
        for register in range(1, 6):
            state.registers[register] = None

    def back(read: int, exact: int, trace: list[object]) -> Need:
        return read & ~0x3F | needed, exact & ~0x3F | register_bit(_CONTEXT)

    return step, back
