/* map_redirect.c: devmap, cpumap, xskmap: what redirects may go to, by index. The engine keeps the targets; whoever runs the
 * programs acts on them. A target that is not set is not there for lookups. */
#include <stdlib.h>
#include "map.h"

#define CPUMAP_QUEUE_MAX 16384 /* Linux's bound on a cpumap entry's queue */

typedef struct target {
    _Atomic uint64_t value;
    _Atomic uint32_t present;
} target;

typedef struct target_map {
    ab_map map;
    target targets[];
} target_map;

static target *find(ab_map *map, const void *key) {
    uint32_t index;
    memcpy(&index, key, sizeof index);
    return index < map->max_entries ? &((target_map *)(void *)map)->targets[index] : NULL;
}

static void *lookup(ab_map *map, const void *key, ab_slot *slot) {
    target *found = find(map, key);
    (void)slot;
    if (found == NULL || atomic_load_explicit(&found->present, memory_order_acquire) == 0) {
        return NULL;
    }
    return (void *)&found->value;
}

static int read_user(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot) {
    const uint8_t *found = lookup(map, key, slot);
    if (found == NULL) {
        return -AB_ENOENT;
    }
    ab_map_load(map, found, value, flags);
    return 0;
}

/* Linux's checks, in its order. */
static int write_user(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot) {
    target *place = find(map, key);
    int there;
    uint32_t first;
    uint64_t stored = 0;
    (void)slot;
    memcpy(&first, value, sizeof first);
    memcpy(&stored, value, map->value_size);
    if (flags > AB_EXIST) {
        return -AB_EINVAL;
    }
    if (place == NULL) {
        return -AB_E2BIG;
    }
    if (map->kind == AB_MAP_XSKMAP) {
        there = atomic_load_explicit(&place->present, memory_order_acquire) != 0;
        if (there && flags == AB_NOEXIST) {
            return -AB_EEXIST;
        }
        if (!there && flags == AB_EXIST) {
            return -AB_ENOENT;
        }
    } else {
        if (flags == AB_NOEXIST) { /* entries are thought of as existing from the start, as in an array */
            return -AB_EEXIST;
        }
        if (map->kind == AB_MAP_CPUMAP && first > CPUMAP_QUEUE_MAX) {
            return -AB_EOVERFLOW;
        }
        if (first == 0) { /* no interface, no queue: takes the target away */
            atomic_store_explicit(&place->present, 0, memory_order_release);
            return 0;
        }
    }
    atomic_store_explicit(&place->value, stored, memory_order_relaxed);
    atomic_store_explicit(&place->present, 1, memory_order_release);
    return 0;
}

static int remove_target(ab_map *map, const void *key, ab_slot *slot) {
    target *place = find(map, key);
    (void)slot;
    if (place == NULL) {
        return -AB_EINVAL;
    }
    atomic_store_explicit(&place->present, 0, memory_order_release);
    return 0;
}

/* Only what is there. */
static int iterate(ab_map *map, ab_map_cursor *cursor, ab_slot *slot) {
    if (cursor->key != NULL) {
        cursor->index++;
    }
    for (; cursor->index < map->max_entries; cursor->index++) {
        cursor->number = (uint32_t)cursor->index;
        cursor->value = lookup(map, &cursor->number, slot);
        if (cursor->value != NULL) {
            cursor->key = &cursor->number;
            return 1;
        }
    }
    return 0;
}

static int64_t count(ab_map *map, ab_slot *slot) {
    ab_map_cursor cursor = {.index = 0};
    int64_t found = 0;
    while (iterate(map, &cursor, slot) == 1) {
        found++;
    }
    return found;
}

static void destroy(ab_map *map) {
    free(map);
}

static const ab_map_ops target_ops = {
    .lookup = lookup, .remove = remove_target, .next_key = ab_array_next_key, .read = read_user, .write = write_user,
    .destroy = destroy, .iterate = iterate, .count = count,
};

static ab_map *create(ab_engine *engine, const ab_map_shape *shape, uint32_t allowed, int wide, int *error) {
    target_map *targets;
    *error = -AB_EINVAL;
    if (shape->key_size != 4 || (shape->value_size != 4 && !(wide && shape->value_size == 8)) || shape->max_entries == 0 ||
        (shape->flags & ~allowed) != 0 || shape->lock_offset >= 0) {
        return NULL;
    }
    *error = -AB_ENOMEM;
    targets = calloc(1, sizeof *targets + (uint64_t)shape->max_entries * sizeof targets->targets[0]);
    if (targets == NULL) {
        return NULL;
    }
    ab_map_head_init(&targets->map, engine, shape, &target_ops);
    *error = 0;
    return &targets->map;
}

ab_map *ab_devmap_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, AB_MAP_NUMA_NODE | AB_MAP_RDONLY | AB_MAP_WRONLY, 1, error);
}

ab_map *ab_cpumap_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, AB_MAP_NUMA_NODE, 1, error);
}

ab_map *ab_xskmap_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, AB_MAP_NUMA_NODE | AB_MAP_RDONLY | AB_MAP_WRONLY, 0, error);
}
