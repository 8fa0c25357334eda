/* map_array.c: arrays and per-CPU arrays. Every element exists from the start, as zeros, and none can be deleted.
 *
 * Values stand one after another, value_stride bytes apart; per-CPU arrays hold one such block a cpu, cpu_stride bytes apart.
 */
#include <stdlib.h>
#include "map.h"
#include "slot.h"

/* The address of element `key` of cpu 0, or NULL. */
static uint8_t *element(const ab_map *map, const void *key) {
    uint32_t index;
    memcpy(&index, key, sizeof index);
    return index < map->max_entries ? map->values + index * map->value_stride : NULL;
}

static void *lookup(ab_map *map, const void *key, ab_slot *slot) {
    (void)slot;
    return element(map, key);
}

static void *lookup_percpu(ab_map *map, const void *key, ab_slot *slot) {
    uint8_t *value = element(map, key);
    return value == NULL ? NULL : value + slot->cpu * map->cpu_stride;
}

static int check_update(const ab_map *map, const void *key, uint64_t flags) {
    int error = ab_map_check_flags(map, flags, 1);
    if (error < 0) {
        return error;
    }
    if (element(map, key) == NULL) {
        return -AB_E2BIG;
    }
    return (flags & AB_NOEXIST) != 0 ? -AB_EEXIST : 0;
}

static int update(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot) {
    int error = check_update(map, key, flags);
    if (error == 0) {
        ab_map_store(map, element(map, key) + slot->cpu * map->cpu_stride, value, flags);
    }
    return error;
}

static int write_user(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot) {
    int error = check_update(map, key, flags);
    (void)slot;
    if (error == 0) {
        ab_map_store_user(map, element(map, key), value, flags);
    }
    return error;
}

static int read_user(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot) {
    const uint8_t *found = element(map, key);
    (void)slot;
    if (found == NULL) {
        return -AB_ENOENT;
    }
    ab_map_load_user(map, found, value, flags);
    return 0;
}

static int remove_element(ab_map *map, const void *key, ab_slot *slot) {
    (void)map;
    (void)key;
    (void)slot;
    return -AB_EINVAL;
}

int ab_array_next_key(ab_map *map, const void *key, void *next, ab_slot *slot) {
    uint32_t index = UINT32_MAX;
    (void)slot;
    if (key != NULL) {
        memcpy(&index, key, sizeof index);
    }
    if (index != UINT32_MAX && index >= map->max_entries) {
        index = UINT32_MAX; /* as Linux: a key that is not there starts over */
    }
    if (index == map->max_entries - 1) {
        return -AB_ENOENT;
    }
    index++;
    memcpy(next, &index, sizeof index);
    return 0;
}

static int iterate(ab_map *map, ab_map_cursor *cursor, ab_slot *slot) {
    (void)slot;
    if (cursor->key != NULL) {
        cursor->index++;
    }
    if (cursor->index >= map->max_entries) {
        return 0;
    }
    cursor->number = (uint32_t)cursor->index;
    cursor->key = &cursor->number;
    cursor->value = map->values + cursor->index * map->value_stride;
    return 1;
}

static int64_t count(ab_map *map, ab_slot *slot) {
    (void)slot;
    return map->max_entries;
}

static void destroy(ab_map *map) {
    free(map->values);
    free(map);
}

static const ab_map_ops array_ops = {
    .lookup = lookup, .update = update, .remove = remove_element, .next_key = ab_array_next_key, .read = read_user,
    .write = write_user, .destroy = destroy, .iterate = iterate, .count = count,
};

static const ab_map_ops percpu_array_ops = {
    .lookup = lookup_percpu, .update = update, .remove = remove_element, .next_key = ab_array_next_key, .read = read_user,
    .write = write_user, .destroy = destroy, .iterate = iterate, .count = count,
};

static ab_map *create(ab_engine *engine, const ab_map_shape *shape, const ab_map_ops *ops, uint32_t allowed, uint32_t cpus,
                      int *error) {
    uint64_t stride = ab_round_up_8(shape->value_size);
    ab_map *map;
    *error = -AB_EINVAL;
    if (shape->key_size != 4 || shape->value_size == 0 || shape->max_entries == 0 || (shape->flags & ~allowed) != 0) {
        return NULL;
    }
    *error = -AB_E2BIG;
    if (stride > AB_VALUE_SIZE_MAX || shape->max_entries > (UINT64_MAX >> 8) / stride / (cpus == 0 ? 1 : cpus)) {
        return NULL;
    }
    *error = -AB_ENOMEM;
    map = calloc(1, sizeof *map);
    if (map == NULL) {
        return NULL;
    }
    ab_map_head_init(map, engine, shape, ops);
    map->value_stride = stride;
    if (cpus != 0) { /* no two cpus' values on one cache line */
        map->cpu_stride = (stride * shape->max_entries + AB_CACHE_LINE - 1) / AB_CACHE_LINE * AB_CACHE_LINE;
        map->values = calloc(cpus, (size_t)map->cpu_stride);
    } else {
        map->values = calloc(shape->max_entries, (size_t)stride);
    }
    if (map->values == NULL) {
        free(map);
        return NULL;
    }
    *error = 0;
    return map;
}

ab_map *ab_array_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, &array_ops,
                  AB_MAP_NUMA_NODE | AB_MAP_MMAPABLE | AB_MAP_ACCESS | AB_MAP_INNER_MAP, 0, error);
}

ab_map *ab_percpu_array_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, &percpu_array_ops, AB_MAP_ACCESS, engine->cpus, error);
}
