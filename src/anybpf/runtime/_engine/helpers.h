/* helpers.h: every helper that programs may call, as one table: H(name that platforms give it, function).
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
    H("bpf_get_current_uid_gid", get_current_uid_gid) \
    H("bpf_get_current_comm", get_current_comm) \
    H("bpf_get_current_process_start_key", get_current_process_start_key) \
    H("bpf_get_current_thread_create_time", get_current_thread_create_time) \
    H("bpf_get_current_logon_id", get_current_logon_id) \
    H("bpf_is_current_admin", is_current_admin)

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
