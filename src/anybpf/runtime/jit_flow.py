"""Control flow and register use of one BPF function: what the translation to LLVM IR asks of a function as a whole.

Reads: the lowered text and the slot at which the function begins.
Gives: its basic blocks, which registers are live where, and which of them are best held as pointers.

LLVM reasons about ``ptr`` values and ``getelementptr`` (aliasing, induction variables, vectors) far better than about
integers turned into addresses, so registers are typed. Types only choose a form: a register of either type can always
be converted to the other, so a poor choice costs speed and never changes a result.

Register sets are bit masks: bit *n* is register *n*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anybpf.errors import LoadError
from anybpf.isa import Instruction, Text, jump_target
from anybpf.isa import opcodes as op

REGISTERS = 11
CONTEXT_REGISTER = 6  # what LD_ABS and LD_IND read the packet through (RFC 9669 §5.5)
ARGUMENTS = 0b111110  # r1 to r5
CALL_CLOBBERS = 0b111111  # r0 to r5
FRAME_POINTER = 1 << 10

CALLS = frozenset((op.OP_CALL, op.OP_CALLX))

_TERMINATORS = frozenset((op.OP_JA, op.OP_JA32, op.OP_EXIT))
_JUMP = (op.CLASS_JMP, op.CLASS_JMP32)


@dataclass(slots=True)
class Block:
    """A basic block: the instructions from ``start`` on, run in a row.

    :param successors: where it may go next; for a conditional branch the fall-through first, then the target.
    :param live_in: registers whose values at the start may still be read; :param live_out: the same at the end.
    :param wanted_in: registers whose values at the start may become the base of a memory access.
    :param wanted: the same after each instruction.
    :param pointers_in: registers held as pointers at the start.
    """

    start: int
    instructions: list[tuple[int, Instruction]] = field(default_factory=list)
    successors: tuple[int, ...] = ()
    live_in: int = 0
    live_out: int = 0
    wanted_in: int = 0
    wanted: list[int] = field(default_factory=list)
    pointers_in: int = 0


@dataclass(frozen=True, slots=True)
class Flow:
    """A function: its entry slot, and its blocks by start slot, ascending."""

    entry: int
    blocks: Mapping[int, Block]

    @property
    def pointer_arguments(self) -> int:
        """The argument registers that the function takes as pointers."""
        return self.blocks[self.entry].pointers_in & ARGUMENTS

    @property
    def arguments(self) -> int:
        """The argument registers that the function reads."""
        return self.blocks[self.entry].live_in & ARGUMENTS

    @property
    def uses_frame(self) -> bool:
        """Whether the function touches its stack frame."""
        return bool(self.blocks[self.entry].live_in & FRAME_POINTER)


def analyse(text: Text, entry: int) -> Flow:
    """Analyse the function that begins at slot ``entry``.

    :raises LoadError: when execution can run past the last instruction.
    """
    blocks = _basic_blocks(text, entry)
    predecessors: dict[int, list[int]] = {start: [] for start in blocks}
    for start, block in blocks.items():
        for successor in block.successors:
            predecessors[successor].append(start)
    _find_live(blocks, predecessors)
    _find_wanted(blocks, predecessors)
    _find_pointers(blocks, entry)
    return Flow(entry, blocks)


def _basic_blocks(text: Text, entry: int) -> dict[int, Block]:
    """Cut what is reachable from ``entry`` without calls into blocks, by start slot in ascending order.

    :raises LoadError: when execution can run past the last instruction.
    """
    leaders, seen, pending = {entry}, set[int](), [entry]
    while pending:
        slot = pending.pop()
        while slot not in seen:
            instruction = _at(text, slot)
            seen.add(slot)
            following = slot + (2 if instruction.is_wide else 1)
            if instruction.opcode == op.OP_EXIT:
                break
            target = None if instruction.class_ not in _JUMP else jump_target(instruction, slot)
            if target is not None and instruction.opcode not in CALLS:
                leaders.add(target)
                pending.append(target)
                if instruction.opcode in _TERMINATORS:
                    break
                leaders.add(following)
            slot = following
    return {start: _block(text, start, leaders) for start in sorted(leaders & seen)}


def _at(text: Text, slot: int) -> Instruction:
    instruction = text[slot] if slot < len(text) else None
    if instruction is None:
        raise LoadError(f"execution can run past instruction {slot - 1}, the last one; a program must end with exit")
    return instruction


def _block(text: Text, start: int, leaders: set[int]) -> Block:
    block = Block(start)
    slot = start
    while True:
        instruction = _at(text, slot)
        block.instructions.append((slot, instruction))
        following = slot + (2 if instruction.is_wide else 1)
        if instruction.opcode == op.OP_EXIT:
            return block
        if instruction.class_ in _JUMP and instruction.opcode not in CALLS:
            target = jump_target(instruction, slot)
            assert target is not None
            block.successors = (target,) if instruction.opcode in _TERMINATORS else (following, target)
            return block
        if following in leaders:
            block.successors = (following,)
            return block
        slot = following


def _find_live(blocks: Mapping[int, Block], predecessors: Mapping[int, list[int]]) -> None:
    """Fill in ``live_in`` and ``live_out``."""
    used: dict[int, int] = {}
    kept: dict[int, int] = {}
    for start, block in blocks.items():
        use, keep = 0, -1
        for _, instruction in reversed(block.instructions):
            uses, defines = _uses_and_defines(instruction)
            use = use & ~defines | uses
            keep &= ~defines
        used[start], kept[start] = use, keep
    pending = dict.fromkeys(reversed(list(blocks)))
    while pending:
        start = next(iter(pending))
        del pending[start]
        block = blocks[start]
        for successor in block.successors:
            block.live_out |= blocks[successor].live_in
        live_in = used[start] | block.live_out & kept[start]
        if live_in != block.live_in:
            block.live_in = live_in
            pending.update(dict.fromkeys(predecessors[start]))


def _find_wanted(blocks: Mapping[int, Block], predecessors: Mapping[int, list[int]]) -> None:
    """Fill in ``wanted_in`` and ``wanted``."""
    pending = dict.fromkeys(reversed(list(blocks)))
    while pending:
        start = next(iter(pending))
        del pending[start]
        block = blocks[start]
        wanted = 0
        for successor in block.successors:
            wanted |= blocks[successor].wanted_in
        after = []
        for _, instruction in reversed(block.instructions):
            after.append(wanted)
            wanted = _wanted_before(instruction, wanted)
        block.wanted = after[::-1]
        if wanted != block.wanted_in:
            block.wanted_in = wanted
            pending.update(dict.fromkeys(predecessors[start]))


def _find_pointers(blocks: Mapping[int, Block], entry: int) -> None:
    """Fill in ``pointers_in``: what arrives as a pointer from every predecessor."""
    for block in blocks.values():
        block.pointers_in = block.live_in
    blocks[entry].pointers_in &= blocks[entry].wanted_in & ARGUMENTS | FRAME_POINTER
    pending = dict.fromkeys(blocks)
    while pending:
        block = blocks[next(iter(pending))]
        del pending[block.start]
        pointers = block.pointers_in | FRAME_POINTER
        for (_, instruction), wanted in zip(block.instructions, block.wanted, strict=True):
            pointers = pointers_after(instruction, pointers, wanted)
        for successor in block.successors:
            narrowed = blocks[successor].pointers_in & pointers
            if narrowed != blocks[successor].pointers_in:
                blocks[successor].pointers_in = narrowed
                pending[successor] = None


def _uses_and_defines(instruction: Instruction) -> tuple[int, int]:
    """Return the registers that ``instruction`` reads and those that it writes."""
    opcode, dst, src = instruction.opcode, 1 << instruction.dst, 1 << instruction.src
    match instruction.class_:
        case op.CLASS_LDX:
            return src, dst
        case op.CLASS_ST:
            return dst, 0
        case op.CLASS_STX:
            if opcode & 0xE0 != op.MODE_ATOMIC:
                return dst | src, 0
            imm = instruction.imm
            if imm == op.ATOMIC_LOAD_ACQUIRE:
                return src, dst
            if imm == op.ATOMIC_CMPXCHG:
                return dst | src | 1, 1
            return dst | src, src if imm & op.ATOMIC_FETCH else 0
        case op.CLASS_LD:
            if opcode == op.OP_LDDW:
                return 0, dst
            indirect = src if opcode & 0xE0 == op.MODE_IND else 0
            return 1 << CONTEXT_REGISTER | indirect, CALL_CLOBBERS
        case op.CLASS_ALU | op.CLASS_ALU64:
            code = opcode & 0xF0
            if code == op.ALU_NEG or code == op.ALU_END:
                return dst, dst
            operand = src if opcode & op.SOURCE_X else 0
            return operand if code == op.ALU_MOV else dst | operand, dst
        case _:
            if opcode in CALLS:
                return ARGUMENTS | (dst if opcode == op.OP_CALLX else 0), CALL_CLOBBERS
            if opcode == op.OP_EXIT:
                return 1, 0
            if opcode in _TERMINATORS or opcode == op.OP_MAY_GOTO:
                return 0, 0
            return dst | (src if opcode & op.SOURCE_X else 0), 0


def _wanted_before(instruction: Instruction, wanted: int) -> int:
    """Return which registers are wanted as pointers before ``instruction`` when ``wanted`` are after it."""
    opcode, dst, src = instruction.opcode, 1 << instruction.dst, 1 << instruction.src
    match instruction.class_:
        case op.CLASS_LDX:
            return wanted & ~dst | src
        case op.CLASS_ST:
            return wanted | dst
        case op.CLASS_STX:
            if opcode & 0xE0 == op.MODE_ATOMIC:
                wanted &= ~_uses_and_defines(instruction)[1]
                return wanted | (src if instruction.imm == op.ATOMIC_LOAD_ACQUIRE else dst)
            return wanted | dst
        case op.CLASS_ALU64:
            if not wanted & dst:
                return wanted
            match opcode:
                case 0xBF if not instruction.offset:  # dst = src
                    return wanted & ~dst | src
                case 0x0F:  # dst += src: either may be the base
                    return wanted | src
                case 0x07 | 0x17 | 0x1F:
                    return wanted
                case _:
                    return wanted & ~dst
        case op.CLASS_ALU:
            return wanted & ~dst
        case op.CLASS_LD:
            return wanted & ~_uses_and_defines(instruction)[1]
        case _:
            return wanted & ~CALL_CLOBBERS if opcode in CALLS else wanted


def pointers_after(instruction: Instruction, pointers: int, wanted: int) -> int:
    """Return which registers hold pointers after ``instruction`` when ``pointers`` do before it.

    Registers that receive 64 bits from memory or from a helper become pointers when they are in ``wanted``.
    """
    opcode, dst, src = instruction.opcode, 1 << instruction.dst, 1 << instruction.src
    match instruction.class_:
        case op.CLASS_ALU64:
            match opcode:
                case 0xBF if not instruction.offset:
                    return pointers | dst if pointers & src else pointers & ~dst
                case 0x0F:  # pointer + integer, either way round
                    return pointers & ~dst | dst * (bool(pointers & dst) != bool(pointers & src))
                case 0x1F:  # pointer - pointer is an integer
                    return pointers & ~dst if pointers & src else pointers
                case 0x07 | 0x17:
                    return pointers
                case _:
                    return pointers & ~dst
        case op.CLASS_ALU:
            return pointers & ~dst
        case op.CLASS_LDX:
            loads_pointer = wanted & dst and opcode == op.CLASS_LDX | op.MODE_MEM | op.SIZE_DW
            return pointers | dst if loads_pointer else pointers & ~dst
        case op.CLASS_LD:
            if opcode != op.OP_LDDW:
                return pointers & ~CALL_CLOBBERS
            return pointers | dst if instruction.src != op.LDDW_IMMEDIATE else pointers & ~dst
        case op.CLASS_STX:
            return pointers & ~_uses_and_defines(instruction)[1] if opcode & 0xE0 == op.MODE_ATOMIC else pointers
        case _:
            return pointers & ~CALL_CLOBBERS | wanted & 1 if opcode in CALLS else pointers
