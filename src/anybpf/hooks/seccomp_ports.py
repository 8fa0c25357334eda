"""Ports on behalf of another process: which need a capability, and which to choose where it leaves the choice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ("candidates", "is_low")

_USUALLY_UNPRIVILEGED: Final = 1024
_SETTINGS: Final = Path("/proc/sys/net/ipv4")
_TRIES: Final = 64


def is_low(port: int) -> bool:
    """Whether some may not bind to ``port``, here or in another network namespace."""
    return 0 < port < max(_USUALLY_UNPRIVILEGED, _first_unprivileged())


def candidates(port: int) -> Iterator[int]:
    """Yield ``port``; for 0, yield ports of the range for outgoing connections, in random order, a limited number."""
    if port:
        yield port
        return
    low, high = map(int, (_SETTINGS / "ip_local_port_range").read_text().split())
    yield from random.sample(range(low, high + 1), min(_TRIES, high + 1 - low))


@cache
def _first_unprivileged() -> int:
    return int((_SETTINGS / "ip_unprivileged_port_start").read_text())
