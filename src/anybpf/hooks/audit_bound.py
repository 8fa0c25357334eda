"""Which sockets of this process are bound, and which were closed since somebody looked: closing has no audit event.

A socket that was bound is remembered by a weak reference. Whoever looks finds out about those that are closed, that
nobody refers to any more, or whose bind failed after it was announced.
"""

from __future__ import annotations

import _socket
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

from anybpf.hooks.socket_call import Address, Operation, SocketCall

__all__ = ("BoundSockets",)


@dataclass(slots=True)
class _Bound:
    """One bind that was allowed. ``settled``: it has happened, and ``call`` has the address that the socket got."""

    socket: weakref.ref[socket.socket]
    call: SocketCall
    process: int
    thread: int
    settled: bool = False


class BoundSockets:
    """The bound sockets of this process, as far as their binds were announced. Threads may use it at once.

    :param local_address: returns a socket's own address; None when it has none.
    """

    def __init__(self, local_address: Callable[[socket.socket], Address | None]) -> None:
        self._local_address = local_address
        self._bound: dict[int, _Bound] = {}
        self._numbers = count()

    def add(self, sock: socket.socket, call: SocketCall) -> None:
        """Remember that this thread is about to bind ``sock``, as ``call`` says."""
        try:
            reference = weakref.ref(sock)
        except TypeError:
            return  # not a socket of the socket module: it cannot be watched
        self._bound[next(self._numbers)] = _Bound(reference, call, os.getpid(), threading.get_ident())

    def released(self) -> Iterator[SocketCall]:
        """Yield an UNBIND for every bind that has come to its end since the last call, once each."""
        for number, bound in list(self._bound.items()):
            if not self._ended(bound) or self._bound.pop(number, None) is None:
                continue
            if bound.process == os.getpid():  # not a copy that a forked child inherited
                yield replace(bound.call, operation=Operation.UNBIND)

    def _ended(self, bound: _Bound) -> bool:
        sock = bound.socket()
        if sock is None or _socket.socket.fileno(sock) == -1:
            return True
        if bound.settled:
            return False
        address = self._local_address(sock)
        if address is not None and address.port:
            bound.call, bound.settled = replace(bound.call, address=address), True
            return False
        # Its thread is past the call, so the bind has failed; to other threads it may still be going to happen.
        return bound.thread == threading.get_ident()
