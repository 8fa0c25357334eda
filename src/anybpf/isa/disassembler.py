"""Instructions to text, in LLVM's syntax, with names and source lines where they are known.

The text is what ``llvm-objdump --no-print-imm-hex`` prints for BPF, with 64-bit immediates in hexadecimal. References
that LLVM leaves to relocations (maps, functions, externs) are written as ``map[0]``, or ``map[counts#0]`` when the name
is known, so that the assembler can read all of it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from anybpf.isa.codec import decode, form_of, jump_target
from anybpf.isa.instruction import Instruction, Text
from anybpf.spec import ObjectSpec, ProgramSpec, SourceLine

_NAME = re.compile(r"[A-Za-z_.$][\w.$]*")


@dataclass(frozen=True, slots=True)
class Symbols:
    """Names for what instructions refer to by number.

    :param helpers: helper id → name. :param maps: names by map index. :param externs: names by extern index.
    :param functions: slot → name of the function that starts there.
    """

    helpers: Mapping[int, str] = field(default_factory=dict)
    maps: Sequence[str] = ()
    externs: Sequence[str] = ()
    functions: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: ObjectSpec, program: ProgramSpec, helpers: Mapping[int, str] | None = None) -> Symbols:
        """Return the names that ``program`` of ``spec`` uses, with the platform's names of ``helpers``."""
        return cls(
            helpers or {},
            tuple(declared.name for declared in spec.maps),
            tuple(extern.name for extern in spec.externs),
            {function.slot: function.name for function in program.functions},
        )


@dataclass(frozen=True, slots=True)
class DisassembledLine:
    """One instruction as text.

    :param slot: its first slot. :param source: the source line it comes from, or None when unknown.
    :param function: the name of the function that starts here, or "".
    """

    slot: int
    instruction: Instruction
    text: str
    source: SourceLine | None = None
    function: str = ""


def _reference(number: int, names: Sequence[str] | Mapping[int, str]) -> str:
    known = number in names if isinstance(names, Mapping) else 0 <= number < len(names)
    # A name from a hostile file must not be able to forge lines of the listing.
    return f"{names[number]}#{number}" if known and _NAME.fullmatch(names[number]) else str(number)


def _spaced(number: int) -> str:
    return f"{'-' if number < 0 else '+'} {abs(number)}"


_OPERANDS: Final[Mapping[str, Callable[[Instruction, Symbols], str]]] = {
    "dst": lambda i, _: f"r{i.dst}",
    "src": lambda i, _: f"r{i.src}",
    "wdst": lambda i, _: f"w{i.dst}",
    "wsrc": lambda i, _: f"w{i.src}",
    "r0": lambda i, _: "r0",
    "w0": lambda i, _: "w0",
    "offset": lambda i, _: _spaced(i.offset),
    "jump": lambda i, _: f"{i.offset:+}",
    "jump32": lambda i, _: f"{i.imm:+}",
    "imm": lambda i, _: str(i.imm),
    "imm32": lambda i, _: str(i.imm),
    "imm64": lambda i, _: f"{i.imm64:#x}",
    "next_imm": lambda i, _: _spaced(i.next_imm),
    "displacement": lambda i, _: f" {_spaced(i.imm)}" if i.imm else "",
    "helper": lambda i, symbols: _reference(i.imm, symbols.helpers),
    "map": lambda i, symbols: _reference(i.imm, symbols.maps),
    "extern": lambda i, symbols: _reference(i.imm, symbols.externs),
}


def format_instruction(instruction: Instruction, slot: int = 0, symbols: Symbols | None = None) -> str:
    """Return the text of one instruction.

    :param slot: where it stands, from which references to functions are counted.
    :raises InstructionError: when it is not a valid instruction.
    """
    symbols = symbols or Symbols()
    form = form_of(instruction)
    text = form.syntax.format(**{name: _OPERANDS[name](instruction, symbols) for name in form.operands})
    target = jump_target(instruction, slot)
    name = symbols.functions.get(target, "") if target is not None else ""
    return f"{text} <{name}>" if _NAME.fullmatch(name) else text


def disassemble(
    code: bytes | Text, *, symbols: Symbols | None = None, program: ProgramSpec | None = None
) -> Iterator[DisassembledLine]:
    """Yield the instructions of ``code`` as text, in order.

    :param program: where to find the source line of each slot (BTF.ext line information).
    :raises InstructionError: before the first line, when ``code`` is not a valid program.
    """
    text = decode(code, indirect_calls=True) if isinstance(code, bytes) else code
    symbols = symbols or Symbols()
    return (
        DisassembledLine(
            slot,
            instruction,
            format_instruction(instruction, slot, symbols),
            program.source_at(slot) if program else None,
            symbols.functions.get(slot, ""),
        )
        for slot, instruction in enumerate(text)
        if instruction is not None
    )


def listing(lines: Iterable[DisassembledLine]) -> str:
    """Render lines as ``llvm-objdump -S`` does: functions by name, source lines as comments where they change."""
    out: list[str] = []
    shown = None
    for line in lines:
        if _NAME.fullmatch(line.function):
            out.append(f"<{line.function}>:")
        source = line.source
        if source is not None and (source.file, source.line) != shown:
            shown = source.file, source.line
            out.append(f"; {_one_line(source.file)}:{source.line}")
            if source.text.strip():
                out.append(f"; {_one_line(source.text)}")
        out.append(f"{line.slot:8}:\t{line.text}")
    return "".join(f"{line}\n" for line in out)


def _one_line(text: str) -> str:
    """Return ``text`` without the line breaks and control characters that a comment cannot hold."""
    return "".join(character if character.isprintable() else " " for character in text).rstrip()
