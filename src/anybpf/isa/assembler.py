"""Text to instructions: reads what the disassembler writes, and what people write in LLVM's syntax for BPF.

A line holds labels (``name:``), an instruction, a comment (from ``;``, ``//``, or ``#`` at the start of a line or after
a blank), or nothing. Jumps, local calls and ``function[...]`` take a label in place of a distance. What listings add
(a slot ``12:`` or a function's name ``<name>:`` before an instruction, ``<name>`` after it) is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import Final

from anybpf.errors import AssemblyError, InstructionError
from anybpf.isa import opcodes as op
from anybpf.isa.codec import decode, encode
from anybpf.isa.forms import FORMS, OPERAND_FIELDS, Form
from anybpf.isa.instruction import Instruction

_COMMENT = re.compile(r";.*|//.*|(?:^|(?<=\s))#.*")
_LABEL = re.compile(r"\s*(?:\d+|(?:[0-9a-f]+\s+)?<[^<>]*>|([A-Za-z_.$][\w.$]*))\s*:", re.ASCII)
_ANNOTATION = re.compile(r"\s<[^<>]*>\s*$")
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<register>[rw]\d{1,2})(?![\w.$#])
    | (?P<sign>s(?:>>=|/=|%=|>=|<=|>|<) | <<= | >>= | [-+*/%&|^=!<>]=)
    | (?P<reference>[A-Za-z_.$][\w.$]*\#-?\d{1,20})(?!\w)
    | (?P<word>[A-Za-z_.$][\w.$]*)
    | (?P<number>(?:\+\s*)?(?:-\s*)?(?:0[xX][0-9a-fA-F]{1,20}|\d{1,20}))(?!\w)
    | (?P<other>\S))""",
    re.VERBOSE | re.ASCII,
)

#: What stands for an operand in the shape of a line. All that is not listed is a number.
_CLASS: Final = {"dst": "R", "src": "R", "r0": "R", "wdst": "W", "wsrc": "W", "w0": "W", "label": "L"}
_BITS: Final = {"offset": 16, "jump": 16, "imm64": 64}

Shape = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Statement:
    """An instruction of the source: its form, its operands as numbers or labels, and the line it came from."""

    form: Form
    operands: tuple[tuple[str, int | str], ...]
    slot: int
    line: int
    text: str


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Split ``text`` into (kind, token) pairs."""
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind is not None:
            yield kind, match[kind]


@cache
def _shapes() -> Mapping[Shape, tuple[Form, tuple[str, ...]]]:
    """Index the table by how each spelling looks when its operands are reduced to their classes."""
    shapes: dict[Shape, tuple[Form, tuple[str, ...]]] = {}
    for form in FORMS:
        spellings = [form.syntax, *form.also]
        spellings += [re.sub(r"(?:pc)?\{jump(?:32)?\}", "{label}", s) for s in spellings if "{jump" in s]
        for spelling in spellings:
            shape: list[str] = []
            operands: list[str] = []
            for literal, name, _, _ in Formatter().parse(spelling):
                shape += (token for _, token in _tokens(literal))
                if name:
                    shape.append(_CLASS.get(name, "N"))
                    operands.append(name)
            shapes[tuple(shape)] = form, tuple(operands)
    return shapes


@cache
def _words() -> frozenset[str]:
    """Return the words of the language, which are no labels."""
    literals = (literal for form in FORMS for literal, _, _, _ in Formatter().parse(form.syntax))
    return frozenset(token for literal in literals for kind, token in _tokens(literal) if kind == "word")


def assemble(source: str) -> bytes:
    """Assemble a program.

    :returns: 8 bytes a slot, little endian; what :func:`anybpf.isa.decode` accepts, and ``callx``.
    :raises AssemblyError: with line and reason, when a line cannot be read or the program is not valid.
    """
    statements, labels = _parse(source)
    if not statements:
        raise AssemblyError("the source holds no instruction", 1, source[:80])
    text: list[Instruction | None] = []
    for statement in statements:
        instruction = _instruction(statement, labels)
        text += (instruction, None) if instruction.is_wide else (instruction,)
    code = encode(text)
    try:
        decode(code, indirect_calls=True)
    except InstructionError as error:
        last = max((s for s in statements if error.index is None or s.slot <= error.index), key=lambda s: s.slot)
        raise AssemblyError(error.reason, last.line, last.text) from None
    return code


def _parse(source: str) -> tuple[list[_Statement], dict[str, int]]:
    """Read all lines; returns the instructions and the slot of each label."""
    statements: list[_Statement] = []
    labels: dict[str, int] = {}
    slot = 0
    for number, line in enumerate(source.split("\n"), 1):
        rest = _COMMENT.sub("", line)
        while label := _LABEL.match(rest):
            name = label[1]
            if name in labels:
                raise AssemblyError(f"label {name!r} is defined twice", number, line)
            if name in _words() or (name and re.fullmatch(r"[rw]\d+", name)):
                raise AssemblyError(f"{name!r} is a word of the language; choose another label", number, line)
            if name:
                labels[name] = slot
            rest = rest[label.end() :]
        rest = _ANNOTATION.sub("", rest)
        if rest.strip():
            form, operands = _match(rest, number, line)
            statements.append(_Statement(form, operands, slot, number, line))
            slot += 2 if form.opcode == op.OP_LDDW else 1
    return statements, labels


def _match(text: str, number: int, line: str) -> tuple[Form, tuple[tuple[str, int | str], ...]]:
    """Find the form that ``text`` is written in, and the values of its operands."""
    shape: list[str] = []
    values: list[int | str] = []
    for kind, token in _tokens(text):
        if kind == "register":
            shape.append(token[0].upper())
            values.append(int(token[1:]))
        elif kind == "number":
            shape.append("N")
            digits = re.sub(r"[\s+]", "", token)
            values.append(int(digits, 16 if "x" in digits.lower() else 10))
        elif kind == "reference":
            shape.append("N")
            values.append(int(token.rpartition("#")[2]))
        elif kind == "word" and token not in _words():
            shape.append("L")
            values.append(token)
        else:
            shape.append(token)
    found = _shapes().get(tuple(shape))
    if found is None:
        raise AssemblyError("not an instruction in LLVM's syntax for BPF", number, line)
    form, names = found
    return form, tuple(zip(names, values, strict=True))


def _instruction(statement: _Statement, labels: Mapping[str, int]) -> Instruction:
    """Put the operands of a statement into the fields of an instruction."""

    def refuse(reason: str) -> AssemblyError:
        return AssemblyError(reason, statement.line, statement.text)

    form = statement.form
    fields = dict(form.fixed)
    shown: dict[str, int] = {}
    for name, value in statement.operands:
        if isinstance(value, str):
            if value not in labels:
                raise refuse(f"there is no label {value!r}; helpers are called by number, as in 'call 1'")
            name, value = next(o for o in form.operands if o.startswith("jump")), labels[value] - statement.slot - 1
        if shown.setdefault(name, value) != value:
            raise refuse("both places must name the same register")
        if _CLASS.get(name) in ("R", "W"):
            if value > 10:
                raise refuse(f"register {value} does not exist; the last one is 10")
            if not OPERAND_FIELDS[name] and value:
                raise refuse(f"this instruction works on {name}, not on register {value}")
        else:
            bits = _BITS.get(name, 32)
            either_sign = name in ("imm32", "imm64")
            if not -(1 << bits - 1) <= value < 1 << (bits if either_sign else bits - 1):
                raise refuse(f"{value} does not fit in {bits} bits here")
        for field in OPERAND_FIELDS[name]:
            fields[field] = _signed(value, _BITS.get(field, 32))
            value >>= 32  # imm64 fills two fields, all others one
    return Instruction(form.opcode, **fields)


def _signed(value: int, bits: int) -> int:
    """Return the low ``bits`` of ``value`` as a signed number."""
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
