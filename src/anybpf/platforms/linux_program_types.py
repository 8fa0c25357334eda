"""Linux's program types: sections, contexts, helpers, return values, attach types."""

from __future__ import annotations

from typing import Final

from anybpf.platforms import linux_contexts as contexts
from anybpf.platforms.declaration import names
from anybpf.platforms.model import ProgramType, Section

__all__ = ("PROGRAM_TYPES",)

#: What programs of every kind may call.
_BASE = names(
    "map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem map_lookup_percpu_elem "
    "for_each_map_elem loop tail_call ktime_get_ns ktime_get_boot_ns ktime_get_coarse_ns ktime_get_tai_ns jiffies64 "
    "get_prandom_u32 get_smp_processor_id get_numa_node_id spin_lock spin_unlock timer_init timer_set_callback "
    "timer_start timer_cancel ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard ringbuf_query "
    "ringbuf_reserve_dynptr ringbuf_submit_dynptr ringbuf_discard_dynptr dynptr_from_mem dynptr_read dynptr_write "
    "dynptr_data kptr_xchg user_ringbuf_drain trace_printk trace_vprintk snprintf snprintf_btf strtol strtoul strncmp "
    "per_cpu_ptr this_cpu_ptr"
)

_XDP = _BASE | names(
    "perf_event_output csum_diff xdp_adjust_head xdp_adjust_meta xdp_adjust_tail xdp_get_buff_len xdp_load_bytes "
    "xdp_store_bytes redirect redirect_map fib_lookup check_mtu"
)

_SOCKET_BUFFER = _BASE | names(
    "perf_event_output skb_load_bytes skb_load_bytes_relative get_socket_cookie get_socket_uid"
)

_SCHED = _SOCKET_BUFFER | names(
    "skb_store_bytes skb_pull_data skb_change_head skb_change_tail skb_adjust_room skb_change_proto skb_change_type "
    "skb_vlan_push skb_vlan_pop l3_csum_replace l4_csum_replace csum_diff csum_update csum_level get_hash_recalc "
    "set_hash_invalid set_hash clone_redirect redirect redirect_neigh redirect_peer fib_lookup check_mtu "
    "get_cgroup_classid get_route_realm skb_under_cgroup skb_cgroup_id skb_ancestor_cgroup_id skb_cgroup_classid "
    "skb_ecn_set_ce skb_set_tstamp skb_get_tunnel_key skb_set_tunnel_key skb_get_tunnel_opt skb_set_tunnel_opt "
    "skb_get_xfrm_state"
)

_XDP_ACTIONS = {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"}
_TC_ACTIONS = {
    -1: "TC_ACT_UNSPEC", 0: "TC_ACT_OK", 1: "TC_ACT_RECLASSIFY", 2: "TC_ACT_SHOT", 3: "TC_ACT_PIPE", 4: "TC_ACT_STOLEN",
    5: "TC_ACT_QUEUED", 6: "TC_ACT_REPEAT", 7: "TC_ACT_REDIRECT", 8: "TC_ACT_TRAP",
}  # fmt: skip

PROGRAM_TYPES: Final[tuple[ProgramType, ...]] = (
    ProgramType(
        "xdp",
        6,
        contexts.XDP_MD,
        sections=(
            Section("xdp", "xdp", prefix=True),
            Section("xdp.frags/devmap", "xdp_devmap", exact=True),
            Section("xdp/devmap", "xdp_devmap", exact=True),
            Section("xdp.frags/cpumap", "xdp_cpumap", exact=True),
            Section("xdp/cpumap", "xdp_cpumap", exact=True),
            Section("xdp.frags", "xdp"),
        ),
        helpers=_XDP,
        actions=_XDP_ACTIONS,
        attach_types={"xdp_devmap": 35, "xdp_cpumap": 37, "xdp": 38},
        packet_writable=True,
    ),
    ProgramType(
        "sched_cls",
        3,
        contexts.SK_BUFF,
        sections=(Section("tc", prefix=True), Section("classifier", prefix=True)),
        helpers=_SCHED,
        actions=_TC_ACTIONS,
        packet_writable=True,
        legacy_packet=True,
    ),
)
