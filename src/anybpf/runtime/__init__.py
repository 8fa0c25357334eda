"""The execution context: maps, programs, lowering, interpreters, JIT.

The modules behind these names are imported when a name is first used: whoever wants the engine alone, as the
conformance plugin does, pays for nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anybpf.runtime.context import Context, default_context
    from anybpf.runtime.events import Event, EventLayout, layout_of
    from anybpf.runtime.link import AttachPoint, Link, LinkStats
    from anybpf.runtime.maps import Map
    from anybpf.runtime.object import Object, load
    from anybpf.runtime.program import Mode, Packets, Program, Redirect, Replay, RunResult
    from anybpf.runtime.records import Batch, RecordReader
    from anybpf.runtime.trace import TraceLine, TracePipe

__all__ = (
    "AttachPoint",
    "Batch",
    "Context",
    "Event",
    "EventLayout",
    "Link",
    "LinkStats",
    "Map",
    "Mode",
    "Object",
    "Packets",
    "Program",
    "RecordReader",
    "Redirect",
    "Replay",
    "RunResult",
    "TraceLine",
    "TracePipe",
    "default_context",
    "layout_of",
    "load",
)


_PARTS = ("context", "trace", "events", "maps", "program", "records", "link", "object")


def __getattr__(name: str) -> Any:
    for part in _PARTS if name in __all__ else ():
        home = import_module(f"anybpf.runtime.{part}")
        if name in home.__all__:
            return getattr(home, name)
    raise AttributeError(f"module 'anybpf.runtime' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
