"""Type information from types: the inverse of :class:`anybpf.btf.Btf`, for the kinds that declarations are made of."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from anybpf.btf import types as t
from anybpf.btf.table import MAGIC, Kind
from anybpf.errors import BtfError

__all__ = ("write",)

_HEADER = struct.Struct("<HBBIIIII")
_RECORD = struct.Struct("<III")
_WORDS = (struct.Struct("<I"), struct.Struct("<II"), struct.Struct("<III"))
_U32 = 0xFFFFFFFF


class _Strings:
    """The string table: each string once, the empty one first."""

    def __init__(self) -> None:
        self.data = bytearray(1)
        self._offsets = {"": 0}

    def __getitem__(self, text: str) -> int:
        if text not in self._offsets:
            self._offsets[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._offsets[text]


def write(types: Sequence[t.Type]) -> bytes:
    """Return the ``.BTF`` section with ``types``, whose ids are 1, 2, 3 … in their order.

    :raises BtfError: a type is of a kind that is not written: bitfields, floats, variables, sections and tags.
    """
    strings = _Strings()
    records = b"".join(_record(found, strings) for found in types)
    header = _HEADER.pack(MAGIC, 1, 0, _HEADER.size, 0, len(records), len(records), len(strings.data))
    return header + records + bytes(strings.data)


def _record(found: t.Type, strings: _Strings) -> bytes:
    match found:
        case t.Integer():
            encoding = found.is_signed << 24 | found.is_char << 25 | found.is_bool << 26
            return _head(Kind.INT, strings[found.name], found.size) + _words(
                [(encoding | found.bit_offset << 16 | found.bits,)]
            )
        case t.Pointer():
            return _head(Kind.PTR, 0, found.type)
        case t.Array():
            return _head(Kind.ARRAY, 0, 0) + _words([(found.type, found.index_type, found.length)])
        case t.Struct() if not any(member.bit_size for member in found.members):
            kind = Kind.UNION if found.is_union else Kind.STRUCT
            members = _words((strings[m.name], m.type, m.bit_offset) for m in found.members)
            return _head(kind, strings[found.name], found.size, len(found.members)) + members
        case t.Enum() if not found.is_64:
            values = _words((strings[v.name], v.value & _U32) for v in found.values)
            flag = found.is_signed
            return _head(Kind.ENUM, strings[found.name], found.size, len(found.values), flag) + values
        case t.Typedef():
            return _head(Kind.TYPEDEF, strings[found.name], found.type)
        case t.Modifier(keyword="const"):
            return _head(Kind.CONST, 0, found.type)
        case t.Prototype():
            parameters = _words((strings[p.name], p.type) for p in found.parameters)
            return _head(Kind.FUNC_PROTO, 0, found.return_type, len(found.parameters)) + parameters
        case t.Function():
            return _head(Kind.FUNC, strings[found.name], found.type, found.linkage)
    raise BtfError(f"type information with {found} is not written here")


def _head(kind: Kind, name: int, size_or_type: int, count: int = 0, flag: bool = False) -> bytes:
    return _RECORD.pack(name, flag << 31 | kind << 24 | count, size_or_type)


def _words(rows: Iterable[tuple[int, ...]]) -> bytes:
    return b"".join(_WORDS[len(row) - 1].pack(*row) for row in rows)
