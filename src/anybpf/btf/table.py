"""The .BTF section: a table of types that is decoded one type at a time, when somebody asks.

Opening costs one pass over the record headers (a running kernel's 130,000 types: about 0.1 s); names are indexed at
the first search by name. Layout: Linux Documentation/bpf/btf.rst §2.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from functools import lru_cache

from anybpf.btf import types as t
from anybpf.errors import BtfError

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_RECORD = struct.Struct("<III")

#: How many modifiers, typedefs or dimensions may follow one another, and how deep structs may nest; the kernel's limit.
MAX_DEPTH = 32
POINTER_SIZE = 8


class Kind(IntEnum):
    """Kinds of types (BTF_KIND_*)."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Bytes after the 12-byte record, by kind: (fixed, per element).
_TAIL = {kind.value: (0, 0) for kind in Kind} | {
    Kind.INT: (4, 0), Kind.ARRAY: (12, 0), Kind.STRUCT: (0, 12), Kind.UNION: (0, 12), Kind.ENUM: (0, 8),
    Kind.FUNC_PROTO: (0, 8), Kind.VAR: (4, 0), Kind.DATASEC: (0, 12), Kind.DECL_TAG: (4, 0), Kind.ENUM64: (0, 12),
}  # fmt: skip
_MODIFIERS = {
    Kind.VOLATILE: "volatile",
    Kind.CONST: "const",
    Kind.RESTRICT: "restrict",
    Kind.TYPE_TAG: "type_tag",
}

_TypeClass = type[t.Type]  # named here: inside Btf, ``type`` is a method


class Btf:
    """The types of one object or kernel, by id.

    :param data: the bytes of a .BTF section, or of a raw BTF file such as ``/sys/kernel/btf/vmlinux``.
    :raises BtfError: the header or a record is malformed. What a record refers to is checked when it is decoded,
        by whichever method decodes it; :func:`anybpf.btf.check` decodes everything.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size:
            raise BtfError(f"type information is cut short: {len(data)} bytes, its header alone takes {_HEADER.size}")
        magic, version, _, header_size, type_offset, type_size, string_offset, string_size = _HEADER.unpack_from(data)
        if magic == 0x9FEB:
            raise BtfError("type information is big-endian; recompile for little-endian eBPF with clang --target=bpfel")
        if magic != MAGIC:
            raise BtfError(f"no type information: its first bytes are {magic:#06x}, not {MAGIC:#06x}")
        if version != 1:
            raise BtfError(f"type information of version {version}; only version 1 is known")
        if header_size < _HEADER.size or header_size % 4:
            raise BtfError(f"type information with a header of {header_size} bytes; at least {_HEADER.size} are needed")
        types, strings = header_size + type_offset, header_size + string_offset
        if type_offset % 4 or types + type_size > len(data) or strings + string_size > len(data):
            raise BtfError("type information is cut short: its types or strings lie outside the section")
        if string_size == 0 or data[strings] or data[strings + string_size - 1]:
            raise BtfError("the string table of the type information neither begins nor ends with an empty string")
        self.data = data
        self._strings = data[strings : strings + string_size]
        self._string_cache: dict[int, str] = {0: ""}
        self._decoded_text = 0
        self._names: dict[str, list[int]] | None = None
        self._found: dict[tuple[str, _TypeClass], int | None] = {}
        self._records = self._scan(types, types + type_size)
        self._types: list[t.Type | None] = [None] * len(self._records)
        self._types[0] = t.Void()

    def _scan(self, position: int, end: int) -> array[int]:
        """Return the offset of each record by id; id 0 stands for void and has none."""
        records = array("I", [0])
        unpack, tail, data = _RECORD.unpack_from, _TAIL, self.data
        while position < end:
            if position + 12 > end:
                raise BtfError(f"type {len(records)} is cut short")
            _, info, _ = unpack(data, position)
            kind = info >> 24 & 0x1F
            if kind not in tail:
                raise BtfError(f"type {len(records)} has the unknown kind {kind}")
            fixed, each = tail[kind]
            records.append(position)
            position += 12 + fixed + each * (info & 0xFFFF)
            if position > end:
                raise BtfError(f"type {len(records) - 1} is cut short")
        return records

    def __len__(self) -> int:
        """The number of types, void included: ids run from 0 to ``len(btf) - 1``."""
        return len(self._records)

    def string(self, offset: int) -> str:
        """Return the string at ``offset`` of the string table."""
        cached = self._string_cache.get(offset)
        if cached is not None:
            return cached
        if offset >= len(self._strings):
            raise BtfError(f"a name lies at offset {offset}, outside the {len(self._strings)} bytes of strings")
        text = self._strings[offset : self._strings.index(0, offset)].decode("utf-8", "backslashreplace")
        # Strings that overlap could make a small file name gigabytes; every compiler writes each string once.
        self._decoded_text += len(text)
        if self._decoded_text > 4 * len(self._strings) + 65536:
            raise BtfError("the names of the type information overlap, which no compiler writes; rebuild the object")
        self._string_cache[offset] = text
        return text

    def type(self, type_id: int) -> t.Type:
        """Return the type with id ``type_id``."""
        if not 0 <= type_id < len(self._types):
            raise BtfError(f"type {type_id} does not exist; there are {len(self._types)}")
        found = self._types[type_id]
        if found is None:
            found = self._types[type_id] = self._decode(type_id)
        return found

    def _decode(self, type_id: int) -> t.Type:
        position = self._records[type_id]
        name_offset, info, size_or_type = _RECORD.unpack_from(self.data, position)
        kind, count, flag = info >> 24 & 0x1F, info & 0xFFFF, bool(info >> 31)
        try:
            return self._build(Kind(kind), self.string(name_offset), size_or_type, position + 12, count, flag)
        except BtfError as error:
            raise BtfError(f"type {type_id}: {error.reason}") from None

    def _build(self, kind: Kind, name: str, size: int, tail: int, count: int, flag: bool) -> t.Type:
        """Make the type from its record; ``size`` is the record's last word, a size or a type id by kind."""
        data = self.data
        match kind:
            case Kind.INT:
                (encoding,) = struct.unpack_from("<I", data, tail)
                bits, bit_offset, how = encoding & 0xFF, encoding >> 16 & 0xFF, encoding >> 24 & 0xF
                if size not in (1, 2, 4, 8, 16) or bits + bit_offset > size * 8:
                    raise BtfError(f"integer {name!r} of {bits} bits at bit {bit_offset} in {size} bytes")
                return t.Integer(name, size, bits, bit_offset, bool(how & 1), bool(how & 2), bool(how & 4))
            case Kind.PTR:
                return t.Pointer(self._known(size), name)
            case Kind.ARRAY:
                element, index, length = struct.unpack_from("<III", data, tail)
                return t.Array(self._known(element), self._known(index), length, name)
            case Kind.STRUCT | Kind.UNION:
                members = tuple(
                    t.Member(self.string(n), self._known(member), where & 0xFFFFFF, where >> 24)
                    if flag
                    else t.Member(self.string(n), self._known(member), where)
                    for n, member, where in struct.iter_unpack("<III", data[tail : tail + 12 * count])
                )
                return t.Struct(name, size, members, kind == Kind.UNION)
            case Kind.ENUM:
                form = "<Ii" if flag else "<II"
                values = struct.iter_unpack(form, data[tail : tail + 8 * count])
                return t.Enum(name, size, tuple(t.Enumerator(self.string(n), v) for n, v in values), flag)
            case Kind.FWD:
                return t.Forward(name, flag)
            case Kind.TYPEDEF:
                return t.Typedef(name, self._known(size))
            case Kind.VOLATILE | Kind.CONST | Kind.RESTRICT | Kind.TYPE_TAG:
                return t.Modifier(self._known(size), _MODIFIERS[kind], name)
            case Kind.FUNC:
                return t.Function(name, self._known(size), count)
            case Kind.FUNC_PROTO:
                pairs = struct.iter_unpack("<II", data[tail : tail + 8 * count])
                parameters = tuple(t.Parameter(self.string(n), self._known(p)) for n, p in pairs)
                return t.Prototype(self._known(size), parameters)
            case Kind.VAR:
                return t.Variable(name, self._known(size), struct.unpack_from("<I", data, tail)[0])
            case Kind.DATASEC:
                triples = struct.iter_unpack("<III", data[tail : tail + 12 * count])
                return t.DataSection(name, size, tuple(t.SectionVariable(self._known(v), o, s) for v, o, s in triples))
            case Kind.FLOAT:
                return t.Float(name, size)
            case Kind.DECL_TAG:
                return t.DeclarationTag(name, self._known(size), struct.unpack_from("<i", data, tail)[0])
            case _:
                words = struct.iter_unpack("<III", data[tail : tail + 12 * count])
                wide = ((n, low | high << 32) for n, low, high in words)
                signed = tuple(t.Enumerator(self.string(n), v - (1 << 64) if flag and v >> 63 else v) for n, v in wide)
                return t.Enum(name, size, signed, flag, True)

    def _known(self, type_id: int) -> int:
        if type_id >= len(self._records):
            raise BtfError(f"refers to type {type_id}, and there are only {len(self._records)}")
        return type_id

    def strip(self, type_id: int) -> int:
        """Return the id of the type behind typedefs, ``const`` and other modifiers."""
        for _ in range(MAX_DEPTH):
            found = self.type(type_id)
            if not isinstance(found, t.Typedef | t.Modifier):
                return type_id
            type_id = found.type
        raise BtfError(f"type {type_id}: more than {MAX_DEPTH} typedefs or modifiers follow one another")

    def resolve(self, type_id: int) -> t.Type:
        """Return the type behind typedefs, ``const`` and other modifiers."""
        return self.type(self.strip(type_id))

    def size_of(self, type_id: int) -> int:
        """Return the size of a value of the type, in bytes.

        :raises BtfError: void, functions and forward declarations have no size.
        """
        count = 1
        for _ in range(MAX_DEPTH):
            found = self.resolve(type_id)
            match found:
                case t.Integer() | t.Float() | t.Struct() | t.Enum() | t.DataSection():
                    return count * found.size
                case t.Pointer():
                    return count * POINTER_SIZE
                case t.Array():
                    count *= found.length
                    type_id = found.type
                case t.Variable():
                    type_id = found.type
                case _:
                    raise BtfError(f"type {type_id} ({type(found).__name__.lower()} {found.name!r}) has no size")
        raise BtfError(f"type {type_id}: arrays nest deeper than {MAX_DEPTH}")

    def alignment_of(self, type_id: int) -> int:
        """Return the natural alignment of a value of the type, in bytes; 1 for packed structs.

        :raises BtfError: the type has no size.
        """
        found = self.resolve(type_id)
        if isinstance(found, t.Array):
            return self.alignment_of(self.strip(found.type))
        if isinstance(found, t.Struct):
            places = [(m.bit_offset, max(self.alignment_of(m.type), 1)) for m in found.members if not m.bit_size]
            largest = max((alignment for _, alignment in places), default=1)
            packed = found.size % largest or any(offset % (8 * alignment) for offset, alignment in places)
            return 1 if packed else largest
        return min(self.size_of(type_id), POINTER_SIZE)

    def bits_of(self, member: t.Member) -> tuple[int, int]:
        """Return (first bit from the start of the struct, number of bits) of a member, bitfield or not."""
        if member.bit_size:
            return member.bit_offset, member.bit_size
        found = self.resolve(member.type)
        if isinstance(found, t.Integer):  # objects from before 2019 keep the bits of a bitfield in the integer type
            return member.bit_offset + found.bit_offset, found.bits
        return member.bit_offset, self.size_of(member.type) * 8

    def ids(self, name: str) -> tuple[int, ...]:
        """Return the ids of every type called ``name``, ascending."""
        return tuple(self._index().get(name, ()))

    def find(self, name: str, kind: _TypeClass) -> int | None:
        """Return the id of the first type of class ``kind`` called ``name``, or None."""
        key = name, kind
        if key not in self._found:
            self._found[key] = next((i for i in self.ids(name) if isinstance(self.type(i), kind)), None)
        return self._found[key]

    def names(self) -> Iterator[str]:
        """Every name that some type has, each once."""
        return iter(self._index())

    def _index(self) -> dict[str, list[int]]:
        if self._names is None:
            names: dict[str, list[int]] = {}
            unpack: Callable[..., tuple[int]] = struct.Struct("<I").unpack_from
            for type_id in range(1, len(self._records)):
                (offset,) = unpack(self.data, self._records[type_id])
                if offset:
                    names.setdefault(self.string(offset), []).append(type_id)
            self._names = names
        return self._names


#: A table with no type but void.
EMPTY = Btf(_HEADER.pack(MAGIC, 1, 0, _HEADER.size, 0, 0, 0, 1) + b"\0")


@lru_cache(maxsize=4)
def load(data: bytes) -> Btf:
    """Return the types in the bytes of a .BTF section, decoded when asked for; the same bytes give the same table."""
    return Btf(data)


def with_section_sizes(data: bytes, sizes: Mapping[str, int]) -> bytes:
    """Return the bytes of a .BTF section in which each DATASEC of size 0 has the size of the ELF section it names."""
    btf = Btf(data)
    patched = bytearray(data)
    for type_id in range(1, len(btf)):
        position = btf._records[type_id]
        name_offset, info, size = _RECORD.unpack_from(data, position)
        if info >> 24 & 0x1F == Kind.DATASEC and size == 0:
            known = sizes.get(btf.string(name_offset), 0)
            struct.pack_into("<I", patched, position + 8, min(known, 0xFFFFFFFF))
    return bytes(patched)
