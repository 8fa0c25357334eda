"""Widening: make a state that keeps changing from round to round general enough to cover the rounds to come.

Used where rounds are bounded at run time but not by what the analysis can see: callbacks, and loops around may_goto.
"""

from __future__ import annotations

from anybpf.verifier.scalar import TOP, includes
from anybpf.verifier.scalar import join as join_scalars
from anybpf.verifier.stack import Pieces, Slot
from anybpf.verifier.state import Caller, State
from anybpf.verifier.values import Link, Pointer, Region, Value, includes_offset, number_of

__all__ = ("widen",)


def widen(before: State, state: State, hard: bool) -> None:
    """Generalise ``state`` where it differs from ``before``, the state in which the previous round began.

    Numbers become any number in both ranges, or (``hard``) any number at all; pointers that moved get an unknown
    offset.
    """
    state.registers = [_widen(old, new, hard) for old, new in zip(before.registers, state.registers, strict=True)]
    state.callers = tuple(
        Caller(
            new.function,
            new.call,
            tuple(_widen(a, b, hard) for a, b in zip(old.registers, new.registers, strict=True)),
            new.turn,
            new.round,
        )
        for old, new in zip(before.callers, state.callers, strict=True)
    )
    for old_frame, frame in zip(before.frames, state.frames, strict=True):
        for index, slot in enumerate(frame):
            frame[index] = _widen_slot(old_frame[index], slot, hard)
    state.ranges = {
        start: min(proven, before.ranges[start]) for start, proven in state.ranges.items() if start in before.ranges
    }
    state.meta_range = min(state.meta_range, before.meta_range)


def _widen(old: Value | None, new: Value | None, hard: bool) -> Value | None:
    if old is new or new is None:
        return new
    if old is None:
        return None  # not initialised in every round
    before, after = number_of(old), number_of(new)
    if before is not None and after is not None:
        if includes(before, after):
            return before
        return TOP if hard else join_scalars(before, after)
    if isinstance(old, Pointer) and isinstance(new, Pointer) and not includes_offset(old, new):
        terms = (Link(),) if new.region is Region.PACKET else ()
        return new.shifted(TOP, terms)
    return new


def _widen_slot(old: Slot, new: Slot, hard: bool) -> Slot:
    if old is new:
        return new
    if not isinstance(old, Pieces) and not isinstance(new, Pieces):
        return _widen(old, new, hard)
    if not hard or isinstance(old, Pointer) or isinstance(new, Pointer) or old is None or new is None:
        return new
    mask = (old.mask if isinstance(old, Pieces) else 0xFF) & (new.mask if isinstance(new, Pieces) else 0xFF)
    return Pieces(mask, ()) if mask else None
