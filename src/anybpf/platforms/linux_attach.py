"""How Linux attaches programs: its attach types, and what several programs at one hook come to."""

from __future__ import annotations

from typing import Final

from anybpf.platforms.model import ChainRule

__all__ = ("ATTACH_TYPES", "BIND_CHAIN", "CGROUP_CHAIN", "XDP_ACTIONS", "XDP_CHAIN")

#: ``enum bpf_attach_type`` in its order, without its ``BPF_`` prefix, as bpftool prints it.
_IN_ORDER: Final = (
    "cgroup_inet_ingress", "cgroup_inet_egress", "cgroup_inet_sock_create", "cgroup_sock_ops",
    "sk_skb_stream_parser", "sk_skb_stream_verdict", "cgroup_device", "sk_msg_verdict", "cgroup_inet4_bind",
    "cgroup_inet6_bind", "cgroup_inet4_connect", "cgroup_inet6_connect", "cgroup_inet4_post_bind",
    "cgroup_inet6_post_bind", "cgroup_udp4_sendmsg", "cgroup_udp6_sendmsg", "lirc_mode2", "flow_dissector",
    "cgroup_sysctl", "cgroup_udp4_recvmsg", "cgroup_udp6_recvmsg", "cgroup_getsockopt", "cgroup_setsockopt",
    "trace_raw_tp", "trace_fentry", "trace_fexit", "modify_return", "lsm_mac", "trace_iter",
    "cgroup_inet4_getpeername", "cgroup_inet6_getpeername", "cgroup_inet4_getsockname", "cgroup_inet6_getsockname",
    "xdp_devmap", "cgroup_inet_sock_release", "xdp_cpumap", "sk_lookup", "xdp", "sk_skb_verdict",
    "sk_reuseport_select", "sk_reuseport_select_or_migrate", "perf_event", "trace_kprobe_multi", "lsm_cgroup",
    "struct_ops", "netfilter", "tcx_ingress", "tcx_egress", "trace_uprobe_multi", "cgroup_unix_connect",
    "cgroup_unix_sendmsg", "cgroup_unix_recvmsg", "cgroup_unix_getpeername", "cgroup_unix_getsockname",
    "netkit_primary", "netkit_peer", "trace_kprobe_session", "trace_uprobe_session",
)  # fmt: skip
#: Name of an attach type → its number.
ATTACH_TYPES: Final = {name: number for number, name in enumerate(_IN_ORDER)}

XDP_ACTIONS: Final = {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"}
#: The next program sees what passes, as with libxdp's dispatcher; unknown actions abort; without a program all pass.
XDP_CHAIN: Final = ChainRule(known=frozenset(XDP_ACTIONS), proceed=frozenset({2}), otherwise=0, fault=2, empty=2)
#: All programs of a control group run, whatever they return; a 0 of any of them fails the call.
CGROUP_CHAIN: Final = ChainRule(known=frozenset({0, 1}), denied=frozenset({0}), ranks={0: 1}, fault=1, empty=1)
#: The same, where the second bit of what allows says that the call needs no CAP_NET_BIND_SERVICE.
BIND_CHAIN: Final = ChainRule(
    known=frozenset(range(4)), denied=frozenset({0, 2}), ranks={0: 2, 2: 2, 3: 1}, fault=1, empty=1
)
