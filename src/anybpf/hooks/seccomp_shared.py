"""Calls of callers that share their descriptors with other threads, on sockets that no program is asked about.

If the kernel went on with such a call it would look the descriptor up again, and another socket may be there by then.
So it is made here, on our descriptor of the socket that was looked at: whatever is done with sockets of other families
than the Internet's, in the caller's place; and data sent on connected sockets of the Internet.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from anybpf.hooks import seccomp_behalf as behalf
from anybpf.hooks import seccomp_memory as memory
from anybpf.hooks.seccomp_held import Answer, HeldCall, Outcome, Wait, then
from anybpf.hooks.seccomp_memory import Header, MemoryFault
from anybpf.hooks.socket_address import AF_INET, AF_INET6
from anybpf.runtime.engine import lib

__all__ = ("carry_out",)

_STREAM: Final = 1
_MSG_DONTWAIT, _MSG_NOSIGNAL = 0x40, 0x4000
#: Of a stream, so much is sent at a time; a datagram cannot be longer than this other.
_PIECE: Final = 1 << 18
_MAX_DATAGRAM: Final = 1 << 22

_CONTROL: Final = struct.Struct("=Qii")  # struct cmsghdr
_SOL_SOCKET, _SCM_RIGHTS, _SCM_CREDENTIALS = 1, 1, 2
_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred
_MAX_RIGHTS: Final = 253  # SCM_MAX_FD


def carry_out(held: HeldCall) -> Outcome:
    """Make the call, which is any of :data:`anybpf.hooks.seccomp_filter.CALLS` with a socket but accept."""
    return _HANDLERS[held.name](held)


def _bind(held: HeldCall) -> Outcome:
    raw = held.address()
    return Answer(raw if isinstance(raw, int) else behalf.bind(held, raw))


def _connect(held: HeldCall) -> Outcome:
    raw = held.address()
    return Answer(raw) if isinstance(raw, int) else _connecting(held, raw)


def _connecting(held: HeldCall, raw: bytes) -> Outcome:
    done = behalf.connect(held, raw)
    if held.waits and done in (-errno.EAGAIN, -errno.EINPROGRESS, -errno.EALREADY):
        return Wait(_EDGES, lambda: _connecting(held, raw), held.patience(receiving=False), done)
    return Answer(done)


def _listen(held: HeldCall) -> Outcome:
    return Answer(behalf.listen(held, held.integer(1)))


def _sendto(held: HeldCall) -> Outcome:
    name = held.address()
    if isinstance(name, int):
        return Answer(name)
    part = (held.arguments[1], held.arguments[2])
    return _sending(held, Header(name, (part,), b"", held.integer(3)), 0)


def _sendmsg(held: HeldCall) -> Outcome:
    return _sending(held, memory.read_header(held, held.arguments[1], held.integer(2)), 0)


def _sendmmsg(held: HeldCall) -> Outcome:
    at, count, flags = held.arguments[1], held.arguments[2] & 0xFFFFFFFF, held.integer(3)
    if not count:
        return Answer(0)
    outcome = _sending(held, memory.read_header(held, at, flags), 0)
    return then(outcome, lambda sent: memory.write_sent(held, at, sent))


def _sending(held: HeldCall, header: Header, begun: int) -> Outcome:
    """Send what is left after ``begun`` bytes."""
    stream = held.type == _STREAM
    if not stream and header.size > _MAX_DATAGRAM:
        return Answer(-errno.EMSGSIZE)
    data = memory.gather(held, header.parts, begun, _PIECE if stream else _MAX_DATAGRAM)
    with _ours(held, b"" if begun else header.control) as control:
        if held.family in (AF_INET, AF_INET6):
            sent = lib.ab_socket_send(held.socket, data, len(data), control, len(control), b"", 0, header.flags)
        else:
            sent = behalf.send(held, data, control, header.name, header.flags)
    done = begun + max(sent, 0)
    if sent >= 0 and (done == header.size or not stream):
        return Answer(done)
    if sent < 0 and sent != -errno.EAGAIN:
        broken = sent == -errno.EPIPE and stream and not begun and not header.flags & _MSG_NOSIGNAL
        return Answer(begun or sent, signal.SIGPIPE if broken else 0)
    if not held.waits or header.flags & _MSG_DONTWAIT:
        return Answer(done or sent)
    events = select.EPOLLOUT if stream else _EDGES
    return Wait(events, lambda: _sending(held, header, done), held.patience(receiving=False), done or -errno.EAGAIN)


@contextmanager
def _ours(held: HeldCall, control: bytes) -> Iterator[bytes]:
    """Give ancillary data as we have to send it: with our copies of the descriptors that go along.

    What it says about the sender is left out where it is the truth, which the kernel adds.
    """
    with ExitStack() as fetched:
        ours, at = b"", 0
        while at + _CONTROL.size <= len(control):
            size, level, kind = _CONTROL.unpack_from(control, at)
            if not _CONTROL.size <= size <= len(control) - at:
                raise MemoryFault(errno.EINVAL)
            content = control[at + _CONTROL.size : at + size]
            if (level, kind) == (_SOL_SOCKET, _SCM_RIGHTS):
                content = _rights(held, content, fetched)
            elif level == _SOL_SOCKET:
                truth = _CREDENTIALS.pack(held.task.pid, held.task.uid, held.task.gid)
                if kind != _SCM_CREDENTIALS or content != truth:
                    raise MemoryFault(errno.EPERM)
            if (level, kind) != (_SOL_SOCKET, _SCM_CREDENTIALS):
                ours += _CONTROL.pack(size, level, kind) + content + bytes(-size % 8)
            at += size + -size % 8
        yield ours


def _rights(held: HeldCall, content: bytes, fetched: ExitStack) -> bytes:
    count = len(content) // 4
    if count > _MAX_RIGHTS or len(content) % 4:
        raise MemoryFault(errno.EINVAL)
    copies = []
    for descriptor in struct.unpack(f"={count}i", content):
        copy = lib.ab_behalf_fetch(held.listener, held.id, held.thread, descriptor)
        if copy < 0:
            raise MemoryFault(-copy)
        fetched.callback(os.close, copy)
        copies.append(copy)
    return struct.pack(f"={count}i", *copies)


#: Where nothing says reliably that a call can be made now: it is tried at what may be the moment, and now and then.
_EDGES: Final = select.EPOLLOUT | select.EPOLLET if hasattr(select, "epoll") else 0

_HANDLERS: Final[dict[str, Callable[[HeldCall], Outcome]]] = {
    "bind": _bind,
    "connect": _connect,
    "listen": _listen,
    "sendto": _sendto,
    "sendmsg": _sendmsg,
    "sendmmsg": _sendmmsg,
}
