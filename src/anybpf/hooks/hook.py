"""What a hook is: an event source that programs attach to.

A hook says which programs it takes, builds their context, and acts on what they return. Third-party packages add hooks
by subclassing :class:`Hook` or :class:`LiveHook` and registering them (:mod:`anybpf.hooks.registry`).
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from anybpf.errors import HookError
from anybpf.runtime import AttachPoint, Link, Program

__all__ = ("Accepts", "Hook", "LiveHook")


@dataclass(frozen=True, slots=True)
class Accepts:
    """A program type that a hook takes; ``attach_types`` empty: whatever attach type its programs have."""

    platform: str
    program_type: str
    attach_types: tuple[str, ...] = ()

    def matches(self, program: Program) -> bool:
        """Whether ``program`` is of this type."""
        kind = program.type
        if (program.platform.name, kind.name) != (self.platform, self.program_type):
            return False
        return not self.attach_types or kind.attach_type in self.attach_types


class Hook(abc.ABC):
    """An event source.

    :cvar name: what the command line and messages call it.
    :cvar takes: the program types that it takes; a hook that tells otherwise has its own :meth:`require`.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[Accepts, ...]] = ()

    def require(self, program: Program) -> None:
        """Raise HookError when this hook has no events for programs of this type."""
        if not any(accepted.matches(program) for accepted in self.takes):
            attach_type = program.type.attach_type
            kind = program.type.name + (f" ({attach_type})" if attach_type not in ("", program.type.name) else "")
            taken = " and ".join(f"{one.platform} {one.program_type}" for one in self.takes)
            raise HookError(
                f"program {program.name!r} is a {program.platform.name} {kind} program, which the {self.name} hook "
                f"does not run; it runs {taken} programs"
            )

    @abc.abstractmethod
    def attach(self, program: Program) -> Any:
        """Attach ``program`` and return its link.

        :raises HookError: the program is of no type that is taken, or the event source cannot be opened.
        :raises UnsupportedError: this operating system has no such event source.
        """


class LiveHook(Hook):
    """A hook whose events come by themselves, while at least one program is attached.

    Programs attached to one such object share its events, in the order of their priority. The first to attach opens
    the event source; when the last is detached, it is closed.
    """

    def __init__(self) -> None:
        self._point: AttachPoint | None = None
        self._changing = threading.RLock()
        self._ended = threading.Event()
        self._failure: HookError | None = None

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """What the hook was made with, for people to read."""
        return {}

    @property
    def links(self) -> tuple[Link, ...]:
        """The links, in the order in which their programs run."""
        point = self._point
        return point.links if point is not None else ()

    @property
    def dropped(self) -> int:
        """Events lost by us so far: they met no program, or their verdict could not be carried out."""
        return 0

    def attach(self, program: Program, *, priority: int = 50) -> Link:
        """Attach ``program``; returns its :class:`~anybpf.runtime.Link`.

        :param priority: programs of lower priority see an event earlier; of equals, the one attached earlier.
        """
        self.require(program)
        with self._changing:
            first = self._point is None
            point = self._point or AttachPoint(program.context, program.type)
            link = point.attach(
                program,
                self,
                priority=priority,
                parameters=self.parameters,
                dropped=lambda: self.dropped,
                on_detach=self._close_after_last,
            )
            if first:
                self._point, self._failure = point, None
                self._ended.clear()
                try:
                    self._open(point)
                except BaseException:
                    self._point = None
                    link.detach()
                    raise
            return link

    def _close_after_last(self) -> None:
        with self._changing:
            if self._point is not None and not self._point.links:
                self._point = None
                try:
                    self._close()
                finally:
                    self._ended.set()

    @abc.abstractmethod
    def _open(self, point: AttachPoint) -> None:
        """Open the event source and begin to give events to ``point``. What fails must leave nothing behind."""

    @abc.abstractmethod
    def _close(self) -> None:
        """Close the event source; events that are under way may end first. The failed source closes as well."""

    def _fail(self, failure: HookError) -> None:
        """Report, from the thread that brings events, that there will be no more; links stay until detached."""
        self._failure = failure
        self._ended.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the event source has ended; False when it still runs after ``timeout`` seconds.

        :raises HookError: it ended by itself; the message says why.
        """
        ended = self._ended.wait(timeout)
        if self._failure is not None:
            raise self._failure
        return ended
