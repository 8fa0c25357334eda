"""One decoded instruction."""

from __future__ import annotations

from dataclasses import dataclass

from anybpf.isa import opcodes as op


@dataclass(frozen=True, slots=True)
class Instruction:
    """An eBPF instruction (RFC 9669 §3), with its fields as numbers.

    :param opcode: 8 bits. :param dst: destination register 0–10.
    :param src: source register, or the sub-code of calls and ``lddw``.
    :param offset: signed 16 bits. :param imm: signed 32 bits.
    :param next_imm: the second immediate, signed 32 bits; zero except for ``lddw``, which takes two slots.
    """

    opcode: int
    dst: int = 0
    src: int = 0
    offset: int = 0
    imm: int = 0
    next_imm: int = 0

    @property
    def class_(self) -> int:
        """The instruction class, one of ``CLASS_*``."""
        return self.opcode & 0x07

    @property
    def is_wide(self) -> bool:
        """Whether it is ``lddw``, which takes two slots."""
        return self.opcode == op.OP_LDDW

    @property
    def imm64(self) -> int:
        """The 64-bit immediate of ``lddw``, unsigned."""
        return (self.next_imm & 0xFFFFFFFF) << 32 | self.imm & 0xFFFFFFFF


#: A program's text: one entry a slot; the second slot of ``lddw`` is None. So an index is a slot, as jumps count.
Text = tuple[Instruction | None, ...]
