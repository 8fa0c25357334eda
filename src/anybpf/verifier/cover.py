"""When an explored state covers another, so that the other need not be explored again.

A :class:`Snapshot` keeps a state and, once everything behind it has been explored, what of it was needed. It covers a
state that agrees in those cells: the same kinds of values; ranges inside its own where they mattered exactly; links,
identities and packet terms under one renaming.
"""

from __future__ import annotations

from anybpf.verifier import stack
from anybpf.verifier.needs import FRAME_BITS, PACKET_BIT, STACK_SHIFT
from anybpf.verifier.scalar import TOP, Scalar, includes
from anybpf.verifier.stack import Pieces, Slot
from anybpf.verifier.state import State
from anybpf.verifier.tnum import U64
from anybpf.verifier.values import Link, Linked, Pointer, Region, Value, includes_offset, number_of

__all__ = ("Snapshot", "share_frames")

_RegisterCell = tuple[int, int, Value, bool]  # frame, register, old value, exact
_StackCell = tuple[int, int, Slot, int, int]  # frame, slot, old contents, bytes read, bytes exact


class Snapshot:
    """A state as it was at the start of a block, and what was needed of it.

    :attr read, exact: the need, once known. :attr open: what follows is still being explored.
    :attr ends: states that what follows comes back to (see :func:`anybpf.verifier.progress.open_ends`).
    """

    __slots__ = ("_packets", "_registers", "_stack", "ends", "exact", "hits", "open", "read", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self.open = True
        self.ends: set[tuple[Snapshot, int]] = set()
        self.read = 0
        self.exact = 0
        self.hits = 0
        self._registers: list[_RegisterCell] | None = None
        self._stack: list[_StackCell] = []
        self._packets = False

    def close(self, read: int, exact: int) -> None:
        """Set what was needed."""
        self.read = read
        self.exact = exact
        self._registers = None

    def covers(self, state: State) -> bool:
        """Whether all that ``state`` can do has been explored from here. Both must be at the same block and calls."""
        mine = self.state
        if len(mine.references) != len(state.references) or (mine.lock is None) != (state.lock is None):
            return False
        cells = self._registers
        if cells is None:
            cells = self._select()
        renaming = _Renaming(mine, state)
        if not renaming.match_rounds():
            return False
        depth = len(state.callers)
        for position, (frame, register, old, exact) in enumerate(cells):
            new = state.registers[register] if frame == depth else state.callers[frame].registers[register - 6]
            if new is old and old.__class__ is Scalar:
                continue
            if not renaming.match(old, new, exact):
                if position:  # what differed once tends to differ again: look there first
                    cells.insert(0, cells.pop(position))
                return False
        frames = state.frames
        for position, (frame, index, contents, read, exact_bytes) in enumerate(self._stack):
            found = frames[frame][index]
            if found is contents and contents.__class__ is Scalar:
                continue
            if not _match_slot(renaming, contents, found, read, exact_bytes):
                if position:
                    self._stack.insert(0, self._stack.pop(position))
                return False
        return renaming.agrees(self._packets)

    def counts_on(self, state: State, registers: int) -> bool:
        """Whether a register of the bit set ``registers`` holds another constant now: a quick no to covering, for the
        counters of loops."""
        for register, (old, new) in enumerate(zip(self.state.registers, state.registers, strict=True)):
            if old is new or not registers >> register & 1:
                continue
            if old.__class__ is Scalar and new.__class__ is Scalar and None is not old.known != new.known:
                return True
        return False

    def generalise(self, state: State) -> tuple[State, int] | None:
        """A state that covers ``state`` and, in what was needed, this one too; and in how many cells it differs.

        Where the two have different numbers it has any number. None when they differ in more than numbers.
        """
        mine = self.state
        if len(mine.references) != len(state.references) or (mine.lock is None) != (state.lock is None):
            return None
        renaming = _Renaming(mine, state)
        result = state.copy()
        depth = len(state.callers)
        changes = 0
        for frame, register, old, exact in self._registers or self._select():
            new = state.registers[register] if frame == depth else state.callers[frame].registers[register - 6]
            if renaming.match(old, new, exact):
                continue
            if frame != depth or number_of(old) is None or number_of(new) is None:
                return None
            result.registers[register] = TOP
            changes += 1
        for frame, index, contents, read, exact_bytes in self._stack:
            found = state.frames[frame][index]
            if _match_slot(renaming, contents, found, read, exact_bytes):
                continue
            if isinstance(contents, Pointer) or isinstance(found, Pointer) or found is None:
                return None
            mask = found.mask if isinstance(found, Pieces) else 0xFF
            if read & ~mask:
                return None
            result.frames[frame][index] = Pieces(mask, ())
            changes += 1
        return (result, changes) if changes and renaming.agrees(self._packets) else None

    def _select(self) -> list[_RegisterCell]:
        """List the needed cells with their values."""
        state = self.state
        registers: list[_RegisterCell] = []
        self._stack = []
        self._packets = False
        depth = len(state.callers)
        for frame in range(depth, -1, -1):
            level = (depth - frame) * FRAME_BITS
            read = self.read >> level & (1 << FRAME_BITS) - 1
            exact = self.exact >> level & (1 << FRAME_BITS) - 1
            if exact & PACKET_BIT:
                self._packets = True
            for register in range(10):
                if read >> register & 1:
                    held = state.registers[register] if frame == depth else _saved(state, frame, register)
                    if held is not None:
                        registers.append((frame, register, held, bool(exact >> register & 1)))
            read >>= STACK_SHIFT
            exact >>= STACK_SHIFT
            index = 0
            slots = state.frames[frame]
            while read:
                if read & 0xFF and slots[index] is not None:
                    self._stack.append((frame, index, slots[index], read & 0xFF, exact & 0xFF))
                read >>= 8
                exact >>= 8
                index += 1
        exact_values = [cell[2] for cell in registers if cell[3]] + [cell[2] for cell in self._stack if cell[4]]
        self._packets = self._packets or any(
            value.__class__ is Pointer and value.region in _PACKETS for value in exact_values
        )
        self._registers = registers
        return registers


_PACKETS = frozenset({Region.PACKET, Region.PACKET_META})


def _saved(state: State, frame: int, register: int) -> Value | None:
    return state.callers[frame].registers[register - 6] if register >= 6 else None


def share_frames(state: State, other: State) -> None:
    """Let ``state`` use the frames of ``other`` where they are equal, to save memory. Neither is changed again."""
    for index, frame in enumerate(other.frames):
        if state.frames[index] == frame:
            state.frames[index] = frame


def _match_slot(renaming: _Renaming, old: Slot, new: Slot, read: int, exact: int) -> bool:
    if old.__class__ is not Pieces and new.__class__ is not Pieces:
        return renaming.match(old, new, bool(exact))  # type: ignore[arg-type]
    if new.__class__ is Pointer or old.__class__ is Pointer or new is None:
        return False
    if old.__class__ is Pieces:
        read &= old.mask
    if new.__class__ is Pieces and read & ~new.mask:
        return False
    if not exact:
        return True
    pieces = old.numbers if old.__class__ is Pieces else ((0, 8, old),)
    for first, size, number in pieces:
        if not exact & (1 << size) - 1 << first:
            continue
        found = stack.part(new, first, size)
        if found is None:
            # Some bytes of a known number are not needed, and not initialised here: compare what is needed.
            if not renaming.unlink(number) or not _match_runs(old, new, exact):
                return False
        elif not renaming.match(number, found, True):  # type: ignore[arg-type]
            return False
    return True


def _match_runs(old: Slot, new: Slot, exact: int) -> bool:
    """Compare each run of needed bytes as one number: what was loaded from it lies in it."""
    first = 0
    while exact >> first:
        size = 0
        while exact >> first + size & 1:
            size += 1
        if size:
            before, after = number_of(stack.part(old, first, size)), number_of(stack.part(new, first, size))
            if before is not None and (after is None or not includes(before, after)):
                return False
        first += size or 1
    return True


class _Renaming:
    """One consistent renaming of an old state's links, identities and terms to a new state's."""

    __slots__ = ("_identities", "_links", "_new", "_old")

    def __init__(self, old: State, new: State) -> None:
        self._old = old
        self._new = new
        self._identities: dict[int, int] = {}
        # Old link → what holds the same unknown in the new state: a link (or None: a constant), and its distance.
        # The length of plain memory is what it is.
        self._links: dict[Link, tuple[object, int]] = {} if old.length is None else {old.length: (old.length, 0)}

    def match(self, old: Value | None, new: Value | None, exact: bool) -> bool:
        """Whether ``new`` is one of the values that ``old`` stands for."""
        if old is None:
            return True
        if new is None:
            return False
        if old.__class__ is Pointer:
            return new.__class__ is Pointer and self._match_pointer(old, new, exact)
        if new.__class__ is Pointer:
            return False
        if not exact:
            return True
        after = number_of(new)
        assert after is not None
        if old.__class__ is Scalar:
            return includes(old, after)
        assert isinstance(old, Linked)
        if not includes(old.number, after):
            return False
        if isinstance(new, Linked):
            found: tuple[object, int] = new.link, new.delta - old.delta
        elif after.known is not None:
            found = None, after.known - old.delta
        else:
            found = new, 0
        known = self._links.setdefault(old.link, found)
        if known is found:
            return True
        same = known[0] is found[0] and not isinstance(found[0], Scalar)
        return same and not (known[1] - found[1]) & U64

    def unlink(self, old: object) -> bool:
        """Match the link of ``old``, if it has one, with a number that is linked to nothing."""
        if not isinstance(old, Linked):
            return True
        alone: tuple[object, int] = TOP, 0
        return self._links.setdefault(old.link, alone) is alone

    def _match_pointer(self, old: Pointer, new: Pointer, exact: bool) -> bool:
        if old is new and not old.identity and not old.terms:
            return True
        if (
            old.region is not new.region
            or old.index != new.index
            or old.size != new.size
            or old.map is not new.map
            or old.structure is not new.structure
            or old.writable != new.writable
            or old.buffer != new.buffer
            or (new.nullable and not old.nullable)
            or not includes_offset(old, new)
        ):
            return False
        if old.region is Region.PACKET and (old.terms or new.terms):
            if len(old.terms) != len(new.terms) or (old.terms and old.offset != new.offset):
                return False
            for mine, other in zip(old.terms, new.terms, strict=True):
                known = self._links.setdefault(mine, (other, 0))
                if known[0] is not other or known[1]:
                    return False
        return self.match_identity(old.identity, new.identity)

    def match_rounds(self) -> bool:
        """Whether helpers that call back go on calling the same with the same."""
        for mine, other in zip(self._old.callers, self._new.callers, strict=True):
            old, new = mine.round, other.round
            if old is new or old is None or new is None:
                continue  # both are None or neither: the chain of calls is the same
            if old.function != new.function or not self.match(old.result, new.result, True):
                return False
            if not all(self.match(a, b, True) for a, b in zip(old.arguments, new.arguments, strict=True)):
                return False
            if len(old.references) != len(new.references):
                return False
            if not all(self.match_identity(a[0], b[0]) for a, b in zip(old.references, new.references, strict=True)):
                return False
        return True

    def match_identity(self, old: int, new: int) -> bool:
        """Whether ``old`` is, or may be, renamed to ``new``."""
        if not old or not new:
            return old == new
        return self._identities.setdefault(old, new) == new

    def agrees(self, packets: bool) -> bool:
        """Whether references, the lock and packet ranges agree, given what has been matched."""
        old, new = self._old, self._new
        for mine, other in zip(old.references, new.references, strict=True):
            if not self.match_identity(mine[0], other[0]):
                return False
        if old.lock is not None:
            assert new.lock is not None
            if old.lock[1] != new.lock[1] or not self._match_lock(old.lock[0], new.lock[0]):
                return False
        if packets:
            if new.meta_range < old.meta_range:
                return False
            for (buffer, terms), proven in old.ranges.items():
                if not self._proven(buffer, terms, proven):
                    return False
        return True

    def _match_lock(self, old: int, new: int) -> bool:
        return old == new if old < 0 or new < 0 else self.match_identity(old, new)

    def _proven(self, buffer: str, terms: tuple[Link, ...], proven: int) -> bool:
        renamed = []
        for term in terms:
            known = self._links.get(term)
            if known is None:
                return True  # nothing that is needed can name this range
            if known[1] or not isinstance(known[0], Link):
                return False
            renamed.append(known[0])
        renamed.sort(key=lambda link: link.serial)
        return self._new.ranges.get((buffer, tuple(renamed)), 0) >= proven
