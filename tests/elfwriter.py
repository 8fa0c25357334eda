"""Writes BPF object files, so that a test's fixture reads as a description of the file.

    elf = ElfWriter()
    text = elf.code("xdp", assemble("r0 = 2\\nexit"))
    elf.function("pass", text, 0, 16)
    spec = anybpf.elf.parse(elf.bytes(), "pass.o")

The file has the shape that clang gives it: ELF header, section contents, section headers last.
"""

import struct
from dataclasses import dataclass, field

NULL, PROGBITS, SYMTAB, STRTAB, RELA, NOBITS, REL = 0, 1, 2, 3, 4, 8, 9
WRITE, ALLOC, EXECINSTR = 1, 2, 4
LOCAL, GLOBAL, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNC, SECTION = 0, 1, 2, 3
R_BPF_NONE, R_BPF_64_64, R_BPF_64_ABS64, R_BPF_64_ABS32, R_BPF_64_NODYLD32, R_BPF_64_32 = 0, 1, 2, 3, 4, 10
EM_BPF = 247
ET_REL = 1

EXIT = b"\x95" + bytes(7)


def lddw(register: int, addend: int = 0) -> bytes:
    """A 64-bit load as clang leaves it for a relocation: the addend in place of an address."""
    return struct.pack("<BBhIBBhi", 0x18, register, 0, addend & 0xFFFFFFFF, 0, 0, 0, addend >> 32)


def mov(register: int, value: int) -> bytes:
    """``register = value``."""
    return struct.pack("<BBhi", 0xB7, register, 0, value)


def call(distance: int = -1) -> bytes:
    """A call of a function as clang leaves it: -1 for a relocation, else the distance from the next instruction."""
    return struct.pack("<BBhi", 0x85, 0x10, 0, distance)


def helper(number: int) -> bytes:
    """A call of a helper."""
    return struct.pack("<BBhi", 0x85, 0, 0, number)


@dataclass
class Section:
    """A section: its index is what symbols and relocations name it by."""

    index: int
    name: str
    data: bytes
    type: int = PROGBITS
    flags: int = 0
    size: int | None = None  # of NOBITS
    link: int = 0
    info: int = 0
    entry_size: int = 0


@dataclass
class Symbol:
    """A symbol; ``index`` in the order of writing."""

    index: int
    name: str
    value: int
    size: int
    info: int
    section: int
    visibility: int = 0


@dataclass
class ElfWriter:
    """An object file under construction; ``machine``, ``kind`` … are the header's fields, to be spoiled by tests."""

    machine: int = EM_BPF
    kind: int = ET_REL
    ident: bytes = b"\x7fELF\x02\x01\x01" + bytes(9)
    sections: list[Section] = field(default_factory=lambda: [Section(0, "", b"", NULL)])
    symbols: list[Symbol] = field(default_factory=lambda: [Symbol(0, "", 0, 0, 0, 0)])
    relocations: dict[tuple[int, bool], list[tuple[int, ...]]] = field(default_factory=dict)

    def section(self, name: str, data: bytes = b"", **fields: int) -> Section:
        """Add a section."""
        self.sections.append(Section(len(self.sections), name, data, **fields))
        return self.sections[-1]

    def code(self, name: str, data: bytes) -> Section:
        """Add a section of instructions."""
        return self.section(name, data, flags=ALLOC | EXECINSTR)

    def bss(self, name: str, size: int) -> Section:
        """Add a section of zeros that takes no room in the file."""
        return self.section(name, type=NOBITS, flags=ALLOC | WRITE, size=size)

    def symbol(
        self, name: str, section: Section | int, value: int = 0, size: int = 0, *,
        type: int = NOTYPE, binding: int = GLOBAL, visibility: int = 0,
    ) -> Symbol:  # fmt: skip
        """Add a symbol; section 0 makes it undefined."""
        index = section if isinstance(section, int) else section.index
        self.symbols.append(Symbol(len(self.symbols), name, value, size, binding << 4 | type, index, visibility))
        return self.symbols[-1]

    def function(self, name: str, section: Section, value: int, size: int, binding: int = GLOBAL) -> Symbol:
        """Add the symbol of a function."""
        return self.symbol(name, section, value, size, type=FUNC, binding=binding)

    def variable(self, name: str, section: Section, value: int, size: int, binding: int = GLOBAL) -> Symbol:
        """Add the symbol of a variable or map."""
        return self.symbol(name, section, value, size, type=OBJECT, binding=binding)

    def section_symbol(self, section: Section) -> Symbol:
        """Add the symbol that stands for a whole section, to which offsets are added."""
        return self.symbol("", section, type=SECTION, binding=LOCAL)

    def undefined(self, name: str, binding: int = GLOBAL) -> Symbol:
        """Add the symbol of an extern."""
        return self.symbol(name, 0, binding=binding)

    def relocate(
        self, section: Section, offset: int, symbol: Symbol, type: int = R_BPF_64_64, addend: int | None = None
    ) -> None:
        """Add a relocation of byte ``offset`` of ``section``, to a RELA table when there is an addend."""
        entry = (offset, symbol.index << 32 | type) + (() if addend is None else (addend,))
        self.relocations.setdefault((section.index, addend is not None), []).append(entry)

    def bytes(self) -> bytes:
        """Return the file."""
        sections = list(self.sections)
        names = [symbol.name for symbol in self.symbols]
        strings, offsets = _strings(names)
        string_table = Section(len(sections), ".strtab", strings, STRTAB)
        symbols = b"".join(
            struct.pack("<IBBHQQ", offsets[s.name], s.info, s.visibility, s.section, s.value, s.size)
            for s in self.symbols
        )
        symbol_table = Section(len(sections) + 1, ".symtab", symbols, SYMTAB, link=string_table.index, entry_size=24)
        sections += [string_table, symbol_table]
        for (index, is_rela), entries in self.relocations.items():
            form, prefix, kind = ("<QQq", ".rela", RELA) if is_rela else ("<QQ", ".rel", REL)
            data = b"".join(struct.pack(form, *entry) for entry in entries)
            name = prefix + self.sections[index].name
            sections.append(
                Section(len(sections), name, data, kind, link=symbol_table.index, info=index, entry_size=len(data))
            )
        section_names, name_offsets = _strings([s.name for s in sections] + [".shstrtab"])
        sections.append(Section(len(sections), ".shstrtab", section_names, STRTAB))
        body = b""
        headers = b""
        for section in sections:
            body += bytes(-len(body) % 8)
            size = len(section.data) if section.size is None else section.size
            headers += struct.pack(
                "<IIQQQQIIQQ", name_offsets[section.name], section.type, section.flags, 0, 64 + len(body), size,
                section.link, section.info, 8, section.entry_size,
            )  # fmt: skip
            body += section.data
        body += bytes(-len(body) % 8)
        header = struct.pack(
            "<16sHHIQQQIHHHHHH", self.ident, self.kind, self.machine, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64,
            len(sections), len(sections) - 1,
        )  # fmt: skip
        return header + body + headers


def _strings(names: list[str]) -> tuple[bytes, dict[str, int]]:
    """Return a string table and where each name lies in it."""
    table = b"\0"
    offsets = {"": 0}
    for name in names:
        if name not in offsets:
            offsets[name] = len(table)
            table += name.encode() + b"\0"
    return table, offsets
