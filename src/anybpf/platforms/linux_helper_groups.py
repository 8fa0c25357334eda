"""Which Linux helpers each program type may call, built from named groups.

The sets are those that the verifier of Linux 6.18 offers to a privileged user; tests/test_platforms_kernel.py asks a
live kernel about each helper and type.
"""

from __future__ import annotations

from typing import Final

from anybpf.platforms.declaration import names

#: What programs of every kind may call.
BASE: Final = names(
    "map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem map_lookup_percpu_elem "
    "for_each_map_elem loop tail_call "
    "ktime_get_ns ktime_get_boot_ns ktime_get_tai_ns jiffies64 get_prandom_u32 get_smp_processor_id get_numa_node_id "
    "spin_lock spin_unlock timer_init timer_set_callback timer_start timer_cancel "
    "ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard ringbuf_query user_ringbuf_drain "
    "ringbuf_reserve_dynptr ringbuf_submit_dynptr ringbuf_discard_dynptr "
    "dynptr_from_mem dynptr_read dynptr_write dynptr_data kptr_xchg per_cpu_ptr this_cpu_ptr "
    "trace_printk trace_vprintk snprintf snprintf_btf strtol strtoul strncmp "
    "get_current_pid_tgid get_current_uid_gid get_current_comm get_current_task get_current_task_btf task_pt_regs "
    "get_ns_current_pid_tgid current_task_under_cgroup get_current_cgroup_id get_current_ancestor_cgroup_id "
    "get_cgroup_classid send_signal send_signal_thread find_vma get_task_stack get_branch_snapshot "
    "probe_read_user probe_read_kernel probe_read_user_str probe_read_kernel_str "
    "perf_event_read perf_event_read_value "
    "task_storage_get task_storage_delete cgrp_storage_get cgrp_storage_delete"
)

_SOCKET_CASTS: Final = names(
    "skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock skc_to_udp6_sock "
    "skc_to_unix_sock skc_to_mptcp_sock"
)
#: Programs of the network stack.
_NETWORK: Final = BASE | _SOCKET_CASTS | names("ktime_get_coarse_ns")
_EVENTS: Final = names("perf_event_output")
_SOCKET_LOOKUP: Final = names("sk_lookup_tcp sk_lookup_udp skc_lookup_tcp sk_release")
_SOCKET_STORAGE: Final = names("sk_storage_get sk_storage_delete")
_FULL_SOCKET: Final = names("sk_fullsock tcp_sock get_listener_sock skb_ecn_set_ce")
_SYN_COOKIES: Final = names(
    "tcp_check_syncookie tcp_gen_syncookie tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 "
    "tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6"
)
_SOCKET_OPTIONS: Final = names("setsockopt getsockopt")

# Packets
XDP: Final = (
    _NETWORK
    | _EVENTS
    | _SOCKET_LOOKUP
    | _SYN_COOKIES
    | names(
        "redirect redirect_map csum_diff fib_lookup check_mtu xdp_adjust_head xdp_adjust_meta xdp_adjust_tail "
        "xdp_get_buff_len xdp_load_bytes xdp_store_bytes"
    )
)
SOCKET_FILTER: Final = (
    _NETWORK
    | _EVENTS
    | names("skb_load_bytes skb_load_bytes_relative get_socket_cookie get_socket_uid get_netns_cookie")
)
_REWRITE: Final = names(
    "skb_store_bytes skb_pull_data skb_change_head skb_change_tail l3_csum_replace l4_csum_replace csum_diff "
    "csum_update csum_level get_hash_recalc set_hash_invalid clone_redirect redirect get_route_realm skb_under_cgroup "
    "skb_get_tunnel_key skb_set_tunnel_key skb_get_tunnel_opt skb_set_tunnel_opt"
)
SCHED: Final = (
    SOCKET_FILTER
    | _REWRITE
    | _SOCKET_LOOKUP
    | _SOCKET_STORAGE
    | _FULL_SOCKET
    | _SYN_COOKIES
    | names(
        "skb_adjust_room skb_change_proto skb_change_type skb_vlan_push skb_vlan_pop set_hash redirect_neigh "
        "redirect_peer fib_lookup check_mtu skb_get_xfrm_state skb_set_tstamp skb_cgroup_id skb_ancestor_cgroup_id "
        "skb_cgroup_classid sk_assign"
    )
)
LWT: Final = (
    _NETWORK
    | _EVENTS
    | names("skb_load_bytes skb_pull_data csum_diff get_hash_recalc get_route_realm skb_under_cgroup")
)
LWT_IN: Final = LWT | names("lwt_push_encap")
LWT_XMIT: Final = LWT_IN | _REWRITE
LWT_SEG6LOCAL: Final = LWT | names("lwt_seg6_store_bytes lwt_seg6_adjust_srh lwt_seg6_action")
FLOW_DISSECTOR: Final = _NETWORK | names("skb_load_bytes")

# Sockets
SOCK_OPS: Final = (
    _NETWORK
    | _EVENTS
    | _SOCKET_OPTIONS
    | _SOCKET_STORAGE
    | names(
        "sock_map_update sock_hash_update sock_ops_cb_flags_set load_hdr_opt store_hdr_opt reserve_hdr_opt "
        "get_local_storage tcp_sock get_socket_cookie get_netns_cookie"
    )
)
SK_SKB: Final = (
    _NETWORK
    | _EVENTS
    | _SOCKET_LOOKUP
    | names(
        "skb_store_bytes skb_load_bytes skb_pull_data skb_change_tail skb_change_head skb_adjust_room sk_redirect_map "
        "sk_redirect_hash get_socket_cookie get_socket_uid"
    )
)
SK_MSG: Final = (
    _NETWORK
    | _EVENTS
    | _SOCKET_STORAGE
    | names(
        "msg_redirect_map msg_redirect_hash msg_apply_bytes msg_cork_bytes msg_pull_data msg_push_data msg_pop_data "
        "get_netns_cookie"
    )
)
SK_REUSEPORT: Final = BASE | names(
    "sk_select_reuseport skb_load_bytes skb_load_bytes_relative get_socket_cookie ktime_get_coarse_ns"
)
SK_LOOKUP: Final = _NETWORK | _EVENTS | names("sk_assign sk_release")

# Control groups
RETURN_VALUE: Final = names("get_retval set_retval")
_CGROUP: Final = BASE | _EVENTS | RETURN_VALUE | names("get_local_storage")
CGROUP_DEVICE: Final = _CGROUP
CGROUP_SYSCTL: Final = _CGROUP | names(
    "sysctl_get_name sysctl_get_current_value sysctl_get_new_value sysctl_set_new_value ktime_get_coarse_ns"
)
CGROUP_SOCKOPT: Final = _CGROUP | _SOCKET_STORAGE | names("tcp_sock get_netns_cookie")
CGROUP_SOCK: Final = _CGROUP | names("sk_storage_get get_socket_cookie get_netns_cookie ktime_get_coarse_ns")
CGROUP_SOCK_ADDR: Final = (
    _CGROUP
    | _NETWORK
    | _SOCKET_OPTIONS
    | _SOCKET_LOOKUP
    | _SOCKET_STORAGE
    | names("get_socket_cookie get_netns_cookie")
)
CGROUP_SKB: Final = (
    SOCKET_FILTER
    | _SOCKET_LOOKUP
    | _SOCKET_STORAGE
    | _FULL_SOCKET
    | names("get_local_storage skb_cgroup_id skb_ancestor_cgroup_id sk_cgroup_id sk_ancestor_cgroup_id")
)

# Tracing
PROBE: Final = (
    BASE
    | _EVENTS
    | names("probe_read probe_read_str get_stackid get_stack get_func_ip get_attach_cookie probe_write_user")
)
#: What those in sections that may sleep (``uprobe.s`` and its kin) may call besides.
SLEEPABLE: Final = names("copy_from_user copy_from_user_task")
KPROBE: Final = PROBE | names("override_return")
PERF_EVENT: Final = PROBE | names("perf_prog_read_value read_branch_records")
TRACING: Final = (
    (PROBE - names("get_attach_cookie"))
    | _SOCKET_CASTS
    | _SOCKET_STORAGE
    | names("get_socket_cookie skb_output xdp_output sock_from_file xdp_get_buff_len")
)
#: Programs that a trampoline calls know the traced function's arguments.
TRAMPOLINE: Final = names("get_func_arg get_func_ret get_func_arg_cnt get_attach_cookie d_path")
ITERATOR: Final = names("seq_printf seq_write seq_printf_btf d_path")
LSM: Final = (
    TRACING | TRAMPOLINE | names("inode_storage_get inode_storage_delete bprm_opts_set ima_inode_hash ima_file_hash")
)
LSM_CGROUP: Final = RETURN_VALUE | _SOCKET_OPTIONS | names("get_local_storage get_netns_cookie")
STRUCT_OPS: Final = BASE | _SOCKET_OPTIONS | _SOCKET_STORAGE | names("tcp_send_ack")
SYSCALL: Final = (
    (TRACING - _SOCKET_STORAGE) | SLEEPABLE | names("sys_bpf sys_close btf_find_by_name_kind kallsyms_lookup_name")
)
LIRC_MODE2: Final = BASE | names("rc_repeat rc_keydown rc_pointer_rel")
