"""What is known at one point of one path: registers, stack frames, proven packet ranges, things to release."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from anybpf.verifier.scalar import Scalar
from anybpf.verifier.stack import Frame, Pieces, new_frame
from anybpf.verifier.values import Link, Linked, Pointer, Region, Value

__all__ = ("Caller", "Reference", "State")


class Caller:
    """A frame that waits for a call to return. Immutable.

    :attr function: slot of its function. :attr call: slot of the call. :attr registers: its r6 to r9.
    """

    __slots__ = ("call", "function", "registers")

    def __init__(self, function: int, call: int, registers: tuple[Value | None, ...]) -> None:
        self.function = function
        self.call = call
        self.registers = registers


#: Something acquired that must be released: its identity, and the slot of the call that acquired it.
Reference = tuple[int, int]


class State:
    """One state. Mutable while a path runs; :meth:`copy` before it forks.

    :attr registers: r0 to r10 of the current frame; None is uninitialised.
    :attr frames: stack frames, the entry function's first. :attr callers: one for each frame but the current.
    :attr ranges: terms of a packet pointer → bytes from there that are proven to lie in the packet.
    :attr meta_range: bytes from the start of the metadata proven to lie before the packet.
    :attr references: what must be released, oldest first. :attr lock: identity and offset of the lock held, or None.
    :attr chain: slots of the calls that lead here, the entry function's first. :attr function: slot of the current one.
    :attr slot: the instruction that runs. :attr trace: what its block did that its code alone does not tell, in order.
    """

    __slots__ = (
        "callers", "chain", "frames", "function", "lock", "meta_range", "ranges", "references", "registers", "slot", "trace",
    )  # fmt: skip

    def __init__(self) -> None:
        self.registers: list[Value | None] = [None] * 11
        self.frames: list[Frame] = [new_frame()]
        self.callers: tuple[Caller, ...] = ()
        self.ranges: dict[tuple[Link, ...], int] = {}
        self.meta_range = 0
        self.references: tuple[Reference, ...] = ()
        self.lock: tuple[int, int] | None = None
        self.chain: tuple[int, ...] = ()
        self.function = 0
        self.slot = 0
        self.trace: list[object] = []

    def copy(self) -> State:
        """An independent state with the same contents and an empty trace."""
        other = State.__new__(State)
        other.registers = self.registers[:]
        other.frames = [frame[:] for frame in self.frames]
        other.callers = self.callers
        other.ranges = self.ranges  # replaced, never changed in place
        other.meta_range = self.meta_range
        other.references = self.references
        other.lock = self.lock
        other.chain = self.chain
        other.function = self.function
        other.slot = self.slot
        other.trace = []
        return other

    @property
    def depth(self) -> int:
        """How many calls deep the current frame is; 0 in the entry function."""
        return len(self.callers)

    def values(self) -> Iterator[Value]:
        """Every value in a register or a whole stack slot, of all frames."""
        for value in self.registers:
            if value is not None:
                yield value
        for caller in self.callers:
            for value in caller.registers:
                if value is not None:
                    yield value
        for frame in self.frames:
            for slot in frame:
                if slot is not None and slot.__class__ is not Pieces:
                    yield slot  # type: ignore[misc]

    def replace(self, change: Callable[[Value], Value | None]) -> None:
        """Put ``change(value)`` in place of each value in a register or a whole stack slot, of all frames."""
        registers = self.registers
        for index, value in enumerate(registers):
            if value is not None:
                registers[index] = change(value)
        if self.callers:
            self.callers = tuple(_replace_registers(caller, change) for caller in self.callers)
        for frame in self.frames:
            for index, slot in enumerate(frame):
                if slot is not None and slot.__class__ is not Pieces:
                    frame[index] = change(slot)  # type: ignore[arg-type]

    def forget_packet(self) -> None:
        """Make every pointer into the packet unusable, because the packet may have moved."""
        self.ranges = {}
        self.meta_range = 0
        self.replace(lambda value: _STALE if value.__class__ is Pointer and value.region in _PACKETS else value)  # type: ignore[union-attr]


_STALE = Pointer(Region.STALE)
_PACKETS = frozenset({Region.PACKET, Region.PACKET_META, Region.PACKET_END})


def _replace_registers(caller: Caller, change: Callable[[Value], Value | None]) -> Caller:
    registers = tuple(None if value is None else change(value) for value in caller.registers)
    if all(new is old for new, old in zip(registers, caller.registers, strict=True)):
        return caller
    return Caller(caller.function, caller.call, registers)


def refine_linked(state: State, link: Link, learn: Callable[[Linked], Scalar | None]) -> bool:
    """Give every copy of ``link`` what ``learn`` says of it; False when that contradicts what is known."""
    possible = True

    def change(value: Value) -> Value:
        nonlocal possible
        if value.__class__ is Linked and value.link is link:  # type: ignore[union-attr]
            assert isinstance(value, Linked)
            number = learn(value)
            if number is None:
                possible = False
            elif number is not value.number:
                return Linked(number, link, value.delta)
        return value

    state.replace(change)
    if link.spilled:
        for frame in state.frames:
            for index, slot in enumerate(frame):
                if slot.__class__ is Pieces:
                    assert isinstance(slot, Pieces)
                    numbers = tuple((first, size, change(number)) for first, size, number in slot.numbers)
                    frame[index] = Pieces(slot.mask, numbers)  # type: ignore[arg-type]
    return possible
