"""Which registers may still be read at the start of each block. A plain backward fix-point over each function."""

from __future__ import annotations

from anybpf.isa import Text
from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.verifier.cfg import Graph

__all__ = ("live_registers",)


def live_registers(text: Text, graph: Graph) -> list[int]:
    """For each block, a bit set of the registers that are live where it starts."""
    live = [0] * len(graph.blocks)
    predecessors: list[list[int]] = [[] for _ in graph.blocks]
    for block in graph.blocks:
        for successor in block.successors:
            predecessors[successor].append(block.index)
    work = list(range(len(graph.blocks)))
    queued = bytearray([1]) * len(work)
    while work:
        index = work.pop()
        queued[index] = 0
        block = graph.blocks[index]
        alive = 0
        for successor in block.successors:
            alive |= live[successor]
        for slot in range(block.end - 1, block.start - 1, -1):
            instruction = text[slot]
            if instruction is not None:
                reads, writes = registers_of(instruction)
                alive = alive & ~writes | reads
        if alive != live[index]:
            live[index] = alive
            for predecessor in predecessors[index]:
                if not queued[predecessor]:
                    queued[predecessor] = 1
                    work.append(predecessor)
    return live


def registers_of(instruction: Instruction) -> tuple[int, int]:
    """Bit sets of the registers that an instruction reads and writes."""
    dst, src = 1 << instruction.dst, 1 << instruction.src
    class_, opcode = instruction.class_, instruction.opcode
    if class_ in (op.CLASS_ALU, op.CLASS_ALU64):
        operation = opcode & 0xF0
        reads = src if opcode & op.SOURCE_X and operation != op.ALU_END else 0
        return (reads if operation == op.ALU_MOV else reads | dst), dst
    if class_ == op.CLASS_LDX:
        return src, dst
    if class_ == op.CLASS_ST:
        return dst, 0
    if class_ == op.CLASS_STX:
        if opcode & 0xE0 != op.MODE_ATOMIC:
            return dst | src, 0
        if instruction.imm == op.ATOMIC_LOAD_ACQUIRE:
            return src, dst
        if instruction.imm == op.ATOMIC_CMPXCHG:
            return dst | src | 1, 1
        return dst | src, src if instruction.imm & op.ATOMIC_FETCH else 0
    if class_ == op.CLASS_LD:
        if instruction.is_wide:
            return 0, dst
        return 1 << 6 | (src if opcode & 0xE0 == op.MODE_IND else 0), 0x3F
    if opcode == op.OP_CALL:
        return 0x3E, 0x3F
    if opcode == op.OP_EXIT:
        return 1, 0
    if opcode in (op.OP_JA, op.OP_JA32, op.OP_MAY_GOTO):
        return 0, 0
    return dst | (src if opcode & op.SOURCE_X else 0), 0
