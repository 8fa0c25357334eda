"""The 512 bytes of a stack frame, as 64 slots of 8 bytes.

A frame is a list of 64 slots, the lowest address first. A slot is None (nothing initialised), a value (all 8 bytes, as
a register spills), or :class:`Pieces` (numbers of other sizes, some bytes perhaps uninitialised). Byte offsets are
relative to the frame pointer: -512 to -1.
"""

from __future__ import annotations

from typing import Final

from anybpf.isa import opcodes as op
from anybpf.verifier import scalar_alu
from anybpf.verifier.scalar import Scalar, constant, of_size, truncate
from anybpf.verifier.values import Linked, Pointer, Value, number_of

__all__ = ("SLOTS", "Frame", "Pieces", "Slot", "blur", "new_frame", "part", "read", "write")

SLOTS: Final = op.STACK_SIZE // 8

Piece = tuple[int, int, Scalar | Linked]  # first byte within the slot, bytes, number


class Pieces:
    """A slot that is not one value: which bytes are initialised, and which runs of them hold known numbers.

    :attr mask: bit i is set when byte i is initialised. :attr numbers: by first byte; they do not overlap.
    """

    __slots__ = ("mask", "numbers")

    def __init__(self, mask: int, numbers: tuple[Piece, ...]) -> None:
        self.mask = mask
        self.numbers = numbers


Slot = Value | Pieces | None
Frame = list[Slot]

_UNKNOWN_BYTES: Final = {mask: Pieces(mask, ()) for mask in range(1, 256)}


def new_frame() -> Frame:
    """A frame in which nothing is initialised."""
    return [None] * SLOTS


def extract(number: Scalar, start: int, size: int) -> Scalar:
    """Bytes ``start`` to ``start + size`` of ``number``, little endian."""
    if start:
        number = scalar_alu.apply(op.ALU_RSH, 64, number, constant(8 * start))
    return truncate(number, 8 * size) if size < 8 else number


def part(slot: Slot, start: int, size: int) -> Value | None:
    """What ``size`` bytes from byte ``start`` of one slot hold; None when any is uninitialised or a pointer's piece."""
    if slot is None:
        return None
    if slot.__class__ is not Pieces:
        if size == 8:
            return slot  # type: ignore[return-value]
        number = number_of(slot)  # type: ignore[arg-type]
        if number is None:
            return None
        whole = not start and number.umax < 1 << 8 * size  # the rest is zero: still the same, linked number
        return slot if whole else extract(number, start, size)  # type: ignore[return-value]
    assert isinstance(slot, Pieces)
    wanted = (1 << size) - 1 << start
    if wanted & ~slot.mask:
        return None
    result = constant(0)
    covered = 0
    for first, count, piece in slot.numbers:
        if first == start and (count == size or (count > size and _known(piece).umax < 1 << 8 * size)):
            return piece
        low, high = max(first, start), min(first + count, start + size)
        if low >= high:
            continue
        found = extract(_known(piece), low - first, high - low)
        moved = scalar_alu.apply(op.ALU_LSH, 64, found, constant(8 * (low - start)))
        result = scalar_alu.apply(op.ALU_OR, 64, result, moved)
        covered |= (1 << high - low) - 1 << low
    if covered != wanted:
        return of_size(size) if size in (1, 2, 4, 8) else truncate(of_size(8), 8 * size)
    return result


def _known(piece: Scalar | Linked) -> Scalar:
    return piece.number if isinstance(piece, Linked) else piece


def read(frame: Frame, offset: int, size: int) -> Value | None:
    """What ``size`` bytes at ``offset`` (-512 to -1) hold; None when any is uninitialised or a pointer's piece."""
    place = offset + op.STACK_SIZE
    index, start = place >> 3, place & 7
    if start + size <= 8:
        return part(frame[index], start, size)
    low, high = part(frame[index], start, 8 - start), part(frame[index + 1], 0, start + size - 8)
    low_number, high_number = number_of(low), number_of(high)
    if low_number is None or high_number is None:
        return None
    shifted = scalar_alu.apply(op.ALU_LSH, 64, high_number, constant(8 * (8 - start)))
    return scalar_alu.apply(op.ALU_OR, 64, low_number, shifted)


def write(frame: Frame, offset: int, size: int, value: Value | None) -> None:
    """Store ``size`` bytes at ``offset``; None stands for numbers of which nothing is known.

    A pointer fills one aligned slot. What is left of a pointer that is partly overwritten counts as uninitialised.
    """
    place = offset + op.STACK_SIZE
    while size:
        index, start = place >> 3, place & 7
        count = min(size, 8 - start)
        if count == 8 and value is not None:
            frame[index] = value
        elif count == 8:
            frame[index] = _UNKNOWN_BYTES[0xFF]
        else:
            frame[index] = _overwrite(frame[index], start, count, value if count == size else _first(value, count))
        place += count
        size -= count
        if size:
            value = None if value is None else _rest(value, count)


def _first(value: Value | None, count: int) -> Value | None:
    number = number_of(value)
    return None if number is None else extract(number, 0, count)


def _rest(value: Value, count: int) -> Value | None:
    number = number_of(value)
    return None if number is None else extract(number, count, 8 - count)


def _overwrite(slot: Slot, start: int, size: int, value: Value | None) -> Slot:
    mask, numbers = _contents(slot)
    end = start + size
    kept: list[Piece] = []
    for piece in numbers:
        first, count, number = piece
        if first + count <= start or first >= end:
            kept.append(piece)
            continue
        known = _known(number)
        if first < start:
            kept.append((first, start - first, extract(known, 0, start - first)))
        if first + count > end:
            kept.append((end, first + count - end, extract(known, end - first, first + count - end)))
    if value is not None:
        assert not isinstance(value, Pointer)
        kept.append((start, size, value))
        kept.sort(key=lambda piece: piece[0])
    mask |= (1 << size) - 1 << start
    return Pieces(mask, tuple(kept)) if kept else _UNKNOWN_BYTES[mask]


def _contents(slot: Slot) -> tuple[int, tuple[Piece, ...]]:
    if slot is None or slot.__class__ is Pointer:
        return 0, ()
    if slot.__class__ is Pieces:
        return slot.mask, slot.numbers
    return 0xFF, ((0, 8, slot),)  # type: ignore[return-value]


def blur(frame: Frame, low: int, high: int) -> None:
    """Forget the numbers in the bytes ``low`` to ``high`` (exclusive), some of which a store may have changed.

    What was initialised stays so; pointers there are no longer readable.
    """
    place, end = low + op.STACK_SIZE, high + op.STACK_SIZE
    while place < end:
        index, start = place >> 3, place & 7
        count = min(end - place, 8 - start)
        mask, _ = _contents(frame[index])
        touched = mask & (1 << count) - 1 << start
        if touched:
            changed = _overwrite(frame[index], start, count, None)
            assert isinstance(changed, Pieces)
            frame[index] = Pieces(mask, changed.numbers) if changed.numbers else _UNKNOWN_BYTES[mask]
        elif frame[index].__class__ is Pointer:
            frame[index] = None
        place += count


def initialised(frame: Frame, low: int, high: int) -> bool:
    """Whether every byte from ``low`` to ``high`` (exclusive) is initialised and part of a number."""
    place, end = low + op.STACK_SIZE, high + op.STACK_SIZE
    while place < end:
        index, start = place >> 3, place & 7
        count = min(end - place, 8 - start)
        wanted = (1 << count) - 1 << start
        if wanted & ~_contents(frame[index])[0]:
            return False
        place += count
    return True
