"""eBPF that runs anywhere: Windows, macOS and Linux, with no kernel, driver or root.

::

    spec    = anybpf.open("count.o")                 # what the file says: programs, maps, types
    verdict = anybpf.verify(spec)["count"]           # what the verifier says
    with anybpf.load("count.o") as obj:              # verified, maps created, ready to run
        result = obj.programs["count"].test_run(packet)

What is here comes from the packages below, which are imported when a name is first used: importing this one costs
next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anybpf import hooks
    from anybpf.elf import open
    from anybpf.runtime import Context, Map, Object, Program, default_context, load
    from anybpf.verifier import verify

__all__ = ("Context", "Map", "Object", "Program", "default_context", "hooks", "load", "open", "verify")


def __getattr__(name: str) -> Any:
    if name == "hooks":
        return import_module("anybpf.hooks")
    for part in ("elf", "verifier", "runtime") if name in __all__ else ():
        home = import_module(f"anybpf.{part}")
        if name in home.__all__:
            return getattr(home, name)
    raise AttributeError(f"module 'anybpf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
