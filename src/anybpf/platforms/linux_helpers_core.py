"""Linux helpers for programs of every kind: maps, time, randomness, control flow, buffers, text.

Numbers and prototypes are Linux's ABI (include/uapi/linux/bpf.h); argument rules are those that the kernel's
verifier enforces, compared with a live kernel in tests/test_platforms_kernel.py.
"""

from __future__ import annotations

from typing import Final

from anybpf.platforms.declaration import (
    ALLOC_SIZE,
    ANY,
    CALLBACK,
    CALLBACK_CONTEXT,
    CTX,
    DYNPTR,
    DYNPTR_OUT,
    KERNEL_OR_NULL,
    KEY,
    KPTR,
    MAP,
    MEM,
    MEM_OR_NULL,
    OUT,
    OUT_OR_NULL,
    PERCPU,
    RECORD,
    SIZE,
    SIZE_OR_ZERO,
    SPIN_LOCK,
    STRING,
    TIMER,
    VALUE,
    VALUE_OUT,
    helper,
    map_of,
    memory_out,
)
from anybpf.platforms.model import Callback, Helper, MapKind, ReturnKind

__all__ = ("CORE",)

_PROGRAMS = map_of(MapKind.PROG_ARRAY)
_RINGBUF = map_of(MapKind.RINGBUF)
_QUEUES = map_of(MapKind.QUEUE, MapKind.STACK)
_PUSHABLE = map_of(MapKind.QUEUE, MapKind.STACK, MapKind.BLOOM_FILTER)
_ITERABLE = map_of(
    MapKind.HASH, MapKind.PERCPU_HASH, MapKind.LRU_HASH, MapKind.LRU_PERCPU_HASH, MapKind.ARRAY, MapKind.PERCPU_ARRAY
)
_PERCPU_MAPS = map_of(MapKind.PERCPU_ARRAY, MapKind.PERCPU_HASH, MapKind.LRU_PERCPU_HASH)

#: Lookups from programs work on what holds values (or inner maps); the kernel refuses the rest.
_LOOKUP = map_of(
    MapKind.HASH, MapKind.ARRAY, MapKind.PERCPU_HASH, MapKind.PERCPU_ARRAY, MapKind.LRU_HASH, MapKind.LRU_PERCPU_HASH,
    MapKind.LPM_TRIE, MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS, MapKind.DEVMAP, MapKind.DEVMAP_HASH, MapKind.CPUMAP,
    MapKind.XSKMAP, MapKind.SOCKMAP, MapKind.SOCKHASH, MapKind.REUSEPORT_SOCKARRAY, MapKind.STRUCT_OPS, MapKind.ARENA,
)  # fmt: skip
_UPDATE = map_of(
    MapKind.HASH, MapKind.ARRAY, MapKind.PERCPU_HASH, MapKind.PERCPU_ARRAY, MapKind.LRU_HASH, MapKind.LRU_PERCPU_HASH,
    MapKind.LPM_TRIE, MapKind.DEVMAP, MapKind.DEVMAP_HASH, MapKind.CPUMAP, MapKind.XSKMAP, MapKind.SOCKMAP,
    MapKind.SOCKHASH,
)  # fmt: skip

CORE: Final[tuple[Helper, ...]] = (
    # Maps
    helper(1, "void *bpf_map_lookup_elem(void *map, const void *key)",
           _LOOKUP, KEY, returns=ReturnKind.MAP_VALUE_OR_NULL, packet_access=True),
    helper(2, "long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags)",
           _UPDATE, KEY, VALUE, ANY, packet_access=True),
    helper(3, "long bpf_map_delete_elem(void *map, const void *key)", _UPDATE, KEY, packet_access=True),
    helper(87, "long bpf_map_push_elem(void *map, const void *value, __u64 flags)", _PUSHABLE, VALUE, ANY,
           packet_access=True),
    helper(88, "long bpf_map_pop_elem(void *map, void *value)", _QUEUES, VALUE_OUT),
    helper(89, "long bpf_map_peek_elem(void *map, void *value)", _PUSHABLE, VALUE_OUT),
    helper(195, "void *bpf_map_lookup_percpu_elem(void *map, const void *key, __u32 cpu)", _PERCPU_MAPS, KEY, ANY,
           returns=ReturnKind.MAP_VALUE_OR_NULL, packet_access=True),
    helper(164, "long bpf_for_each_map_elem(void *map, void *callback_fn, void *callback_ctx, __u64 flags)",
           _ITERABLE, CALLBACK, CALLBACK_CONTEXT, ANY, callback=Callback.FOR_EACH_MAP_ELEMENT),
    # Control flow
    helper(12, "long bpf_tail_call(void *ctx, void *prog_array_map, __u32 index)", CTX, _PROGRAMS, ANY,
           returns=ReturnKind.NO_RETURN_ON_SUCCESS),
    helper(181, "long bpf_loop(__u32 nr_loops, void *callback_fn, void *callback_ctx, __u64 flags)",
           ANY, CALLBACK, CALLBACK_CONTEXT, ANY, callback=Callback.LOOP),
    # Time, randomness, processors
    helper(5, "__u64 bpf_ktime_get_ns(void)"),
    helper(7, "__u32 bpf_get_prandom_u32(void)"),
    helper(8, "__u32 bpf_get_smp_processor_id(void)"),
    helper(42, "long bpf_get_numa_node_id(void)"),
    helper(118, "__u64 bpf_jiffies64(void)"),
    helper(125, "__u64 bpf_ktime_get_boot_ns(void)"),
    helper(160, "__u64 bpf_ktime_get_coarse_ns(void)"),
    helper(208, "__u64 bpf_ktime_get_tai_ns(void)"),
    # Locks and timers, which live in map values
    helper(93, "long bpf_spin_lock(struct bpf_spin_lock *lock)", SPIN_LOCK),
    helper(94, "long bpf_spin_unlock(struct bpf_spin_lock *lock)", SPIN_LOCK),
    helper(169, "long bpf_timer_init(struct bpf_timer *timer, void *map, __u64 flags)", TIMER, MAP, ANY),
    helper(170, "long bpf_timer_set_callback(struct bpf_timer *timer, void *callback_fn)", TIMER, CALLBACK,
           callback=Callback.TIMER),
    helper(171, "long bpf_timer_start(struct bpf_timer *timer, __u64 nsecs, __u64 flags)", TIMER, ANY, ANY),
    helper(172, "long bpf_timer_cancel(struct bpf_timer *timer)", TIMER),
    # Ring buffers
    helper(130, "long bpf_ringbuf_output(void *ringbuf, void *data, __u64 size, __u64 flags)",
           _RINGBUF, MEM, SIZE_OR_ZERO, ANY),
    helper(131, "void *bpf_ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags)", _RINGBUF, ALLOC_SIZE, ANY,
           returns=ReturnKind.RECORD_OR_NULL, acquires=True),
    helper(132, "void bpf_ringbuf_submit(void *data, __u64 flags)", RECORD, ANY),
    helper(133, "void bpf_ringbuf_discard(void *data, __u64 flags)", RECORD, ANY),
    helper(134, "__u64 bpf_ringbuf_query(void *ringbuf, __u64 flags)", _RINGBUF, ANY),
    helper(198, "long bpf_ringbuf_reserve_dynptr(void *ringbuf, __u32 size, __u64 flags, struct bpf_dynptr *ptr)",
           _RINGBUF, ANY, ANY, DYNPTR_OUT),
    helper(199, "void bpf_ringbuf_submit_dynptr(struct bpf_dynptr *ptr, __u64 flags)", DYNPTR, ANY),
    helper(200, "void bpf_ringbuf_discard_dynptr(struct bpf_dynptr *ptr, __u64 flags)", DYNPTR, ANY),
    helper(209, "long bpf_user_ringbuf_drain(void *map, void *callback_fn, void *ctx, __u64 flags)",
           map_of(MapKind.USER_RINGBUF), CALLBACK, CALLBACK_CONTEXT, ANY, callback=Callback.USER_RINGBUF),
    # Dynamic pointers
    helper(197, "long bpf_dynptr_from_mem(void *data, __u32 size, __u64 flags, struct bpf_dynptr *ptr)",
           MEM, SIZE_OR_ZERO, ANY, DYNPTR_OUT),
    helper(201, "long bpf_dynptr_read(void *dst, __u32 len, const struct bpf_dynptr *src, __u32 offset, __u64 flags)",
           OUT, SIZE_OR_ZERO, DYNPTR, ANY, ANY),
    helper(202, "long bpf_dynptr_write(const struct bpf_dynptr *dst, __u32 offset, void *src, __u32 len, __u64 flags)",
           DYNPTR, ANY, MEM, SIZE_OR_ZERO, ANY),
    helper(203, "void *bpf_dynptr_data(const struct bpf_dynptr *ptr, __u32 offset, __u32 len)", DYNPTR, ANY, ALLOC_SIZE,
           returns=ReturnKind.MEMORY_OR_NULL),
    helper(194, "void *bpf_kptr_xchg(void *dst, void *ptr)", KPTR, KERNEL_OR_NULL, returns=ReturnKind.KERNEL_OR_NULL,
           acquires=True),
    # Text
    helper(6, "long bpf_trace_printk(const char *fmt, __u32 fmt_size, ...)", MEM, SIZE, gpl_only=True),
    helper(177, "long bpf_trace_vprintk(const char *fmt, __u32 fmt_size, const void *data, __u32 data_len)",
           MEM, SIZE, MEM_OR_NULL, SIZE_OR_ZERO, gpl_only=True),
    helper(165, "long bpf_snprintf(char *str, __u32 str_size, const char *fmt, __u64 *data, __u32 data_len)",
           OUT_OR_NULL, SIZE_OR_ZERO, STRING, MEM_OR_NULL, SIZE_OR_ZERO),
    helper(149, "long bpf_snprintf_btf(char *str, __u32 str_size, struct btf_ptr *ptr, __u32 ptr_size, __u64 flags)",
           OUT, SIZE, MEM, SIZE, ANY),
    helper(105, "long bpf_strtol(const char *buf, unsigned long buf_len, __u64 flags, long *res)",
           MEM, SIZE, ANY, memory_out(8)),
    helper(106, "long bpf_strtoul(const char *buf, unsigned long buf_len, __u64 flags, unsigned long *res)",
           MEM, SIZE, ANY, memory_out(8)),
    helper(182, "long bpf_strncmp(const char *s1, __u32 s1_sz, const char *s2)", MEM, SIZE, STRING),
    # Variables of the kernel
    helper(153, "void *bpf_per_cpu_ptr(const void *percpu_ptr, __u32 cpu)",
           PERCPU, ANY, returns=ReturnKind.KERNEL_OR_NULL),
    helper(154, "void *bpf_this_cpu_ptr(const void *percpu_ptr)", PERCPU, returns=ReturnKind.KERNEL),
    # What any program may emit
    helper(25, "long bpf_perf_event_output(void *ctx, void *map, __u64 flags, void *data, __u64 size)",
           CTX, map_of(MapKind.PERF_EVENT_ARRAY), ANY, MEM, SIZE_OR_ZERO, gpl_only=True),
)  # fmt: skip
"""In the order of their subjects; gather with :func:`anybpf.platforms.declaration.table`."""
