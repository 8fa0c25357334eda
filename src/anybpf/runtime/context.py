"""The execution context: one engine, and everything that lives in it."""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet, WeakValueDictionary

from anybpf.errors import AnyBpfError, LoadError
from anybpf.runtime._engine import ffi, lib

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from anybpf.runtime.jit import CompiledCode
    from anybpf.runtime.link import Link
    from anybpf.runtime.maps import Map
    from anybpf.runtime.program import Program
    from anybpf.runtime.trace import TracePipe

__all__ = ("Context", "default_context")


class Context:
    """An execution context: programs and maps with their ids, the names that maps are pinned under, cpu slots.

    It knows its programs and maps while somebody uses them, and holds only those that are pinned or attached. Contexts
    share nothing. Most users need only the one of the process (:func:`default_context`), which :func:`anybpf.load` uses
    when none is given. A context manager: leaving it closes all programs and maps.

    :param cpus: cpu slots: how many threads may run programs at once (others wait for their turn), and how many values
        an entry of a per-CPU map has. By default as many as the machine has processors.
    """

    def __init__(self, cpus: int | None = None) -> None:
        self.cpus = cpus or os.cpu_count() or 1
        engine = lib.ab_engine_create(self.cpus)
        if engine == ffi.NULL:
            raise LoadError(f"cannot create an execution context with {self.cpus} cpu slots")
        self.engine = ffi.gc(engine, lib.ab_engine_destroy)
        self.programs: WeakValueDictionary[int, Program] = WeakValueDictionary()
        self.maps: WeakValueDictionary[int, Map] = WeakValueDictionary()
        self.links: dict[int, Link] = {}
        self.pins: dict[str, Map] = {}
        self._lock = threading.RLock()
        self._compiler: Executor | None = None
        self._retired: list[tuple[int, Any, list[CompiledCode], tuple[object, ...]]] = []
        _contexts.add(self)

    def next_id(self) -> int:
        """Return an id that no program, map or link of this context has had."""
        return int(lib.ab_engine_next_id(self.engine))

    @property
    def trace(self) -> TracePipe:
        """What programs print (``bpf_printk``)."""
        from anybpf.runtime.trace import TracePipe

        return TracePipe(self.engine)

    @property
    def compiler(self) -> Executor:
        """The one thread that compiles programs while they run in the interpreter."""
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._compiler is None:
                self._compiler = ThreadPoolExecutor(1, "anybpf-jit")
            return self._compiler

    def retire(self, program: Any, code: list[CompiledCode], owners: tuple[object, ...] = ()) -> None:
        """Destroy an ``ab_program``, and its machine code if there is any, when no thread can be running it any more.

        A thread may have read the program from a prog array just before it was taken out.

        :param owners: of the functions that it calls, which live as long.
        """
        with self._lock:
            self._retired.append((lib.ab_engine_retire(self.engine), program, code, owners))
        self.collect()

    def collect(self) -> None:
        """Free what was retired and can no longer be in use."""
        with self._lock:
            waiting = self._retired
            self._retired = []
            for entry in waiting:
                if lib.ab_engine_retired(self.engine, entry[0]):
                    _destroy(entry[1], entry[2])
                else:
                    self._retired.append(entry)

    def close(self) -> None:
        """Detach every link, close every program and map. Further calls do nothing.

        No thread may be running programs of this context, except those of the hooks that are detached.
        """
        for link in list(self.links.values()):
            link.detach()
        with self._lock:
            compiler, self._compiler = self._compiler, None
        if compiler is not None:
            compiler.shutdown(cancel_futures=True)
        for program in list(self.programs.values()):
            program.close()
        self.pins.clear()
        for opened in list(self.maps.values()):
            opened.close()
        self.collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _destroy(program: Any, code: list[CompiledCode]) -> None:
    lib.ab_program_destroy(program)
    for compiled in code:
        compiled.close()


_contexts: WeakSet[Context] = WeakSet()


@atexit.register
def _detach_all() -> None:
    """Detach what is attached when the process ends, while its threads still run: hooks give back what they took.

    A forked child leaves alone what its parent has attached.
    """
    for context in list(_contexts):
        for link in list(context.links.values()):
            if link.process == os.getpid():
                with suppress(AnyBpfError, OSError):
                    link.detach()


_held: list[Context] = []


def _before_fork() -> None:
    """Keep other threads out of the engines while this one forks: the child would find them half way in for ever."""
    _held[:] = sorted(_contexts, key=id)
    for context in _held:
        lib.ab_engine_hold(context.engine)


def _after_fork(forked: bool) -> None:
    for context in _held:
        lib.ab_engine_go_on(context.engine, forked)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(False),
        after_in_child=lambda: _after_fork(True),
    )


_default: Context | None = None
_default_lock = threading.Lock()


def default_context() -> Context:
    """Return the context of this process, made when it is first asked for."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Context()
        return _default
