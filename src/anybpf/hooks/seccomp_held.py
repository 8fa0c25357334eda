"""A system call that is held up, and what can become of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anybpf.hooks.socket_address import AF_INET, AF_INET6, family_of
from anybpf.hooks.socket_call import Address, Operation, SocketCall, Task
from anybpf.runtime.engine import ffi, lib

__all__ = ("Answer", "Give", "Gone", "HeldCall", "Outcome", "Proceed", "Wait", "then")

_AF_SMC, _TCP = 43, 6


class HeldCall:
    """A system call that its thread waits in, as it was when it was received.

    :param listener: where it was received. :param name: of the system call (:mod:`anybpf.hooks.seccomp_filter`).
    :param received: the engine's ``ab_seccomp_call *``, which is this call's until it is answered.

    ``id`` is what it is answered by, ``thread`` who made it; ``socket`` is our descriptor of its socket, or a negative
    error number; ``family``, ``type``, ``protocol`` and ``waits`` (it is a blocking one) are the socket's; ``alone``:
    nobody can put another socket in its place meanwhile.
    """

    __slots__ = (
        "alone", "family", "id", "listener", "name", "protocol", "received", "socket", "task", "thread", "type",
        "waits",
    )  # fmt: skip

    def __init__(self, listener: int, name: str, received: Any) -> None:
        self.listener = listener
        self.name = name
        self.received = received
        self.id: int = received.id
        self.thread: int = received.thread
        self.socket: int = received.socket
        self.family: int = received.family
        self.type: int = received.type
        self.protocol: int = received.protocol
        if self.family == _AF_SMC:  # it speaks TCP to addresses of the Internet, of the version that its protocol says
            self.family, self.protocol = (AF_INET6 if self.protocol else AF_INET), _TCP
        self.waits = received.waits != 0
        self.alone = received.alone != 0
        self.task = self._task()

    def _task(self) -> Task:
        received = self.received
        pid, uid, gid = received.process, received.user, received.group
        if not pid:
            pid, uid, gid = _identity(received.thread)
        app = ""
        if received.executable_length:
            path = bytes(ffi.buffer(received.executable, received.executable_length))
            app = os.fsdecode(path[path.rfind(b"/") + 1 :].removesuffix(b" (deleted)"))
        return Task(pid, received.thread, uid, gid, bytes(ffi.buffer(received.name, received.name_length)), app)

    @property
    def arguments(self) -> Any:
        """The six arguments, as unsigned 64-bit numbers."""
        return self.received.arguments

    @property
    def key(self) -> bytes:
        """What tells this call from others that its thread makes, and is the same when it is restarted."""
        return b"%b %d %b" % (self.name.encode(), self.cookie, bytes(ffi.buffer(self.arguments)))

    @property
    def cookie(self) -> int:
        """A number that no other socket has."""
        return int(self.received.cookie)

    def address(self) -> bytes | int:
        """Return the bytes of the address that it names, or the negative error number that it fails with."""
        received = self.received
        length: int = received.address_length
        return bytes(ffi.buffer(received.address, length)) if length >= 0 else length

    def refusal(self, raw: bytes) -> int:
        """Return the negative error number for a named address, ``raw``, that is none of the Internet."""
        return -errno.EINVAL if family_of(raw) in (None, self.family) else -errno.EAFNOSUPPORT

    def patience(self, *, receiving: bool) -> float | None:
        """Return how many seconds its socket waits; None: for ever."""
        microseconds = lib.ab_socket_patience(self.socket, receiving)
        return microseconds / 1e6 if microseconds > 0 else None

    def integer(self, argument: int) -> int:
        """Return an argument as the C ``int`` that the kernel takes it for."""
        low: int = self.arguments[argument] & 0xFFFFFFFF
        return low - (1 << 32) if low >> 31 else low

    def event(self, operation: Operation, address: Address | None = None, local: Address | None = None) -> SocketCall:
        """Return the call as programs are asked about it."""
        return SocketCall(operation, self.family, self.type, self.protocol, address, local, self.task, self.cookie)


@dataclass(frozen=True, slots=True)
class Answer:
    """The call returns ``value``, or fails with a negative error number; its thread gets a signal, if not 0."""

    value: int
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Proceed:
    """The kernel carries the call out as the caller's registers and memory say."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The caller was interrupted: there is nobody to be answered."""


@dataclass(frozen=True, slots=True)
class Give:
    """The call returns a copy of ``descriptor``, which is ours to close; ``peer`` is where the connection came from."""

    descriptor: int
    close_on_exec: bool
    peer: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """The call waits for an event of its socket.

    :param events: EPOLLIN or EPOLLOUT; with EPOLLET it is tried again now and then besides.
    :param again: what to do then. :param seconds: the most to wait, None: for ever.
    :param late: what it returns after that: what has been done by now, or a negative error number.
    """

    events: int
    again: Callable[[], Outcome]
    seconds: float | None = None
    late: int = -errno.EAGAIN


Outcome = Answer | Proceed | Gone | Give | Wait


def then(outcome: Outcome, finish: Callable[[int], int]) -> Outcome:
    """Return ``outcome`` with ``finish`` applied to what it will answer in the end, unless that is an error."""
    if isinstance(outcome, Answer) and outcome.value >= 0:
        return Answer(finish(outcome.value))
    if isinstance(outcome, Wait):
        return replace(outcome, again=lambda: then(outcome.again(), finish))
    return outcome


def _identity(thread: int) -> tuple[int, int, int]:
    """Return process, user and group of a thread, from /proc; zeros when it is gone."""
    try:
        status = Path(f"/proc/{thread}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0, 0, 0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["Tgid"]), int(fields["Uid"].split()[0]), int(fields["Gid"].split()[0])
