/* helpers.h: every helper that programs may call, as one table: H(name, function). The name is the helper's own, or, where helpers
 * of the same name do different things, the one that a platform's table gives this one (Helper.implementation).
 *
 * A function serves several names when they differ in nothing that matters here. bpf_tail_call is not a function but a
 * way to leave the program: see ab_tail_call in program.h.
 */
#ifndef ANYBPF_HELPERS_H
#define ANYBPF_HELPERS_H

#include "api_helpers.h"
#include "engine.h"

#define AB_HELPERS(H) \
    /* maps */ \
    H("bpf_map_lookup_elem", map_lookup) \
    H("bpf_map_lookup_percpu_elem", map_lookup_percpu) \
    H("bpf_map_lookup_and_delete_elem", map_take) \
    H("bpf_map_update_elem", map_update) \
    H("bpf_map_delete_elem", map_delete) \
    H("bpf_map_push_elem", map_push) \
    H("bpf_map_pop_elem", map_pop) \
    H("bpf_map_peek_elem", map_peek) \
    H("bpf_spin_lock", spin_lock) \
    H("bpf_spin_unlock", spin_unlock) \
    /* callbacks */ \
    H("bpf_loop", loop) \
    H("bpf_for_each_map_elem", for_each_map_elem) \
    /* time and the system */ \
    H("bpf_ktime_get_ns", ktime_get_ns) \
    H("bpf_ktime_get_boot_ns", ktime_get_boot_ns) \
    H("bpf_ktime_get_coarse_ns", ktime_get_coarse_ns) \
    H("bpf_ktime_get_tai_ns", ktime_get_tai_ns) \
    H("bpf_ktime_get_ms", ktime_get_ms) \
    H("bpf_ktime_get_boot_ms", ktime_get_boot_ms) \
    H("bpf_jiffies64", jiffies64) \
    H("bpf_get_prandom_u32", get_prandom_u32) \
    H("bpf_get_smp_processor_id", get_smp_processor_id) \
    H("bpf_get_numa_node_id", get_numa_node_id) \
    H("bpf_get_current_pid_tgid", get_current_pid_tgid) \
    H("bpf_sock_addr_get_current_pid_tgid", get_current_pid_tgid) \
    H("bpf_get_current_uid_gid", get_current_uid_gid) \
    H("bpf_get_current_comm", get_current_comm) \
    H("bpf_get_current_process_start_key", get_current_process_start_key) \
    H("bpf_get_current_thread_create_time", get_current_thread_create_time) \
    H("bpf_get_current_logon_id", get_current_logon_id) \
    H("bpf_is_current_admin", is_current_admin) \
    /* text */ \
    H("bpf_trace_printk", trace_printk) \
    H("bpf_trace_vprintk", trace_vprintk) \
    H("bpf_trace_printk2", trace_printk2) \
    H("bpf_trace_printk3", trace_printk3) \
    H("bpf_trace_printk4", trace_printk4) \
    H("bpf_trace_printk5", trace_printk5) \
    H("bpf_snprintf", snprintf) \
    H("bpf_strtol", strtol) \
    H("bpf_strtoul", strtoul) \
    H("bpf_strncmp", strncmp) \
    /* records for the user */ \
    H("bpf_ringbuf_output", ringbuf_output) \
    H("ringbuf_output_windows", ringbuf_output_windows) \
    H("bpf_ringbuf_reserve", ringbuf_reserve) \
    H("bpf_ringbuf_submit", ringbuf_submit) \
    H("bpf_ringbuf_discard", ringbuf_discard) \
    H("bpf_ringbuf_query", ringbuf_query) \
    H("bpf_perf_event_output", perf_event_output) \
    /* memory */ \
    H("bpf_probe_read", probe_read) \
    H("bpf_probe_read_kernel", probe_read) \
    H("bpf_probe_read_user", probe_read) \
    H("bpf_copy_from_user", probe_read) \
    H("bpf_probe_read_str", probe_read_str) \
    H("bpf_probe_read_kernel_str", probe_read_str) \
    H("bpf_probe_read_user_str", probe_read_str) \
    H("bpf_memcpy_s", memmove_s) \
    H("bpf_memmove_s", memmove_s) \
    H("bpf_memcmp_s", memcmp_s) \
    H("bpf_memset", memset) \
    H("bpf_strnlen_s", strnlen_s) \
    H("bpf_strncpy_s", strncpy_s) \
    H("bpf_strncat_s", strncat_s) \
    /* packets: XDP */ \
    H("bpf_xdp_adjust_head", xdp_adjust_head) \
    H("bpf_xdp_adjust_tail", xdp_adjust_tail) \
    H("bpf_xdp_adjust_meta", xdp_adjust_meta) \
    H("bpf_xdp_get_buff_len", xdp_get_buff_len) \
    H("bpf_xdp_load_bytes", xdp_load_bytes) \
    H("bpf_xdp_store_bytes", xdp_store_bytes) \
    /* packets: __sk_buff */ \
    H("bpf_skb_load_bytes", skb_load_bytes) \
    H("bpf_skb_load_bytes_relative", skb_load_bytes_relative) \
    H("bpf_skb_store_bytes", skb_store_bytes) \
    H("bpf_skb_pull_data", skb_pull_data) \
    H("bpf_skb_change_head", skb_change_head) \
    H("bpf_skb_change_tail", skb_change_tail) \
    H("bpf_skb_change_proto", skb_change_proto) \
    H("bpf_skb_change_type", skb_change_type) \
    H("bpf_skb_vlan_push", skb_vlan_push) \
    H("bpf_skb_vlan_pop", skb_vlan_pop) \
    H("bpf_get_hash_recalc", get_hash_recalc) \
    H("bpf_set_hash_invalid", set_hash_invalid) \
    H("bpf_set_hash", set_hash) \
    /* checksums */ \
    H("bpf_csum_diff", csum_diff) \
    H("csum_diff_windows", csum_diff_windows) \
    H("bpf_csum_update", csum_update) \
    H("bpf_csum_level", csum_level) \
    H("bpf_l3_csum_replace", l3_csum_replace) \
    H("bpf_l4_csum_replace", l4_csum_replace) \
    /* where packets go and what they belong to */ \
    H("bpf_redirect", redirect) \
    H("bpf_redirect_peer", redirect_peer) \
    H("bpf_redirect_neigh", redirect_neigh) \
    H("bpf_redirect_map", redirect_map) \
    H("bpf_fib_lookup", fib_lookup) \
    H("bpf_get_socket_cookie", get_socket_cookie) \
    H("cookie_of_socket", get_cookie_of_socket) \
    H("cookie_of_sock_addr", get_cookie_of_sock_addr) \
    H("cookie_of_sock", get_cookie_of_sock) \
    H("cookie_of_sock_ops", get_cookie_of_sock_ops) \
    H("cookie_of_sock_addr_windows", get_cookie_of_sock_addr_windows) \
    H("bpf_get_socket_uid", get_socket_uid) \
    H("bpf_get_netns_cookie", get_netns_cookie) \
    H("bpf_get_cgroup_classid", get_cgroup_classid) \
    H("bpf_skb_cgroup_classid", get_cgroup_classid) \
    H("bpf_skb_cgroup_id", skb_cgroup_id) \
    H("bpf_skb_ancestor_cgroup_id", skb_cgroup_id) \
    H("bpf_get_route_realm", get_route_realm) \
    H("bpf_sk_lookup_tcp", sk_lookup) \
    H("bpf_sk_lookup_udp", sk_lookup) \
    H("bpf_skc_lookup_tcp", sk_lookup) \
    H("bpf_sk_release", sk_release) \
    H("bpf_skb_get_tunnel_key", skb_get_tunnel_key) \
    H("bpf_skb_get_tunnel_opt", skb_get_tunnel_opt) \
    H("bpf_skb_get_xfrm_state", skb_get_xfrm_state) \
    H("bpf_sock_ops_get_flow_id", sock_ops_get_flow_id) \
    H("bpf_sock_addr_set_redirect_context", sock_addr_set_redirect_context) \
    H("bpf_bind", bind) \
    H("bpf_get_retval", get_retval) \
    H("bpf_set_retval", set_retval) \
    H("bpf_netevent_push_event", nowhere) \
    H("bpf_sock_addr_get_network_context", unknown_bytes) \
    H("bpf_process_get_image_path", unknown_bytes) \
    /* the sample extension */ \
    H("sample_ebpf_extension_helper_function1", sample_function1) \
    H("sample_ebpf_extension_find", sample_find) \
    H("sample_ebpf_extension_replace", sample_replace) \
    H("sample_ebpf_extension_helper_implicit_1", sample_implicit_1) \
    H("sample_ebpf_extension_helper_implicit_2", sample_implicit_2) \
    H("sample_ext_helper_map_lookup_element", map_lookup) \
    H("sample_ext_helper_map_get_value", sample_map_get_value)

/* Those of them that read addresses which nobody has proven (memory.h). */
#define AB_UNPROVEN_READERS(H) \
    H(probe_read) H(probe_read_str) \
    H(trace_printk) H(trace_vprintk) H(snprintf)

/* Heads a helper's definition and declaration. Every helper has the same six parameters, whichever it uses. */
#define AB_HELPER(name) \
    uint64_t ab_helper_##name(uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, ab_slot *slot)
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif

#define AB_HELPER_DECLARE(name, function) AB_HELPER(function);
AB_HELPERS(AB_HELPER_DECLARE)
#undef AB_HELPER_DECLARE

/* Arguments and results on their way between registers and C. */
#define ab_pointer(value) ((void *)(uintptr_t)(value))
#define ab_address(pointer) ((uint64_t)(uintptr_t)(pointer))
#define ab_result(number) ((uint64_t)(int64_t)(number))

/* NULL when no helper has this name. */
ab_helper_fn ab_helper_find(const char *bpf_name);

#endif
