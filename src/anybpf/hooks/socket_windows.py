"""Socket calls as programs of eBPF for Windows see them: ``bind``, and the ten attach types of ``sock_addr``.

What is not known of calls that do not come from Windows' own stack: the compartment is 1, the default one, and the
interface is 0. ``sock_addr`` programs see dual-stack sockets' calls with IPv4-mapped addresses as IPv4 ones.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import cache, lru_cache
from typing import Final

from anybpf.hooks.socket_call import Address, Decision, Operation, SocketCall
from anybpf.hooks.socket_view import View, allowed, protocol_of, record, rewritten, span, unmapped
from anybpf.platforms import ProgramType
from anybpf.runtime.socket_point import Outcome

__all__ = ("VIEWS",)

# Windows' numbers
_FAMILY = {4: 2, 16: 23}  # AF_INET and AF_INET6 by the length of an address
_BIND, _UNBIND = 0, 2  # bind_operation_t; its POST_BIND is never delivered
_DENY = 1  # bind_action_t
_REJECT = 0  # BPF_SOCK_ADDR_VERDICT_REJECT
_DEFAULT_COMPARTMENT = 1
# Linux's, which calls and decisions are in
_INTERNET = (2, 10)
_TCP = 6
_EACCES, _ECONNABORTED = 13, 103
_NOWHERE = Address(b"", 0)


@lru_cache(256)
def _app_id(app: str) -> bytes:
    return app.encode("utf-16-le", "surrogatepass")


@cache
def _own_app() -> str:
    return os.path.basename(os.path.realpath(sys.executable)) if sys.executable else ""


class _Bind(View):
    """``bind_md_t``: binds, and the closing of bound sockets.

    Windows also shows the bind that connecting, or sending from, an unbound socket implies; here binds are those that
    somebody asked for.

    The address is always a ``SOCKADDR_IN`` in host byte order, with zeros for the host of an IPv6 address. A denied
    call fails with EACCES; what programs write to the address, and BIND_REDIRECT, have no effect; what they return
    on UNBIND has none either.
    """

    operations = frozenset({Operation.BIND, Operation.UNBIND})

    def __init__(self, program_type: ProgramType) -> None:
        super().__init__(program_type)
        context = program_type.context
        self._record = record(
            context, "process_id", "socket_address_length", "operation", "protocol", socket_address="HHI"
        )
        self._length = context.field_named("socket_address").size

    def sees(self, call: SocketCall) -> bool:
        return call.address is not None and call.family in _INTERNET

    def event(self, call: SocketCall) -> tuple[bytes, bytes]:
        address, task = call.address or _NOWHERE, call.task
        host = int.from_bytes(address.host, "big") if len(address.host) == 4 else 0
        operation = _BIND if call.operation is Operation.BIND else _UNBIND
        pid, app = (os.getpid(), _own_app()) if task is None else (task.pid, task.app)
        context = self._record.pack(
            pid, _FAMILY[4], address.port, host, self._length, operation, protocol_of(call) & 0xFF
        )
        return context, _app_id(app)

    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        if outcome.verdict == _DENY and call.operation is Operation.BIND:
            return Decision(False, _EACCES, call.address)
        return allowed(call)


class _SockAddr(View):
    """``bpf_sock_addr_t``, addresses and ports in network byte order. A rejected call fails with EACCES."""

    shows_local = True
    _error = _EACCES

    def __init__(self, program_type: ProgramType) -> None:
        super().__init__(program_type)
        self._size = 4 if "4" in program_type.attach_type else 16
        self._family = _FAMILY[self._size]
        self._record = record(
            program_type.context, "family", "protocol", "compartment_id",
            msg_src_ip="16s", msg_src_port="2s", user_ip="16s", user_port="2s",
        )  # fmt: skip

    def _source(self, call: SocketCall) -> Address | None:
        """Return what ``msg_src_ip`` and ``msg_src_port`` show."""
        return call.local

    def _user(self, call: SocketCall) -> Address | None:
        """Return what ``user_ip`` and ``user_port`` show."""
        return call.address

    def sees(self, call: SocketCall) -> bool:
        user = self._user(call)
        return user is not None and len(unmapped(user).host) == self._size

    def event(self, call: SocketCall) -> tuple[bytes, bytes]:
        source, user = unmapped(self._source(call) or _NOWHERE), unmapped(self._user(call) or _NOWHERE)
        context = self._record.pack(
            self._family,
            source.host, source.port.to_bytes(2, "big"),
            user.host, user.port.to_bytes(2, "big"),
            protocol_of(call), _DEFAULT_COMPARTMENT,
        )  # fmt: skip
        return context, b""

    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        return Decision(False, self._error, call.address) if outcome.verdict == _REJECT else allowed(call)


class _Connect(_SockAddr):
    """Connections of TCP and UDP sockets, and datagrams sent to an address: programs may redirect these.

    Windows calls programs for the first datagram to each peer; here they see every one.
    """

    operations = frozenset({Operation.CONNECT, Operation.SENDMSG})

    def __init__(self, program_type: ProgramType) -> None:
        super().__init__(program_type)
        self._host = span(program_type.context, "user_ip", self._size)
        self._port = span(program_type.context, "user_port", 2)

    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        decision = super().decide(call, context, outcome)
        after, given = outcome.context, call.address
        if given is not None and decision.allowed and (
            after[self._host] != context[self._host] or after[self._port] != context[self._port]
        ):  # fmt: skip
            decision = Decision(True, 0, rewritten(given, after[self._host], after[self._port]))
        if outcome.redirect_context:
            decision = replace(decision, redirect_context=outcome.redirect_context)
        return decision


class _Authorization(_SockAddr):
    """Connections again, after they were redirected; what programs write is ignored."""

    operations = frozenset({Operation.CONNECT, Operation.SENDMSG})


class _Bound(_SockAddr):
    """Binds; ``msg_src_*`` are zero, and what programs write is ignored."""

    operations = frozenset({Operation.BIND})
    shows_local = False

    def _source(self, call: SocketCall) -> Address | None:
        return None


class _Accept(_SockAddr):
    """Connections that came: ``user_*`` is the local side. A rejected one is dropped (ECONNABORTED)."""

    operations = frozenset({Operation.ACCEPT})
    _error = _ECONNABORTED

    def _source(self, call: SocketCall) -> Address | None:
        return call.address

    def _user(self, call: SocketCall) -> Address | None:
        return call.local


class _Listen(_SockAddr):
    """Sockets that begin to listen: TCP, both addresses the local one."""

    operations = frozenset({Operation.LISTEN})

    def _user(self, call: SocketCall) -> Address | None:
        return call.local

    def sees(self, call: SocketCall) -> bool:
        return protocol_of(call) == _TCP and super().sees(call)


#: Program type → attach type → view, in the order in which a call meets them.
VIEWS: Final[dict[str, dict[str, type[View]]]] = {
    "bind": {"bind": _Bind},
    "sock_addr": {
        f"cgroup_inet{family}_{name}": view
        for name, view in (
            ("connect", _Connect),
            ("connect_authorization", _Authorization),
            ("recv_accept", _Accept),
            ("bind", _Bound),
            ("listen", _Listen),
        )
        for family in "46"
    },
}
