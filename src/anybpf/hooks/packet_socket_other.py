"""Where there are no packet sockets: a refusal that names what is missing."""

from __future__ import annotations

import sys
from typing import NoReturn

from anybpf.errors import UnsupportedError

__all__ = ("PacketSocket",)

_MISSING = {
    "darwin": "macOS has no packet sockets, and its /dev/bpf devices cannot hold packets back",
    "win32": "Windows has no packet sockets; the windivert hook filters its packets",
}


class PacketSocket:
    """Linux's packet sockets, which are not here."""

    def __new__(cls, interface: str, *, receive: bool = True) -> NoReturn:  # noqa: D102
        raise UnsupportedError(_MISSING.get(sys.platform, f"{sys.platform} has no packet sockets") + "; use Linux")
