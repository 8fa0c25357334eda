"""Every instruction as one table: RFC 9669, and what Linux added since (may_goto, load-acquire, store-release).

A :class:`Form` is one kind of instruction: an opcode, the values of the fields that tell it from other forms of that
opcode, and its text in LLVM's syntax. The text's placeholders name the operands; a field that is neither an operand nor
fixed is reserved and must be zero. The codec, the disassembler and the assembler read this table and nothing else, so
an instruction is described once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from anybpf.isa import opcodes as op

#: The placeholders of :attr:`Form.syntax` and the fields that each one shows.
OPERAND_FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "dst": ("dst",),  # a 64-bit register, r0
        "src": ("src",),
        "wdst": ("dst",),  # its lower half, w0
        "wsrc": ("src",),
        "r0": (),  # register 0, which the instruction implies
        "w0": (),
        "offset": ("offset",),  # bytes from an address: "+ 4"
        "jump": ("offset",),  # slots from the next instruction: "+4"
        "jump32": ("imm",),
        "imm": ("imm",),  # a signed number, which 64-bit operations extend
        "imm32": ("imm",),  # a number in an operation of at most 32 bits, where the sign is a matter of view
        "imm64": ("imm", "next_imm"),
        "next_imm": ("next_imm",),  # bytes from a map's value: "+ 4"
        "displacement": ("imm",),  # bytes from a register's: " + 4", nothing when zero
        "helper": ("imm",),  # references: a number, with a name where one is known
        "map": ("imm",),
        "extern": ("imm",),
    }
)

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of instruction.

    :param syntax: its text, with the placeholders of :data:`OPERAND_FIELDS`.
    :param fixed: values of the fields that tell this form from others of the opcode; all other fields without a
        placeholder are zero.
    :param writes: the field ("dst" or "src") whose register it writes, so that it may not be r10; "" when it writes
        none or r0 only.
    :param also: other spellings that the assembler takes.
    """

    opcode: int
    syntax: str
    fixed: Mapping[str, int] = field(default_factory=dict)
    writes: str = ""
    also: tuple[str, ...] = ()

    @property
    def operands(self) -> tuple[str, ...]:
        """The placeholders of the syntax, in the order of the text, repetitions included."""
        return tuple(_PLACEHOLDER.findall(self.syntax))

    @property
    def fields(self) -> frozenset[str]:
        """The instruction's fields that the operands show; every other field has one value only."""
        return frozenset(name for operand in self.operands for name in OPERAND_FIELDS[operand])

    @property
    def target(self) -> str:
        """The field that names another slot of the text, see :func:`anybpf.isa.jump_target`: "offset", "imm" or ""."""
        return next((OPERAND_FIELDS[operand][0] for operand in self.operands if operand.startswith("jump")), "")


_BINARY = {
    op.ALU_ADD: "+=",
    op.ALU_SUB: "-=",
    op.ALU_MUL: "*=",
    op.ALU_DIV: "/=",
    op.ALU_OR: "|=",
    op.ALU_AND: "&=",
    op.ALU_LSH: "<<=",
    op.ALU_RSH: ">>=",
    op.ALU_MOD: "%=",
    op.ALU_XOR: "^=",
    op.ALU_MOV: "=",
    op.ALU_ARSH: "s>>=",
}
_SIGNED = {op.ALU_DIV: "s/=", op.ALU_MOD: "s%="}
_COMPARE = {
    op.JMP_JEQ: "==",
    op.JMP_JGT: ">",
    op.JMP_JGE: ">=",
    op.JMP_JSET: "&",
    op.JMP_JNE: "!=",
    op.JMP_JSGT: "s>",
    op.JMP_JSGE: "s>=",
    op.JMP_JLT: "<",
    op.JMP_JLE: "<=",
    op.JMP_JSLT: "s<",
    op.JMP_JSLE: "s<=",
}
_SIZES = {op.SIZE_B: 8, op.SIZE_H: 16, op.SIZE_W: 32, op.SIZE_DW: 64}
_ATOMIC = {
    op.ATOMIC_ADD: ("+=", "add"),
    op.ATOMIC_OR: ("|=", "or"),
    op.ATOMIC_AND: ("&=", "and"),
    op.ATOMIC_XOR: ("^=", "xor"),
}
_LDDW = {
    op.LDDW_IMMEDIATE: "{imm64}",
    op.LDDW_MAP_FD: "map_fd[{imm}]",
    op.LDDW_MAP_VALUE: "map_fd_value[{imm}] {next_imm}",
    op.LDDW_VARIABLE: "variable[{extern}]",
    op.LDDW_FUNCTION: "function[{jump32}]",
    op.LDDW_MAP_INDEX: "map[{map}]",
    op.LDDW_MAP_INDEX_VALUE: "map_value[{map}] {next_imm}",
}


def _arithmetic() -> Iterator[Form]:
    for class_, dst, src, imm in (
        (op.CLASS_ALU, "{wdst}", "{wsrc}", "{imm32}"),
        (op.CLASS_ALU64, "{dst}", "{src}", "{imm}"),
    ):
        for source, operand in ((op.SOURCE_K, imm), (op.SOURCE_X, src)):
            for code, sign in _BINARY.items():
                yield Form(class_ | code | source, f"{dst} {sign} {operand}", writes="dst")
            for code, sign in _SIGNED.items():
                yield Form(class_ | code | source, f"{dst} {sign} {operand}", {"offset": 1}, writes="dst")
        for bits in (8, 16) if class_ == op.CLASS_ALU else (8, 16, 32):
            yield Form(class_ | op.ALU_MOV | op.SOURCE_X, f"{dst} = (s{bits}){src}", {"offset": bits}, writes="dst")
        yield Form(class_ | op.ALU_NEG, f"{dst} = -{dst}", writes="dst")
    for opcode, name in (
        (op.CLASS_ALU | op.ALU_END | op.SOURCE_K, "le"),
        (op.CLASS_ALU | op.ALU_END | op.SOURCE_X, "be"),
        (op.CLASS_ALU64 | op.ALU_END, "bswap"),
    ):
        for bits in (16, 32, 64):
            yield Form(opcode, f"{{dst}} = {name}{bits} {{dst}}", {"imm": bits}, writes="dst")


def _jumps() -> Iterator[Form]:
    for class_, dst, src, imm in (
        (op.CLASS_JMP, "{dst}", "{src}", "{imm}"),
        (op.CLASS_JMP32, "{wdst}", "{wsrc}", "{imm32}"),
    ):
        for code, sign in _COMPARE.items():
            yield Form(class_ | code | op.SOURCE_K, f"if {dst} {sign} {imm} goto {{jump}}")
            yield Form(class_ | code | op.SOURCE_X, f"if {dst} {sign} {src} goto {{jump}}")
    yield Form(op.OP_JA, "goto {jump}")
    yield Form(op.OP_JA32, "gotol {jump32}")
    yield Form(op.OP_MAY_GOTO, "may_goto {jump}")
    yield Form(op.OP_CALL, "call {helper}", {"src": op.CALL_HELPER})
    yield Form(op.OP_CALL, "call pc{jump32}", {"src": op.CALL_LOCAL})
    yield Form(op.OP_CALL, "call kfunc[{extern}]", {"src": op.CALL_KFUNC})
    yield Form(op.OP_CALLX, "callx {dst}")
    yield Form(op.OP_EXIT, "exit")


def _memory() -> Iterator[Form]:
    for size, bits in _SIZES.items():
        at_src, at_dst = f"*(u{bits} *)({{src}} {{offset}})", f"*(u{bits} *)({{dst}} {{offset}})"
        narrow = bits < 64
        yield Form(
            op.CLASS_LDX | op.MODE_MEM | size,
            f"{{dst}} = {at_src}",
            writes="dst",
            also=(f"{{wdst}} = {at_src}",) if narrow else (),
        )
        if narrow:
            signed = f"{{dst}} = *(s{bits} *)({{src}} {{offset}})"
            yield Form(op.CLASS_LDX | op.MODE_MEMSX | size, signed, writes="dst")
        yield Form(
            op.CLASS_STX | op.MODE_MEM | size,
            f"{at_dst} = {{src}}",
            also=(f"{at_dst} = {{wsrc}}",) if narrow else (),
        )
        yield Form(op.CLASS_ST | op.MODE_MEM | size, f"{at_dst} = {'{imm32}' if narrow else '{imm}'}")
        if narrow:  # the classic packet loads (RFC 9669 §5.5)
            yield Form(op.CLASS_LD | op.MODE_ABS | size, f"{{r0}} = *(u{bits} *)skb[{{imm}}]")
            indirect = f"{{r0}} = *(u{bits} *)skb[{{src}}"
            yield Form(op.CLASS_LD | op.MODE_IND | size, f"{indirect}{{displacement}}]", also=(f"{indirect}]",))


def _atomics() -> Iterator[Form]:
    for size, bits in _SIZES.items():
        opcode = op.CLASS_STX | op.MODE_ATOMIC | size
        wide = bits == 64
        dst, src, r0 = ("{dst}", "{src}", "{r0}") if wide else ("{wdst}", "{wsrc}", "{w0}")
        acquire = {"imm": op.ATOMIC_LOAD_ACQUIRE}
        yield Form(opcode, f"{dst} = load_acquire((u{bits} *)({{src}} {{offset}}))", acquire, writes="dst")
        yield Form(opcode, f"store_release((u{bits} *)({{dst}} {{offset}}), {src})", {"imm": op.ATOMIC_STORE_RELEASE})
        if bits < 32:
            continue
        for code, (sign, name) in _ATOMIC.items():
            yield Form(opcode, f"lock *(u{bits} *)({{dst}} {{offset}}) {sign} {src}", {"imm": code})
            fetch = f"{src} = atomic_fetch_{name}((u{bits} *)({{dst}} {{offset}}), {src})"
            yield Form(opcode, fetch, {"imm": code | op.ATOMIC_FETCH}, writes="src")
        suffix = "_64" if wide else "32_32"
        exchange = f"{src} = xchg{suffix}({{dst}} {{offset}}, {src})"
        yield Form(opcode, exchange, {"imm": op.ATOMIC_XCHG}, writes="src")
        yield Form(opcode, f"{r0} = cmpxchg{suffix}({{dst}} {{offset}}, {r0}, {src})", {"imm": op.ATOMIC_CMPXCHG})


def _wide() -> Iterator[Form]:
    for src, operand in _LDDW.items():
        yield Form(op.OP_LDDW, f"{{dst}} = {operand} ll", {"src": src}, writes="dst")


#: All forms. No two of them share an encoding.
FORMS: Final[tuple[Form, ...]] = (*_arithmetic(), *_jumps(), *_memory(), *_atomics(), *_wide())
