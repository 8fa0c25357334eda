"""WinDivert's socket events as socket calls, and the filters that block such calls.

Source of facts: WinDivert 2.2's documentation of WINDIVERT_ADDRESS and WINDIVERT_EVENT, and its header.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from anybpf.hooks.socket_call import Address, Operation, SocketCall, Task

__all__ = ("OPERATIONS", "block_filter", "to_call")

#: WINDIVERT_EVENT_SOCKET_* → what it tells of. A socket that is closed has no longer the address that it was bound to.
_OPERATIONS: Final = {
    3: Operation.BIND,
    4: Operation.CONNECT,
    5: Operation.LISTEN,
    6: Operation.ACCEPT,
    7: Operation.UNBIND,
}
OPERATIONS: Final = frozenset(_OPERATIONS.values())
_ADDRESS = struct.Struct("<q II QQI 4I 4I HHB")  # WINDIVERT_ADDRESS with WINDIVERT_DATA_SOCKET
_IPV6 = 1 << 20  # in its flags
_FAMILY = {4: 2, 16: 10}
_STREAM, _DATAGRAM, _RAW = 1, 2, 3
_TYPES = {6: _STREAM, 17: _DATAGRAM}


def to_call(address: bytes, image_name: Callable[[int], str]) -> SocketCall | None:
    """Return the call that an event tells of; None: it tells of none, such as the end of a connection.

    :param address: the event's WINDIVERT_ADDRESS. :param image_name: gives the name of a process's executable.
    """
    _, flags, _, endpoint, _, pid, *numbers, local_port, remote_port, protocol = _ADDRESS.unpack_from(address)
    operation = _OPERATIONS.get(flags >> 8 & 0xFF)
    size = 16 if flags & _IPV6 else 4
    local = Address(_host(numbers[:4], size), local_port)
    remote = Address(_host(numbers[4:], size), remote_port)
    if operation is None or (operation is Operation.UNBIND and remote_port):
        return None
    app = image_name(pid)
    named = {Operation.CONNECT: remote, Operation.ACCEPT: remote, Operation.LISTEN: None}.get(operation, local)
    return SocketCall(
        operation,
        _FAMILY[size],
        _TYPES.get(protocol, _RAW),
        protocol,
        named,
        None if operation in (Operation.BIND, Operation.UNBIND) else local,
        Task(pid, 0, 0, 0, app.encode("utf-8", "replace")[:15], app),
        endpoint,
    )


def _host(words: list[int], size: int) -> bytes:
    """Return an address of WinDivert, words in the machine's byte order with the last one first, in network order."""
    return struct.pack(">4I", *reversed(words))[-size:]


def block_filter(call: SocketCall, *, whole_process: bool) -> str:
    """Return the filter for calls like this one: of the same process and kind, and to the same address unless
    ``whole_process``."""
    assert call.task is not None
    terms = [f"event == {call.operation.name}", f"processId == {call.task.pid}"]
    if not whole_process:
        terms.append(f"protocol == {call.protocol}")
        if call.operation in (Operation.CONNECT, Operation.ACCEPT) and call.address is not None:
            terms.append(f"remoteAddr == {ip_address(call.address.host)}")
        if call.operation is Operation.CONNECT and call.address is not None:
            terms.append(f"remotePort == {call.address.port}")
        own = call.address if call.operation is Operation.BIND else call.local
        if call.operation is not Operation.CONNECT and own is not None:
            terms.append(f"localPort == {own.port}")
            if any(own.host):
                terms.append(f"localAddr == {ip_address(own.host)}")
    return " and ".join(terms)
