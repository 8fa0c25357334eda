"""What a program in a section without a meaning must be, judged by what it does.

Objects made before libbpf's conventions name sections as they please (Cilium's ``2/7`` and ``from-netdev``). What such
a program reads from its context and which helpers it calls narrows down the program types under which it could be
accepted at all. This only chooses a type; whether the program is safe under it is the verifier's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from functools import lru_cache

from anybpf.errors import InstructionError
from anybpf.isa import decode
from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.platforms.model import FieldKind, Platform, ProgramType
from anybpf.spec import ProgramSpec

__all__ = ("infer",)

_CONTEXT_REGISTER = 1
_CALLER_SAVED = frozenset(range(6))


@dataclass(frozen=True, slots=True)
class _Access:
    """A load from, or a store to, the context."""

    offset: int
    width: int
    write: bool


def infer(platform: Platform, programs: Iterable[ProgramSpec]) -> ProgramType | None:
    """Return the first of the platform's guesses that allows all that the ``programs`` do.

    None when they neither touch their context nor call a helper that only some types have, when no guess allows it, or
    when a text is not valid, which the verifier will say.
    """
    if not platform.guesses:
        return None
    try:
        evidence = [_evidence(program.code) for program in programs]
    except InstructionError:
        return None
    accesses = frozenset[_Access]().union(*(found for found, _ in evidence))
    numbers = frozenset[int]().union(*(called for _, called in evidence))
    default = platform.program_type(platform.default_type)
    if _allows(platform, default, accesses, numbers):
        return None
    guesses = (platform.program_type(name) for name in platform.guesses)
    return next((guess for guess in guesses if _allows(platform, guess, accesses, numbers)), None)


@lru_cache(maxsize=256)
def _evidence(code: bytes) -> tuple[frozenset[_Access], frozenset[int]]:
    """Return the context accesses that ``code`` makes, and the numbers of the helpers that it calls."""
    text = [instruction for instruction in decode(code) if instruction is not None]
    calls = (i.imm for i in text if i.opcode == op.CLASS_JMP | op.JMP_CALL and i.src == 0)
    return frozenset(_context_accesses(text)), frozenset(calls)


def _allows(platform: Platform, program_type: ProgramType, accesses: Set[_Access], numbers: Set[int]) -> bool:
    """Whether the type offers every helper and permits every access, and the packet is not read without its end."""
    helpers = [platform.find_helper(number, program_type) for number in numbers]
    if not all(h is not None and h.name in program_type.helpers for h in helpers):
        return False
    fields = [program_type.context.access(a.offset, a.width, write=a.write) for a in accesses]
    kinds = {field.kind for field in fields if field is not None}
    return None not in fields and (FieldKind.PACKET not in kinds or FieldKind.PACKET_END in kinds)


def _context_accesses(text: Iterable[Instruction]) -> Iterator[_Access]:
    """Yield accesses through r1 and its copies, in the order of the text: jumps are not followed."""
    holders = {_CONTEXT_REGISTER}
    for instruction in text:
        kind = instruction.class_
        if kind in (op.CLASS_LDX, op.CLASS_ST, op.CLASS_STX):
            base = instruction.src if kind == op.CLASS_LDX else instruction.dst
            if base in holders:
                width = op.SIZE_BYTES[instruction.opcode & op.SIZE_DW]
                yield _Access(instruction.offset, width, write=kind != op.CLASS_LDX)
            if kind == op.CLASS_LDX:
                holders.discard(instruction.dst)
        elif instruction.opcode == op.CLASS_JMP | op.JMP_CALL:
            holders -= _CALLER_SAVED
        elif instruction.opcode == op.CLASS_ALU64 | op.ALU_MOV | op.SOURCE_X and instruction.src in holders:
            holders.add(instruction.dst)
        elif kind in (op.CLASS_LD, op.CLASS_ALU, op.CLASS_ALU64):
            holders.discard(instruction.dst)
