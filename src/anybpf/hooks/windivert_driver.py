"""WinDivert's driver as the hooks want it: batches of packets, events of sockets, one at a time.

pydivert brings the signed driver and its library (WinDivert 2.2); its own classes give one packet a call, so packets go
through the library's batched calls, which pydivert declares. Source of facts: WinDivert 2.2's documentation.

pydivert's wheel for Linux is something else: it has no WinDivert but a library that loads eBPF programs into the kernel
and imitates WinDivert's interface. That needs root and a kernel with eBPF, which this package does without, so the
hooks do not use it; tests do, as a driver with real packets and events.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Protocol

from anybpf.errors import HookError, UnsupportedError

__all__ = ("BATCH", "EventDriver", "OpenEvents", "PacketDriver", "open_events", "open_packets")

BATCH = 255  # WINDIVERT_BATCH_MAX
_ADDRESS_SIZE = 80
_NETWORK, _SOCKET = 0, 3  # WINDIVERT_LAYER_*
_SNIFF, _DROP, _RECEIVE_ONLY = 1, 2, 4  # WINDIVERT_FLAG_*
_SHUTDOWN_RECEIVE = 1
_INVALID_HANDLES = (None, -1, (1 << 64) - 1)
_ACCESS_DENIED, _INVALID_PARAMETER = 5, 87
#: What WinDivertOpen's errors mean, and what to do.
_REASONS = {
    2: "its driver's files are missing; install pydivert again",
    577: "Windows does not accept the driver's signature; update Windows",
    654: "another version of the driver is loaded; end the programs that use it, or restart Windows",
    1275: "security software, or this virtual machine, blocks the driver; allow it there",
    1753: "the Base Filtering Engine service does not run; start it",
}
_INSTEAD = {
    "linux": "on Linux the inline, tap and queue hooks see packets, and `anybpf exec` sees socket calls",
    "darwin": "macOS shows these to system extensions only that Apple has entitled to filter the network",
}


class PacketDriver(Protocol):
    """Packets taken out of the network, and put back."""

    def receive(self, packets: Any, addresses: Any) -> tuple[int, int]:
        """Wait for packets; fill both writable buffers; return bytes of packets and number of addresses.

        Each address is a WINDIVERT_ADDRESS (80 bytes); ``addresses`` has room for BATCH of them. (0, 0): no more come.
        """

    def send(self, packets: memoryview, addresses: memoryview) -> None:
        """Put packets back, each with its address. :raises OSError: some were not taken."""

    def shutdown(self) -> None:
        """Let new packets pass by: :meth:`receive` gives those that wait, then (0, 0). From any thread, also again."""

    def close(self) -> None:
        """Close the handle."""


class EventDriver(Protocol):
    """Events of sockets. A driver that blocks has none to receive."""

    def receive(self) -> bytes:
        """Wait for an event; its WINDIVERT_ADDRESS; b"": no more come."""

    def shutdown(self) -> None:
        """Make :meth:`receive` return what waits, then b"". From any thread."""

    def close(self) -> None:
        """Close the handle."""


class OpenEvents(Protocol):
    """What :func:`open_events` is."""

    def __call__(self, filter: str, priority: int, *, block: bool) -> EventDriver:
        """See :func:`open_events`."""


class _Handle:
    def __init__(self, filter: str, layer: int, priority: int, flags: int) -> None:
        self._dll = _library()
        self._ending = False
        try:
            self._handle = self._dll.WinDivertOpen(filter.encode(), layer, priority, flags)
            _demand(self._handle not in _INVALID_HANDLES)
        except OSError as error:
            raise _refusal(filter, layer, error) from None

    def _receive(self, packets: Any, addresses: Any) -> tuple[int, int]:
        length, size = ctypes.c_uint(0), ctypes.c_uint(ctypes.sizeof(addresses))
        room = ctypes.sizeof(packets) if packets is not None else 0
        try:
            place = ctypes.byref(length), 0, addresses, ctypes.byref(size), None
            _demand(self._dll.WinDivertRecvEx(self._handle, packets, room, *place))
        except OSError:
            if self._ending:  # ERROR_NO_DATA: nothing waits any more
                return 0, 0
            raise
        return length.value, size.value // _ADDRESS_SIZE

    def shutdown(self) -> None:
        self._ending = True
        self._dll.WinDivertShutdown(self._handle, _SHUTDOWN_RECEIVE)

    def close(self) -> None:
        self._dll.WinDivertClose(self._handle)


class _Packets(_Handle):
    def receive(self, packets: Any, addresses: Any) -> tuple[int, int]:
        return self._receive(_array(packets), _array(addresses))

    def send(self, packets: memoryview, addresses: memoryview) -> None:
        sent = ctypes.c_uint(0)
        place = ctypes.byref(sent), 0, _array(addresses), len(addresses), None
        _demand(self._dll.WinDivertSendEx(self._handle, _array(packets), len(packets), *place))


class _Events(_Handle):
    def receive(self) -> bytes:
        address = (ctypes.c_char * _ADDRESS_SIZE)()
        _, count = self._receive(None, address)
        return address.raw if count else b""


def _demand(done: object) -> None:
    """Raise OSError where pydivert does not: when Windows has forgotten the error's number."""
    if not done:
        raise OSError("WinDivert has failed, and does not say why")


def _array(buffer: Any) -> Any:
    return (ctypes.c_char * len(buffer)).from_buffer(buffer)


def _library() -> Any:
    if sys.platform != "win32":
        raise UnsupportedError(
            f"WinDivert is a driver of Windows; {_INSTEAD.get(sys.platform, 'this is another system')}"
        )
    try:
        from pydivert import windivert_dll
    except ImportError:
        raise UnsupportedError("WinDivert comes with the package pydivert; install it: pip install pydivert") from None
    return windivert_dll


def _refusal(filter: str, layer: int, error: OSError) -> Exception:
    code = getattr(error, "winerror", 0)
    if code == _INVALID_PARAMETER:
        from pydivert import Layer, WinDivert

        valid, position, message = WinDivert.check_filter(filter, Layer(layer))
        if not valid:
            return HookError(f"filter {filter!r} is wrong at position {position}: {message}")
    if code == _ACCESS_DENIED:
        return HookError("WinDivert takes the rights of an administrator; run as one")
    return UnsupportedError(f"WinDivert cannot be used here: {_REASONS.get(code, error.strerror or str(error))}")


def open_packets(filter: str, priority: int) -> PacketDriver:
    """Divert the packets of this host that match ``filter``, in WinDivert's filter language.

    :param priority: of several handles, those of higher priority see a packet first; -30000 to 30000.
    :raises HookError: the filter is wrong, or the user is no administrator.
    :raises UnsupportedError: this is not Windows, or it does not take the driver.
    """
    return _Packets(filter, _NETWORK, priority, 0)


def open_events(filter: str, priority: int, *, block: bool) -> EventDriver:
    """Be told of the socket events that match ``filter``; or, with ``block``, have those calls fail.

    :param priority: handles of higher priority are told of events first, also of those that others block.
    :raises HookError: the filter is wrong, or the user is no administrator.
    :raises UnsupportedError: this is not Windows, or it does not take the driver.
    """
    return _Events(filter, _SOCKET, priority, _RECEIVE_ONLY | (_DROP if block else _SNIFF))
