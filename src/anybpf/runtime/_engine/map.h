/* map.h: what the kinds of maps share; the engine's side of api_map.h. */
#ifndef ANYBPF_MAP_H
#define ANYBPF_MAP_H

#include <stdatomic.h>
#include "api_map.h"
#include "engine.h"
#include "spinlock.h"
#include "value.h"

/* Linux's map flags (BPF_F_*). */
#define AB_MAP_NO_PREALLOC 0x1u
#define AB_MAP_NO_COMMON_LRU 0x2u
#define AB_MAP_NUMA_NODE 0x4u
#define AB_MAP_RDONLY 0x8u
#define AB_MAP_WRONLY 0x10u
#define AB_MAP_ZERO_SEED 0x40u
#define AB_MAP_RDONLY_PROG 0x80u
#define AB_MAP_WRONLY_PROG 0x100u
#define AB_MAP_MMAPABLE 0x400u
#define AB_MAP_PRESERVE_ELEMS 0x800u
#define AB_MAP_INNER_MAP 0x1000u
#define AB_MAP_ACCESS (AB_MAP_RDONLY | AB_MAP_WRONLY | AB_MAP_RDONLY_PROG | AB_MAP_WRONLY_PROG)

#define AB_VALUE_SIZE_MAX ((uint64_t)1 << 30)

/* Each kind's constructor checks the shape and returns a map whose head is filled in, or NULL and *error. */
typedef ab_map *ab_map_create_fn(ab_engine *engine, const ab_map_shape *shape, int *error);
ab_map_create_fn ab_hash_create, ab_percpu_hash_create, ab_lru_hash_create, ab_lru_percpu_hash_create, ab_array_create,
    ab_percpu_array_create, ab_lpm_create, ab_prog_array_create, ab_array_of_maps_create, ab_hash_of_maps_create,
    ab_queue_create, ab_stack_create, ab_bloom_create, ab_devmap_create, ab_devmap_hash_create, ab_cpumap_create,
    ab_xskmap_create, ab_ringbuf_create, ab_perf_create;

/* Keys of array kinds: 0 to max_entries - 1. */
int ab_array_next_key(ab_map *map, const void *key, void *next, ab_slot *slot);

void ab_map_head_init(ab_map *map, ab_engine *engine, const ab_map_shape *shape, const ab_map_ops *ops);

/* Whether the user's side may do this: 0; -EPERM when the map's flags or freezing forbid it; `otherwise` when the kind does not
 * offer it. */
enum { AB_READS = 1, AB_WRITES = 2 };
int ab_map_admit(const ab_map *map, int access, int offered, int otherwise);

/* Flags of an update: at most one of NOEXIST and EXIST, and F_LOCK where `lock` and the value has a lock. 0 or -EINVAL. */
int ab_map_check_flags(const ab_map *map, uint64_t flags, int lock);

/* Between a value in the map (8-byte aligned) and the user's or program's memory. The lock in a value is never copied: stores
 * leave it alone, loads give zero. With AB_F_LOCK in flags the copy is made while the lock is held. */
void ab_map_store(const ab_map *map, uint8_t *value, const void *from, uint64_t flags);
void ab_map_load(const ab_map *map, const uint8_t *value, void *to, uint64_t flags);
/* The same for the user's view: all cpus' values of per-CPU kinds. `value` is cpu 0's. */
void ab_map_store_user(const ab_map *map, uint8_t *value, const void *from, uint64_t flags);
void ab_map_load_user(const ab_map *map, const uint8_t *value, void *to, uint64_t flags);

#endif
