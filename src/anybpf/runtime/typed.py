"""Between the bytes of map keys and values and Python values, as BTF types say.

Integers, enums and pointers are ints, ``_Bool`` a bool, floats floats; arrays are lists, but arrays of one-byte
integers (``char[16]``, ``__u8[6]``) bytes; structs, unions and data sections are :class:`Record`.
Without a type, 4 and 8 bytes are an unsigned int and anything else is bytes. Every type also accepts its exact bytes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Literal, NoReturn, Protocol

from anybpf.btf import Btf
from anybpf.btf import types as t
from anybpf.btf.table import MAX_DEPTH
from anybpf.errors import BtfError

__all__ = ("BytesCodec", "Codec", "Record", "codec_for", "spin_lock_offset", "values_in")

_ORDER: Literal["little", "big"] = "little" if sys.byteorder == "little" else "big"


class Record(dict[str, Any]):
    """The members of a struct, read-only: a dict that can be a key itself, with its members as attributes too.

    Members of anonymous structs and unions inside stand beside the others, as in C. To change one member of a map's
    value, store a new one: ``map[key] = map[key] | {"packets": 0}``.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __hash__(self) -> int:  # type: ignore[override]  # dict has none because it can change; a Record cannot
        return hash(_frozen(self))

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a Record cannot be changed; store a new value in the map instead")

    __setitem__ = __delitem__ = __setattr__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return frozenset((name, _frozen(member)) for name, member in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


class Codec(Protocol):
    """How values of one type of ``size`` bytes become Python values and back."""

    @property
    def size(self) -> int:
        """Bytes of a value."""

    def decode(self, data: bytes) -> Any:
        """Return the value in ``data``, ``size`` bytes."""

    def encode(self, value: Any) -> bytes:
        """Return the bytes of ``value``; ValueError says what the type demands."""


def _exact(value: Any, size: int) -> bytes | None:
    """The bytes of a value that is given as bytes, or None."""
    if not isinstance(value, bytes | bytearray | memoryview):
        return None
    if len(value) != size:
        raise ValueError(f"needs {size} bytes, not {len(value)}")
    return bytes(value)


@dataclass(frozen=True, slots=True)
class BytesCodec:
    """Bytes as they are."""

    size: int

    def decode(self, data: bytes) -> bytes:
        """Return ``data``."""
        return data

    def encode(self, value: Any) -> bytes:
        """Return ``value``, which must be ``size`` bytes."""
        exact = _exact(value, self.size)
        if exact is None:
            raise ValueError(f"needs {self.size} bytes, not {value!r}")
        return exact


@dataclass(frozen=True, slots=True)
class _Text:
    """An array of one-byte integers; shorter values are filled up with zeros."""

    size: int

    def decode(self, data: bytes) -> bytes:
        return data

    def encode(self, value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview) or len(value) > self.size:
            raise ValueError(f"needs at most {self.size} bytes, not {value!r}")
        return bytes(value).ljust(self.size, b"\0")


@dataclass(frozen=True, slots=True)
class _Integer:
    size: int
    signed: bool = False
    make: Callable[[int], int] = int

    def decode(self, data: bytes) -> int:
        return self.make(int.from_bytes(data, _ORDER, signed=self.signed))

    def encode(self, value: Any) -> bytes:
        exact = _exact(value, self.size)
        if exact is not None:
            return exact
        try:
            return index(value).to_bytes(self.size, _ORDER, signed=self.signed)
        except (TypeError, OverflowError):
            low, high = _range(self.size * 8, self.signed)
            raise ValueError(f"needs an integer from {low} to {high}, not {value!r}") from None


@dataclass(frozen=True, slots=True)
class _Float:
    size: int

    @property
    def _form(self) -> str:
        return {2: "=e", 4: "=f", 8: "=d"}[self.size]

    def decode(self, data: bytes) -> float:
        return float(struct.unpack(self._form, data)[0])

    def encode(self, value: Any) -> bytes:
        exact = _exact(value, self.size)
        if exact is not None:
            return exact
        try:
            return struct.pack(self._form, value)
        except (struct.error, OverflowError):
            raise ValueError(f"needs a number that fits {self.size * 8} bits, not {value!r}") from None


@dataclass(frozen=True, slots=True)
class _Array:
    element: Codec
    length: int

    @property
    def size(self) -> int:
        return self.element.size * self.length

    def decode(self, data: bytes) -> list[Any]:
        step = self.element.size
        return [self.element.decode(data[at : at + step]) for at in range(0, step * self.length, step)]

    def encode(self, value: Any) -> bytes:
        exact = _exact(value, self.size)
        if exact is not None:
            return exact
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != self.length:
            raise ValueError(f"needs a list of {self.length}, not {value!r}")
        return b"".join(map(self.element.encode, value))


@dataclass(frozen=True, slots=True)
class _Bits:
    """A bitfield of ``bits`` bits, ``shift`` bits up in the bytes that hold it."""

    size: int
    shift: int
    bits: int
    signed: bool

    def decode(self, data: bytes) -> int:
        value = int.from_bytes(data, _ORDER) >> self.shift & ((1 << self.bits) - 1)
        return value - (1 << self.bits) if self.signed and value >> (self.bits - 1) else value

    def encode(self, value: Any) -> bytes:
        low, high = _range(self.bits, self.signed)
        if not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"needs an integer from {low} to {high}, not {value!r}")
        return ((value & ((1 << self.bits) - 1)) << self.shift).to_bytes(self.size, _ORDER)


@dataclass(frozen=True, slots=True)
class _Field:
    """A member: ``name`` (empty for anonymous structs and unions), bytes from the start, and its type."""

    name: str
    offset: int
    codec: Codec


@dataclass(frozen=True, slots=True)
class _Struct:
    size: int
    fields: tuple[_Field, ...]
    is_union: bool = False

    def decode(self, data: bytes) -> Record:
        members: dict[str, Any] = {}
        for field in self.fields:
            value = field.codec.decode(data[field.offset : field.offset + field.codec.size])
            if field.name:
                members[field.name] = value
            else:
                members.update(value)
        return Record(members)

    def names(self) -> set[str]:
        """Names of all members, those of anonymous structs inside included."""
        named = {field.name for field in self.fields if field.name}
        return named.union(*(f.codec.names() for f in self.fields if not f.name and isinstance(f.codec, _Struct)))

    def encode(self, value: Any) -> bytes:
        exact = _exact(value, self.size)
        if exact is not None:
            return exact
        if not isinstance(value, Mapping):
            raise ValueError(f"needs a mapping with {', '.join(sorted(self.names()))}, not {value!r}")
        unknown = set(value) - self.names()
        if unknown:
            raise ValueError(f"has no member {', '.join(map(repr, sorted(map(str, unknown))))}")
        return self._encode_members(value)

    def _encode_members(self, value: Mapping[str, Any]) -> bytes:
        encoded = bytearray(self.size)
        chosen: _Field | None = None
        for field in self.fields:
            part = _encode_field(field, value, optional=self.is_union)
            if part is None:
                continue
            if self.is_union:  # of members that are all given (as decode gives them), the longest says it all
                if chosen is None or field.codec.size > chosen.codec.size:
                    encoded[: len(part)] = part
                    chosen = field
            elif isinstance(field.codec, _Bits):  # shares bytes with its neighbours
                for at, byte in enumerate(part, field.offset):
                    encoded[at] |= byte
            else:
                encoded[field.offset : field.offset + len(part)] = part
        if self.is_union and chosen is None:
            raise ValueError(f"needs one of {', '.join(sorted(self.names()))}")
        return bytes(encoded)


def _encode_field(field: _Field, value: Mapping[str, Any], *, optional: bool) -> bytes | None:
    if not field.name and isinstance(field.codec, _Struct):
        inner = {name: value[name] for name in field.codec.names() if name in value}
        return field.codec.encode(inner) if inner or not optional else None
    if field.name not in value:
        if optional:
            return None
        raise ValueError(f"needs the member {field.name!r}")
    try:
        return field.codec.encode(value[field.name])
    except ValueError as error:
        raise ValueError(f"member {field.name!r} {error}") from None


def _range(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def codec_for(btf: Btf | None, type_id: int, size: int) -> Codec:
    """Return the codec of a key or value of ``size`` bytes whose type is ``type_id`` in ``btf``.

    A type that is unknown (0), of another size, or that has no values (a function) gives what bytes without a type get.
    """
    if btf is not None and type_id:
        try:
            if btf.size_of(type_id) == size:
                return _codec(btf, type_id, 0)
        except BtfError:
            pass
    return _Integer(size) if size in (4, 8) else BytesCodec(size)


def values_in(codec: Codec) -> int:
    """Return how many Python values decoding makes: members of a union, which lie over one another, count each."""
    match codec:
        case _Array():
            return 1 + codec.length * values_in(codec.element)
        case _Struct():
            return 1 + sum(values_in(field.codec) for field in codec.fields)
        case _:
            return 1


def _codec(btf: Btf, type_id: int, depth: int) -> Codec:
    """The codec of a type at ``depth`` structs and arrays inside the outermost."""
    if depth > MAX_DEPTH:
        raise BtfError(f"type {type_id}: structs nest deeper than {MAX_DEPTH}")
    found = btf.resolve(type_id)
    match found:
        case t.Integer() if found.size <= 8:
            return _Integer(found.size, found.is_signed, bool if found.is_bool else int)
        case t.Enum():
            return _Integer(found.size, found.is_signed)
        case t.Float() if found.size in (4, 8):
            return _Float(found.size)
        case t.Array() if btf.size_of(found.type):
            element = btf.resolve(found.type)
            if isinstance(element, t.Integer) and element.size == 1 and not element.is_bool:
                return _Text(found.length)
            return _Array(_codec(btf, found.type, depth + 1), found.length)
        case t.Struct():
            fields = tuple(_field(btf, member, depth + 1) for member in found.members)
            if any(field.offset + field.codec.size > found.size for field in fields):
                raise BtfError(f"a member of {found.name!r} lies outside its {found.size} bytes")
            return _Struct(found.size, fields, found.is_union)
        case t.DataSection():
            return _section(btf, found)
        case t.Pointer():
            return _Integer(btf.size_of(type_id))
        case _:
            return BytesCodec(btf.size_of(type_id))


def _field(btf: Btf, member: t.Member, depth: int) -> _Field:
    first, bits = btf.bits_of(member)
    if first % 8 == 0 and bits == btf.size_of(member.type) * 8:
        return _Field(member.name, first // 8, _codec(btf, member.type, depth))
    kind = btf.resolve(member.type)
    signed = isinstance(kind, t.Integer | t.Enum) and kind.is_signed
    return _Field(member.name, first // 8, _Bits((first % 8 + bits + 7) // 8, first % 8, bits, signed))


def _section(btf: Btf, section: t.DataSection) -> Codec:
    """A data section whose variables do not overlap; objects that were not linked leave all offsets 0."""
    variables = sorted(section.variables, key=lambda variable: variable.offset)
    ends = [variable.offset + variable.size for variable in variables]
    if any(following.offset < end for end, following in zip(ends, variables[1:], strict=False)):
        return BytesCodec(section.size)
    fields = []
    for variable in variables:
        declared = btf.type(variable.type)
        if isinstance(declared, t.Variable) and btf.size_of(declared.type) == variable.size:
            fields.append(_Field(declared.name, variable.offset, _codec(btf, declared.type, 1)))
    return _Struct(section.size, tuple(fields))


def spin_lock_offset(btf: Btf | None, type_id: int) -> int | None:
    """Return the byte offset of the ``struct bpf_spin_lock`` in a map value's type, or None without one."""
    if btf is None or not type_id:
        return None
    found = btf.resolve(type_id)
    if not isinstance(found, t.Struct):
        return None
    for member in found.members:
        kind = btf.resolve(member.type)
        if isinstance(kind, t.Struct) and kind.name == "bpf_spin_lock":
            return member.offset
    return None
