"""What Linux programs get as their first argument: layouts and access rules.

Offsets are Linux's ABI (include/uapi/linux/bpf.h). Which fields may be read or written, and at what widths, is what
the verifier of Linux 6.18 enforces; tests/test_platforms_kernel.py compares every byte with a live kernel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from anybpf.platforms.model import Context, ContextField, FieldKind

__all__ = (
    "ARGUMENTS",
    "CGROUP_DEVICE",
    "CGROUP_SOCK",
    "FLOW_DISSECTOR",
    "LIRC",
    "NETFILTER",
    "PERF_EVENT",
    "PT_REGS",
    "RAW_ARGUMENTS",
    "SK_BUFF_CGROUP",
    "SK_BUFF_FILTER",
    "SK_BUFF_LWT",
    "SK_BUFF_SCHED",
    "SK_BUFF_STREAM",
    "SK_LOOKUP",
    "SK_MSG",
    "SK_REUSEPORT",
    "SOCKOPT",
    "SOCK_ADDR",
    "SOCK_OPS",
    "STRUCTURES",
    "SYSCALL",
    "SYSCTL",
    "TRACEPOINT",
    "WRITABLE_ARGUMENTS",
    "XDP_MD",
)


def _attach(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _words(offset: int, names: str, *, narrow: bool = False) -> tuple[ContextField, ...]:
    """Return read-only 4-byte fields that follow one another from ``offset`` on."""
    return tuple(ContextField(name, offset + 4 * i, 4, narrow=narrow) for i, name in enumerate(names.split()))


def _pointer(name: str, offset: int, kind: FieldKind, structure: str = "") -> ContextField:
    """Return an 8-byte field that holds a pointer."""
    return ContextField(name, offset, 8, kind=kind, narrow=False, structure=structure)


def _packet(offset: int, size: int, start: str = "data", end: str = "data_end") -> tuple[ContextField, ContextField]:
    """Return the two neighbouring fields that bound the event's data."""
    return (
        ContextField(start, offset, size, kind=FieldKind.PACKET, narrow=False),
        ContextField(end, offset + size, size, kind=FieldKind.PACKET_END, narrow=False),
    )


XDP_MD: Final = Context(
    "xdp_md",
    24,
    (
        *_packet(0, 4),
        ContextField("data_meta", 8, 4, kind=FieldKind.PACKET_META, narrow=False),
        ContextField("ingress_ifindex", 12, 4, narrow=False),
        ContextField("rx_queue_index", 16, 4, narrow=False),
        ContextField("egress_ifindex", 20, 4, narrow=False, attach_types=_attach("xdp_devmap")),
    ),
)

# ---------------------------------------------------------------------------------------------------------------------
# struct __sk_buff, of which each program type sees a part

_SK_BUFF: Final = (
    *_words(0, "len pkt_type mark queue_mapping protocol vlan_present vlan_tci vlan_proto priority", narrow=True),
    *_words(36, "ingress_ifindex ifindex tc_index", narrow=True),
    ContextField("cb", 48, 20, element=4, wide=True, writable=True, narrow_writable=True),
    ContextField("hash", 68, 4),
    ContextField("tc_classid", 72, 4),
    *_packet(76, 4),
    *_words(84, "napi_id family", narrow=True),
    *_words(92, "remote_ip4 local_ip4"),
    ContextField("remote_ip6", 100, 16, element=4, narrow=False),
    ContextField("local_ip6", 116, 16, element=4, narrow=False),
    *_words(132, "remote_port local_port", narrow=True),
    ContextField("data_meta", 140, 4, kind=FieldKind.PACKET_META, narrow=False),
    ContextField("flow_keys", 144, 8, kind=FieldKind.FLOW_KEYS, narrow=False, structure="bpf_flow_keys"),
    ContextField("tstamp", 152, 8, narrow=False),
    *_words(160, "wire_len gso_segs", narrow=True),
    _pointer("sk", 168, FieldKind.SOCKET_OR_NULL, "bpf_sock_common"),
    ContextField("gso_size", 176, 4),
    ContextField("tstamp_type", 180, 1),
    ContextField("hwtstamp", 184, 8, narrow=False),
)
_ADDRESSES: Final = "family remote_ip4 local_ip4 remote_ip6 local_ip6 remote_port local_port"


def _sk_buff(*, hidden: str, writable: str, read_only: str = "") -> Context:
    """Return struct __sk_buff without the ``hidden`` fields."""
    fields = []
    for field in _SK_BUFF:
        if field.name in hidden.split():
            continue
        stores = (field.writable or field.name in writable.split()) and field.name not in read_only.split()
        fields.append(replace(field, writable=stores, narrow_writable=field.narrow_writable and stores))
    return Context("__sk_buff", 192, tuple(fields))


#: Socket filters.
SK_BUFF_FILTER: Final = _sk_buff(
    hidden=f"tc_classid data data_end data_meta tstamp tstamp_type wire_len hwtstamp flow_keys {_ADDRESSES}",
    writable="",
)
#: tc classifiers and actions.
SK_BUFF_SCHED: Final = _sk_buff(
    hidden=f"flow_keys {_ADDRESSES}",
    writable="mark queue_mapping priority tc_index tc_classid tstamp",
)
#: Control groups' ingress and egress.
SK_BUFF_CGROUP: Final = _sk_buff(
    hidden="tc_classid data_meta wire_len flow_keys tstamp_type", writable="mark priority tstamp"
)
#: Lightweight tunnels.
SK_BUFF_LWT: Final = _sk_buff(
    hidden=f"tc_classid data_meta tstamp wire_len flow_keys tstamp_type hwtstamp {_ADDRESSES}",
    writable="mark priority",
)
#: Stream parsers and verdicts of sockmaps.
SK_BUFF_STREAM: Final = _sk_buff(
    hidden="mark tc_classid data_meta tstamp wire_len flow_keys tstamp_type hwtstamp",
    writable="priority tc_index",
    read_only="cb",
)
FLOW_DISSECTOR: Final = Context(
    "__sk_buff", 192, tuple(f for f in _SK_BUFF if f.name in ("data", "data_end", "flow_keys"))
)

# ---------------------------------------------------------------------------------------------------------------------
# Sockets

#: struct bpf_sock without what depends on who looks. Narrow loads begin at the first byte of these words only.
_SOCK_IDENTITY: Final = (
    ContextField("family", 4, 4, narrow_extent=1),
    ContextField("type", 8, 4, narrow_extent=1),
    ContextField("protocol", 12, 4, narrow_extent=1),
)
_SOCK_PEER: Final = (
    ContextField("dst_port", 48, 4, narrow_extent=2),
    ContextField("dst_ip4", 52, 4),
    ContextField("dst_ip6", 56, 16, element=4),
    ContextField("state", 72, 4, narrow_extent=1),
    ContextField("rx_queue_mapping", 76, 4, narrow_extent=1),
)
_IN_SOCK: Final = _attach("cgroup_inet_sock_create cgroup_inet_sock_release")
_POST_BIND4: Final = _attach("cgroup_inet4_post_bind")
_POST_BIND6: Final = _attach("cgroup_inet6_post_bind")

CGROUP_SOCK: Final = Context(
    "bpf_sock",
    80,
    (
        ContextField("bound_dev_if", 0, 4, narrow=False, writable=True, attach_types=_IN_SOCK),
        *_SOCK_IDENTITY,
        ContextField("mark", 16, 4, narrow=False, writable=True, attach_types=_IN_SOCK),
        ContextField("priority", 20, 4, narrow=False, writable=True, attach_types=_IN_SOCK),
        ContextField("src_ip4", 24, 4, attach_types=_POST_BIND4),
        ContextField("src_ip6", 28, 16, element=4, attach_types=_POST_BIND6),
        ContextField("src_port", 44, 4, narrow_extent=1, attach_types=_POST_BIND4 | _POST_BIND6),
        *_SOCK_PEER,
    ),
)
_SOCK_ADDRESS: Final = (
    ContextField("src_ip4", 24, 4),
    ContextField("src_ip6", 28, 16, element=4),
    ContextField("src_port", 44, 4, narrow_extent=1),
)
_FULL_SOCK: Final = Context(
    "bpf_sock",
    80,
    (
        ContextField("bound_dev_if", 0, 4, narrow=False),
        *_SOCK_IDENTITY,
        *_words(16, "mark priority"),
        *_SOCK_ADDRESS,
        *_SOCK_PEER,
    ),
)
#: What a socket pointer shows before it is known to be a full socket.
_COMMON_SOCK: Final = Context(
    "bpf_sock_common",
    80,
    tuple(f for f in _FULL_SOCK.fields if f.name not in ("type", "protocol", "mark", "priority")),
)

_TCP_SOCK: Final = Context(
    "bpf_tcp_sock",
    112,
    (
        *_words(
            0,
            "snd_cwnd srtt_us rtt_min snd_ssthresh rcv_nxt snd_nxt snd_una mss_cache ecn_flags rate_delivered "
            "rate_interval_us packets_out retrans_out total_retrans segs_in data_segs_in segs_out data_segs_out "
            "lost_out sacked_out",
        ),
        ContextField("bytes_received", 80, 8, narrow=False),
        ContextField("bytes_acked", 88, 8, narrow=False),
        *_words(96, "dsack_dups delivered delivered_ce icsk_retransmits"),
    ),
)
_FLOW_KEYS: Final = Context(
    "bpf_flow_keys", 56, (ContextField("keys", 0, 56, element=8, writable=True, narrow_writable=True),)
)

#: What pointers in contexts, and those that helpers return, point to.
STRUCTURES: Final = {s.name: s for s in (_FULL_SOCK, _COMMON_SOCK, _TCP_SOCK, _FLOW_KEYS)}

_INET4: Final = _attach(
    "cgroup_inet4_bind cgroup_inet4_connect cgroup_udp4_sendmsg cgroup_udp4_recvmsg cgroup_inet4_getpeername "
    "cgroup_inet4_getsockname"
)
_INET6: Final = _attach(
    "cgroup_inet6_bind cgroup_inet6_connect cgroup_udp6_sendmsg cgroup_udp6_recvmsg cgroup_inet6_getpeername "
    "cgroup_inet6_getsockname"
)
_SEND4: Final = _attach("cgroup_udp4_sendmsg")
_SEND6: Final = _attach("cgroup_udp6_sendmsg")

SOCK_ADDR: Final = Context(
    "bpf_sock_addr",
    72,
    (
        ContextField("user_family", 0, 4, narrow=False),
        ContextField("user_ip4", 4, 4, writable=True, attach_types=_INET4),
        ContextField("user_ip6", 8, 16, element=4, writable=True, wide=True, attach_types=_INET6),
        ContextField("user_port", 24, 4, writable=True),
        *_words(28, "family type protocol"),
        ContextField("msg_src_ip4", 40, 4, writable=True, attach_types=_SEND4),
        ContextField("msg_src_ip6", 44, 16, element=4, writable=True, wide=True, attach_types=_SEND6),
        _pointer("sk", 64, FieldKind.SOCKET, "bpf_sock"),
    ),
)

SOCK_OPS: Final = Context(
    "bpf_sock_ops",
    224,
    (
        ContextField("op", 0, 4, narrow=False),
        ContextField("reply", 4, 4, narrow=False, writable=True),
        ContextField("args[1]", 8, 12, element=4, narrow=False),
        *_words(20, "family remote_ip4 local_ip4"),
        ContextField("remote_ip6", 32, 16, element=4, narrow=False),
        ContextField("local_ip6", 48, 16, element=4, narrow=False),
        *_words(
            64,
            "remote_port local_port is_fullsock snd_cwnd srtt_us bpf_sock_ops_cb_flags state rtt_min snd_ssthresh "
            "rcv_nxt snd_nxt snd_una mss_cache ecn_flags rate_delivered rate_interval_us packets_out retrans_out "
            "total_retrans segs_in data_segs_in segs_out data_segs_out lost_out sacked_out",
        ),
        ContextField("sk_txhash", 164, 4, narrow=False, writable=True),
        ContextField("bytes_received", 168, 8, narrow=False),
        ContextField("bytes_acked", 176, 8, narrow=False),
        _pointer("sk", 184, FieldKind.SOCKET_OR_NULL, "bpf_sock"),
        *_packet(192, 8, "skb_data", "skb_data_end"),
        ContextField("skb_len", 208, 4, narrow=False),
        ContextField("skb_tcp_flags", 212, 4, narrow_extent=1),
        ContextField("skb_hwtstamp", 216, 8, narrow=False),
    ),
)

SK_MSG: Final = Context(
    "sk_msg_md",
    80,
    (
        *_packet(0, 8),
        *_words(16, "family remote_ip4 local_ip4"),
        ContextField("remote_ip6", 28, 16, element=4, narrow=False),
        ContextField("local_ip6", 44, 16, element=4, narrow=False),
        *_words(60, "remote_port local_port size"),
        _pointer("sk", 72, FieldKind.SOCKET, "bpf_sock"),
    ),
)

SK_REUSEPORT: Final = Context(
    "sk_reuseport_md",
    56,
    (
        *_packet(0, 8),
        ContextField("len", 16, 4),
        ContextField("eth_protocol", 20, 4, narrowest=2),
        *_words(24, "ip_protocol bind_inany", narrow=True),
        ContextField("hash", 32, 4, narrow=False),
        _pointer("sk", 40, FieldKind.SOCKET, "bpf_sock"),
        _pointer("migrating_sk", 48, FieldKind.SOCKET_OR_NULL, "bpf_sock_common"),
    ),
)

SK_LOOKUP: Final = Context(
    "bpf_sk_lookup",
    72,
    (
        _pointer("sk", 0, FieldKind.SOCKET_OR_NULL, "bpf_sock"),
        *_words(8, "family protocol remote_ip4", narrow=True),
        ContextField("remote_ip6", 20, 16, element=4),
        *_words(36, "remote_port local_ip4", narrow=True),
        ContextField("local_ip6", 44, 16, element=4),
        *_words(60, "local_port ingress_ifindex", narrow=True),
    ),
)

# ---------------------------------------------------------------------------------------------------------------------
# Control groups

CGROUP_DEVICE: Final = Context("bpf_cgroup_dev_ctx", 12, (ContextField("access_type", 0, 4), *_words(4, "major minor")))
SYSCTL: Final = Context("bpf_sysctl", 8, (ContextField("write", 0, 4), ContextField("file_pos", 4, 4, writable=True)))

_GETSOCKOPT: Final = _attach("cgroup_getsockopt")
_SETSOCKOPT: Final = _attach("cgroup_setsockopt")
#: ``level`` and ``optname`` stand twice, because only one of the two attach types may write them.
SOCKOPT: Final = Context(
    "bpf_sockopt",
    40,
    (
        _pointer("sk", 0, FieldKind.SOCKET, "bpf_sock"),
        *_packet(8, 8, "optval", "optval_end"),
        *(replace(f, attach_types=_GETSOCKOPT) for f in _words(24, "level optname")),
        *(replace(f, attach_types=_SETSOCKOPT, writable=True) for f in _words(24, "level optname")),
        ContextField("optlen", 32, 4, narrow=False, writable=True),
        ContextField("retval", 36, 4, narrow=False, writable=True, attach_types=_GETSOCKOPT),
    ),
)

# ---------------------------------------------------------------------------------------------------------------------
# Tracing

_REGISTERS: Final = (
    "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di", "orig_ax", "ip",
    "cs", "flags", "sp", "ss",
)  # fmt: skip
#: Registers at the probe: x86-64's layout.
PT_REGS: Final = Context(
    "pt_regs",
    168,
    tuple(ContextField(name, 8 * i, 8) for i, name in enumerate(_REGISTERS)),
)
#: A trace point's record: its first 8 bytes are the kernel's own; which fields follow depends on the trace point.
TRACEPOINT: Final = Context("", 8192, (ContextField("record", 8, 8184, element=8),))
#: A raw trace point's arguments, as numbers.
RAW_ARGUMENTS: Final = Context("bpf_raw_tracepoint_args", 96, (ContextField("args", 0, 96, element=8),))
#: The same where the first is a buffer that the program may change.
WRITABLE_ARGUMENTS: Final = Context(
    "bpf_raw_tracepoint_args",
    96,
    (
        ContextField("args", 0, 8, kind=FieldKind.ARGUMENT, narrow=False),
        ContextField("args[1]", 8, 88, element=8),
    ),
)
#: Arguments of a traced function, of an iterator or of a structure's operation; the kernel knows their types.
ARGUMENTS: Final = Context("", 104, (ContextField("args", 0, 104, element=8, kind=FieldKind.ARGUMENT, narrow=False),))
PERF_EVENT: Final = Context(
    "bpf_perf_event_data",
    184,
    (
        *(replace(f, narrow=False) for f in PT_REGS.fields),
        ContextField("sample_period", 168, 8),
        ContextField("addr", 176, 8),
    ),
)

# ---------------------------------------------------------------------------------------------------------------------
# The rest

SYSCALL: Final = Context(
    "", 65528, (ContextField("arguments", 0, 65528, element=8, writable=True, narrow_writable=True),)
)
NETFILTER: Final = Context(
    "bpf_nf_ctx", 16, (_pointer("state", 0, FieldKind.ARGUMENT), _pointer("skb", 8, FieldKind.ARGUMENT))
)
#: An infrared receiver's sample: one number, read whole.
LIRC: Final = Context("", 4, (ContextField("sample", 0, 4, narrow=False),))
