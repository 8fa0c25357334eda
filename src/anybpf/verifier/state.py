"""What is known at one point of one path: registers, stack frames, proven packet ranges, things to release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from anybpf.verifier.scalar import Scalar
from anybpf.verifier.stack import Frame, Pieces, new_frame
from anybpf.verifier.values import Link, Linked, Pointer, Region, Start, Value

__all__ = ("Caller", "Reference", "Round", "State", "Turn")


#: Something acquired that must be released: its identity, and the slot of the call that acquired it.
Reference = tuple[int, int]


class Turn(NamedTuple):
    """Which bounded repetition a frame is in.

    :attr activation: the call that the frame belongs to; all rounds that one call of a helper makes are one activation.
    :attr number: changes when a callback's round begins or may_goto is passed.
    """

    activation: int = 0
    number: int = 0


class Caller:
    """A frame that waits for a call to return. Immutable.

    :attr function: slot of its function. :attr call: slot of the call. :attr registers: its r6 to r9.
    :attr turn: the caller's :attr:`State.turn`. :attr round: what it is called for, when a helper calls it back.
    """

    __slots__ = ("call", "function", "registers", "round", "turn")

    def __init__(
        self, function: int, call: int, registers: tuple[Value | None, ...], turn: Turn, round: Round | None = None
    ) -> None:
        self.function = function
        self.call = call
        self.registers = registers
        self.turn = turn
        self.round = round


class Round:
    """How a helper calls back: the function's slot, its arguments (r1 on), what the helper returns in the end (r0), and
    the references held, which a round must leave as they were. Immutable.

    :attr activation: of the callback's frames (see :class:`Turn`).
    """

    __slots__ = ("activation", "arguments", "function", "references", "result")

    def __init__(
        self,
        activation: int,
        function: int,
        arguments: tuple[Value, ...],
        result: Value | None,
        references: tuple[Reference, ...],
    ) -> None:
        self.activation = activation
        self.function = function
        self.arguments = arguments
        self.result = result
        self.references = references


class State:
    """One state. Mutable while a path runs; :meth:`copy` before it forks.

    :attr registers: r0 to r10 of the current frame; None is uninitialised.
    :attr frames: stack frames, the entry function's first. :attr callers: one for each frame but the current.
    :attr ranges: start of a packet pointer → bytes from there that are proven to lie in the packet (or buffer).
    :attr meta_range: bytes from the start of the metadata proven to lie before the packet.
    :attr length: where the program is given plain memory: the link of its length in bytes.
    :attr references: what must be released, oldest first. :attr lock: identity and offset of the lock held, or None.
    :attr chain: slots of the calls that lead here, the entry function's first. :attr function: slot of the current one.
    :attr turn: which bounded repetition the current frame is in (see :mod:`anybpf.verifier.progress`).
    :attr slot: the instruction that runs. :attr trace: what its block did that its code alone does not tell, in order.
    """

    __slots__ = (
        "callers", "chain", "frames", "function", "length", "lock", "meta_range", "ranges", "references", "registers",
        "slot", "trace", "turn",
    )  # fmt: skip

    def __init__(self) -> None:
        self.registers: list[Value | None] = [None] * 11
        self.frames: list[Frame] = [new_frame()]
        self.callers: tuple[Caller, ...] = ()
        self.ranges: dict[Start, int] = {}
        self.meta_range = 0
        self.length: Link | None = None
        self.references: tuple[Reference, ...] = ()
        self.lock: tuple[int, int] | None = None
        self.chain: tuple[int, ...] = ()
        self.function = 0
        self.turn = Turn()
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
        other.length = self.length
        other.references = self.references
        other.lock = self.lock
        other.chain = self.chain
        other.function = self.function
        other.turn = self.turn
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
        self.replace_registers(change)
        for frame in self.frames:
            for index, slot in enumerate(frame):
                if slot is not None and slot.__class__ is not Pieces:
                    frame[index] = change(slot)  # type: ignore[arg-type]  # all other slots are values

    def replace_registers(self, change: Callable[[Value], Value | None]) -> None:
        """Put ``change(value)`` in place of each value in a register, of all frames."""
        registers = self.registers
        for index, value in enumerate(registers):
            if value is not None:
                registers[index] = change(value)
        if self.callers:
            self.callers = tuple(_replace_registers(caller, change) for caller in self.callers)

    def forget_packet(self) -> None:
        """Make every pointer into the packet unusable, because the packet may have moved."""
        self.ranges = {}
        self.meta_range = 0
        self.replace(lambda value: _STALE if value.__class__ is Pointer and value.region in _PACKETS else value)


_STALE = Pointer(Region.STALE)
_PACKETS = frozenset({Region.PACKET, Region.PACKET_META, Region.PACKET_END})


def _replace_registers(caller: Caller, change: Callable[[Value], Value | None]) -> Caller:
    registers = tuple(None if value is None else change(value) for value in caller.registers)
    if all(new is old for new, old in zip(registers, caller.registers, strict=True)):
        return caller
    return Caller(caller.function, caller.call, registers, caller.turn, caller.round)


def refine_linked(state: State, link: Link, learn: Callable[[Linked], Scalar | None]) -> bool:
    """Give every copy of ``link`` what ``learn`` says of it; False when that contradicts what is known."""
    possible = True

    def change(value: Value) -> Value:
        nonlocal possible
        if value.__class__ is Linked and value.link is link:
            assert isinstance(value, Linked)
            number = learn(value)
            if number is None:
                possible = False
            elif number is not value.number:
                return Linked(number, link, value.delta)
        return value

    if not link.spilled:
        state.replace_registers(change)
        return possible
    state.replace(change)
    for frame in state.frames:
        for index, slot in enumerate(frame):
            if slot.__class__ is Pieces:
                numbers = tuple((first, size, change(number)) for first, size, number in slot.numbers)
                frame[index] = Pieces(slot.mask, numbers)  # type: ignore[arg-type]  # numbers stay numbers
    return possible
