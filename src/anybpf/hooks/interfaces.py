"""Interfaces to take frames from and to send frames by, as ports of a wire: what this operating system has of them."""

from __future__ import annotations

import socket
import sys

from anybpf.hooks.wire import Port

if sys.platform == "linux":
    from anybpf.hooks.packet_socket_linux import PacketSocket
    from anybpf.hooks.tap_device_linux import Outbox, TapDevice
else:
    from anybpf.hooks.interfaces_other import Outbox, PacketSocket, TapDevice

__all__ = ("Outbox", "PacketSocket", "TapDevice", "outlet")


def outlet(ifindex: int) -> Port:
    """Open an interface that a program redirects to, for sending only; OSError or HookError when that cannot be."""
    return PacketSocket(socket.if_indextoname(ifindex), receive=False)
