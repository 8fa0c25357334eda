"""A system call that is held up, and what can become of it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace

from anybpf.hooks.socket_address import decode, family_of
from anybpf.hooks.socket_call import Address, Operation, SocketCall, Task
from anybpf.runtime.engine import lib

__all__ = ("Answer", "Give", "HeldCall", "Outcome", "Proceed", "Wait", "then")


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A system call that its thread waits in, as it was when it was received.

    :param listener: where it was received. :param id: what it is answered by there.
    :param socket: our descriptor of its socket, or a negative error number.
    :param waits: the socket is a blocking one. :param address: what the call names, or a negative error number.
    """

    listener: int
    id: int
    name: str
    arguments: tuple[int, ...]
    socket: int
    family: int
    type: int
    protocol: int
    waits: bool
    cookie: int
    address: bytes | int
    task: Task

    @property
    def named_family(self) -> int | None:
        """Family of the address that it names; None when it names none that can be read."""
        return None if isinstance(self.address, int) else family_of(self.address)

    def named(self, *, unspecified: bool = False) -> Address | int:
        """Return the address that it names, or the negative error number that it fails with.

        :param unspecified: take AF_UNSPEC for AF_INET.
        """
        if isinstance(self.address, int):
            return self.address
        address = decode(self.address, unspecified=unspecified)
        if address is not None:
            return address
        return -errno.EINVAL if self.named_family in (None, self.family) else -errno.EAFNOSUPPORT

    def patience(self, *, receiving: bool) -> float | None:
        """Return how many seconds its socket waits; None: for ever."""
        microseconds = lib.ab_socket_patience(self.socket, receiving)
        return microseconds / 1e6 if microseconds > 0 else None

    def integer(self, argument: int) -> int:
        """Return an argument as the C ``int`` that the kernel takes it for."""
        low = self.arguments[argument] & 0xFFFFFFFF
        return low - (1 << 32) if low >> 31 else low

    def event(self, operation: Operation, address: Address | None = None, local: Address | None = None) -> SocketCall:
        """Return the call as programs are asked about it."""
        return SocketCall(operation, self.family, self.type, self.protocol, address, local, self.task, self.cookie)


@dataclass(frozen=True, slots=True)
class Answer:
    """The call returns ``value``, or fails with a negative error number."""

    value: int


@dataclass(frozen=True, slots=True)
class Proceed:
    """The kernel carries the call out as the caller's registers and memory say."""


@dataclass(frozen=True, slots=True)
class Give:
    """The call returns a copy of ``descriptor``, which is ours to close; the connection came from ``peer``."""

    descriptor: int
    close_on_exec: bool
    peer: Address | None


@dataclass(frozen=True, slots=True)
class Wait:
    """The call waits for an event of its socket.

    :param events: EPOLLIN or EPOLLOUT. :param again: what to do then. :param seconds: the most to wait, None: for ever.
    :param late: the negative error number after that.
    """

    events: int
    again: Callable[[], Outcome]
    seconds: float | None = None
    late: int = -errno.EAGAIN


Outcome = Answer | Proceed | Give | Wait


def then(outcome: Outcome, finish: Callable[[int], int]) -> Outcome:
    """Return ``outcome`` with ``finish`` applied to what it will answer in the end, unless that is an error."""
    if isinstance(outcome, Answer) and outcome.value >= 0:
        return Answer(finish(outcome.value))
    if isinstance(outcome, Wait):
        return replace(outcome, again=lambda: then(outcome.again(), finish))
    return outcome
