"""The ELF container of a BPF object: sections, symbols and relocations, each checked to lie inside the file.

eBPF objects use one small corner of ELF (64-bit, little-endian, relocatable), so its few tables are read with
:mod:`struct`, in time and memory proportional to the file, whatever the file says.
Source of the layout: System V ABI, chapter 4; relocation numbers: LLVM's ELFRelocs/BPF.def.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

from anybpf.errors import ObjectError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_REL = struct.Struct("<QQ")
_RELA = struct.Struct("<QQq")

_ET_REL = 1
_EM_NONE = 0  # what LLVM wrote before eBPF had a machine number
_EM_BPF = 247
_MACHINES = {3: "x86", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V", 8: "MIPS", 21: "PowerPC 64", 22: "S/390"}

SHT_PROGBITS = 1
SHT_SYMTAB = 2
SHT_RELA = 4
SHT_NOBITS = 8
SHT_REL = 9
SHF_ALLOC = 2
SHF_EXECINSTR = 4

STB_LOCAL = 0
STB_GLOBAL = 1
STB_WEAK = 2
STT_NOTYPE = 0
STT_OBJECT = 1
STT_FUNC = 2
STT_SECTION = 3
STT_FILE = 4
STV_HIDDEN = 2
SHN_UNDEF = 0
SHN_LORESERVE = 0xFF00
SHN_COMMON = 0xFFF2

R_BPF_NONE = 0
_RELOCATION_TYPES = {R_BPF_NONE, 1, 2, 3, 4, 10}  # 64_64, ABS64, ABS32, NODYLD32, 64_32


@dataclass(frozen=True, slots=True)
class Section:
    """A section header and its bytes (empty for NOBITS, whose ``size`` says how much memory it stands for)."""

    index: int
    name: str
    type: int
    flags: int
    size: int
    link: int
    info: int
    data: bytes = field(repr=False)

    @property
    def is_code(self) -> bool:
        """Whether it holds instructions."""
        return self.type == SHT_PROGBITS and bool(self.flags & SHF_EXECINSTR) and self.size > 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol; ``section`` is the index of the section it is defined in, 0 (``SHN_UNDEF``) for externs."""

    name: str
    value: int
    size: int
    type: int
    binding: int
    visibility: int
    section: int

    @property
    def is_undefined(self) -> bool:
        """Whether it is an extern, which this file does not define."""
        return self.section == SHN_UNDEF

    @property
    def is_weak(self) -> bool:
        """Whether it may stay undefined."""
        return self.binding == STB_WEAK


@dataclass(frozen=True, slots=True)
class Relocation:
    """A relocation at byte ``offset`` of its target section.

    :param addend: the addend of SHT_RELA; None for SHT_REL, whose addend stands in the relocated field.
    """

    offset: int
    type: int
    symbol: int
    addend: int | None


class ElfFile:
    """A 64-bit little-endian relocatable eBPF file.

    :param data: the bytes of the file. :param name: its name, for messages.
    :raises ObjectError: it is none; the message names the remedy.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        if data[:4] != b"\x7fELF":
            raise self.error("not an ELF file; compile C sources to eBPF with `anybpf compile` or clang --target=bpf")
        if len(data) < _HEADER.size:
            raise self.error(f"cut short: {len(data)} bytes, an ELF header alone takes {_HEADER.size}")
        ident, kind, machine, version, _, _, offset, _, _, _, _, entry_size, count, names = _HEADER.unpack_from(data)
        if ident[5] == 2:
            raise self.error("a big-endian object; recompile it for little-endian eBPF with clang --target=bpfel")
        if ident[4] != 2:
            raise self.error("not a 64-bit ELF file; recompile it with clang --target=bpf")
        if ident[5] != 1 or ident[6] != 1 or version != 1:
            raise self.error("an ELF header with unknown numbers; the file is damaged, rebuild it")
        if machine not in (_EM_NONE, _EM_BPF):
            made_for = _MACHINES.get(machine, f"machine {machine}")
            raise self.error(f"compiled for {made_for}, not for eBPF; recompile it with clang --target=bpf")
        if kind != _ET_REL:
            raise self.error("not a relocatable object; give the .o file that clang --target=bpf -c writes")
        self._decoded_text = 0
        self.sections = self._read_sections(offset, entry_size, count, names)
        self._relocations: dict[int, list[Section]] = {}
        for section in self.sections:
            if section.type in (SHT_REL, SHT_RELA) and 0 < section.info < len(self.sections):
                self._relocations.setdefault(section.info, []).append(section)

    def error(self, reason: str, section: Section | None = None, instruction: int | None = None) -> ObjectError:
        """Return an error about this file."""
        return ObjectError(reason, file=self.name, section=section.name if section else None, instruction=instruction)

    def _read_sections(self, offset: int, entry_size: int, count: int, names_index: int) -> tuple[Section, ...]:
        data = self.data
        if entry_size != _SECTION.size or count == 0:
            raise self.error("no section headers (they were stripped, or the file is damaged); rebuild it")
        if offset + count * _SECTION.size > len(data):
            raise self.error("cut short: its section headers lie beyond the end of the file")
        headers = list(_SECTION.iter_unpack(data[offset : offset + count * _SECTION.size]))
        names = b""
        if names_index < count:
            _, _, _, _, start, size, *_ = headers[names_index]
            names = data[start : start + size]
        sections = []
        copied = 0
        for index, (name_offset, kind, flags, _, start, size, link, info, _, _) in enumerate(headers):
            name = self._string(names, name_offset)
            if kind in (SHT_NOBITS, 0):
                content = b""
            elif start + size > len(data):
                raise self.error(f"cut short: section {name!r} ({start:#x}+{size:#x}) lies beyond the end of the file")
            else:
                content = data[start : start + size]
                copied += size
            if copied > 2 * len(data):
                raise self.error("its sections overlap; the file is damaged, rebuild it")
            sections.append(Section(index, name, kind, flags, size, link, info, content))
        return tuple(sections)

    def _string(self, table: bytes, offset: int) -> str:
        end = table.find(0, offset)
        if offset >= len(table) or end < 0:
            return ""
        # Names may share their tails, but not so that a small file stands for gigabytes of names.
        self._decoded_text += end - offset
        if self._decoded_text > 4 * len(self.data):
            raise self.error("its names overlap beyond reason; the file is damaged, rebuild it")
        return table[offset:end].decode("utf-8", "backslashreplace")

    def section(self, name: str) -> Section | None:
        """Return the first section called ``name`` that has contents, or None."""
        return next((s for s in self.sections if s.name == name and s.type == SHT_PROGBITS), None)

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbol table, in the file's order; empty when there is none."""
        table = next((s for s in self.sections if s.type == SHT_SYMTAB), None)
        if table is None:
            return ()
        if table.size % _SYMBOL.size:
            raise self.error("the symbol table is cut short", table)
        strings = self.sections[table.link].data if table.link < len(self.sections) else b""
        symbols = []
        for name, info, other, section, value, size in _SYMBOL.iter_unpack(table.data):
            text = self._string(strings, name)
            if len(self.sections) <= section < SHN_LORESERVE:
                raise self.error(f"symbol {text!r} is in section {section}, which does not exist", table)
            symbols.append(Symbol(text, value, size, info & 0xF, info >> 4, other & 3, section))
        return tuple(symbols)

    def relocations(self, section: Section, *, with_none: bool = False) -> list[Relocation]:
        """Return the relocations of ``section``, ascending by offset.

        :param with_none: R_BPF_NONE too, which clang before 13 wrote in .BTF for 32-bit fields.

        :raises ObjectError: one lies outside the section, names no symbol, or is of an unknown type.
        """
        found: list[Relocation] = []
        for table in self._relocations.get(section.index, ()):
            form = _REL if table.type == SHT_REL else _RELA
            if table.size % form.size:
                raise self.error("the relocation table is cut short", table)
            for offset, info, *addend in form.iter_unpack(table.data):
                kind, symbol = info & 0xFFFFFFFF, info >> 32
                if kind == R_BPF_NONE and not with_none:
                    continue
                if kind not in _RELOCATION_TYPES:
                    raise self.error(f"relocation of unknown type {kind}; was the object made for eBPF?", table)
                if symbol >= len(self.symbols):
                    raise self.error(f"relocation against symbol {symbol}, which does not exist", table)
                if offset + 4 > section.size:
                    raise self.error(f"relocation at byte {offset}, outside section {section.name!r}", table)
                found.append(Relocation(offset, kind, symbol, addend[0] if addend else None))
        found.sort(key=lambda relocation: relocation.offset)
        return found

    def addend(self, section: Section, relocation: Relocation, width: int) -> int:
        """Return what a relocation of a field of ``width`` bytes adds to the symbol's value."""
        if relocation.addend is not None:
            return relocation.addend
        field = section.data[relocation.offset : relocation.offset + width]
        return int.from_bytes(field, "little", signed=True)
