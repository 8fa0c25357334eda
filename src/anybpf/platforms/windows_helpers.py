"""Helpers of eBPF for Windows 1.6: the general ones, and those that belong to one program type.

Only numbers 1, 2, 3 and 8 are the same as Linux's; the others differ even where the names are equal. Argument rules are
those of its verifier, which lets any readable memory, the packet too, be an argument.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from anybpf.platforms.declaration import (
    ANY,
    CTX,
    KEY,
    MAP,
    MEM,
    MEM_INOUT,
    MEM_OR_NULL,
    OUT,
    SCALAR,
    SIZE,
    SIZE_OR_ZERO,
    VALUE,
    VALUE_OUT,
    helper,
    map_of,
)
from anybpf.platforms.model import Helper, MapKind, ReturnKind

__all__ = (
    "FIRST_OWN",
    "GENERAL",
    "NETEVENT",
    "PROCESS",
    "SAMPLE",
    "SOCK_ADDR",
    "SOCK_OPS",
    "VIRTUAL",
    "XDP",
)

#: Numbers from here on belong to the program type: each type starts again.
FIRST_OWN: Final = 0x10000

_QUEUES = map_of(MapKind.QUEUE, MapKind.STACK)


def _with_packet_access(*helpers: Helper) -> tuple[Helper, ...]:
    return tuple(replace(h, packet_access=True) for h in helpers)


#: What has a number for all program types; VIRTUAL names those that only some types implement.
GENERAL: Final[tuple[Helper, ...]] = _with_packet_access(
    # Maps
    helper(1, "void *bpf_map_lookup_elem(void *map, const void *key)", MAP, KEY, returns=ReturnKind.MAP_VALUE_OR_NULL),
    helper(2, "int64_t bpf_map_update_elem(void *map, const void *key, const void *value, uint64_t flags)",
           MAP, KEY, VALUE, ANY),
    helper(3, "int64_t bpf_map_delete_elem(void *map, const void *key)", MAP, KEY),
    helper(4, "void *bpf_map_lookup_and_delete_elem(void *map, const void *key)", MAP, KEY,
           returns=ReturnKind.MAP_VALUE_OR_NULL),
    helper(16, "int64_t bpf_map_push_elem(void *map, const void *value, uint64_t flags)", _QUEUES, VALUE, ANY),
    helper(17, "int64_t bpf_map_pop_elem(void *map, void *value)", _QUEUES, VALUE_OUT),
    helper(18, "int64_t bpf_map_peek_elem(void *map, void *value)", _QUEUES, VALUE_OUT),
    # Control flow
    helper(5, "int64_t bpf_tail_call(void *ctx, void *prog_array_map, uint32_t index)",
           CTX, map_of(MapKind.PROG_ARRAY), ANY, returns=ReturnKind.NO_RETURN_ON_SUCCESS),
    helper(35, "intptr_t bpf_redirect_map(void *map, uint64_t key, uint64_t flags)", map_of(MapKind.XSKMAP), ANY, ANY),
    # Time, randomness, processors
    helper(6, "uint32_t bpf_get_prandom_u32(void)"),
    helper(7, "uint64_t bpf_ktime_get_boot_ns(void)"),
    helper(8, "uint64_t bpf_get_smp_processor_id(void)"),
    helper(9, "uint64_t bpf_ktime_get_ns(void)"),
    helper(30, "uint64_t bpf_ktime_get_boot_ms(void)"),
    helper(31, "uint64_t bpf_ktime_get_ms(void)"),
    # Events and text
    helper(11, "int bpf_ringbuf_output(void *ring_buffer, void *data, uint64_t size, uint64_t flags)",
           map_of(MapKind.RINGBUF), MEM, SIZE, ANY, implementation="ringbuf_output_windows"),
    helper(32, "int bpf_perf_event_output(void *ctx, void *map, uint64_t flags, void *data, uint64_t size)",
           CTX, map_of(MapKind.PERF_EVENT_ARRAY), ANY, MEM, SIZE),
    helper(12, "long bpf_trace_printk2(const char *fmt, uint32_t fmt_size)", MEM, SIZE),
    helper(13, "long bpf_trace_printk3(const char *fmt, uint32_t fmt_size, uint64_t arg3)", MEM, SIZE, SCALAR),
    helper(14, "long bpf_trace_printk4(const char *fmt, uint32_t fmt_size, uint64_t arg3, uint64_t arg4)",
           MEM, SIZE, SCALAR, SCALAR),
    helper(15, "long bpf_trace_printk5(const char *fmt, uint32_t fmt_size, uint64_t arg3, "
           "uint64_t arg4, uint64_t arg5)",
           MEM, SIZE, SCALAR, SCALAR, SCALAR),
    # Memory and strings: the C library's names are macros for these
    helper(10, "int bpf_csum_diff(void *from, int from_size, void *to, int to_size, int seed)",
           MEM_OR_NULL, SIZE_OR_ZERO, MEM_OR_NULL, SIZE_OR_ZERO, ANY, implementation="csum_diff_windows"),
    helper(22, "long bpf_memcpy_s(void *dst, uint64_t dst_size, const void *src, uint64_t src_size)",
           OUT, SIZE, MEM, SIZE),
    helper(23, "int bpf_memcmp_s(const void *a, uint64_t a_size, const void *b, uint64_t b_size)",
           MEM, SIZE, MEM, SIZE),
    helper(24, "long bpf_memset(void *mem, uint64_t size, int value)", OUT, SIZE, ANY),
    helper(25, "long bpf_memmove_s(void *dst, uint64_t dst_size, const void *src, uint64_t src_size)",
           OUT, SIZE, MEM, SIZE),
    helper(27, "int bpf_strncpy_s(char *dst, uint64_t dst_size, const char *src, uint64_t count)",
           OUT, SIZE, MEM, SIZE),
    helper(28, "int bpf_strncat_s(char *dst, uint64_t dst_size, const char *src, uint64_t count)",
           MEM_INOUT, SIZE, MEM, SIZE),
    helper(29, "uint64_t bpf_strnlen_s(const char *str, uint64_t size)", MEM, SIZE),
    # Who caused the event
    helper(19, "uint64_t bpf_get_current_pid_tgid(void)"),
    helper(20, "uint64_t bpf_get_current_logon_id(const void *ctx)", CTX),
    helper(21, "int32_t bpf_is_current_admin(const void *ctx)", CTX),
    helper(26, "int64_t bpf_get_socket_cookie(void *ctx)", CTX, implementation="cookie_of_sock_addr_windows"),
    helper(33, "uint64_t bpf_get_current_process_start_key(void)"),
    helper(34, "int64_t bpf_get_current_thread_create_time(void)"),
)  # fmt: skip

#: Numbered for all, but a program loads only where its type implements them.
VIRTUAL: Final = frozenset({"bpf_get_socket_cookie", "bpf_redirect_map"})

XDP: Final = _with_packet_access(
    helper(FIRST_OWN, "int bpf_xdp_adjust_head(xdp_md_t *ctx, int delta)", CTX, ANY, changes_packet=True),
)
SOCK_ADDR: Final = _with_packet_access(
    helper(FIRST_OWN, "uint64_t bpf_sock_addr_get_current_pid_tgid(const bpf_sock_addr_t *ctx)", CTX),
    helper(FIRST_OWN + 1, "int bpf_sock_addr_set_redirect_context(bpf_sock_addr_t *ctx, void *data, uint32_t size)",
           CTX, MEM, SIZE),
    helper(FIRST_OWN + 2, "int bpf_sock_addr_get_network_context(bpf_sock_addr_t *ctx, void *out, uint32_t size)",
           CTX, OUT, SIZE),
)  # fmt: skip
SOCK_OPS: Final = _with_packet_access(
    helper(FIRST_OWN, "uint64_t bpf_sock_ops_get_flow_id(bpf_sock_ops_t *ctx)", CTX),
)
PROCESS: Final = _with_packet_access(
    helper(FIRST_OWN, "int bpf_process_get_image_path(process_md_t *ctx, uint8_t *path, uint32_t len)", CTX, OUT, SIZE),
)
NETEVENT: Final = _with_packet_access(
    helper(FIRST_OWN, "int bpf_netevent_push_event(netevent_event_md_t *ctx)", CTX),
)
SAMPLE: Final = _with_packet_access(
    helper(FIRST_OWN, "int64_t sample_ebpf_extension_helper_function1(sample_program_context_t *ctx)", CTX),
    helper(FIRST_OWN + 1, "int64_t sample_ebpf_extension_find(void *buf, uint32_t size, void *find, uint32_t len)",
           MEM, SIZE, MEM, SIZE),
    helper(FIRST_OWN + 2, "int64_t sample_ebpf_extension_replace(void *buf, uint32_t size, int64_t position, "
           "void *replace, uint32_t replace_size)", MEM_INOUT, SIZE, ANY, MEM, SIZE),
    helper(FIRST_OWN + 3, "int64_t sample_ebpf_extension_helper_implicit_1(void)"),
    helper(FIRST_OWN + 4, "int64_t sample_ebpf_extension_helper_implicit_2(uint32_t arg)", ANY),
    helper(FIRST_OWN + 5, "void *sample_ext_helper_map_lookup_element(void *map, const void *key)", MAP, KEY,
           returns=ReturnKind.MAP_VALUE_OR_NULL),
    helper(FIRST_OWN + 6, "int64_t sample_ext_helper_map_get_value(void *map, const void *key, uint8_t *value, "
           "uint64_t size)", MAP, KEY, OUT, SIZE),
)  # fmt: skip
