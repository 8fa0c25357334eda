"""The wire: a thread that runs an attach point's programs on the frames of several ports and carries out the verdicts.

The work is done in the engine (``wire.c``), in one call that waits for frames, handles them in batches, and comes back
only for what needs Python: a wake-up, a redirect to an interface without a port, an interface that has gone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from anybpf.errors import HookError
from anybpf.platforms import ProgramType
from anybpf.runtime import AttachPoint
from anybpf.runtime.engine import ffi, lib
from anybpf.runtime.events import layout_of

__all__ = ("Port", "Wire")

#: What becomes of a frame, by the name that the program type's table gives the verdict.
_ACTIONS: Final = {
    "XDP_ABORTED": lib.AB_WIRE_ABORT,
    "XDP_DROP": lib.AB_WIRE_DROP,
    "XDP_PASS": lib.AB_WIRE_PASS,
    "XDP_TX": lib.AB_WIRE_TX,
    "XDP_REDIRECT": lib.AB_WIRE_REDIRECT,
}
#: Milliseconds between two looks at an interface that is down: nothing else says when it is gone.
_LOOK: Final = 200
_FOR_EVER: Final = -1


class Port(Protocol):
    """A place where frames come in and go out.

    ``handle`` is the engine's ``ab_port *``; ``ifindex`` tells ports of a wire apart; ``lost`` counts frames that did
    not fit into the ring on arrival.
    """

    name: str
    ifindex: int
    handle: Any

    @property
    def lost(self) -> int:
        """Frames that met no program because there was no room for them, so far."""

    def is_there(self) -> bool:
        """Whether the interface still exists. Clears the error that its descriptor reports."""

    def is_up(self) -> bool:
        """Whether the interface is there and takes frames."""

    def close(self) -> None:
        """Close what the port owns."""


class Wire:
    """Joins ports and runs ``point``'s programs on what comes in by them, in a thread of its own.

    :param joined: each port that frames are taken from, with the port that they leave by when they pass. The wire
        closes all of them.
    :param outlet: opens a port, for sending only, to an interface index that a program redirects to; HookError or
        OSError when there is none: such frames are dropped.
    :param failed: called, from the wire's thread, when one of the ``joined`` ports' interfaces has gone.
    """

    def __init__(
        self,
        point: AttachPoint,
        joined: Sequence[tuple[Port, Port]],
        *,
        outlet: Callable[[int], Port],
        failed: Callable[[HookError], None],
    ) -> None:
        self._point = point  # keeps the chain
        self._joined = {port.ifindex: port for pair in joined for port in pair}
        self._outlets: dict[int, Port] = {}
        self._outlet = outlet
        self._failed = failed
        self._counting = threading.Lock()
        self._gone = 0  # what closed ports had dropped
        self._process = os.getpid()
        self._handle = ffi.NULL
        self._thread = threading.Thread(target=self._run, name="anybpf-wire", daemon=True)
        try:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError as error:
            raise HookError(f"live frames need one more descriptor: {error.strerror}") from None
        try:
            self._start(point.program_type, joined)
        except BaseException:
            lib.ab_wire_destroy(self._handle)
            os.close(self._wake)
            raise

    def _start(self, program_type: ProgramType, joined: Sequence[tuple[Port, Port]]) -> None:
        layout = layout_of(program_type)
        actions = _actions(program_type)
        self._handle = lib.ab_wire_create(self._point.handle, layout.kind, layout.context.size, actions, self._wake)
        if self._handle == ffi.NULL:
            raise HookError("no memory for live frames; attach again when other programs have ended")
        for port, peer in joined:
            lib.ab_port_join(port.handle, peer.handle, _context(program_type, port.ifindex))
        for port in self._joined.values():
            lib.ab_wire_add(self._handle, port.handle)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise HookError(f"live frames need one more thread: {error}") from None

    @property
    def dropped(self) -> int:
        """Frames lost by us so far: no room on arrival, not readable whole, no room to send, a redirect to nowhere."""
        with self._counting:
            if self._handle == ffi.NULL:
                return self._gone
            ports = [*self._joined.values(), *self._outlets.values()]
            return self._gone + sum(map(_lost, ports)) + int(lib.ab_wire_astray(self._handle))

    def close(self) -> None:
        """End the thread and close the ports; frames that have arrived and were not handled are lost.

        In a forked child, which shares descriptors with its parent's wire and has no thread, only the copies end.
        """
        if os.getpid() == self._process:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
        total = self.dropped
        with self._counting:
            self._gone = total
            lib.ab_wire_destroy(self._handle)
            self._handle = ffi.NULL
        for port in (*self._joined.values(), *self._outlets.values()):
            port.close()
        os.close(self._wake)

    def _run(self) -> None:
        down: set[int] = set()
        index = ffi.new("uint32_t *")
        while True:
            why = lib.ab_wire_run(self._handle, _LOOK if down else _FOR_EVER, index)
            if why == lib.AB_WIRE_WOKEN:
                return
            if why < 0:
                self._failed(HookError(f"waiting for frames failed: {os.strerror(-why)}; attach again"))
                return
            if why == lib.AB_WIRE_WANTS:
                self._extend(index[0])
            elif why == lib.AB_WIRE_FAILED:
                down.add(index[0])
            for ifindex in tuple(down):
                port = self._joined.get(ifindex) or self._outlets[ifindex]
                if not port.is_there():
                    down.discard(ifindex)
                    if ifindex in self._joined:
                        self._failed(HookError(f"interface {port.name!r} has gone; attach again when it is back"))
                        return
                    self._drop(ifindex)
                elif port.is_up():
                    down.discard(ifindex)

    def _extend(self, ifindex: int) -> None:
        """Open a port for a redirect; where that cannot be, the engine drops the frame when it runs again."""
        if len(self._joined) + len(self._outlets) == lib.AB_WIRE_PORTS:
            return
        with contextlib.suppress(HookError, OSError):
            port = self._outlet(ifindex)
            lib.ab_wire_add(self._handle, port.handle)
            with self._counting:
                self._outlets[ifindex] = port

    def _drop(self, ifindex: int) -> None:
        with self._counting:
            port = self._outlets.pop(ifindex)
            lib.ab_wire_remove(self._handle, port.handle)
            self._gone += _lost(port)
        port.close()


def _lost(port: Port) -> int:
    counts = ffi.new("ab_port_counts *")
    lib.ab_port_count(port.handle, counts)
    return int(counts.no_room + counts.unreadable) + port.lost


def _actions(program_type: ProgramType) -> bytes:
    """Return the engine's action for each verdict; numbers that the platform has no name for are aborts."""
    actions = bytearray([lib.AB_WIRE_ABORT]) * lib.AB_CHAIN_VERDICTS
    for value, name in program_type.actions.items():
        actions[value] = _ACTIONS[name]
    return bytes(actions)


def _context(program_type: ProgramType, ifindex: int) -> bytes:
    """Return the context of frames that come in by this interface."""
    field = program_type.context.field_named("ingress_ifindex")
    given = bytes(field.offset) + ifindex.to_bytes(field.size, sys.byteorder)
    return layout_of(program_type).context_bytes(given).ljust(lib.AB_PORT_CONTEXT, b"\0")
