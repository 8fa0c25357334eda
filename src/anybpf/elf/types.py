"""The type information of an object file, made complete with what only the ELF container knows.

In the file, the offsets of global variables in their sections are 0 and wait for a relocation; sections have size 0.
"""

from __future__ import annotations

import struct

from anybpf import btf
from anybpf.btf import types as t
from anybpf.elf.file import ElfFile


class ObjectTypes:
    """The .BTF and .BTF.ext of a file; ``table`` is empty when it has none.

    :raises BtfError: either is malformed.
    """

    def __init__(self, file: ElfFile) -> None:
        self.data: bytes | None = None
        self.table = btf.EMPTY
        self.info: dict[str, btf.SectionInfo] = {}
        section = file.section(".BTF")
        if section is None:
            return
        data = bytearray(section.data)
        for relocation in file.relocations(section, with_none=True):
            value = file.symbols[relocation.symbol].value + file.addend(section, relocation, 4)
            struct.pack_into("<I", data, relocation.offset, value & 0xFFFFFFFF)
        sizes = {s.name: s.size for s in file.sections}
        self.data = btf.with_section_sizes(bytes(data), sizes)
        self.table = btf.load(self.data)
        btf.check(self.table)
        extension = file.section(".BTF.ext")
        if extension is not None:
            self.info = btf.parse_extension(extension.data, self.table)

    def function_type(self, section: str, offset: int, name: str) -> int:
        """Return the id of the FUNC for function ``name`` at byte ``offset`` of ``section``, 0 when there is none."""
        info = self.info.get(section)
        if info is not None and offset in info.functions:
            return info.functions[offset]
        return self.table.find(name, t.Function) or 0

    def context_type(self, function_type: int) -> str:
        """Return the name of what the first parameter of the FUNC points to, "" when that is no struct."""
        function = self.table.type(function_type)
        prototype = self.table.type(function.type) if isinstance(function, t.Function) else None
        if not isinstance(prototype, t.Prototype) or not prototype.parameters:
            return ""
        pointer = self.table.resolve(prototype.parameters[0].type)
        if not isinstance(pointer, t.Pointer):
            return ""
        if not isinstance(self.table.resolve(pointer.type), t.Struct | t.Forward):
            return ""
        target = self.table.type(pointer.type)
        while isinstance(target, t.Modifier):
            target = self.table.type(target.type)
        return target.name
