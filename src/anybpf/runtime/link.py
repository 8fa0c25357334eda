"""Links: programs attached where events happen.

An :class:`AttachPoint` is one place where events of one program type happen: it holds the programs attached there in
the order in which they run, as the engine's ``ab_chain``, and the program type's
:class:`~anybpf.platforms.ChainRule` makes one verdict of what they return. A :class:`Link` is one program's place.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from anybpf.errors import LINUX_ERRNO, EventError, HookError, LoadError, ProgramFault
from anybpf.platforms import ChainRule, ProgramType
from anybpf.runtime import fault
from anybpf.runtime._engine import ffi, lib
from anybpf.runtime.context import Context
from anybpf.runtime.events import Event
from anybpf.runtime.program import Program

__all__ = ("DEFAULT_PRIORITY", "AttachPoint", "Link", "LinkStats")

#: Of links that do not say, as in libxdp. Lower ones run earlier.
DEFAULT_PRIORITY = 50


@dataclass(frozen=True, slots=True)
class LinkStats:
    """What a link has counted since it was attached.

    :param events: runs of its program. :param verdicts: return value → how many; -1: values above 63.
    :param errors: runs that faulted, which only unverified programs do.
    :param dropped: events that the hook lost, for all its links together: a full ring, no room to send.
    :param ns_per_event: mean time of one run, nanoseconds: of the 2nd to 64th event on each cpu slot, then of every
        64th; the first, which finds nothing in the caches, does not count.
    """

    events: int
    verdicts: Mapping[int, int]
    errors: int
    dropped: int
    ns_per_event: float


class Link:
    """One attachment of a program to a hook. :meth:`AttachPoint.attach` makes them; a context manager that detaches.

    :param id: unique among the programs, maps and links of its context. :param hook: the event source.
    :param process: id of the process that made it.
    :param priority: links of lower priority run earlier. :param parameters: what the hook was attached with, by name.
    """

    def __init__(
        self,
        point: AttachPoint,
        program: Program,
        hook: Any,
        priority: int,
        parameters: Mapping[str, str | int],
        dropped: Callable[[], int],
        on_detach: Callable[[], None],
    ) -> None:
        self.id = point.context.next_id()
        self.program = program
        self.hook = hook
        self.priority = priority
        self.process = os.getpid()
        self.parameters: Mapping[str, str | int] = MappingProxyType(dict(parameters))
        self._point = point
        self._native = program.native  # keeps the engine's program while it is attached, closed or not
        self._dropped = dropped
        self._on_detach = on_detach
        self._lock = threading.RLock()
        self._final: LinkStats | None = None
        handle = lib.ab_attachment_create(point.context.engine, program.handle, program.engine_mode)
        if handle == ffi.NULL:
            raise LoadError(f"no memory to attach program {program.name!r}")
        self._handle = ffi.gc(handle, lib.ab_attachment_destroy)

    @property
    def handle(self) -> Any:
        """The engine's ``ab_attachment *``."""
        return self._handle

    @property
    def attached(self) -> bool:
        """Whether events still reach the program through this link."""
        return self._final is None

    def update(self, program: Program) -> None:
        """Put ``program`` in the place of the present one: each event meets one of the two, and none is missed.

        :raises HookError: the program is of another type or context, or the link is detached.
        """
        with self._lock:
            if not self.attached:
                raise HookError(f"link {self.id} is detached; attach the program to the hook again")
            self._point.require(program)
            native = program.native
            program.warm()
            if lib.ab_attachment_update(self._handle, native.handle, program.engine_mode):
                raise LoadError(f"no memory to attach program {program.name!r}")
            self.program, self._native = program, native

    @property
    def stats(self) -> LinkStats:
        """What has been counted so far; after :meth:`detach`, what had been counted then."""
        with self._lock:
            return self._final or self._stats()

    @property
    def fault(self) -> ProgramFault | None:
        """Why a run of the program last stopped; None when all have ended well."""
        counts = self._counts()
        return fault.describe(counts.fault, self.program.name, self.program.spec, str) if counts.errors else None

    def _counts(self) -> Any:
        counts = ffi.new("ab_attachment_counts *")
        lib.ab_attachment_count(self._handle, counts)
        return counts

    def _stats(self) -> LinkStats:
        counts = self._counts()
        verdicts = {value: n for value, n in enumerate(counts.verdicts[0 : lib.AB_CHAIN_VERDICTS]) if n}
        if counts.verdicts[lib.AB_CHAIN_VERDICTS]:
            verdicts[-1] = counts.verdicts[lib.AB_CHAIN_VERDICTS]
        mean = counts.sampled_ns / counts.sampled if counts.sampled else 0.0
        return LinkStats(counts.events, verdicts, counts.errors, self._dropped(), mean)

    def detach(self) -> None:
        """End the attachment: no event that happens after this call meets the program. Further calls do nothing."""
        with self._lock:
            if not self.attached:
                return
            self._point.remove(self)
            try:
                self._on_detach()
            finally:
                self._final = self._stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.detach()

    def __repr__(self) -> str:
        state = "" if self.attached else ", detached"
        return f"<Link {self.id}: {self.program.name!r} at {self.hook!r}{state}>"


class AttachPoint:
    """A place where events of one program type happen, and the programs attached to it.

    :param context: programs of other contexts cannot be attached. :param program_type: narrowed to its attach type.
    """

    def __init__(self, context: Context, program_type: ProgramType) -> None:
        self.context = context
        self.program_type = program_type
        self._links: list[Link] = []
        self._lock = threading.RLock()
        chain = lib.ab_chain_create(context.engine, _native_rule(program_type))
        if chain == ffi.NULL:
            raise LoadError("no memory for a point to attach programs to")
        self._chain = ffi.gc(chain, lib.ab_chain_destroy)

    @property
    def handle(self) -> Any:
        """The engine's ``ab_chain *``, for whoever brings events; it lives as long as this object."""
        return self._chain

    @property
    def links(self) -> tuple[Link, ...]:
        """The links, in the order in which their programs run: by priority, then as they were attached."""
        return tuple(self._links)

    def require(self, program: Program) -> None:
        """Raise HookError when ``program`` cannot be attached here; LoadError when it is closed."""
        wanted, given = self.program_type, program.type
        elsewhere = given.attach_type != wanted.attach_type and "" not in (given.attach_type, wanted.attach_type)
        # Of services, two may have the same name; only what was verified for this very context may run on it.
        other = given.attach_type == wanted.attach_type and given.context != wanted.context
        if elsewhere or other or (given.name, given.context.name) != (wanted.name, wanted.context.name):
            raise HookError(
                f"program {program.name!r} is of type {_type_name(given)}, but here programs of type "
                f"{_type_name(wanted)} run; attach it to a hook of its own"
            )
        if program.context is not self.context:
            raise HookError(
                f"program {program.name!r} belongs to another execution context than this hook's other programs; "
                "load it into the same context"
            )
        program.handle  # noqa: B018 - closed programs raise

    def attach(
        self,
        program: Program,
        hook: Any,
        *,
        priority: int = DEFAULT_PRIORITY,
        parameters: Mapping[str, str | int] | None = None,
        dropped: Callable[[], int] = int,
        on_detach: Callable[[], None] = lambda: None,
    ) -> Link:
        """Attach ``program``; it meets the events that happen from now on.

        :param dropped: tells how many events the hook has lost. :param on_detach: called when the link has ended.
        :raises HookError: the program does not belong here, or the point takes one program only and has it.
        """
        self.require(program)
        with self._lock:
            if self.program_type.chain.single and self._links:
                raise HookError(
                    f"a {_type_name(self.program_type)} program is attached already ({self._links[0].program.name!r}), "
                    "and this hook takes one; update its link, or detach it first"
                )
            link = Link(self, program, hook, priority, parameters or {}, dropped, on_detach)
            program.warm()
            self._set(sorted([*self._links, link], key=lambda one: one.priority))
            self.context.links[link.id] = link
        return link

    def run(self, event: Event, data: bytes = b"", context: bytes = b"") -> int:
        """Run the programs on one event, for hooks that bring them one by one; returns the verdict.

        :param event: a buffer for this program type, which no other thread uses meanwhile; afterwards it holds what the
            programs made of the data and the context.
        :param data: the packet, or whatever the context's data is. :param context: its first bytes; zeros follow.
        :raises EventError: the data are larger than 16 MiB, or the context is longer than the type's.
        """
        given = event.layout.context_bytes(context)
        verdict = int(lib.ab_chain_fire(self._chain, event.handle, data, len(data), given, ffi.NULL))
        if verdict < 0:
            raise EventError(f"no event can be made of {len(data)} bytes: {LINUX_ERRNO.get(-verdict, verdict)}")
        return verdict

    def remove(self, link: Link) -> None:
        """Take a link out; :meth:`Link.detach` does this."""
        with self._lock:
            self._set([one for one in self._links if one is not link])
            self.context.links.pop(link.id, None)

    def _set(self, links: list[Link]) -> None:
        if lib.ab_chain_set(self._chain, [link.handle for link in links], len(links)):
            raise LoadError("no memory to change what is attached")
        self._links = links


def _type_name(program_type: ProgramType) -> str:
    attach_type = program_type.attach_type
    return program_type.name + (f" ({attach_type})" if attach_type not in ("", program_type.name) else "")


def _native_rule(program_type: ProgramType) -> Any:
    rule: ChainRule = program_type.chain
    watched = [program_type.context.field_named(name) for name in rule.watched]
    start = min((field.offset for field in watched), default=0)
    end = max((field.offset + field.size for field in watched), default=0)
    return ffi.new(
        "ab_chain_rule *",
        {
            "known": _bits(rule.known) or _ALL,
            "proceed": _ALL if rule.proceed is None else _bits(rule.proceed),
            "denied": _bits(rule.denied),
            "ranks": [rule.ranks.get(value, 0) for value in range(lib.AB_CHAIN_VERDICTS)],
            "otherwise": rule.otherwise,
            "fault": rule.fault,
            "empty": rule.empty,
            "watch_offset": start,
            "watch_size": end - start,
        },
    )


_ALL = (1 << 64) - 1


def _bits(values: frozenset[int]) -> int:
    return sum(1 << value for value in values)
