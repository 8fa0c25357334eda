"""Socket calls decided by programs: what all event sources that bring such calls have in common.

Programs of eBPF for Windows (``bind``, ``sock_addr``) and of Linux's control groups (``cgroup_sock_addr``,
``cgroup_sock``) may be attached to one hook at the same time, on every operating system. A call meets Linux's programs
first, then those of ``bind``, then those of ``sock_addr``; within an attach type, programs run by priority. Whoever
denies, the call fails, and no further attach type sees it; an address that was rewritten is what later ones see.

Fail-open: a program that faults, or that the engine cannot run, lets the call go on, and so does a hook without links.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import ClassVar

from anybpf.errors import HookError
from anybpf.hooks import socket_linux, socket_windows
from anybpf.hooks.hook import Accepts, Hook
from anybpf.hooks.socket_call import Decision, Operation, SocketCall
from anybpf.hooks.socket_view import View, allowed
from anybpf.runtime import Link, Program
from anybpf.runtime.link import DEFAULT_PRIORITY
from anybpf.runtime.socket_point import Caller, SocketPoint

__all__ = ("SocketHook", "accepted")

#: (platform, program type, attach type) → view, in the order in which a call meets them.
_VIEWS: dict[tuple[str, str, str], type[View]] = {
    (platform, program_type, attach_type): view
    for platform, types in (("linux", socket_linux.VIEWS), ("windows", socket_windows.VIEWS))
    for program_type, views in types.items()
    for attach_type, view in views.items()
}


def accepted(operations: Iterable[Operation]) -> tuple[Accepts, ...]:
    """Return the program types and attach types that see some of these operations: what a source of them takes."""
    brought = frozenset(operations)
    types: dict[tuple[str, str], tuple[str, ...]] = {}
    for (platform, program_type, attach_type), view in _VIEWS.items():
        if view.operations & brought:
            types[platform, program_type] = (*types.get((platform, program_type), ()), attach_type)
    return tuple(Accepts(*names, attach_types) for names, attach_types in types.items())


class _Place:
    """An attach point and how its programs see calls."""

    __slots__ = ("point", "view")

    def __init__(self, view: View, point: SocketPoint) -> None:
        self.view = view
        self.point = point


class SocketHook(Hook):
    """Decides socket calls by the programs attached to it. Event sources subclass it and call :meth:`decide`.

    By itself it brings no events: it serves whoever has calls of his own to decide, and tests.
    """

    name: ClassVar[str] = "socket"
    takes = accepted(Operation)

    def __init__(self) -> None:
        self._places: dict[tuple[str, str, str], _Place] = {}
        self._by_operation: dict[Operation, tuple[_Place, ...]] = {}
        self._changing = threading.RLock()

    @property
    def operations(self) -> frozenset[Operation]:
        """What the programs that are attached now want to see; a source need bring no other calls."""
        return frozenset(self._by_operation)

    def shows_local(self, operation: Operation) -> bool:
        """Whether a program that is attached now sees the socket's own address; else a source need not ask for it."""
        return any(place.view.shows_local for place in self._by_operation.get(operation, ()))

    @property
    def links(self) -> tuple[Link, ...]:
        """All links, in the order in which a call meets their programs."""
        return tuple(chain.from_iterable(place.point.links for place in self._ordered()))

    def attach(self, program: Program, *, priority: int = DEFAULT_PRIORITY) -> Link:
        """Attach ``program``: it sees the calls that are decided from now on.

        :param priority: of the programs of one attach type, those of lower priority run earlier.
        :raises HookError: the program is of no type that is taken, or of one of which there can be one, and is; or it
            follows kernel pointers.
        """
        self.require(program)
        if program.checked_only and program.verdict is not None:
            raise HookError(
                f"program {program.name!r} follows ctx->sk, a pointer to a kernel's socket, and there is none here; "
                "use the other fields of the context"
            )
        key = (program.platform.name, program.type.name, program.type.attach_type)
        with self._changing:
            place = self._places.get(key) or _Place(
                _VIEWS[key](program.type), SocketPoint(program.context, program.type)
            )
            link = place.point.attach(program, self, priority=priority, on_detach=self._sort)
            self._places[key] = place
            try:
                self._sort()
            except BaseException:
                link.detach()
                raise
        return link

    def _ordered(self) -> list[_Place]:
        return [place for key in _VIEWS if (place := self._places.get(key)) is not None]

    def _sort(self) -> None:
        """Find out which attach points are in use, and by which operations."""
        with self._changing:
            self._places = {key: place for key, place in self._places.items() if place.point.links}
            by_operation: dict[Operation, tuple[_Place, ...]] = {}
            for place in self._ordered():
                for operation in place.view.operations:
                    by_operation[operation] = (*by_operation.get(operation, ()), place)
            self._by_operation = by_operation
            self._changed()

    def _changed(self) -> None:
        """Called, under the hook's lock, when :attr:`operations` may have changed: sources open and close here."""

    def decide(self, call: SocketCall) -> Decision:
        """Return what the attached programs want of ``call``. Any thread may ask at any time.

        A call that no program sees is allowed as it is.
        """
        decision = None
        for place in self._by_operation.get(call.operation, ()):
            if decision is not None and decision.address is not call.address:
                call = replace(call, address=decision.address)
            view = place.view
            if not view.sees(call):
                continue
            context, data = view.event(call)
            outcome = place.point.fire(context, data, _caller(call))
            if outcome.verdict < 0:
                continue
            decided = view.decide(call, context, outcome)
            decision = decided if decision is None else _merged(decision, decided)
            if not decided.allowed:
                break
        return allowed(call) if decision is None else decision


def _caller(call: SocketCall) -> Caller | None:
    task = call.task
    if task is not None:
        return Caller(task.pid << 32 | task.tid, task.gid << 32 | task.uid, call.cookie, task.comm)
    return Caller(cookie=call.cookie) if call.cookie else None


def _merged(earlier: Decision, later: Decision) -> Decision:
    """Return the decision on a call that two attach types have decided one after the other."""
    return replace(
        later,
        source=later.source or earlier.source,
        privileged=later.allowed and (later.privileged or earlier.privileged),
        redirect_context=later.redirect_context or earlier.redirect_context,
    )
