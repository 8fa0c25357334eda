"""Repetitions that end because something at run time counts them: rounds of callbacks, passes of may_goto.

Each frame has a turn (:attr:`State.turn`). Coming back to an explored state is no endless loop if in between a frame
that was there all the time has gone from one turn to another. A frame that was left and entered again proves nothing:
its counter began anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from anybpf.verifier.cover import Snapshot
from anybpf.verifier.state import State, Turn

__all__ = ("open_ends", "progress", "turn_at")


def progress(before: State, after: State) -> int | None:
    """The depth of the outermost frame that has gone on to another turn on the path from ``before`` to ``after``; None
    when no frame has that was there all the time."""
    for depth, (old, new) in enumerate(zip(_turns(before), _turns(after), strict=False)):
        if old != new:
            return depth if old.activation == new.activation else None
    return None


def turn_at(state: State, depth: int) -> Turn:
    """The turn of the frame at ``depth``."""
    return _turns(state)[depth]


def _turns(state: State) -> list[Turn]:
    return [*(caller.turn for caller in state.callers), state.turn]


def open_ends(snapshot: Snapshot) -> Iterator[tuple[Snapshot, int]]:
    """The states still being explored which what follows ``snapshot`` comes back to, although no turn passes in between
    (one did before ``snapshot``), with the depth of the frame whose turn it was."""
    for target, depth in snapshot.ends:
        if target.open:
            yield target, depth
        else:
            for further, other in open_ends(target):
                yield further, min(depth, other)
