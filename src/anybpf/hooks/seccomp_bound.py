"""Finding out that a bound socket was closed for good, without looking at any close.

An epoll set holds no reference to the sockets in it, even after the descriptor through which they were added is closed:
the kernel takes a socket out when its last descriptor, in whatever process, is gone. What is still in the set can be
read in ``/proc/self/fdinfo``.
"""

from __future__ import annotations

import os
import re
import select
from types import TracebackType
from typing import Self

from anybpf.hooks.socket_call import SocketCall

__all__ = ("BoundSockets",)

_INODE = re.compile(rb"ino:([0-9a-f]+)")
_ENTRY_SIZE = 128  # bytes, about


class BoundSockets:
    """Sockets that were bound, each with the call to report when it is closed. A context manager."""

    def __init__(self) -> None:
        self._set = select.epoll()
        # Opened once: every read from its beginning says what is so then.
        self._listing = os.open(f"/proc/self/fdinfo/{self._set.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
        self._calls: dict[int, SocketCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, descriptor: int, call: SocketCall) -> None:
        """Watch the socket behind ``descriptor``, which may be closed afterwards."""
        inode = os.fstat(descriptor).st_ino
        if inode not in self._calls:
            self._set.register(descriptor, 0)
        self._calls[inode] = call

    def closed(self) -> list[SocketCall]:
        """Return, once, the calls of the sockets that have been closed since."""
        if not self._calls:
            return []
        open_ones = {int(inode, 16) for inode in _INODE.findall(self._list())}
        return [self._calls.pop(inode) for inode in [one for one in self._calls if one not in open_ones]]

    def _list(self) -> bytes:
        size = _ENTRY_SIZE * (len(self._calls) + 1)
        # In one piece: the beginning of another would have moved with the sockets closed meanwhile.
        while len(listed := os.pread(self._listing, size, 0)) == size:
            size *= 2
        return listed

    def close(self) -> None:
        """Stop watching. Further calls do nothing."""
        if not self._set.closed:
            self._set.close()
            os.close(self._listing)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
