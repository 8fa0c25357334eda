/* engine.h: the types that every file of the engine shares.
 *
 * Errors are negative Linux error numbers on every operating system (AB_E*), because that is what programs test for.
 * Naming: ab_<concept>_<verb>; _create/_destroy allocate and free, _init/_deinit work in place; an out-parameter comes last.
 */
#ifndef ANYBPF_ENGINE_H
#define ANYBPF_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "api_event.h"

#define AB_EPERM 1
#define AB_ENOENT 2
#define AB_ENXIO 6
#define AB_E2BIG 7
#define AB_EBADF 9
#define AB_EAGAIN 11
#define AB_ENOMEM 12
#define AB_EACCES 13
#define AB_EFAULT 14
#define AB_EBUSY 16
#define AB_EEXIST 17
#define AB_EXDEV 18
#define AB_ENODEV 19
#define AB_EINVAL 22
#define AB_ENOSPC 28
#define AB_ERANGE 34
#define AB_EOVERFLOW 75
#define AB_EMSGSIZE 90
#define AB_EOPNOTSUPP 95
#define AB_EAFNOSUPPORT 97
#define AB_ENOTSUPP 524

#define AB_STACK_SIZE 512
#define AB_MAX_CALL_DEPTH 8
#define AB_MAX_TAIL_CALLS 33
/* All that verified programs can have at once: each but the last has called the next. */
#define AB_STACK_FRAMES ((AB_MAX_TAIL_CALLS + 1) * AB_MAX_CALL_DEPTH)

typedef struct ab_engine ab_engine;   /* one execution context: cpu slots, reclamation, trace lines */
typedef struct ab_slot ab_slot;       /* one cpu slot, exclusive to the thread that runs programs on it */
typedef struct ab_map ab_map;
typedef struct ab_program ab_program;
typedef struct ab_event ab_event;

/* Every helper has this form: unused arguments are ignored. */
typedef uint64_t (*ab_helper_fn)(uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, ab_slot *slot);

/* What stands directly before the bytes of a context. r1 of a program points behind it, at the context's own bytes
 * (the platform's layout, native byte order); loads of packet fields are lowered to 64-bit loads from here.
 * hard_start..hard_end is the whole buffer: head room, data, tail room. data_meta <= data <= data_end always. */
struct ab_event {
    uint8_t *data;
    uint8_t *data_end;
    uint8_t *data_meta;
    uint8_t *hard_start;
    uint8_t *hard_end;
    uint32_t mac_header;    /* bytes from hard_start to the link-layer header, where the packet has one */
    uint32_t network_header;/* bytes from hard_start to the network header */
    uint32_t context_size;  /* bytes of context behind this header */
    uint32_t buffers;       /* pairs of pointers at the start of the context, into the data (ab_event_set_buffers) */
    uint32_t kind;          /* AB_EVENT_* (api_event.h): which helpers' view of the context's bytes holds */
    uint32_t flags;         /* AB_EVENT_F_* (event.h): state of Linux's sk_buff that its context does not show */
};
#define ab_event_of(context) ((ab_event *)(void *)((uint8_t *)(uintptr_t)(context) - sizeof(ab_event)))

/* What a redirect helper decided; read by whoever ran the program, reset before each event. */
typedef struct ab_redirect {
    ab_map *map;      /* NULL: redirect to an interface index */
    uint64_t target;  /* key in that map, or interface index */
    uint64_t flags;
} ab_redirect;

/* One running thread's state. One owner at a time (slot.c), so nothing in it needs atomics, except `epoch`. */
struct ab_slot {
    ab_engine *engine;
    uint32_t cpu;               /* what bpf_get_smp_processor_id returns and per-CPU maps index with */
    uint32_t tail_calls;        /* tail calls made for this event */
    uint64_t random_state[2];   /* bpf_get_prandom_u32 */
    const ab_program *program;  /* the one that runs now */
    ab_redirect redirect;
    ab_event *event;            /* the event that runs now; set by whoever runs the program, may be NULL */
    const struct ab_task *task; /* on whose behalf (api_chain.h); NULL: the thread that runs */
    struct ab_socket_call *socket; /* the call that the event is (api_socket.h); NULL: it is none */
    int32_t retval;             /* what bpf_get_retval answers: a negative error fails the call that the event is */
    /* Calls back into the running program at `callback` (what a function reference evaluates to in the tier that runs),
     * for bpf_loop and its kin. Set by the tier on entry. */
    uint64_t (*call)(ab_slot *slot, uint64_t callback, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
    void *tier;                 /* the tier's own per-thread state: frames, checked regions, fault */
    void *reclaim;              /* memory reclamation's per-thread state */
    uint32_t in_use;            /* how often its owner has acquired it; 0: free */
    uint32_t mode;              /* AB_MODE_* (api_program.h): which tier runs programs on this slot */
    uint8_t *stack_base;        /* the running program's frames (stack.h): from here ... */
    uint8_t *stack_top;         /* ... to here; the last is the running function's */
    uint8_t *stack_end;
};

/* Map kinds, in the order of anybpf.platforms.MapKind. */
enum ab_map_kind {
    AB_MAP_HASH, AB_MAP_ARRAY, AB_MAP_PROG_ARRAY, AB_MAP_PERF_EVENT_ARRAY, AB_MAP_PERCPU_HASH, AB_MAP_PERCPU_ARRAY,
    AB_MAP_LRU_HASH, AB_MAP_LRU_PERCPU_HASH, AB_MAP_LPM_TRIE, AB_MAP_ARRAY_OF_MAPS, AB_MAP_HASH_OF_MAPS, AB_MAP_DEVMAP,
    AB_MAP_CPUMAP, AB_MAP_XSKMAP, AB_MAP_QUEUE, AB_MAP_STACK, AB_MAP_DEVMAP_HASH, AB_MAP_RINGBUF, AB_MAP_BLOOM_FILTER,
    AB_MAP_KINDS
};

/* A walk over a map's entries within one ab_slot_enter/ab_slot_leave; all zero at the start. Entries that are there all the
 * time are met exactly once; entries added or removed on the way may or may not be. */
typedef struct ab_map_cursor {
    uint64_t index;    /* bucket or element: entries of the same index are met together */
    void *element;
    const void *key;   /* the entry that was reached */
    uint8_t *value;    /* cpu 0's value; other cpus' follow cpu_stride bytes apart */
    uint32_t number;   /* array kinds: what `key` points to */
} ab_map_cursor;

/* What a kind of map can do. An absent operation is NULL and means -AB_EOPNOTSUPP (-AB_EINVAL where Linux says so).
 * The slot is the calling thread's; the caller is inside ab_slot_enter/ab_slot_leave, so pointers stay valid until leave. */
typedef struct ab_map_ops {
    void *(*lookup)(ab_map *map, const void *key, ab_slot *slot);  /* programs: this cpu's value */
    int (*update)(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot);
    int (*remove)(ab_map *map, const void *key, ab_slot *slot);
    int (*push)(ab_map *map, const void *value, uint64_t flags, ab_slot *slot);
    int (*pop)(ab_map *map, void *value, ab_slot *slot);
    int (*peek)(ab_map *map, void *value, ab_slot *slot);
    int (*next_key)(ab_map *map, const void *key, void *next, ab_slot *slot);  /* key NULL: the first */
    /* The user's view: per-CPU kinds read and write all cpus' values, each padded to 8 bytes. */
    int (*read)(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot);
    int (*write)(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot);
    int (*take)(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot);  /* lookup and delete */
    void (*destroy)(ab_map *map);
    int (*iterate)(ab_map *map, ab_map_cursor *cursor, ab_slot *slot);  /* 1: an entry was reached; 0: there are no more */
    int64_t (*count)(ab_map *map, ab_slot *slot);  /* entries there are now */
    /* Bytes from `address` to the end of the entry's memory that holds it, 0 when this map's memory does not. */
    uint64_t (*owned)(ab_map *map, uint64_t address);
} ab_map_ops;

/* The head of every map; each kind's own struct begins with it. */
struct ab_map {
    const ab_map_ops *ops;
    ab_engine *engine;
    uint8_t *values;       /* array kinds: the first element (of cpu 0), so that machine code can index; else NULL */
    uint64_t value_stride; /* array kinds: bytes from element to element */
    uint64_t cpu_stride;   /* per-CPU kinds: bytes from one cpu's value to the next cpu's; else 0 */
    uint32_t kind;
    uint32_t key_size;
    uint32_t value_size;
    uint32_t max_entries;
    uint32_t flags;
    uint32_t id;
    int32_t lock_offset;   /* of the struct bpf_spin_lock in a value, or -1 */
    uint32_t frozen;       /* set once: the user side may not write any more */
};

/* slot.c: cpu slots. A thread acquires a slot (waits for a free one; NULL never; a thread that holds one gets it again),
 * enters for each run of a program or each batch, leaves, and releases. Pointers out of maps are valid between enter and leave only. */
ab_engine *ab_engine_create(uint32_t cpus);
void ab_engine_destroy(ab_engine *engine);
uint32_t ab_engine_cpus(const ab_engine *engine);
uint32_t ab_engine_next_id(ab_engine *engine); /* of programs, maps and links alike */
ab_slot *ab_slot_acquire(ab_engine *engine);
void ab_slot_release(ab_slot *slot);
void ab_slot_enter(ab_slot *slot);
void ab_slot_leave(ab_slot *slot);
/* Waits until every run that was under way has ended or passed between two events (ab_slot_quiesce, reclaim.h); the caller must
 * not be inside. */
void ab_engine_synchronize(ab_engine *engine);

#endif
