"""Socket calls as events: what a thread is about to do with a socket, and what was decided about it.

The words are those of Linux on every operating system, so that a program sees the same call wherever it comes from; an
event source translates its own system's numbers once, where it makes the :class:`SocketCall`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

__all__ = ("Address", "Decision", "Operation", "SocketCall", "Task")


class Operation(Enum):
    """What the call does. Each is an event before the fact, except those that say otherwise."""

    SOCKET = auto()  # makes a socket
    BIND = auto()  # gives it an address
    POST_BIND = auto()  # has given it an address, which can still be taken away again
    UNBIND = auto()  # has given the address back: a bound socket was closed
    CONNECT = auto()  # connects it, or sets a datagram socket's peer
    SENDMSG = auto()  # sends a datagram to an address that the call names
    LISTEN = auto()  # takes connections from now on
    ACCEPT = auto()  # a connection has come and is about to be handed to the caller
    RELEASE = auto()  # is closing it


@dataclass(frozen=True, slots=True)
class Address:
    """An address of the Internet families.

    :param host: 4 bytes (IPv4) or 16 bytes (IPv6), in network order. :param port: a plain number.
    :param flowinfo: of IPv6, as ``sockaddr_in6`` has it, a plain number.
    :param scope_id: of IPv6: an interface index.
    """

    host: bytes
    port: int
    flowinfo: int = 0
    scope_id: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """The thread that makes a call.

    :param pid: its process. :param tid: the thread. :param uid: its user, in numbers. :param gid: its group.
    :param comm: its name, at most 15 bytes. :param app: file name of its executable, without folders.
    """

    pid: int
    tid: int
    uid: int
    gid: int
    comm: bytes
    app: str


@dataclass(frozen=True, slots=True)
class SocketCall:
    """One call.

    :param family: 2 for AF_INET, 10 for AF_INET6. :param type: 1 for SOCK_STREAM, 2 for SOCK_DGRAM, 3 for SOCK_RAW.
    :param protocol: an IPPROTO_* number; 0 means the type's own.
    :param address: what the call names: the address to bind to (or that was bound to, or let go of), to connect to, to
        send to; the remote end of a connection to accept. None where the call names none.
    :param local: the socket's own address, where it has one.
    :param task: who makes the call; None: the calling thread.
    :param cookie: a number that is this socket's alone; 0 when there is none.
    """

    operation: Operation
    family: int
    type: int
    protocol: int
    address: Address | None = None
    local: Address | None = None
    task: Task | None = None
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of a call.

    :param allowed: whether it goes on. :param error: the error number that it fails with if not (Linux's, positive).
    :param address: the address to use: what a program has put in the place of the call's own, or that.
    :param source: the address to send from or to bind to before connecting, where a program asked for one.
    :param privileged: a bind to a port below 1024 is allowed without CAP_NET_BIND_SERVICE.
    :param redirect_context: bytes that a Windows connect program left with the connection.
    """

    allowed: bool
    error: int = 0
    address: Address | None = None
    source: Address | None = None
    privileged: bool = False
    redirect_context: bytes = b""
