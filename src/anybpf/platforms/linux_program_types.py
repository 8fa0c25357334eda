"""Linux's program types: sections, contexts, helpers, return values, attach types.

Sections are those that libbpf knows, and those that objects older than libbpf 1.0 use (``prefix``). Which helpers a
type may call, and what it may return, is what the verifier of Linux 6.18 says to a privileged user;
tests/test_platforms_kernel.py compares both with a live kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from anybpf.platforms import linux_contexts as contexts
from anybpf.platforms import linux_helper_groups as groups
from anybpf.platforms.declaration import names, table
from anybpf.platforms.linux_attach import ATTACH_TYPES, BIND_CHAIN, CGROUP_CHAIN, XDP_ACTIONS, XDP_CHAIN
from anybpf.platforms.linux_helpers_network import CGROUP_CLASS_OF_PACKET
from anybpf.platforms.linux_helpers_socket import (
    COOKIE_OF_SOCK,
    COOKIE_OF_SOCK_ADDR,
    COOKIE_OF_SOCK_OPS,
    COOKIE_OF_SOCKET,
    SOCKET_OPTIONS_OF_SOCKET,
    STORAGE_OF_CONTEXT,
)
from anybpf.platforms.model import AttachRule, Context, ProgramType, Section

__all__ = ("PROGRAM_TYPES",)


def _attach(text: str) -> dict[str, int]:
    """Return the attach types named in ``text`` with their numbers."""
    return {name: ATTACH_TYPES[name] for name in text.split()}


def _sections(attach_type: str, text: str, *, prefix: bool = False) -> tuple[Section, ...]:
    """Return sections that mean ``attach_type`` ("" for none); a name that ends in ``.s`` may sleep."""
    return tuple(Section(name, attach_type, sleepable=name.endswith(".s"), prefix=prefix) for name in text.split())


def _rules(rule: AttachRule, attach_types: Iterable[str]) -> dict[str, AttachRule]:
    return dict.fromkeys(attach_types, rule)


_YES_OR_NO: Final = (0, 1)
_TC_ACTIONS: Final = {
    -1: "TC_ACT_UNSPEC", 0: "TC_ACT_OK", 1: "TC_ACT_RECLASSIFY", 2: "TC_ACT_SHOT", 3: "TC_ACT_PIPE", 4: "TC_ACT_STOLEN",
    5: "TC_ACT_QUEUED", 6: "TC_ACT_REPEAT", 7: "TC_ACT_REDIRECT", 8: "TC_ACT_TRAP",
}  # fmt: skip
# OK and PIPE, and UNSPEC (-1): a lone program's packet goes on after any of them.
_TC_PASSES: Final = frozenset({0, 3, 63})
_LWT_ACTIONS: Final = {0: "BPF_OK", 2: "BPF_DROP", 7: "BPF_REDIRECT", 128: "BPF_LWT_REROUTE"}
_DENY_OR_ALLOW: Final = {0: "deny", 1: "allow"}
_SK_ACTIONS: Final = {0: "SK_DROP", 1: "SK_PASS"}

_PACKETS: Final = (
    ProgramType(
        "xdp", 6, contexts.XDP_MD,
        sections=(
            *_sections("xdp_devmap", "xdp/devmap xdp.frags/devmap"),
            *_sections("xdp_cpumap", "xdp/cpumap xdp.frags/cpumap"),
            *_sections("xdp", "xdp", prefix=True),
        ),
        helpers=groups.XDP,
        actions=XDP_ACTIONS,
        passes=frozenset({2}),
        attach_types=_attach("xdp xdp_devmap xdp_cpumap"),
        chain=XDP_CHAIN,
        packet_writable=True,
    ),
    ProgramType(
        "sched_cls", 3, contexts.SK_BUFF_SCHED,
        sections=(
            *_sections("tcx_ingress", "tc/ingress tcx/ingress"),
            *_sections("tcx_egress", "tc/egress tcx/egress"),
            *_sections("netkit_primary", "netkit/primary"),
            *_sections("netkit_peer", "netkit/peer"),
            *_sections("", "tc"),
            *_sections("", "classifier tc_", prefix=True),
        ),
        helpers=groups.SCHED,
        own_helpers=table([CGROUP_CLASS_OF_PACKET]),
        actions=_TC_ACTIONS,
        passes=_TC_PASSES,
        attach_types=_attach("tcx_ingress tcx_egress netkit_primary netkit_peer"),
        packet_writable=True,
        legacy_packet=True,
    ),
    ProgramType(
        "sched_act", 4, contexts.SK_BUFF_SCHED,
        sections=_sections("", "action"),
        helpers=groups.SCHED,
        own_helpers=table([CGROUP_CLASS_OF_PACKET]),
        actions=_TC_ACTIONS,
        passes=_TC_PASSES,
        packet_writable=True,
        legacy_packet=True,
    ),
    ProgramType(
        "socket_filter", 1, contexts.SK_BUFF_FILTER,
        sections=_sections("", "socket", prefix=True),
        helpers=groups.SOCKET_FILTER,
        passes=frozenset(range(1, 64)),
        legacy_packet=True,
    ),
    ProgramType(
        "lwt_in", 10, contexts.SK_BUFF_LWT,
        sections=_sections("", "lwt_in"),
        helpers=groups.LWT_IN,
        actions=_LWT_ACTIONS,
    ),
    ProgramType(
        "lwt_out", 11, contexts.SK_BUFF_LWT,
        sections=_sections("", "lwt_out"),
        helpers=groups.LWT,
        actions=_LWT_ACTIONS,
    ),
    ProgramType(
        "lwt_xmit", 12, contexts.SK_BUFF_LWT,
        sections=_sections("", "lwt_xmit"),
        helpers=groups.LWT_XMIT,
        actions=_LWT_ACTIONS,
        packet_writable=True,
    ),
    ProgramType(
        "lwt_seg6local", 19, contexts.SK_BUFF_LWT,
        sections=_sections("", "lwt_seg6local"),
        helpers=groups.LWT_SEG6LOCAL,
        actions=_LWT_ACTIONS,
    ),
    ProgramType(
        "flow_dissector", 22, contexts.FLOW_DISSECTOR,
        sections=_sections("flow_dissector", "flow_dissector"),
        helpers=groups.FLOW_DISSECTOR,
        actions={0: "BPF_OK", 2: "BPF_DROP", 129: "BPF_FLOW_DISSECTOR_CONTINUE"},
        attach_types=_attach("flow_dissector"),
    ),
    ProgramType(
        "netfilter", 32, contexts.NETFILTER,
        sections=_sections("netfilter", "netfilter"),
        helpers=groups.BASE,
        returns=_YES_OR_NO,
        actions={0: "NF_DROP", 1: "NF_ACCEPT"},
        attach_types=_attach("netfilter"),
    ),
)  # fmt: skip

_SOCKETS: Final = (
    ProgramType(
        "sock_ops", 13, contexts.SOCK_OPS,
        sections=_sections("cgroup_sock_ops", "sockops"),
        helpers=groups.SOCK_OPS,
        own_helpers=table([COOKIE_OF_SOCK_OPS]),
        returns=_YES_OR_NO,
        attach_types=_attach("cgroup_sock_ops"),
    ),
    ProgramType(
        "sk_skb", 14, contexts.SK_BUFF_STREAM,
        sections=(
            *_sections("sk_skb_stream_parser", "sk_skb/stream_parser"),
            *_sections("sk_skb_stream_verdict", "sk_skb/stream_verdict"),
            *_sections("sk_skb_verdict", "sk_skb/verdict"),
            *_sections("", "sk_skb"),
        ),
        helpers=groups.SK_SKB,
        actions=_SK_ACTIONS,
        attach_types=_attach("sk_skb_stream_parser sk_skb_stream_verdict sk_skb_verdict"),
        packet_writable=True,
    ),
    ProgramType(
        "sk_msg", 16, contexts.SK_MSG,
        sections=_sections("sk_msg_verdict", "sk_msg"),
        helpers=groups.SK_MSG,
        actions=_SK_ACTIONS,
        attach_types=_attach("sk_msg_verdict"),
        packet_writable=True,
    ),
    ProgramType(
        "sk_reuseport", 21, contexts.SK_REUSEPORT,
        sections=(
            *_sections("sk_reuseport_select_or_migrate", "sk_reuseport/migrate"),
            *_sections("sk_reuseport_select", "sk_reuseport"),
        ),
        helpers=groups.SK_REUSEPORT,
        actions=_SK_ACTIONS,
        attach_types=_attach("sk_reuseport_select sk_reuseport_select_or_migrate"),
    ),
    ProgramType(
        "sk_lookup", 30, contexts.SK_LOOKUP,
        sections=_sections("sk_lookup", "sk_lookup"),
        helpers=groups.SK_LOOKUP,
        returns=_YES_OR_NO,
        actions=_SK_ACTIONS,
        attach_types=_attach("sk_lookup"),
    ),
)  # fmt: skip

_NAME_HOOKS: Final = _attach(
    "cgroup_udp4_recvmsg cgroup_udp6_recvmsg cgroup_unix_recvmsg cgroup_inet4_getpeername cgroup_inet6_getpeername "
    "cgroup_unix_getpeername cgroup_inet4_getsockname cgroup_inet6_getsockname cgroup_unix_getsockname"
)
_BIND_HOOKS: Final = _attach("cgroup_inet4_bind cgroup_inet6_bind")
_CONNECT_HOOKS: Final = _attach("cgroup_inet4_connect cgroup_inet6_connect")
_OTHER_ADDRESS_HOOKS: Final = _attach("cgroup_udp4_sendmsg cgroup_udp6_sendmsg cgroup_unix_connect cgroup_unix_sendmsg")


def _address_sections() -> tuple[Section, ...]:
    """Return ``cgroup/connect4`` and its kin, which follow the names of their attach types."""
    found = []
    for attach_type in (*_BIND_HOOKS, *_CONNECT_HOOKS, *_OTHER_ADDRESS_HOOKS, *_NAME_HOOKS):
        _, family, operation = attach_type.split("_")
        suffix = "_unix" if family == "unix" else family[-1]
        found.append(Section(f"cgroup/{operation}{suffix}", attach_type))
    return tuple(found)


_CGROUPS: Final = (
    ProgramType(
        "cgroup_skb", 8, contexts.SK_BUFF_CGROUP,
        sections=(
            *_sections("cgroup_inet_ingress", "cgroup_skb/ingress"),
            *_sections("cgroup_inet_egress", "cgroup_skb/egress"),
            *_sections("", "cgroup/skb cgroup_skb"),
        ),
        helpers=groups.CGROUP_SKB,
        returns=_YES_OR_NO,
        actions=_DENY_OR_ALLOW,
        passes=frozenset({1, 3}),
        attach_types=_attach("cgroup_inet_ingress cgroup_inet_egress"),
        attach_rules={"cgroup_inet_egress": AttachRule(returns=(0, 3))},
    ),
    ProgramType(
        "cgroup_sock", 9, contexts.CGROUP_SOCK,
        sections=(
            *_sections("cgroup_inet_sock_create", "cgroup/sock_create"),
            *_sections("cgroup_inet_sock_release", "cgroup/sock_release"),
            *_sections("cgroup_inet4_post_bind", "cgroup/post_bind4"),
            *_sections("cgroup_inet6_post_bind", "cgroup/post_bind6"),
            *_sections("cgroup_inet_sock_create", "cgroup/sock", prefix=True),
        ),
        helpers=groups.CGROUP_SOCK,
        own_helpers=table([STORAGE_OF_CONTEXT, COOKIE_OF_SOCK]),
        returns=_YES_OR_NO,
        actions=_DENY_OR_ALLOW,
        attach_types=_attach(
            "cgroup_inet_sock_create cgroup_inet_sock_release cgroup_inet4_post_bind cgroup_inet6_post_bind"
        ),
        chain=CGROUP_CHAIN,
    ),
    ProgramType(
        "cgroup_sock_addr", 18, contexts.SOCK_ADDR,
        sections=_address_sections(),
        helpers=groups.CGROUP_SOCK_ADDR,
        own_helpers=table([COOKIE_OF_SOCK_ADDR]),
        returns=_YES_OR_NO,
        actions=_DENY_OR_ALLOW,
        attach_types={**_BIND_HOOKS, **_CONNECT_HOOKS, **_OTHER_ADDRESS_HOOKS, **_NAME_HOOKS},
        chain=CGROUP_CHAIN,
        attach_rules={
            **_rules(AttachRule(returns=(0, 3), chain=BIND_CHAIN), _BIND_HOOKS),
            **_rules(AttachRule(more_helpers=names("bind")), _CONNECT_HOOKS),
            **_rules(AttachRule(returns=(1, 1), fewer_helpers=groups.RETURN_VALUE), _NAME_HOOKS),
        },
    ),
    ProgramType(
        "cgroup_device", 15, contexts.CGROUP_DEVICE,
        sections=_sections("cgroup_device", "cgroup/dev"),
        helpers=groups.CGROUP_DEVICE,
        returns=_YES_OR_NO,
        actions=_DENY_OR_ALLOW,
        attach_types=_attach("cgroup_device"),
    ),
    ProgramType(
        "cgroup_sysctl", 23, contexts.SYSCTL,
        sections=_sections("cgroup_sysctl", "cgroup/sysctl"),
        helpers=groups.CGROUP_SYSCTL,
        returns=_YES_OR_NO,
        actions=_DENY_OR_ALLOW,
        attach_types=_attach("cgroup_sysctl"),
    ),
    ProgramType(
        "cgroup_sockopt", 25, contexts.SOCKOPT,
        sections=(
            *_sections("cgroup_getsockopt", "cgroup/getsockopt"),
            *_sections("cgroup_setsockopt", "cgroup/setsockopt"),
        ),
        helpers=groups.CGROUP_SOCKOPT,
        own_helpers=table(SOCKET_OPTIONS_OF_SOCKET),
        returns=_YES_OR_NO,
        actions=_DENY_OR_ALLOW,
        attach_types=_attach("cgroup_getsockopt cgroup_setsockopt"),
        attach_rules={"cgroup_setsockopt": AttachRule(more_helpers=names("setsockopt getsockopt"))},
        packet_writable=True,
    ),
)  # fmt: skip

_TRACING: Final = (
    ProgramType(
        "kprobe", 2, contexts.PT_REGS,
        sections=(
            *_sections("", "kprobe kretprobe uprobe uprobe.s uretprobe uretprobe.s ksyscall kretsyscall usdt usdt.s"),
            *_sections("trace_kprobe_multi", "kprobe.multi kretprobe.multi"),
            *_sections("trace_kprobe_session", "kprobe.session"),
            *_sections("trace_uprobe_multi", "uprobe.multi uprobe.multi.s uretprobe.multi uretprobe.multi.s"),
            *_sections("trace_uprobe_session", "uprobe.session uprobe.session.s"),
        ),
        helpers=groups.KPROBE,
        sleepable_helpers=groups.SLEEPABLE,
        attach_types=_attach(
            "trace_kprobe_multi trace_kprobe_session trace_uprobe_multi trace_uprobe_session"
        ),
        attach_rules=_rules(AttachRule(returns=_YES_OR_NO), ("trace_kprobe_session", "trace_uprobe_session")),
    ),
    ProgramType("tracepoint", 5, contexts.TRACEPOINT, sections=_sections("", "tracepoint tp"), helpers=groups.PROBE),
    ProgramType(
        "perf_event", 7, contexts.PERF_EVENT,
        sections=_sections("", "perf_event"),
        helpers=groups.PERF_EVENT,
        attach_types=_attach("perf_event"),
    ),
    ProgramType(
        "raw_tracepoint", 17, contexts.RAW_ARGUMENTS,
        sections=_sections("", "raw_tracepoint raw_tp"),
        helpers=groups.PROBE,
    ),
    ProgramType(
        "raw_tracepoint_writable", 24, contexts.WRITABLE_ARGUMENTS,
        sections=_sections("", "raw_tracepoint.w raw_tp.w"),
        helpers=groups.PROBE,
    ),
    ProgramType(
        "tracing", 26, contexts.ARGUMENTS,
        sections=(
            *_sections("trace_raw_tp", "tp_btf"),
            *_sections("trace_fentry", "fentry fentry.s"),
            *_sections("trace_fexit", "fexit fexit.s"),
            *_sections("modify_return", "fmod_ret fmod_ret.s"),
            *_sections("trace_iter", "iter iter.s"),
        ),
        helpers=groups.TRACING,
        sleepable_helpers=groups.SLEEPABLE,
        own_helpers=table([COOKIE_OF_SOCKET]),
        attach_types=_attach("trace_raw_tp trace_fentry trace_fexit modify_return trace_iter"),
        attach_rules={
            "trace_raw_tp": AttachRule(more_helpers=names("get_attach_cookie")),
            "trace_fentry": AttachRule(returns=(0, 0), more_helpers=groups.TRAMPOLINE),
            "trace_fexit": AttachRule(returns=(0, 0), more_helpers=groups.TRAMPOLINE),
            "modify_return": AttachRule(more_helpers=groups.TRAMPOLINE),
            "trace_iter": AttachRule(returns=_YES_OR_NO, more_helpers=groups.ITERATOR),
        },
    ),
    ProgramType(
        "lsm", 29, contexts.ARGUMENTS,
        sections=(*_sections("lsm_mac", "lsm lsm.s"), *_sections("lsm_cgroup", "lsm_cgroup")),
        helpers=groups.LSM,
        sleepable_helpers=groups.SLEEPABLE,
        own_helpers=table([COOKIE_OF_SOCKET], SOCKET_OPTIONS_OF_SOCKET),
        returns=(-4095, 0),
        attach_types=_attach("lsm_mac lsm_cgroup"),
        attach_rules={"lsm_cgroup": AttachRule(returns=_YES_OR_NO, more_helpers=groups.LSM_CGROUP)},
    ),
    ProgramType(
        "struct_ops", 27, contexts.ARGUMENTS,
        sections=_sections("struct_ops", "struct_ops struct_ops.s"),
        helpers=groups.STRUCT_OPS,
        sleepable_helpers=groups.SLEEPABLE,
        attach_types=_attach("struct_ops"),
    ),
    ProgramType("ext", 28, contexts.ARGUMENTS, sections=_sections("", "freplace"), helpers=groups.BASE),
    ProgramType("syscall", 31, contexts.SYSCALL, sections=_sections("", "syscall"), helpers=groups.SYSCALL),
    ProgramType(
        "lirc_mode2", 20, contexts.LIRC,
        sections=_sections("lirc_mode2", "lirc_mode2"),
        helpers=groups.LIRC_MODE2,
        attach_types=_attach("lirc_mode2"),
    ),
)  # fmt: skip

#: A program whose kind nothing tells: it has no context, and calls what every kind may call.
_UNSPECIFIED: Final = ProgramType("unspec", 0, Context("", 0), helpers=groups.BASE)

PROGRAM_TYPES: Final[tuple[ProgramType, ...]] = (_UNSPECIFIED, *_PACKETS, *_SOCKETS, *_CGROUPS, *_TRACING)
