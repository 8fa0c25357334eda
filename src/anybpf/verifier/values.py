"""What a register or a stack slot holds: a number, a number linked to others, or a pointer.

All are immutable. An uninitialised register is None.
"""

from __future__ import annotations

import enum
from itertools import count
from typing import Final

from anybpf.isa import opcodes as op
from anybpf.platforms import Context
from anybpf.spec import MapSpec
from anybpf.verifier import scalar_alu
from anybpf.verifier.scalar import Scalar, constant, describe, includes

__all__ = ("ZERO", "Link", "Linked", "Pointer", "Region", "Start", "Value", "describe_value", "number_of")

ZERO: Final = constant(0)


class Link:
    """The identity of an unknown number: everything :class:`Linked` to it differs from it by a known constant.

    :attr spilled: a copy may lie on a stack. Never becomes false again, so it may be true without need.
    :attr serial: ascending with age, to order links by.
    """

    __slots__ = ("serial", "spilled")

    _serials = count()

    def __init__(self) -> None:
        self.spilled = False
        self.serial = next(Link._serials)


class Linked:
    """A number that equals the unknown behind ``link`` plus ``delta`` (modulo 2**64); ``number`` is what is known."""

    __slots__ = ("delta", "link", "number")

    def __init__(self, number: Scalar, link: Link, delta: int) -> None:
        self.number = number
        self.link = link
        self.delta = delta


#: Where proven ranges of a packet or buffer begin (:attr:`Pointer.start`).
Start = tuple[str, tuple[Link, ...]]


class Region(enum.Enum):
    """What a pointer points into. The value is what people read."""

    CONTEXT = "the context"
    STACK = "the stack"
    PACKET = "the packet"
    PACKET_META = "the packet's metadata"
    PACKET_END = "the end of the packet"
    MAP = "a map"
    MAP_VALUE = "a map value"
    MEMORY = "memory"
    SOCKET = "a socket"
    KERNEL = "a kernel structure"
    FUNCTION = "a function"
    STALE = "a packet that has moved"


class Pointer:
    """An address: the start of a region, plus a constant, plus an unknown part whose range is known.

    :attr offset: the constant, in bytes. :attr variable: the unknown part, or None for zero.
    :attr size: bytes of the region, where that is a property of the pointer (map values, memory, sockets).
    :attr index: which region of its kind: a stack frame's depth, a map's index in the object (-1: an inner map), a
        function's slot.
    :attr map: the map of MAP and MAP_VALUE pointers. :attr structure: what a SOCKET pointer points to.
    :attr terms: PACKET only: the unknown numbers that were added to the start of the packet, in a fixed order; two
        pointers with the same terms differ by their constants alone.
    :attr identity: a number shared by all copies of a pointer that came out of one call; 0 when that does not matter.
    :attr nullable: may be NULL instead.
    :attr buffer: PACKET and PACKET_END only: the name of the buffer, where the context has buffers; "" is the packet.
        Nothing that is proven of one buffer holds for another.
    :attr writable: the program may store through it.
    """

    __slots__ = (
        "buffer", "identity", "index", "map", "moves", "nullable", "offset", "region", "size", "structure", "terms",
        "variable", "writable",
    )  # fmt: skip

    def __init__(
        self,
        region: Region,
        *,
        offset: int = 0,
        variable: Scalar | None = None,
        size: int = 0,
        index: int = 0,
        map: MapSpec | None = None,
        structure: Context | None = None,
        terms: tuple[Link, ...] = (),
        identity: int = 0,
        nullable: bool = False,
        writable: bool = True,
        buffer: str = "",
    ) -> None:
        self.region = region
        self.offset = offset
        self.variable = variable
        self.size = size
        self.index = index
        self.map = map
        self.structure = structure
        self.terms = terms
        self.identity = identity
        self.nullable = nullable
        self.writable = writable
        self.buffer = buffer
        self.moves: dict[int, Pointer] | None = None

    def moved(self, delta: int) -> Pointer:
        """The pointer ``delta`` bytes further on; the same object each time, so that comparing is cheap."""
        if self.moves is None:
            self.moves = {}
        found = self.moves.get(delta)
        if found is None:
            found = self.moves[delta] = self._with(offset=self.offset + delta)
        return found

    def shifted(self, variable: Scalar, terms: tuple[Link, ...] = ()) -> Pointer:
        """The pointer with another unknown part (and, for packets, other terms)."""
        return self._with(variable=variable, terms=terms)

    def identified(self, identity: int) -> Pointer:
        """The pointer with another identity."""
        return self._with(identity=identity)

    def not_null(self) -> Pointer:
        """The pointer, known not to be NULL."""
        return self._with(nullable=False)

    def _with(self, **changes: object) -> Pointer:
        fields = {
            "region": self.region, "offset": self.offset, "variable": self.variable, "size": self.size,
            "index": self.index, "map": self.map, "structure": self.structure, "terms": self.terms,
            "identity": self.identity, "nullable": self.nullable, "writable": self.writable, "buffer": self.buffer,
        } | changes  # fmt: skip
        return Pointer(**fields)  # type: ignore[arg-type]  # the names are those of the constructor

    @property
    def start(self) -> Start:
        """What ranges are proven from: the buffer, and the unknown numbers that were added to its start."""
        return self.buffer, self.terms

    @property
    def low(self) -> int:
        """The least offset, in bytes from the start of the region (packets: from the terms' start)."""
        return self.offset if self.variable is None else self.offset + self.variable.smin

    @property
    def high(self) -> int:
        """The greatest offset."""
        return self.offset if self.variable is None else self.offset + self.variable.smax

    def place(self) -> Scalar:
        """The whole offset as a number."""
        if self.variable is None:
            return constant(self.offset)
        return scalar_alu.apply(op.ALU_ADD, 64, self.variable, constant(self.offset))


Value = Scalar | Linked | Pointer


def number_of(value: Value | None) -> Scalar | None:
    """What is known of the number that ``value`` is, or None when it is no number."""
    if value.__class__ is Scalar:
        return value
    if value.__class__ is Linked:
        return value.number
    return None


def includes_offset(large: Pointer, small: Pointer) -> bool:
    """Whether every offset that ``small`` may have is one of ``large``."""
    if large.variable is None:
        return small.variable is None and large.offset == small.offset
    return includes(large.place(), small.place())


def describe_value(value: Value | None) -> str:
    """``value`` in words for people."""
    if value is None:
        return "not initialised"
    number = number_of(value)
    if number is not None:
        return describe(number)
    assert isinstance(value, Pointer)
    what = value.region.value
    if value.map is not None:
        what = f"{'map' if value.region is Region.MAP else 'a value of map'} {value.map.name!r}"
    elif value.region is Region.MEMORY:
        what = f"memory of {value.size} bytes"
    elif value.buffer:
        what = f"{'the end of ' if value.region is Region.PACKET_END else ''}buffer {value.buffer!r}"
    text = f"pointer to {what}"
    if value.region is Region.STACK:
        text = (
            f"pointer to the stack at {_offset(value)}"
            if value.index == 0
            else f"pointer to a caller's stack at {_offset(value)}"
        )
    elif value.offset or value.variable is not None:
        text += f", offset {_offset(value)}"
    if value.nullable:
        text += ", or NULL"
    return text


def _offset(pointer: Pointer) -> str:
    if pointer.variable is None:
        return str(pointer.offset)
    return f"{pointer.offset} + ({describe(pointer.variable)})" if pointer.offset else describe(pointer.variable)
