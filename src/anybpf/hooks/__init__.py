"""Event sources that programs attach to.

The modules behind these names are imported when a name is first used; what an operating system does not have says so
when a program is attached to it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anybpf.hooks.audit import Audit
    from anybpf.hooks.capture import CaptureReader, Chunk
    from anybpf.hooks.hook import Accepts, Hook, LiveHook
    from anybpf.hooks.inline import Inline
    from anybpf.hooks.pcap import Pcap, PcapLink, Totals
    from anybpf.hooks.queue import Queue
    from anybpf.hooks.service import Outcome, Service
    from anybpf.hooks.service_limits import Limits
    from anybpf.hooks.socket_call import Address, Decision, Operation, SocketCall, Task
    from anybpf.hooks.socket_hook import SocketHook
    from anybpf.hooks.tap import Tap
    from anybpf.hooks.windivert import WinDivert
    from anybpf.hooks.windivert_sockets import WinDivertSockets

_HOMES = {
    "Accepts": "hook",
    "Address": "socket_call",
    "Audit": "audit",
    "CaptureReader": "capture",
    "Chunk": "capture",
    "Decision": "socket_call",
    "Hook": "hook",
    "Inline": "inline",
    "Limits": "service_limits",
    "LiveHook": "hook",
    "Operation": "socket_call",
    "Outcome": "service",
    "Pcap": "pcap",
    "PcapLink": "pcap",
    "Queue": "queue",
    "Service": "service",
    "SocketCall": "socket_call",
    "SocketHook": "socket_hook",
    "Tap": "tap",
    "Task": "socket_call",
    "Totals": "pcap",
    "WinDivert": "windivert",
    "WinDivertSockets": "windivert_sockets",
}

__all__ = (
    "Accepts",
    "Address",
    "Audit",
    "CaptureReader",
    "Chunk",
    "Decision",
    "Hook",
    "Inline",
    "Limits",
    "LiveHook",
    "Operation",
    "Outcome",
    "Pcap",
    "PcapLink",
    "Queue",
    "Service",
    "SocketCall",
    "SocketHook",
    "Tap",
    "Task",
    "Totals",
    "WinDivert",
    "WinDivertSockets",
)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'anybpf.hooks' has no attribute {name!r}")
    return getattr(import_module(f"anybpf.hooks.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
