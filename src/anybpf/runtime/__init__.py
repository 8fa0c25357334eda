"""The execution context: maps, programs, lowering, interpreters, JIT."""

from anybpf.runtime.context import Context, default_context
from anybpf.runtime.events import Event, EventLayout, layout_of
from anybpf.runtime.maps import Map
from anybpf.runtime.object import Object, load
from anybpf.runtime.program import Mode, Packets, Program, Redirect, Replay, RunResult
from anybpf.runtime.trace import TraceLine, TracePipe

__all__ = (
    "Context",
    "Event",
    "EventLayout",
    "Map",
    "Mode",
    "Object",
    "Packets",
    "Program",
    "Redirect",
    "Replay",
    "RunResult",
    "TraceLine",
    "TracePipe",
    "default_context",
    "layout_of",
    "load",
)
