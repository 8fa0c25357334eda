"""Blocks made ready to run: one step per instruction, one backward step where an instruction changes what is needed."""

from __future__ import annotations

from collections.abc import Callable

from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.platforms import MapKind
from anybpf.verifier.calls import compile_helper_call
from anybpf.verifier.cfg import Block, ends_block
from anybpf.verifier.failure import Rejection
from anybpf.verifier.needs import Need, register_bit
from anybpf.verifier.packet_load import compile_packet_load
from anybpf.verifier.scalar import constant
from anybpf.verifier.state import State
from anybpf.verifier.subject import Back, Step, Subject
from anybpf.verifier.transfer_alu import back_kill, compile_alu
from anybpf.verifier.transfer_atomic import compile_atomic
from anybpf.verifier.transfer_load import compile_load
from anybpf.verifier.transfer_store import compile_store
from anybpf.verifier.values import Pointer, Region, Value

__all__ = ("CompiledBlock", "compile_block", "compile_instruction")


class CompiledBlock:
    """A block's steps, in order, each with its slot, and its backward steps, last first.

    The instruction that ends the block (a jump, an exit, a call of a subprogram) is not among them.
    """

    __slots__ = ("back", "steps")

    def __init__(
        self, steps: tuple[tuple[int, Step], ...], back: tuple[Callable[[int, int, list[object]], Need], ...]
    ) -> None:
        self.steps = steps
        self.back = back


def compile_block(subject: Subject, block: Block) -> CompiledBlock:
    """Compile the instructions of ``block``."""
    steps: list[tuple[int, Step]] = []
    back: list[Callable[[int, int, list[object]], Need]] = []
    for slot in range(block.start, block.end):
        instruction = subject.text[slot]
        if instruction is None or (slot == block.last and ends_block(instruction)) or slot in subject.callback_calls:
            continue
        step, backward = compile_instruction(subject, instruction, slot)
        steps.append((slot, step))
        if backward is not None:
            back.append(backward)
    return CompiledBlock(tuple(steps), tuple(reversed(back)))


def compile_instruction(subject: Subject, instruction: Instruction, slot: int) -> tuple[Step, Back]:
    """The step and backward step of any instruction that does not end a block."""
    class_ = instruction.class_
    if class_ in (op.CLASS_ALU, op.CLASS_ALU64):
        return compile_alu(instruction)
    if class_ == op.CLASS_LDX:
        return compile_load(subject, instruction, slot)
    if class_ == op.CLASS_ST:
        return compile_store(subject, instruction, slot)
    if class_ == op.CLASS_STX:
        if instruction.opcode & 0xE0 == op.MODE_ATOMIC:
            return compile_atomic(subject, instruction, slot)
        return compile_store(subject, instruction, slot)
    if class_ == op.CLASS_LD:
        if instruction.is_wide:
            return _set(instruction.dst, _wide(subject, instruction, slot)), back_kill(register_bit(instruction.dst))
        return compile_packet_load(subject, instruction)
    if instruction.src == op.CALL_KFUNC:
        return _refuse(_extern(subject, instruction.imm)), None
    return compile_helper_call(subject, instruction.imm)


def _wide(subject: Subject, instruction: Instruction, slot: int) -> Value | Rejection:
    """What ``lddw`` loads, or why it cannot."""
    kind = instruction.src
    if kind == op.LDDW_IMMEDIATE:
        return constant(instruction.imm64)
    if kind == op.LDDW_MAP_INDEX or kind == op.LDDW_MAP_INDEX_VALUE:
        maps = subject.spec.maps
        if not 0 <= instruction.imm < len(maps):
            return Rejection("unknown-function", name=f"map {instruction.imm}")
        found = maps[instruction.imm]
        if kind == op.LDDW_MAP_INDEX:
            return Pointer(Region.MAP, map=found, index=instruction.imm)
        map_kind = subject.map_kind(found)
        if map_kind is not MapKind.ARRAY:
            name = map_kind.value if map_kind is not None else f"number {found.type}, unknown here"
            return Rejection("map-kind", helper="direct access to a value", map=found.name, kind=name)
        return Pointer(
            Region.MAP_VALUE, offset=instruction.next_imm, map=found, index=instruction.imm, size=found.value_size
        )
    if kind == op.LDDW_FUNCTION:
        return Pointer(Region.FUNCTION, index=slot + 1 + instruction.imm)
    if kind == op.LDDW_VARIABLE:
        return _extern(subject, instruction.imm)
    return Rejection("unknown-function", name=f"map file descriptor {instruction.imm}")


def _extern(subject: Subject, index: int) -> Rejection:
    externs = subject.spec.externs
    return Rejection("unknown-function", name=externs[index].name if 0 <= index < len(externs) else f"extern {index}")


def _set(dst: int, value: Value | Rejection) -> Step:
    if isinstance(value, Rejection):
        return _refuse(value)

    def step(state: State) -> None:
        state.registers[dst] = value

    return step


def _refuse(rejection: Rejection) -> Step:
    def step(state: State) -> None:
        raise rejection

    return step
