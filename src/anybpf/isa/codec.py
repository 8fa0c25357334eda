"""Bytes to instructions and back: 8 bytes a slot, little endian (RFC 9669 §3), strict in what it takes.

:func:`decode` and :func:`encode` are exact inverses on everything that decode accepts. What an instruction may look
like is read from the table in :mod:`anybpf.isa.forms`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from anybpf.errors import InstructionError
from anybpf.isa import opcodes as op
from anybpf.isa.forms import FORMS, Form
from anybpf.isa.instruction import Instruction, Text

SLOT_BYTES: Final = 8
FRAME_POINTER: Final = 10

_SLOT = struct.Struct("<BBhi")
_FIELDS: Final = {
    "dst": ("destination register", 8, 4),
    "src": ("source register field", 12, 4),
    "offset": ("offset", 16, 16),
    "imm": ("immediate", 32, 32),
}


def _by_opcode() -> Mapping[int, tuple[tuple[int, int, Form], ...]]:
    """Group the table by opcode, each form with the mask and the value that its fixed fields give a 64-bit slot."""
    grouped: dict[int, list[tuple[int, int, Form]]] = {}
    for form in FORMS:
        mask, value = 0xFF, form.opcode
        fields = form.fields
        for name, (_, shift, bits) in _FIELDS.items():
            if name not in fields:
                mask |= ((1 << bits) - 1) << shift
                value |= form.fixed.get(name, 0) << shift
        grouped.setdefault(form.opcode, []).append((mask, value, form))
    return {opcode: tuple(forms) for opcode, forms in grouped.items()}


_FORMS_OF: Final = _by_opcode()
_BRANCHING: Final = frozenset(form.opcode for form in FORMS if form.target)


def form_of(instruction: Instruction) -> Form:
    """Return the row of the table that describes ``instruction``; InstructionError says why there is none."""
    return _form_of_slot(int.from_bytes(_pack(instruction)[:SLOT_BYTES], "little"))


def jump_target(instruction: Instruction, slot: int) -> int | None:
    """Return the slot of the text that ``instruction``, at ``slot``, refers to, or None when it refers to none.

    That is the destination of a jump (``goto``, ``gotol``, ``may_goto``, conditional jumps), the function that a local
    call enters and the function whose address ``lddw`` takes. All count from the slot after the instruction's first, as
    Linux does.
    """
    opcode = instruction.opcode
    if opcode not in _BRANCHING:
        return None
    if opcode == op.OP_CALL:
        return slot + 1 + instruction.imm if instruction.src == op.CALL_LOCAL else None
    if opcode == op.OP_LDDW:
        return slot + 1 + instruction.imm if instruction.src == op.LDDW_FUNCTION else None
    return slot + 1 + (instruction.imm if opcode == op.OP_JA32 else instruction.offset)


def decode(code: bytes, *, indirect_calls: bool = False) -> Text:
    """Decode a whole program; the result has one entry a slot, None for the second slot of ``lddw``.

    :param indirect_calls: take ``callx`` too, which RFC 9669 reserves and the verifier cannot judge; for listings and
        for programs that run unverified.
    :raises InstructionError: with the slot and the reason, when anything in ``code`` is not valid by the table, or a
        jump, a local call or a function's address points outside the text or into an ``lddw``.
    """
    if not code:
        raise InstructionError("the program is empty; it needs at least an exit instruction")
    if len(code) % SLOT_BYTES:
        raise InstructionError(f"the program is {len(code)} bytes long, which is no multiple of {SLOT_BYTES}")
    text: list[Instruction | None] = []
    branches: list[tuple[int, Instruction]] = []
    wide: Instruction | None = None  # the lddw whose second slot comes next
    for slot, word in enumerate(struct.unpack(f"<{len(code) // SLOT_BYTES}Q", code)):
        if wide is not None:
            text[-1] = _with_second_slot(wide, word, slot)
            text.append(None)
            wide = None
            continue
        try:
            instruction = _decode_slot(word)
        except InstructionError as error:
            raise InstructionError(error.reason, slot) from None
        text.append(instruction)
        if instruction.opcode == op.OP_LDDW:
            wide = instruction
        elif instruction.opcode == op.OP_CALLX and not indirect_calls:
            raise InstructionError("indirect calls (callx) are refused; call a function by its name or number", slot)
        if instruction.opcode in _BRANCHING:
            branches.append((slot, instruction))
    if wide is not None:
        raise InstructionError("lddw takes two slots, but the program ends after the first", len(text) - 1)
    for slot, instruction in branches:
        target = jump_target(instruction, slot)
        if target is None:
            continue
        if not 0 <= target < len(text):
            raise InstructionError(f"target {target} is outside the program, which has {len(text)} slots", slot)
        if text[target] is None:
            raise InstructionError(f"target {target} is the second slot of an lddw", slot)
    return tuple(text)


def encode(text: Iterable[Instruction | None]) -> bytes:
    """Encode instructions, 8 bytes a slot; each ``lddw`` must be followed by None, for its second slot.

    The fields are packed as they are, so that text can be encoded before its references are filled in; it is decode
    that judges them.

    :raises InstructionError: when a field does not fit, or a None is missing or out of place.
    """
    code: list[bytes] = []
    wide = False
    for slot, instruction in enumerate(text):
        if wide != (instruction is None):
            raise InstructionError("the slot after lddw, and no other, must be None", slot)
        if instruction is None:
            wide = False
            continue
        code.append(_pack(instruction, slot))
        wide = instruction.is_wide
    if wide:
        raise InstructionError("the slot after lddw must be None, but the text ends", slot)
    return b"".join(code)


def _pack(instruction: Instruction, slot: int | None = None) -> bytes:
    """Return the bytes of ``instruction``: one slot, or two for ``lddw``."""
    dst, src = instruction.dst, instruction.src
    try:
        if (dst | src) & ~0xF or (instruction.next_imm and not instruction.is_wide):
            raise struct.error
        code = _SLOT.pack(instruction.opcode, src << 4 | dst, instruction.offset, instruction.imm)
        return code + _SLOT.pack(0, 0, 0, instruction.next_imm) if instruction.is_wide else code
    except struct.error:
        raise InstructionError(f"a field does not fit its bits in {instruction}", slot) from None


@lru_cache(maxsize=1 << 14)
def _decode_slot(word: int) -> Instruction:
    """Decode one slot on its own. Programs repeat themselves, so most slots are found in the cache."""
    form = _form_of_slot(word)
    dst, src = word >> 8 & 0xF, word >> 12 & 0xF
    fields = form.fields
    if (dst > FRAME_POINTER and "dst" in fields) or (src > FRAME_POINTER and "src" in fields):
        raise InstructionError(f"register r{max(dst, src)} does not exist; the last one is r{FRAME_POINTER}")
    if form.writes and (dst if form.writes == "dst" else src) == FRAME_POINTER:
        raise InstructionError("r10 is the frame pointer, which may not be written")
    _, _, offset, imm = _SLOT.unpack(word.to_bytes(SLOT_BYTES, "little"))
    return Instruction(form.opcode, dst, src, offset, imm)


def _form_of_slot(word: int) -> Form:
    """Find the form whose fixed fields are those of ``word``."""
    candidates = _FORMS_OF.get(word & 0xFF, ())
    for mask, value, form in candidates:
        if word & mask == value:
            return form
    raise InstructionError(_why_no_form(word, [form for _, _, form in candidates]))


def _why_no_form(word: int, candidates: list[Form]) -> str:
    """Say in what ``word`` differs from every form of its opcode."""
    opcode = word & 0xFF
    if not candidates:
        return f"unknown opcode {opcode:#04x}"
    for name, (title, shift, bits) in _FIELDS.items():
        value = word >> shift & (1 << bits) - 1
        if any(name in form.fields for form in candidates):
            continue
        allowed = sorted({form.fixed.get(name, 0) for form in candidates})
        if value not in allowed:
            choices = " or ".join(hex(choice) if choice > 64 else str(choice) for choice in allowed)
            return f"opcode {opcode:#04x} takes {title} {choices}, not {value:#x}"
    return f"opcode {opcode:#04x} does not take this combination of source register, offset and immediate"


def _with_second_slot(first: Instruction, word: int, slot: int) -> Instruction:
    """Return the ``lddw`` whose first slot is ``first``, with the immediate of its second slot ``word`` added."""
    if word & 0xFFFFFFFF:
        raise InstructionError("the second slot of lddw holds an immediate only; its other fields must be 0", slot)
    _, _, _, next_imm = _SLOT.unpack(word.to_bytes(SLOT_BYTES, "little"))
    if not next_imm:
        return first
    if "next_imm" not in form_of(first).fields:
        raise InstructionError(f"lddw with source register field {first.src} takes no second immediate", slot)
    return Instruction(first.opcode, first.dst, first.src, first.offset, first.imm, next_imm)
