"""The promises of Linux 6.18."""

from __future__ import annotations

from typing import Final

from anybpf.platforms.declaration import table
from anybpf.platforms.linux_contexts import STRUCTURES
from anybpf.platforms.linux_helpers_core import CORE
from anybpf.platforms.linux_helpers_network import NETWORK
from anybpf.platforms.linux_helpers_socket import SOCKET_HELPERS
from anybpf.platforms.linux_helpers_tracing import TRACING
from anybpf.platforms.linux_program_types import PROGRAM_TYPES
from anybpf.platforms.map_rules import LINUX_MAP_RULES
from anybpf.platforms.model import MapKind, Platform

__all__ = ("linux",)

linux: Final = Platform(
    "linux",
    program_types=PROGRAM_TYPES,
    helpers=table(CORE, NETWORK, SOCKET_HELPERS, TRACING),
    # MapKind lists Linux's kinds in the order of their numbers (enum bpf_map_type), which begin at 1.
    map_types=dict(enumerate(MapKind, start=1)),
    map_rules=LINUX_MAP_RULES,
    structures=STRUCTURES,
    default_type="unspec",
    guesses=("xdp", "sched_cls"),
)
