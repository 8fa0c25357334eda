"""Where neither packet sockets nor TAP interfaces are: refusals that name what is missing."""

from __future__ import annotations

import sys
from typing import Any, Final

from anybpf.errors import UnsupportedError

__all__ = ("Outbox", "PacketSocket", "TapDevice")

_NO_PACKET_SOCKETS: Final = {
    "darwin": "macOS has no packet sockets (its /dev/bpf devices copy packets and cannot hold them back)",
    "win32": "Windows has no packet sockets (the windivert hook filters its packets)",
}
_NO_TAP: Final = {
    "darwin": "macOS has no TAP interfaces (its utun interfaces carry no Ethernet frames)",
    "win32": "Windows has no TAP interfaces (the windivert hook filters its packets)",
}


def _refuse(reasons: dict[str, str], what: str) -> Any:
    raise UnsupportedError(f"{reasons.get(sys.platform, f'{sys.platform} has no {what}')}; this hook needs Linux")


def PacketSocket(interface: str, *, receive: bool = True) -> Any:
    """Raise UnsupportedError."""
    return _refuse(_NO_PACKET_SOCKETS, "packet sockets")


def TapDevice(name: str) -> Any:
    """Raise UnsupportedError."""
    return _refuse(_NO_TAP, "TAP interfaces")


def Outbox() -> Any:
    """Raise UnsupportedError."""
    return _refuse(_NO_TAP, "TAP interfaces")
