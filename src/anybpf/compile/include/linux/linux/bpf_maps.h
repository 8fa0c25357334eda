/* linux/bpf_maps.h: flags of maps, rings and their helpers, and what map values may hold. */
#ifndef ANYBPF_LINUX_BPF_MAPS_H
#define ANYBPF_LINUX_BPF_MAPS_H

#include <linux/types.h>

/* ---- maps ---- */

enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2, BPF_F_LOCK = 4 };

enum {
    BPF_F_NO_PREALLOC = 1U << 0,
    BPF_F_NO_COMMON_LRU = 1U << 1,
    BPF_F_NUMA_NODE = 1U << 2,
    BPF_F_RDONLY = 1U << 3,
    BPF_F_WRONLY = 1U << 4,
    BPF_F_STACK_BUILD_ID = 1U << 5,
    BPF_F_ZERO_SEED = 1U << 6,
    BPF_F_RDONLY_PROG = 1U << 7,
    BPF_F_WRONLY_PROG = 1U << 8,
    BPF_F_CLONE = 1U << 9,
    BPF_F_MMAPABLE = 1U << 10,
    BPF_F_PRESERVE_ELEMS = 1U << 11,
    BPF_F_INNER_MAP = 1U << 12,
};

struct bpf_lpm_trie_key {
    __u32 prefixlen;
    __u8 data[0];
};

struct bpf_lpm_trie_key_hdr {
    __u32 prefixlen;
};

struct bpf_lpm_trie_key_u8 {
    union {
        struct bpf_lpm_trie_key_hdr hdr;
        __u32 prefixlen;
    };
    __u8 data[];
};

struct bpf_spin_lock {
    __u32 val;
};

struct bpf_timer {
    __u64 __opaque[2];
} __attribute__((aligned(8)));

/* ---- ring buffers and perf events ---- */

enum { BPF_RB_NO_WAKEUP = 1ULL << 0, BPF_RB_FORCE_WAKEUP = 1ULL << 1 };
enum { BPF_RB_AVAIL_DATA = 0, BPF_RB_RING_SIZE = 1, BPF_RB_CONS_POS = 2, BPF_RB_PROD_POS = 3 };
enum { BPF_RINGBUF_BUSY_BIT = 1U << 31, BPF_RINGBUF_DISCARD_BIT = 1U << 30, BPF_RINGBUF_HDR_SZ = 8 };

#define BPF_F_INDEX_MASK 0xffffffffULL
#define BPF_F_CURRENT_CPU BPF_F_INDEX_MASK

#endif
