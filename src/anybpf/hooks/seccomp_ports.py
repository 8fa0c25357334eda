"""Ports on behalf of another process: which it may bind to, and which to choose where it leaves the choice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ("candidates", "may_bind")

_CAP_NET_BIND_SERVICE: Final = 1 << 10
_SETTINGS: Final = Path("/proc/sys/net/ipv4")
_TRIES: Final = 64


def may_bind(thread: int, port: int) -> bool:
    """Whether a thread may bind to ``port``, as far as this process can tell better than the kernel.

    The kernel judges by our capabilities, which the thread may have given up.
    """
    if not port or port >= _first_unprivileged() or not _capabilities("self") & _CAP_NET_BIND_SERVICE:
        return True
    return bool(_capabilities(thread) & _CAP_NET_BIND_SERVICE)


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


def _capabilities(process: int | str) -> int:
    """Return the effective capabilities as a bit mask; none of a process that is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
