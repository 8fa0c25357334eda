"""Writes type information: the .BTF and .BTF.ext sections of a test's object, one call a type.

    btf = BtfWriter()
    u32 = btf.int("u32", 4)
    point = btf.struct("point", 8, [("x", u32, 0), ("y", u32, 32)])

Every call returns the id of the type it wrote.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAGIC = 0xEB9F
STATIC, GLOBAL, EXTERN = 0, 1, 2


@dataclass
class BtfWriter:
    """A table of types under construction."""

    strings: bytes = b"\0"
    records: list[bytes] = field(default_factory=list)
    _offsets: dict[str, int] = field(default_factory=lambda: {"": 0})

    def string(self, text: str) -> int:
        """Return the offset of a string, writing it when it is new."""
        if text not in self._offsets:
            self._offsets[text] = len(self.strings)
            self.strings += text.encode() + b"\0"
        return self._offsets[text]

    def add(
        self, kind: int, name: str, size_or_type: int, tail: bytes = b"", *, count: int = 0, flag: bool = False
    ) -> int:
        """Write a record of any kind."""
        info = flag << 31 | kind << 24 | count
        self.records.append(struct.pack("<III", self.string(name), info, size_or_type) + tail)
        return len(self.records)

    def int(self, name: str, size: int, *, signed: bool = False, bits: int | None = None, offset: int = 0) -> int:
        """An integer of ``size`` bytes."""
        return self.add(1, name, size, struct.pack("<I", signed << 24 | offset << 16 | (bits or 8 * size)))

    def ptr(self, target: int) -> int:
        """A pointer."""
        return self.add(2, "", target)

    def array(self, element: int, length: int, index: int = 0) -> int:
        """An array."""
        return self.add(3, "", 0, struct.pack("<III", element, index, length))

    def struct(self, name: str, size: int, members: Sequence[tuple], *, union: bool = False) -> int:
        """A struct of (name, type, bit offset[, bits of a bitfield])."""
        flag = any(len(member) > 3 for member in members)
        tail = b"".join(
            struct.pack("<III", self.string(n), t, where | (bits[0] if bits else 0) << 24)
            for n, t, where, *bits in members
        )
        return self.add(5 if union else 4, name, size, tail, count=len(members), flag=flag)

    def enum(self, name: str, values: Mapping[str, int], size: int = 4, *, signed: bool = False) -> int:
        """An enum of 32-bit values."""
        tail = b"".join(struct.pack("<II", self.string(n), v & 0xFFFFFFFF) for n, v in values.items())
        return self.add(6, name, size, tail, count=len(values), flag=signed)

    def enum64(self, name: str, values: Mapping[str, int], *, signed: bool = False) -> int:
        """An enum of 64-bit values."""
        tail = b"".join(struct.pack("<IQ", self.string(n), v & 0xFFFFFFFFFFFFFFFF) for n, v in values.items())
        return self.add(19, name, 8, tail, count=len(values), flag=signed)

    def fwd(self, name: str, *, union: bool = False) -> int:
        """A struct that is declared only."""
        return self.add(7, name, 0, flag=union)

    def typedef(self, name: str, target: int) -> int:
        """Another name."""
        return self.add(8, name, target)

    def volatile(self, target: int) -> int:
        """``volatile``."""
        return self.add(9, "", target)

    def const(self, target: int) -> int:
        """``const``."""
        return self.add(10, "", target)

    def restrict(self, target: int) -> int:
        """``restrict``."""
        return self.add(11, "", target)

    def type_tag(self, name: str, target: int) -> int:
        """An attribute of a type."""
        return self.add(18, name, target)

    def proto(self, returns: int, parameters: Sequence[tuple[str, int]] = ()) -> int:
        """The type of a function."""
        tail = b"".join(struct.pack("<II", self.string(n), t) for n, t in parameters)
        return self.add(13, "", returns, tail, count=len(parameters))

    def func(self, name: str, proto: int, linkage: int = GLOBAL) -> int:
        """A function."""
        return self.add(12, name, proto, count=linkage)

    def var(self, name: str, target: int, linkage: int = GLOBAL) -> int:
        """A variable."""
        return self.add(14, name, target, struct.pack("<I", linkage))

    def datasec(self, name: str, variables: Sequence[tuple[int, int, int]], size: int = 0) -> int:
        """A section of (variable, offset, size)."""
        tail = b"".join(struct.pack("<III", *variable) for variable in variables)
        return self.add(15, name, size, tail, count=len(variables))

    def float(self, name: str, size: int) -> int:
        """A floating-point number."""
        return self.add(16, name, size)

    def decl_tag(self, name: str, target: int, component: int = -1) -> int:
        """An attribute of a declaration."""
        return self.add(17, name, target, struct.pack("<i", component))

    def bytes(self) -> bytes:
        """Return the .BTF section."""
        types = b"".join(self.records)
        header = struct.pack("<HBBIIIII", MAGIC, 1, 0, 24, 0, len(types), len(types), len(self.strings))
        return header + types + self.strings

    # What map declarations are made of (bpf_helpers.h).

    def number(self, value: int) -> int:
        """The type by which ``__uint(name, value)`` says a number."""
        return self.ptr(self.array(self.int("int", 4, signed=True), value))

    def map(self, name: str, **members: int) -> int:
        """The struct of a map declaration: numbers for ``type`` …, type ids for ``key``, ``value`` and ``values``."""
        fields = []
        for member, value in members.items():
            is_type = member in ("key", "value", "values")
            fields.append((member, value if member == "values" else self.ptr(value) if is_type else self.number(value)))
        return self.struct(name, 8 * len(fields), [(n, t, 64 * i) for i, (n, t) in enumerate(fields)])


@dataclass
class ExtensionWriter:
    """A .BTF.ext section under construction: for each section's name, the records about it."""

    btf: BtfWriter
    functions: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    lines: dict[str, list[tuple[int, int, int, int]]] = field(default_factory=dict)
    core: dict[str, list[tuple[int, int, int, int]]] = field(default_factory=dict)

    def function(self, section: str, offset: int, type_id: int) -> None:
        """The function that starts at a byte offset."""
        self.functions.setdefault(section, []).append((offset, type_id))

    def line(self, section: str, offset: int, file: str, line: int, column: int, text: str) -> None:
        """The source line from a byte offset on."""
        place = line << 10 | column
        self.lines.setdefault(section, []).append((offset, self.btf.string(file), self.btf.string(text), place))

    def relocation(self, section: str, offset: int, type_id: int, access: str, kind: int) -> None:
        """A CO-RE relocation."""
        self.core.setdefault(section, []).append((offset, type_id, self.btf.string(access), kind))

    def bytes(self, *, with_core: bool = True) -> bytes:
        """Return the .BTF.ext section; write it before the .BTF section, which holds its strings.

        Without CO-RE records its header is shorter, as clang before version 10 wrote it.
        """
        parts = [self._part(self.functions, 8), self._part(self.lines, 16)]
        if with_core:
            parts.append(self._part(self.core, 16))
        header = struct.pack("<HBBI", MAGIC, 1, 0, 8 + 8 * len(parts))
        offset = 0
        for part in parts:
            header += struct.pack("<II", offset, len(part))
            offset += len(part)
        return header + b"".join(parts)

    def _part(self, records: Mapping[str, Sequence[tuple[int, ...]]], size: int) -> bytes:
        if not records:
            return b""
        part = struct.pack("<I", size)
        for section, entries in records.items():
            part += struct.pack("<II", self.btf.string(section), len(entries))
            part += b"".join(struct.pack(f"<{size // 4}I", *entry) for entry in entries)
        return part
