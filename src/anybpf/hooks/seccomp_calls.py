"""What becomes of each system call that was held up: decided by programs, then carried out here, on copies.

The caller can change its memory and what its descriptors stand for while it waits, from another thread. So the address
was read once, the socket is our own descriptor of it, and both are what is judged and what is used.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from anybpf.hooks import seccomp_behalf as behalf
from anybpf.hooks import seccomp_memory as memory
from anybpf.hooks import seccomp_ports as ports
from anybpf.hooks import seccomp_shared as shared
from anybpf.hooks.seccomp_bound import BoundSockets
from anybpf.hooks.seccomp_held import Answer, Give, Gone, HeldCall, Outcome, Proceed, Wait, then
from anybpf.hooks.seccomp_memory import MemoryFault, Message
from anybpf.hooks.socket_address import AF_INET, AF_INET6, AF_UNSPEC, decode, encode, family_of
from anybpf.hooks.socket_call import Address, Decision, Operation, SocketCall
from anybpf.hooks.socket_hook import SocketHook
from anybpf.runtime.engine import ffi, lib

__all__ = ("Calls",)

_INTERNET: Final = frozenset({AF_INET, AF_INET6})
_STREAM, _DATAGRAM, _TYPE = 1, 2, 0xF
#: Protocols of stream sockets that send to who they are connected to, whatever address is named: TCP, MPTCP.
_CONNECTED: Final = frozenset({6, 262})
_SOCK_NONBLOCK, _SOCK_CLOEXEC = 0o4000, 0o2000000
_MSG_DONTWAIT = 0x40
_NAME_SIZE: Final = 128
_DISCONNECT: Final = bytes(16)  # an address of the family AF_UNSPEC
#: Closed sockets are looked for before each bind as long as no more than so many are watched; else now and then.
_FEW_SOCKETS: Final = 32
#: For so many listening sockets connections are kept that their callers, interrupted, did not get.
_KEPT_FOR: Final = 64


class Calls:
    """Carries out held calls as the programs attached to a hook decide."""

    def __init__(self, hook: SocketHook) -> None:
        self._hook = hook
        self._bound = BoundSockets()
        self._undelivered: dict[int, list[tuple[int, bytes]]] = {}
        self._name = ffi.new("uint8_t[]", _NAME_SIZE)
        self._length = ffi.new("uint32_t *")
        self._handlers: dict[str, Callable[[HeldCall], Outcome]] = {
            "socket": self._socket,
            "bind": self._bind,
            "connect": self._connect,
            "listen": self._listen,
            "accept": self._accept,
            "accept4": self._accept,
            "sendto": self._sendto,
            "sendmsg": self._sendmsg,
            "sendmmsg": self._sendmmsg,
        }

    def carry_out(self, held: HeldCall, again: Callable[[], Outcome] | None = None) -> Outcome:
        """Decide and, unless it must wait, carry out one call.

        :param again: of the :class:`Wait` that came of it before.
        """
        try:
            if again is not None:
                return again()
            if held.name != "socket":
                if held.socket < 0:
                    return Answer(held.socket)
                if held.family not in _INTERNET and not held.name.startswith("accept"):
                    return self._unasked(held)
            return self._handlers[held.name](held)
        except MemoryFault as fault:
            return Gone() if fault.gone else Answer(-fault.error)

    def _unasked(self, held: HeldCall) -> Outcome:
        """Make a call that no program is asked about; the kernel may, if nothing can change under it."""
        return Proceed() if held.alone else shared.carry_out(held)

    def close(self) -> None:
        """Report the sockets closed last, and let go of everything."""
        self.report_closed()
        self._bound.close()
        for waiting in self._undelivered.values():
            for descriptor, _ in waiting:
                os.close(descriptor)
        self._undelivered.clear()

    @property
    def watches(self) -> bool:
        """Whether closed sockets must be looked for now and then."""
        return bool(self._bound)

    def report_closed(self) -> None:
        """Tell the programs of bound sockets that have been closed."""
        for closed in self._bound.closed():
            self._hook.decide(closed)

    def _decide(self, held: HeldCall, operation: Operation, address: Address | None, local: bool = False) -> Decision:
        own = self._local(held.socket) if local else None
        return self._hook.decide(held.event(operation, address, own))

    def _local(self, descriptor: int) -> Address | None:
        self._length[0] = _NAME_SIZE
        if lib.ab_socket_name(descriptor, self._name, self._length) != 0:
            return None
        return decode(bytes(ffi.buffer(self._name, min(self._length[0], _NAME_SIZE))))

    def _socket(self, held: HeldCall) -> Outcome:
        family, kind, protocol = (held.integer(argument) for argument in range(3))
        event = SocketCall(Operation.SOCKET, family, kind & _TYPE, protocol, task=held.task)
        decision = self._hook.decide(event)
        # All that it says is in registers, which nobody else can change: the kernel may go on.
        return Proceed() if decision.allowed else Answer(-decision.error)

    def _bind(self, held: HeldCall) -> Outcome:
        raw = held.address()
        if isinstance(raw, int):
            return Answer(raw)
        address = decode(raw, unspecified=held.family == AF_INET)
        if address is None:
            return Answer(held.refusal(raw))
        if family_of(raw) == AF_UNSPEC and any(address.host):
            return Answer(-errno.EAFNOSUPPORT)
        if len(self._bound) <= _FEW_SOCKETS:
            self.report_closed()
        decision = self._decide(held, Operation.BIND, address)
        if not decision.allowed:
            return Answer(-decision.error)
        address = decision.address or address
        as_caller = ports.is_low(address.port) and not decision.privileged
        if Operation.POST_BIND not in self._hook.operations:
            return self._bound_to(held, address, as_caller)
        # A socket that is bound stays bound, so what has a veto afterwards is asked before: the port is chosen here.
        for chosen in ports.candidates(address.port):
            wanted = replace(address, port=chosen)
            decision = self._decide(held, Operation.POST_BIND, wanted)
            done = self._bound_to(held, wanted, as_caller) if decision.allowed else Answer(-decision.error)
            if address.port or done.value != -errno.EADDRINUSE:
                return done
        return Answer(-errno.EADDRINUSE)

    def _bound_to(self, held: HeldCall, address: Address, as_caller: bool) -> Answer:
        raw = encode(address)
        done = behalf.bind(held, raw) if as_caller else lib.ab_socket_bind(held.socket, raw, len(raw))
        if done == 0 and Operation.UNBIND in self._hook.operations:
            self._bound.add(held.socket, held.event(Operation.UNBIND, self._local(held.socket)))
        return Answer(done)

    def _connect(self, held: HeldCall) -> Outcome:
        raw = held.address()
        if isinstance(raw, int):
            return Answer(raw)
        address = decode(raw)
        if address is None:
            if family_of(raw) != AF_UNSPEC:
                return Answer(held.refusal(raw))
            return Answer(lib.ab_socket_connect(held.socket, _DISCONNECT, len(_DISCONNECT), 0))
        decision = self._decide(held, Operation.CONNECT, address, local=True)
        if not decision.allowed:
            return Answer(-decision.error)
        if decision.source is not None:
            source = encode(decision.source)
            done = lib.ab_socket_bind(held.socket, source, len(source))
            if done != 0:
                return Answer(done)
        return self._connecting(held, encode(decision.address or address))

    def _connecting(self, held: HeldCall, raw: bytes) -> Outcome:
        waits = held.waits and held.type != _DATAGRAM
        done = lib.ab_socket_connect(held.socket, raw, len(raw), waits)
        if waits and done in (-errno.EINPROGRESS, -errno.EALREADY):
            patience = held.patience(receiving=False)
            return Wait(select.EPOLLOUT, lambda: self._connecting(held, raw), patience, -errno.EINPROGRESS)
        return Answer(done)

    def _listen(self, held: HeldCall) -> Outcome:
        decision = self._decide(held, Operation.LISTEN, None, local=True)
        if not decision.allowed:
            return Answer(-decision.error)
        return Answer(lib.ab_socket_listen(held.socket, held.integer(1)))

    def _accept(self, held: HeldCall) -> Outcome:
        if held.family not in _INTERNET and held.alone:
            return Proceed()
        flags = held.integer(3) if held.name == "accept4" else 0
        if flags & ~(_SOCK_NONBLOCK | _SOCK_CLOEXEC):
            return Answer(-errno.EINVAL)
        return self._accepting(held, flags)

    def _accepting(self, held: HeldCall, flags: int) -> Outcome:
        while True:
            accepted, remote = self._next_connection(held, flags)
            if accepted == -errno.EAGAIN and held.waits:
                return Wait(select.EPOLLIN, lambda: self._accepting(held, flags), held.patience(receiving=True))
            if accepted < 0:
                return Answer(accepted)
            if held.family not in _INTERNET:
                break
            decision = self._hook.decide(held.event(Operation.ACCEPT, decode(remote), self._local(accepted)))
            if decision.allowed:
                break
            lib.ab_socket_reset(accepted)
            os.close(accepted)
        given = Give(accepted, bool(flags & _SOCK_CLOEXEC), remote)
        try:
            self._tell_peer(held, remote)
        except MemoryFault as fault:
            if fault.gone:
                self.undelivered(held, given)
            else:
                os.close(accepted)
            raise
        return given

    def _next_connection(self, held: HeldCall, flags: int) -> tuple[int, bytes]:
        waiting = self._undelivered.pop(held.cookie, None)
        if waiting:
            connection = waiting.pop(0)
            if waiting:
                self._undelivered[held.cookie] = waiting
            return connection
        self._length[0] = _NAME_SIZE
        accepted = lib.ab_socket_accept(
            held.socket, held.waits, bool(flags & _SOCK_NONBLOCK), self._name, self._length
        )
        if accepted < 0:
            return accepted, b""
        return accepted, bytes(ffi.buffer(self._name, min(self._length[0], _NAME_SIZE)))

    def _tell_peer(self, held: HeldCall, remote: bytes) -> None:
        to, length_at = held.arguments[1], held.arguments[2]
        if not to:
            return
        room = int.from_bytes(memory.read(held, length_at, 4), "little", signed=True)
        if room < 0:
            raise MemoryFault(errno.EINVAL)
        memory.write(held, to, remote[:room])
        memory.write(held, length_at, len(remote).to_bytes(4, "little"))

    def undelivered(self, held: HeldCall, given: Give) -> None:
        """Keep a connection that its caller, interrupted, did not get: the next accept on the socket gets it."""
        self._undelivered.setdefault(held.cookie, []).append((given.descriptor, given.peer))
        if len(self._undelivered) > _KEPT_FOR:  # the oldest socket is likely to be closed by now
            for descriptor, _ in self._undelivered.pop(next(iter(self._undelivered))):
                os.close(descriptor)

    def _sendto(self, held: HeldCall) -> Outcome:
        if _sends_to_its_peer(held):
            return self._unasked(held)
        name = held.address()
        if isinstance(name, int):
            return Answer(name)
        data = memory.read_data(held, held.arguments[1], held.arguments[2])
        return self._send(held, Message(name, data, b"", held.integer(3)))

    def _sendmsg(self, held: HeldCall) -> Outcome:
        if _sends_to_its_peer(held):
            return self._unasked(held)
        return self._send(held, memory.read_message(held, held.arguments[1], held.integer(2)))

    def _sendmmsg(self, held: HeldCall) -> Outcome:
        if _sends_to_its_peer(held):
            return self._unasked(held)
        at, count, flags = held.arguments[1], held.arguments[2] & 0xFFFFFFFF, held.integer(3)
        if not count:
            return Answer(0)
        # It may send fewer than it was given; who uses it calls again for the rest.
        outcome = self._send(held, memory.read_message(held, at, flags))
        return then(outcome, lambda sent: memory.write_sent(held, at, sent))

    def _send(self, held: HeldCall, message: Message) -> Outcome:
        if not message.name or (held.family == AF_INET6 and family_of(message.name) == AF_UNSPEC):
            return self._sending(held, message, b"")
        address = decode(message.name, unspecified=held.family == AF_INET)
        if address is None:
            return Answer(-errno.EINVAL)
        decision = self._decide(held, Operation.SENDMSG, address, local=True)
        if not decision.allowed:
            return Answer(-decision.error)
        if decision.source is not None:
            message = replace(message, control=memory.with_source(message.control, decision.source.host))
        return self._sending(held, message, encode(decision.address or address))

    def _sending(self, held: HeldCall, message: Message, to: bytes) -> Outcome:
        control = message.control
        sent = lib.ab_socket_send(
            held.socket, message.data, len(message.data), control, len(control), to, len(to), message.flags
        )
        if sent == -errno.EAGAIN and held.waits and not message.flags & _MSG_DONTWAIT:
            patience = held.patience(receiving=False)
            return Wait(select.EPOLLOUT, lambda: self._sending(held, message, to), patience)
        return Answer(sent)


def _sends_to_its_peer(held: HeldCall) -> bool:
    return held.type == _STREAM and held.protocol in _CONNECTED
