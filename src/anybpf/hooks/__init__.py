"""Event sources that programs attach to.

The modules behind these names are imported when a name is first used; what an operating system does not have says so
when a program is attached to it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anybpf.hooks.capture import CaptureReader, Chunk
    from anybpf.hooks.hook import Accepts, Hook, LiveHook
    from anybpf.hooks.inline import Inline
    from anybpf.hooks.pcap import Pcap, PcapLink, Totals
    from anybpf.hooks.queue import Queue
    from anybpf.hooks.service import Outcome, Service
    from anybpf.hooks.service_limits import Limits
    from anybpf.hooks.tap import Tap
    from anybpf.hooks.windivert import WinDivert
    from anybpf.hooks.windivert_sockets import WinDivertSockets

_HOMES = {
    "Accepts": "hook",
    "CaptureReader": "capture",
    "Chunk": "capture",
    "Hook": "hook",
    "Inline": "inline",
    "Limits": "service_limits",
    "LiveHook": "hook",
    "Outcome": "service",
    "Pcap": "pcap",
    "PcapLink": "pcap",
    "Queue": "queue",
    "Service": "service",
    "Tap": "tap",
    "Totals": "pcap",
    "WinDivert": "windivert",
    "WinDivertSockets": "windivert_sockets",
}

__all__ = (
    "Accepts",
    "CaptureReader",
    "Chunk",
    "Hook",
    "Inline",
    "Limits",
    "LiveHook",
    "Outcome",
    "Pcap",
    "PcapLink",
    "Queue",
    "Service",
    "Tap",
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
