/* bpf_helper_defs.h: the helpers by their numbers.
 * Made by anybpf.platforms.headers from the platform's tables: do not edit. */
#ifndef ANYBPF_BPF_HELPER_DEFS_H
#define ANYBPF_BPF_HELPER_DEFS_H

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static int64_t (*const bpf_map_update_elem)(void *map, const void *key, const void *value, uint64_t flags) = (void *)2;
static int64_t (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static void *(*const bpf_map_lookup_and_delete_elem)(void *map, const void *key) = (void *)4;
static int64_t (*const bpf_tail_call)(void *ctx, void *prog_array_map, uint32_t index) = (void *)5;
static uint32_t (*const bpf_get_prandom_u32)(void) = (void *)6;
static uint64_t (*const bpf_ktime_get_boot_ns)(void) = (void *)7;
static uint64_t (*const bpf_get_smp_processor_id)(void) = (void *)8;
static uint64_t (*const bpf_ktime_get_ns)(void) = (void *)9;
static int (*const bpf_csum_diff)(void *from, int from_size, void *to, int to_size, int seed) = (void *)10;
static int (*const bpf_ringbuf_output)(void *ring_buffer, void *data, uint64_t size, uint64_t flags) = (void *)11;
static long (*const bpf_trace_printk2)(const char *fmt, uint32_t fmt_size) = (void *)12;
static long (*const bpf_trace_printk3)(const char *fmt, uint32_t fmt_size, uint64_t arg3) = (void *)13;
static long (*const bpf_trace_printk4)(const char *fmt, uint32_t fmt_size, uint64_t arg3, uint64_t arg4) = (void *)14;
static long (*const bpf_trace_printk5)(const char *fmt, uint32_t fmt_size, uint64_t arg3, uint64_t arg4, uint64_t arg5) = (void *)15;
static int64_t (*const bpf_map_push_elem)(void *map, const void *value, uint64_t flags) = (void *)16;
static int64_t (*const bpf_map_pop_elem)(void *map, void *value) = (void *)17;
static int64_t (*const bpf_map_peek_elem)(void *map, void *value) = (void *)18;
static uint64_t (*const bpf_get_current_pid_tgid)(void) = (void *)19;
static uint64_t (*const bpf_get_current_logon_id)(const void *ctx) = (void *)20;
static int32_t (*const bpf_is_current_admin)(const void *ctx) = (void *)21;
static long (*const bpf_memcpy_s)(void *dst, uint64_t dst_size, const void *src, uint64_t src_size) = (void *)22;
static int (*const bpf_memcmp_s)(const void *a, uint64_t a_size, const void *b, uint64_t b_size) = (void *)23;
static long (*const bpf_memset)(void *mem, uint64_t size, int value) = (void *)24;
static long (*const bpf_memmove_s)(void *dst, uint64_t dst_size, const void *src, uint64_t src_size) = (void *)25;
static int64_t (*const bpf_get_socket_cookie)(void *ctx) = (void *)26;
static int (*const bpf_strncpy_s)(char *dst, uint64_t dst_size, const char *src, uint64_t count) = (void *)27;
static int (*const bpf_strncat_s)(char *dst, uint64_t dst_size, const char *src, uint64_t count) = (void *)28;
static uint64_t (*const bpf_strnlen_s)(const char *str, uint64_t size) = (void *)29;
static uint64_t (*const bpf_ktime_get_boot_ms)(void) = (void *)30;
static uint64_t (*const bpf_ktime_get_ms)(void) = (void *)31;
static int (*const bpf_perf_event_output)(void *ctx, void *map, uint64_t flags, void *data, uint64_t size) = (void *)32;
static uint64_t (*const bpf_get_current_process_start_key)(void) = (void *)33;
static int64_t (*const bpf_get_current_thread_create_time)(void) = (void *)34;
static intptr_t (*const bpf_redirect_map)(void *map, uint64_t key, uint64_t flags) = (void *)35;

#endif
