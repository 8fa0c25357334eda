"""Fields of a service's context, and how they lie in memory.

Reads: what a service author declares. Gives: :class:`Layout`: the platform's context, and the form of the bytes that
are loaded into an event.

Buffers' pointers come first, in pairs (the engine sets them), then the other fields in the order of declaration, each
aligned to its size, as C lays a struct out.
"""

from __future__ import annotations

import keyword
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from anybpf.errors import HookError
from anybpf.platforms import Context, ContextField, FieldKind

__all__ = (
    "I8",
    "I16",
    "I32",
    "I64",
    "U8",
    "U16",
    "U32",
    "U64",
    "Buffer",
    "Bytes",
    "Field",
    "Integer",
    "Layout",
    "lay_out",
    "require_name",
)

#: Bytes that a context may have.
LARGEST: Final = 4096
_POINTER: Final = 8
_CODES: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_C_WORDS: Final = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "asm typeof bool true false NULL SEC"
)
_RESERVED: Final = frozenset(_C_WORDS.split())


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer of ``size`` (1, 2, 4 or 8) bytes in the machine's byte order. U8 to I64 are short for it.

    :param writable: programs may change it; the caller may leave it out, it is 0 then.
    """

    name: str
    size: int
    signed: bool = False
    writable: bool = False

    @property
    def alignment(self) -> int:
        """Bytes in whole numbers of which its offset lies."""
        return self.size

    @property
    def least(self) -> int:
        """The least number that it holds."""
        return -(1 << 8 * self.size - 1) if self.signed else 0

    @property
    def most(self) -> int:
        """The greatest number that it holds."""
        return (1 << 8 * self.size - self.signed) - 1


@dataclass(frozen=True, slots=True)
class Bytes:
    """``size`` bytes in the context itself: an address, a key. What is given may be shorter: zeros fill it up.

    :param writable: programs may change them; the caller may leave them out, they are zeros then.
    """

    name: str
    size: int
    writable: bool = False

    @property
    def alignment(self) -> int:
        """Bytes in whole numbers of which its offset lies: so that programs can load words of it."""
        return min(_POINTER, 1 << self.size.bit_length() - 1)


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes of any length, which the program reaches through two pointers, ``name`` and ``name_end``.

    They are copied for each event, so give programs what they decide by and not a whole upload.

    :param writable: programs may change the bytes (not how many they are); the caller may leave them out.
    """

    name: str
    writable: bool = False

    @property
    def end(self) -> str:
        """Name of the pointer behind the last byte."""
        return f"{self.name}_end"


Field = Integer | Bytes | Buffer

U8 = partial(Integer, size=1)
U16 = partial(Integer, size=2)
U32 = partial(Integer, size=4)
U64 = partial(Integer, size=8)
I8 = partial(Integer, size=1, signed=True)
I16 = partial(Integer, size=2, signed=True)
I32 = partial(Integer, size=4, signed=True)
I64 = partial(Integer, size=8, signed=True)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the fields lie.

    :param fields: as declared. :param buffers, scalars: the same, in the order in which they lie.
    :param context: what the verifier and the engine go by.
    :param record: packs, for each buffer, 0 and its length, then the scalars.
    :param written: the writable scalars, each its place among them and its name. :param values: unpacks those.
    """

    fields: tuple[Field, ...]
    buffers: tuple[Buffer, ...]
    scalars: tuple[Integer | Bytes, ...]
    context: Context
    record: struct.Struct
    written: tuple[tuple[int, str], ...]
    values: struct.Struct

    def changes(self, before: bytes, after: bytes, data: bytes, data_after: bytes) -> dict[str, int | bytes]:
        """Return the fields that differ, by name, as they are after.

        :param before, after: contexts, the first as it was packed. :param data, data_after: the buffers' bytes.
        """
        old, new = self.values.unpack(before), self.values.unpack(after)
        changed: dict[str, int | bytes] = {name: new[place] for place, name in self.written if new[place] != old[place]}
        if data == data_after:
            return changed
        start = 0
        for buffer, length in zip(self.buffers, self.record.unpack(before), strict=False):
            piece = slice(start, start + length)
            if data[piece] != data_after[piece]:
                changed[buffer.name] = data_after[piece]
            start += length
        return changed


def lay_out(name: str, fields: Iterable[Field]) -> Layout:
    """Lay out the struct ``name``. HookError when a name is used twice or cannot be used, or a size is impossible."""
    fields = tuple(fields)
    for one in fields:
        if not isinstance(one, Integer | Bytes | Buffer) or not isinstance(getattr(one, "size", 0), int):
            raise HookError(f'{one!r} is no field of {name}; declare U32("name"), Bytes("name", 16), Buffer("name") …')
    names = [n for f in fields for n in ((f.name, f.end) if isinstance(f, Buffer) else (f.name,))]
    for used in (name, *names):
        require_name(used)
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise HookError(f"{name} has two fields called {twice!r}; give each its own name")
    if not fields:
        raise HookError(f"{name} has no field; declare at least one")
    buffers = tuple(f for f in fields if isinstance(f, Buffer))
    scalars = tuple(f for f in fields if not isinstance(f, Buffer))
    placed: list[ContextField] = []
    for number, buffer in enumerate(buffers):
        placed += _pointers(buffer, 2 * _POINTER * number)
    end, form, written = 2 * _POINTER * len(buffers), "", ""
    for scalar in scalars:
        _require_size(name, scalar)
        gap = -end % scalar.alignment
        placed.append(_context_field(scalar, end + gap))
        form += f"{gap}x{_code(scalar)}"
        written += f"{gap}x{_code(scalar) if scalar.writable else f'{scalar.size}x'}"
        end += gap + scalar.size
    widest = max([_POINTER] * bool(buffers) + [scalar.alignment for scalar in scalars])
    size = end + -end % widest
    form += f"{size - end}x"
    written += f"{size - end}x"
    if size > LARGEST:
        raise HookError(f"{name} takes {size} bytes; a context may have {LARGEST}, so put long fields into a Buffer")
    return Layout(
        fields,
        buffers,
        scalars,
        Context(name, size, tuple(placed)),
        struct.Struct("=" + f"{_POINTER}xQ" * len(buffers) + form),
        tuple(enumerate(scalar.name for scalar in scalars if scalar.writable)),
        struct.Struct(f"={2 * _POINTER * len(buffers)}x" + written),
    )


def require_name(name: str) -> None:
    """Raise HookError unless ``name`` can be a name in both C and Python, and is none that the headers have."""
    if not isinstance(name, str):
        raise HookError(f"{name!r} cannot be a name here: names are text")
    word = keyword.iskeyword(name) or name in _RESERVED or name.startswith("BPF_")
    if word or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise HookError(
            f"{name!r} cannot be a name here: use letters, digits and _, beginning with a letter, no word of C or "
            "Python, and nothing that begins with BPF_"
        )


def _pointers(buffer: Buffer, offset: int) -> tuple[ContextField, ContextField]:
    pointer = ContextField(
        buffer.name,
        offset,
        _POINTER,
        kind=FieldKind.BUFFER,
        narrow=False,
        buffer=buffer.name,
        buffer_writable=buffer.writable,
    )
    return pointer, replace(pointer, name=buffer.end, offset=offset + _POINTER, kind=FieldKind.BUFFER_END)


def _context_field(field: Integer | Bytes, offset: int) -> ContextField:
    return ContextField(
        field.name, offset, field.size, writable=field.writable, element=field.alignment, narrow_writable=field.writable
    )


def _require_size(name: str, field: Integer | Bytes) -> None:
    if isinstance(field, Integer) and field.size not in _CODES:
        raise HookError(f"{name}.{field.name} is an integer of {field.size} bytes; there are 1, 2, 4 and 8")
    if field.size < 1:
        raise HookError(f"{name}.{field.name} has {field.size} bytes; it needs at least 1")


def _code(field: Integer | Bytes) -> str:
    if isinstance(field, Bytes):
        return f"{field.size}s"
    return _CODES[field.size] if field.signed else _CODES[field.size].upper()
