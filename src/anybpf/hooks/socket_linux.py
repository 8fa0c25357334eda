"""Socket calls as Linux's control-group programs see them: ``cgroup_sock_addr`` and ``cgroup_sock``.

Which sockets are seen is what Linux does: those of the Internet families; binds, connections and datagrams of TCP, UDP
and their kin only. A denied call fails with EPERM, or with the error that a program has set (``bpf_set_retval``).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from anybpf.hooks.socket_call import Address, Decision, Operation, SocketCall
from anybpf.hooks.socket_view import View, allowed, protocol_of, record, rewritten, span, unmapped
from anybpf.platforms import ProgramType
from anybpf.runtime.socket_point import Outcome

__all__ = ("VIEWS",)

_FAMILY = {4: 2, 16: 10}  # AF_INET and AF_INET6 by the length of an address
_INTERNET = frozenset(_FAMILY.values())
_ICMP, _TCP, _UDP, _ICMPV6, _UDPLITE, _MPTCP = 1, 6, 17, 58, 136, 262
_DATAGRAMS = frozenset({_UDP, _UDPLITE})
_BOUND = _DATAGRAMS | {_TCP, _MPTCP}
_CONNECTED = _BOUND | {_ICMP, _ICMPV6}  # and "ping" sockets
_SOCK_RAW = 3
_TYPE = 0xF  # SOCK_NONBLOCK and SOCK_CLOEXEC lie above

_EINVAL, _ENOTSUPP = 22, 524
_ERRORS = range(-4095, 0)  # what counts as an error in a return value
_WITHOUT_CAPABILITY = 3  # a bind's verdict

_TCP_ESTABLISHED, _TCP_CLOSE = 1, 7
_NO_QUEUE = 0xFFFFFFFF  # bpf_sock.rx_queue_mapping of a socket that has received nothing
_NOWHERE = Address(b"", 0)

_SOCKADDR_IN = struct.Struct("=H2s4s")
_SOCKADDR_IN6 = struct.Struct("=H2sI16sI")


def _denied(call: SocketCall, outcome: Outcome) -> Decision | None:
    """Return the decision that fails the call, if that is what the programs want."""
    return Decision(False, -outcome.retval, call.address) if outcome.retval in _ERRORS else None


def _address(sockaddr: bytes) -> Address | None:
    """Return what was given to ``bpf_bind``, in Linux's layout; None for nothing."""
    if len(sockaddr) == 16:
        _, port, host = _SOCKADDR_IN.unpack_from(sockaddr)
        return Address(host, int.from_bytes(port, "big"))
    if sockaddr:
        _, port, flowinfo, host, scope = _SOCKADDR_IN6.unpack(sockaddr)
        return Address(host, int.from_bytes(port, "big"), flowinfo, scope)
    return None


class _SockAddr(View):
    """``struct bpf_sock_addr``, addresses and ports in network byte order; programs may rewrite them."""

    protocols: frozenset[int] = _BOUND

    def __init__(self, program_type: ProgramType) -> None:
        super().__init__(program_type)
        context = program_type.context
        self._size = 4 if "4" in program_type.attach_type else 16
        self._user = "user_ip4" if self._size == 4 else "user_ip6"
        codes = {self._user: f"{self._size}s", "user_port": "2s"}
        self._record = record(context, "user_family", "family", "type", "protocol", **codes, **self._more())
        self._host, self._port = span(context, self._user, self._size), span(context, "user_port", 2)

    def _more(self) -> dict[str, str]:
        """Return the codes of further fields."""
        return {}

    def _values(self, call: SocketCall) -> Sequence[bytes]:
        """Return the values of these fields."""
        return ()

    def _named(self, call: SocketCall) -> Address:
        """Return the address that programs see."""
        return call.address or _NOWHERE

    def sees(self, call: SocketCall) -> bool:
        return (
            call.address is not None
            and len(self._named(call).host) == self._size
            and call.type & _TYPE != _SOCK_RAW
            and protocol_of(call) in self.protocols
        )

    def event(self, call: SocketCall) -> tuple[bytes, bytes]:
        address = self._named(call)
        context = self._record.pack(
            _FAMILY[self._size], address.host, address.port.to_bytes(2, "big"),
            call.family, call.type & _TYPE, protocol_of(call), *self._values(call),
        )  # fmt: skip
        return context, b""

    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        denied = _denied(call, outcome)
        if denied is not None:
            return denied
        after, given = outcome.context, call.address
        if after == context or given is None:
            return allowed(call)
        return Decision(True, 0, rewritten(given, after[self._host], after[self._port]))


class _Bind(_SockAddr):
    """Binds, before the address is looked at."""

    operations = frozenset({Operation.BIND})

    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        decision = super().decide(call, context, outcome)
        privileged = decision.allowed and outcome.verdict == _WITHOUT_CAPABILITY
        return replace(decision, privileged=True) if privileged else decision


class _Connect(_SockAddr):
    """Connections; what a program gave to ``bpf_bind`` is the decision's source."""

    operations = frozenset({Operation.CONNECT})
    protocols = _CONNECTED

    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        decision = super().decide(call, context, outcome)
        return replace(decision, source=_address(outcome.bind)) if outcome.bind else decision


class _Sendmsg(_SockAddr):
    """Datagrams sent to an address that the call names; IPv4-mapped ones are IPv4's. The source may be rewritten."""

    operations = frozenset({Operation.SENDMSG})
    shows_local = True
    protocols = _DATAGRAMS

    def __init__(self, program_type: ProgramType) -> None:
        super().__init__(program_type)
        self._source = span(program_type.context, self._source_name, self._size)

    @property
    def _source_name(self) -> str:
        return "msg_src_ip4" if self._size == 4 else "msg_src_ip6"

    def _more(self) -> dict[str, str]:
        return {self._source_name: f"{self._size}s"}

    def _values(self, call: SocketCall) -> Sequence[bytes]:
        local = unmapped(call.local or _NOWHERE).host
        return (local if len(local) == self._size else b"",)

    def _named(self, call: SocketCall) -> Address:
        return unmapped(call.address or _NOWHERE)

    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        decision = super().decide(call, context, outcome)
        if not decision.allowed or outcome.context == context:
            return decision
        address, after = decision.address or _NOWHERE, outcome.context
        if address.port == 0:
            return Decision(False, _EINVAL, call.address)
        if self._size == 16 and unmapped(address) is not address:
            return Decision(False, _ENOTSUPP, call.address)
        if after[self._source] != context[self._source]:
            source = Address(after[self._source], call.local.port if call.local is not None else 0)
            decision = replace(decision, source=source)
        return decision


class _Sock(View):
    """``struct bpf_sock``: sockets being made and closed. What programs write to it has no effect."""

    operations = frozenset({Operation.SOCKET})

    def __init__(self, program_type: ProgramType) -> None:
        super().__init__(program_type)
        self._record = record(
            program_type.context, "family", "type", "protocol", "state", "rx_queue_mapping", **self._more()
        )

    def _more(self) -> dict[str, str]:
        return {}

    def _values(self, call: SocketCall) -> tuple[int | bytes, ...]:
        """Return the values of the further fields and ``state``."""
        return (_TCP_CLOSE,)

    def sees(self, call: SocketCall) -> bool:
        return call.family in _INTERNET

    def event(self, call: SocketCall) -> tuple[bytes, bytes]:
        identity = (call.family, call.type & _TYPE, protocol_of(call))
        return self._record.pack(*identity, *self._values(call), _NO_QUEUE), b""

    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        return _denied(call, outcome) or allowed(call)


class _PostBind(_Sock):
    """Sockets that have been bound: the address is the one that they got; ``src_port`` is a plain number."""

    operations = frozenset({Operation.POST_BIND})

    def __init__(self, program_type: ProgramType) -> None:
        self._size = 4 if "4" in program_type.attach_type else 16
        super().__init__(program_type)

    def _more(self) -> dict[str, str]:
        return {"src_ip4" if self._size == 4 else "src_ip6": f"{self._size}s", "src_port": "I"}

    def _values(self, call: SocketCall) -> tuple[int | bytes, ...]:
        address = call.address or _NOWHERE
        return address.host, address.port, _TCP_CLOSE

    def sees(self, call: SocketCall) -> bool:
        return (
            call.address is not None
            and len(call.address.host) == self._size
            and call.type & _TYPE != _SOCK_RAW
            and protocol_of(call) in _BOUND
        )


class _Release(_Sock):
    """Sockets that are being closed: the peer, where there is one, is the call's address. Nothing can be denied."""

    operations = frozenset({Operation.RELEASE})

    def _more(self) -> dict[str, str]:
        return {"dst_port": "2s", "dst_ip4": "4s", "dst_ip6": "16s"}

    def _values(self, call: SocketCall) -> tuple[int | bytes, ...]:
        if call.address is None:
            return b"", b"", b"", _TCP_CLOSE
        host = call.address.host
        four, six = (host, b"") if len(host) == 4 else (b"", host)
        return call.address.port.to_bytes(2, "big"), four, six, _TCP_ESTABLISHED

    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        return allowed(call)


#: Program type → attach type → view, in the order in which a call meets them.
VIEWS: Final[dict[str, dict[str, type[View]]]] = {
    "cgroup_sock_addr": {
        "cgroup_inet4_bind": _Bind,
        "cgroup_inet6_bind": _Bind,
        "cgroup_inet4_connect": _Connect,
        "cgroup_inet6_connect": _Connect,
        "cgroup_udp4_sendmsg": _Sendmsg,
        "cgroup_udp6_sendmsg": _Sendmsg,
    },
    "cgroup_sock": {
        "cgroup_inet_sock_create": _Sock,
        "cgroup_inet4_post_bind": _PostBind,
        "cgroup_inet6_post_bind": _PostBind,
        "cgroup_inet_sock_release": _Release,
    },
}
