"""The promises of eBPF for Windows 1.6 and of the extensions that go with it (XDP, process and network events, sample).

Contexts hold real 64-bit pointers, and nearly all numbers differ from Linux's. Program types, sections, layouts and
verdicts are public facts of the microsoft/ebpf-for-windows, xdp-for-windows and ntosebpfext projects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from anybpf.platforms import windows_helpers as helpers
from anybpf.platforms.declaration import table
from anybpf.platforms.map_rules import WINDOWS_MAP_RULES
from anybpf.platforms.model import (
    AttachRule,
    ChainRule,
    Context,
    ContextField,
    FieldKind,
    Helper,
    MapKind,
    Platform,
    ProgramType,
    Section,
)

__all__ = ("windows",)


def _bounds(offset: int, start: str, end: str) -> tuple[ContextField, ContextField]:
    """Return the two pointers that bound the event's data."""
    return (
        ContextField(start, offset, 8, kind=FieldKind.PACKET, narrow=False),
        ContextField(end, offset + 8, 8, kind=FieldKind.PACKET_END, narrow=False),
    )


def _address(name: str, offset: int, *, writable: bool = False) -> ContextField:
    """Return a field that holds an IPv4 address, or an IPv6 address as four words."""
    return ContextField(name, offset, 16, element=4, wide=True, writable=writable)


_XDP_MD: Final = Context(
    "xdp_md_t",
    32,
    (
        *_bounds(0, "data", "data_end"),
        ContextField("data_meta", 16, 8, kind=FieldKind.PACKET_META, narrow=False),
        ContextField("ingress_ifindex", 24, 4),
    ),
)
_BIND_MD: Final = Context(
    "bind_md_t",
    56,
    (
        *_bounds(0, "app_id_start", "app_id_end"),
        ContextField("process_id", 16, 8),
        ContextField("socket_address", 24, 16, element=8, writable=True, narrow_writable=True),
        ContextField("socket_address_length", 40, 1, writable=True),
        ContextField("operation", 44, 4),
        ContextField("protocol", 48, 1),
    ),
)
#: What programs write here takes effect at connect4 and connect6 (a redirection); elsewhere the hook ignores it.
_SOCK_ADDR: Final = Context(
    "bpf_sock_addr_t",
    64,
    (
        ContextField("family", 0, 4),
        _address("msg_src_ip", 4),
        ContextField("msg_src_port", 20, 2),
        _address("user_ip", 24, writable=True),
        ContextField("user_port", 40, 2, writable=True),
        ContextField("protocol", 44, 4),
        ContextField("compartment_id", 48, 4),
        ContextField("interface_luid", 56, 8),
    ),
)
_SOCK_OPS: Final = Context(
    "bpf_sock_ops_t",
    64,
    (
        ContextField("op", 0, 4),
        ContextField("family", 4, 4),
        _address("local_ip", 8),
        ContextField("local_port", 24, 4),
        _address("remote_ip", 28),
        ContextField("remote_port", 44, 4),
        ContextField("protocol", 48, 1),
        ContextField("compartment_id", 52, 4),
        ContextField("interface_luid", 56, 8),
    ),
)
_PROCESS_MD: Final = Context(
    "process_md_t",
    56,
    (
        *_bounds(0, "command_start", "command_end"),
        ContextField("process_id", 16, 8),
        ContextField("parent_process_id", 24, 8),
        ContextField("creating_process_id", 32, 8),
        ContextField("creating_thread_id", 40, 8),
        ContextField("operation", 48, 4),
    ),
)
_NETEVENT_MD: Final = Context(
    "netevent_event_md_t",
    24,
    (
        ContextField("data_meta", 0, 8, kind=FieldKind.PACKET_META, narrow=False),
        *_bounds(8, "data", "data_end"),
    ),
)
_SAMPLE: Final = Context(
    "sample_program_context_t",
    32,
    (
        *_bounds(0, "data_start", "data_end"),
        ContextField("uint32_data", 16, 4, writable=True),
        ContextField("uint16_data", 20, 2, writable=True),
        ContextField("helper_data_1", 24, 4, writable=True),
        ContextField("helper_data_2", 28, 4, writable=True),
    ),
)

_GENERAL: Final = frozenset(h.name for h in helpers.GENERAL) - helpers.VIRTUAL


def _names(own: Iterable[Helper], *virtual: str) -> frozenset[str]:
    """Return what a type may call: the general helpers, its own, and the virtual ones that it implements."""
    return _GENERAL | {h.name for h in own} | set(virtual)


_SOCK_ADDR_HOOKS: Final = {
    "cgroup/connect4": ("cgroup_inet4_connect", 3),
    "cgroup/connect6": ("cgroup_inet6_connect", 4),
    "cgroup/recv_accept4": ("cgroup_inet4_recv_accept", 5),
    "cgroup/recv_accept6": ("cgroup_inet6_recv_accept", 6),
    "cgroup/connect_authorization4": ("cgroup_inet4_connect_authorization", 12),
    "cgroup/connect_authorization6": ("cgroup_inet6_connect_authorization", 13),
    "cgroup/bind4": ("cgroup_inet4_bind", 14),
    "cgroup/bind6": ("cgroup_inet6_bind", 15),
    "cgroup/listen4": ("cgroup_inet4_listen", 16),
    "cgroup/listen6": ("cgroup_inet6_listen", 17),
}
#: The first REJECT ends it; PROCEED_HARD outranks PROCEED_SOFT.
_SOCK_ADDR_CHAIN: Final = ChainRule(
    known=frozenset({0, 1, 2}), proceed=frozenset({1, 2}), ranks={0: 3, 2: 2, 1: 1}, fault=1, empty=1
)
#: And so does the first program that redirects the connection.
_REDIRECT_CHAIN: Final = replace(_SOCK_ADDR_CHAIN, watched=("user_ip", "user_port"))
#: Where one program may be attached (one a compartment; there is one here).
_SINGLE_SOCK_ADDR: Final = (
    "cgroup_inet4_recv_accept", "cgroup_inet6_recv_accept", "cgroup_inet4_listen", "cgroup_inet6_listen",
)  # fmt: skip


def _prefix(name: str, attach_type: str) -> tuple[Section, ...]:
    """Return the section rule of eBPF for Windows: whatever begins with ``name``."""
    return (Section(name, attach_type, prefix=True),)


_PROGRAM_TYPES: Final = (
    ProgramType("unspec", 0, Context("", 0), helpers=_names(())),
    ProgramType(
        "xdp", 1, _XDP_MD,
        sections=_prefix("xdp", "xdp"),
        helpers=_names(helpers.XDP, "bpf_redirect_map"),
        own_helpers=table(helpers.XDP),
        actions={1: "XDP_PASS", 2: "XDP_DROP", 3: "XDP_TX", 4: "XDP_REDIRECT"},
        passes=frozenset({1}),
        attach_types={"xdp": 1},
        chain=ChainRule(known=frozenset({1, 2, 3, 4}), proceed=frozenset({1}), otherwise=2, fault=1, empty=1),
        packet_writable=True,
    ),
    ProgramType(
        "bind", 2, _BIND_MD,
        sections=_prefix("bind", "bind"),
        helpers=_names(()),
        actions={0: "BIND_PERMIT_SOFT", 1: "BIND_DENY", 2: "BIND_REDIRECT", 3: "BIND_PERMIT_HARD"},
        attach_types={"bind": 2},
        chain=ChainRule(known=frozenset({0, 1, 2, 3}), otherwise=1, single=True),
    ),
    ProgramType(
        "sock_addr", 3, _SOCK_ADDR,
        sections=tuple(Section(s, attach_type, prefix=True) for s, (attach_type, _) in _SOCK_ADDR_HOOKS.items()),
        helpers=_names(helpers.SOCK_ADDR, "bpf_get_socket_cookie"),
        own_helpers=table(helpers.SOCK_ADDR),
        actions={
            0: "BPF_SOCK_ADDR_VERDICT_REJECT",
            1: "BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT",
            2: "BPF_SOCK_ADDR_VERDICT_PROCEED_HARD",
        },
        attach_types=dict(_SOCK_ADDR_HOOKS.values()),
        chain=_SOCK_ADDR_CHAIN,
        attach_rules={
            **dict.fromkeys(("cgroup_inet4_connect", "cgroup_inet6_connect"), AttachRule(chain=_REDIRECT_CHAIN)),
            **dict.fromkeys(_SINGLE_SOCK_ADDR, AttachRule(chain=replace(_SOCK_ADDR_CHAIN, single=True))),
        },
    ),
    ProgramType(
        "sockops", 4, _SOCK_OPS,
        sections=_prefix("sockops", "cgroup_sock_ops"),
        helpers=_names(helpers.SOCK_OPS),
        own_helpers=table(helpers.SOCK_OPS),
        attach_types={"cgroup_sock_ops": 7},
    ),
    ProgramType(
        "netevent", 5, _NETEVENT_MD,
        sections=(Section("netevent", "netevent"),),
        helpers=_names(helpers.NETEVENT),
        own_helpers=table(helpers.NETEVENT),
        attach_types={"netevent": 10},
    ),
    ProgramType(
        "process", 6, _PROCESS_MD,
        sections=(Section("process", "process"),),
        helpers=_names(helpers.PROCESS),
        own_helpers=table(helpers.PROCESS),
        attach_types={"process": 11},
    ),
    ProgramType(
        "sample", 999, _SAMPLE,
        sections=_prefix("sample_ext", "sample"),
        helpers=_names(helpers.SAMPLE),
        own_helpers=table(helpers.SAMPLE),
        attach_types={"sample": 8},
        packet_writable=True,
    ),
)  # fmt: skip

windows: Final = Platform(
    "windows",
    program_types=_PROGRAM_TYPES,
    helpers=table(helpers.GENERAL),
    map_types={
        1: MapKind.HASH,
        2: MapKind.ARRAY,
        3: MapKind.PROG_ARRAY,
        4: MapKind.PERCPU_HASH,
        5: MapKind.PERCPU_ARRAY,
        6: MapKind.HASH_OF_MAPS,
        7: MapKind.ARRAY_OF_MAPS,
        8: MapKind.LRU_HASH,
        9: MapKind.LPM_TRIE,
        10: MapKind.QUEUE,
        11: MapKind.LRU_PERCPU_HASH,
        12: MapKind.STACK,
        13: MapKind.RINGBUF,
        14: MapKind.PERF_EVENT_ARRAY,
        15: MapKind.HASH,  # the sample extension's own map, which behaves as its base type does
        16: MapKind.XSKMAP,
    },
    map_rules=WINDOWS_MAP_RULES,
    default_type="unspec",
)
