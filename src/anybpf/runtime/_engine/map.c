/* map.c: creating and destroying maps, and what kinds share: checks, copies of values. */
#include "map.h"
#include <stdlib.h>
#include <string.h>
#include "reclaim.h"
#include "slot.h"

/* The kinds, by the names of anybpf.platforms.MapKind. */
static const struct {
    const char *name;
    ab_map_create_fn *create;
} kinds[AB_MAP_KINDS] = {
    [AB_MAP_HASH] = {"hash", ab_hash_create},
    [AB_MAP_ARRAY] = {"array", ab_array_create},
    [AB_MAP_PROG_ARRAY] = {"prog_array", ab_prog_array_create},
    [AB_MAP_PERF_EVENT_ARRAY] = {"perf_event_array", ab_perf_create},
    [AB_MAP_PERCPU_HASH] = {"percpu_hash", ab_percpu_hash_create},
    [AB_MAP_PERCPU_ARRAY] = {"percpu_array", ab_percpu_array_create},
    [AB_MAP_LRU_HASH] = {"lru_hash", ab_lru_hash_create},
    [AB_MAP_LRU_PERCPU_HASH] = {"lru_percpu_hash", ab_lru_percpu_hash_create},
    [AB_MAP_LPM_TRIE] = {"lpm_trie", ab_lpm_create},
    [AB_MAP_ARRAY_OF_MAPS] = {"array_of_maps", ab_array_of_maps_create},
    [AB_MAP_HASH_OF_MAPS] = {"hash_of_maps", ab_hash_of_maps_create},
    [AB_MAP_DEVMAP] = {"devmap", ab_devmap_create},
    [AB_MAP_CPUMAP] = {"cpumap", ab_cpumap_create},
    [AB_MAP_XSKMAP] = {"xskmap", ab_xskmap_create},
    [AB_MAP_QUEUE] = {"queue", ab_queue_create},
    [AB_MAP_STACK] = {"stack", ab_stack_create},
    [AB_MAP_DEVMAP_HASH] = {"devmap_hash", ab_devmap_hash_create},
    [AB_MAP_RINGBUF] = {"ringbuf", ab_ringbuf_create},
    [AB_MAP_BLOOM_FILTER] = {"bloom_filter", ab_bloom_create},
};

int ab_map_kind_named(const char *name) {
    for (int kind = 0; kind < AB_MAP_KINDS; kind++) {
        if (kinds[kind].name != NULL && strcmp(kinds[kind].name, name) == 0) {
            return kind;
        }
    }
    return -1;
}

ab_map *ab_map_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    ab_map *map;
    if (shape->kind >= AB_MAP_KINDS || kinds[shape->kind].create == NULL) {
        *error = -AB_EINVAL;
        return NULL;
    }
    if (shape->lock_offset >= 0 &&
        (shape->lock_offset % 4 != 0 || (uint64_t)shape->lock_offset + 4 > shape->value_size)) {
        *error = -AB_EINVAL;
        return NULL;
    }
    if ((shape->flags & AB_MAP_RDONLY && shape->flags & AB_MAP_WRONLY) ||
        (shape->flags & AB_MAP_RDONLY_PROG && shape->flags & AB_MAP_WRONLY_PROG)) { /* nobody could use it */
        *error = -AB_EINVAL;
        return NULL;
    }
    map = kinds[shape->kind].create(engine, shape, error);
    if (map != NULL) {
        *error = 0;
        ab_engine_retain(engine);
    }
    return map;
}

void ab_map_head_init(ab_map *map, ab_engine *engine, const ab_map_shape *shape, const ab_map_ops *ops) {
    map->ops = ops;
    map->engine = engine;
    map->kind = shape->kind;
    map->key_size = shape->key_size;
    map->value_size = shape->value_size;
    map->max_entries = shape->max_entries;
    map->flags = shape->flags;
    map->lock_offset = shape->lock_offset;
    map->id = ab_engine_next_id(engine);
}

/* A map that waits for its grace period. */
typedef struct doomed_map {
    ab_retired retired;
    ab_map *map;
} doomed_map;

static void destroy_now(ab_map *map) {
    ab_engine *engine = map->engine;
    map->ops->destroy(map);
    ab_engine_release(engine);
}

static void destroy_doomed(ab_retired *retired) {
    doomed_map *doomed = (doomed_map *)(void *)retired; /* retired is its first member */
    destroy_now(doomed->map);
    free(doomed);
}

void ab_map_destroy(ab_map *map) {
    doomed_map *doomed;
    ab_slot *slot;
    if (map == NULL) {
        return;
    }
    doomed = malloc(sizeof *doomed);
    if (doomed == NULL || atomic_load_explicit(&map->engine->closed, memory_order_acquire) != 0) {
        /* No memory to remember it by, or nobody left who would: wait for the grace period here. */
        free(doomed);
        ab_engine_synchronize(map->engine);
        destroy_now(map);
        return;
    }
    doomed->map = map;
    slot = ab_slot_acquire(map->engine);
    ab_slot_enter(slot);
    ab_reclaim_defer(slot, &doomed->retired, destroy_doomed);
    ab_slot_leave(slot);
    ab_slot_release(slot);
}

uint32_t ab_map_id(const ab_map *map) {
    return map->id;
}

void *ab_map_memory(ab_map *map, uint64_t *size) {
    *size = 0;
    if (map->values != NULL) {
        *size = map->cpu_stride != 0 ? map->cpu_stride * map->engine->cpus : map->value_stride * map->max_entries;
    }
    return map->values;
}

void ab_map_freeze(ab_map *map) {
    map->frozen = 1;
}

int ab_map_admit(const ab_map *map, int access, int offered, int otherwise) {
    if ((access & AB_WRITES) != 0 && (map->frozen != 0 || (map->flags & AB_MAP_RDONLY) != 0)) {
        return -AB_EPERM;
    }
    if ((access & AB_READS) != 0 && (map->flags & AB_MAP_WRONLY) != 0) {
        return -AB_EPERM;
    }
    return offered ? 0 : otherwise;
}

int ab_map_check_flags(const ab_map *map, uint64_t flags, int lock) {
    if (lock && (flags & AB_F_LOCK) != 0) {
        if (map->lock_offset < 0) {
            return -AB_EINVAL;
        }
        flags &= ~(uint64_t)AB_F_LOCK;
    }
    return flags > AB_EXIST ? -AB_EINVAL : 0;
}

static ab_spinlock *lock_of(const ab_map *map, const uint8_t *value) {
    return (ab_spinlock *)(uintptr_t)(value + map->lock_offset);
}

void ab_map_store(const ab_map *map, uint8_t *value, const void *from, uint64_t flags) {
    const uint8_t *bytes = from;
    uint64_t after = (uint64_t)map->lock_offset + 4;
    if (map->lock_offset < 0) {
        ab_value_store(value, bytes, map->value_size);
        return;
    }
    if ((flags & AB_F_LOCK) != 0) {
        ab_spin_lock(lock_of(map, value));
    }
    ab_value_store(value, bytes, (uint64_t)map->lock_offset);
    if (after % 8 != 0 && after + 4 <= map->value_size) {
        ab_value_store(value + after, bytes + after, 4);
        after += 4;
    }
    ab_value_store(value + after, bytes + after, map->value_size - after);
    if ((flags & AB_F_LOCK) != 0) {
        ab_spin_unlock(lock_of(map, value));
    }
}

void ab_map_load(const ab_map *map, const uint8_t *value, void *to, uint64_t flags) {
    int locked = map->lock_offset >= 0 && (flags & AB_F_LOCK) != 0;
    if (locked) {
        ab_spin_lock(lock_of(map, value));
    }
    ab_value_load(to, value, map->value_size);
    if (locked) {
        ab_spin_unlock(lock_of(map, value));
    }
    if (map->lock_offset >= 0) {
        memset((uint8_t *)to + map->lock_offset, 0, 4);
    }
}

void ab_map_store_user(const ab_map *map, uint8_t *value, const void *from, uint64_t flags) {
    uint64_t stride = ab_round_up_8(map->value_size);
    if (map->cpu_stride == 0) {
        ab_map_store(map, value, from, flags);
        return;
    }
    for (uint32_t cpu = 0; cpu < map->engine->cpus; cpu++) {
        ab_value_store(value + cpu * map->cpu_stride, (const uint8_t *)from + cpu * stride, stride);
    }
}

void ab_map_load_user(const ab_map *map, const uint8_t *value, void *to, uint64_t flags) {
    uint64_t stride = ab_round_up_8(map->value_size);
    if (map->cpu_stride == 0) {
        ab_map_load(map, value, to, flags);
        return;
    }
    for (uint32_t cpu = 0; cpu < map->engine->cpus; cpu++) {
        ab_value_load((uint8_t *)to + cpu * stride, value + cpu * map->cpu_stride, stride);
    }
}
