"""How programs see socket calls: a view for each program type and attach type, and what all views share.

A view says which calls its programs see, builds the context from a call, and reads a decision out of what they left.
Layouts come from the platform's own tables (:class:`anybpf.platforms.Context`), as one ``struct.Struct`` a view.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import ClassVar

from anybpf.hooks.socket_call import Address, Decision, Operation, SocketCall
from anybpf.platforms import Context, ProgramType
from anybpf.runtime.socket_point import Outcome

__all__ = ("ALLOWED", "View", "allowed", "protocol_of", "record", "rewritten", "span", "unmapped")

_OWN_PROTOCOL = {1: 6, 2: 17}  # SOCK_STREAM: IPPROTO_TCP, SOCK_DGRAM: IPPROTO_UDP
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_MAPPED = bytes(10) + b"\xff\xff"

#: The decision on a call that names no address.
ALLOWED = Decision(True)


class View(ABC):
    """How the programs of one type and attach type see socket calls.

    :cvar operations: the calls that they see some of. :cvar shows_local: they see the socket's own address.
    :param program_type: narrowed to its attach type.
    """

    operations: ClassVar[frozenset[Operation]]
    shows_local: ClassVar[bool] = False

    def __init__(self, program_type: ProgramType) -> None:
        self.program_type = program_type

    @abstractmethod
    def sees(self, call: SocketCall) -> bool:
        """Whether programs are run for a call (of one of :attr:`operations`)."""

    @abstractmethod
    def event(self, call: SocketCall) -> tuple[bytes, bytes]:
        """Return the bytes of the context, and of the event's data."""

    @abstractmethod
    def decide(self, call: SocketCall, context: bytes, outcome: Outcome) -> Decision:
        """Return what the programs' outcome means for the call that :meth:`event` made ``context`` of."""


def record(context: Context, *names: str, **codes: str) -> struct.Struct:
    """Return the structure that packs these fields of a context, ascending by offset, and zeros everywhere else.

    :param names: fields packed as numbers of their own size in native byte order.
    :param codes: fields packed by a code of :mod:`struct`, such as "4s" for bytes; the rest of the field is zeros.
    """
    fields = sorted((context.field_named(name) for name in (*names, *codes)), key=lambda field: field.offset)
    parts, at = ["="], 0
    for field in fields:
        code = codes.get(field.name) or _CODES[field.size]
        parts += [f"{field.offset - at}x", code]
        at = field.offset + struct.calcsize("=" + code)
    return struct.Struct("".join([*parts, f"{context.size - at}x"]))


def span(context: Context, name: str, size: int) -> slice:
    """Return where the first ``size`` bytes of a field are."""
    offset = context.field_named(name).offset
    return slice(offset, offset + size)


def allowed(call: SocketCall) -> Decision:
    """Return the decision to let the call be as it is."""
    return ALLOWED if call.address is None else Decision(True, 0, call.address)


def protocol_of(call: SocketCall) -> int:
    """Return the protocol of the call's socket: its type's own when it names none."""
    return call.protocol or _OWN_PROTOCOL.get(call.type, 0)


def unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv4-mapped one stands for (``::ffff:1.2.3.4``); any other as it is."""
    return Address(address.host[12:], address.port) if address.host.startswith(_MAPPED) else address


def rewritten(address: Address, host: bytes, port: bytes) -> Address:
    """Return ``address`` with another host and port (2 bytes, network order); mapped where it was IPv6 and is IPv4."""
    if len(host) < len(address.host):
        host = _MAPPED + host
    return Address(host, int.from_bytes(port, "big"), address.flowinfo, address.scope_id)
