/* map_reference.c: prog arrays and arrays of maps: arrays of addresses, NULL where nothing is. What they point to is kept alive
 * by whoever put it there, until no running program can have read the address (ab_engine_synchronize). */
#include <stdlib.h>
#include "map.h"

typedef struct reference_array {
    ab_map map;
    _Atomic uintptr_t references[];
} reference_array;

static _Atomic uintptr_t *reference(ab_map *map, const void *key) {
    uint32_t index;
    memcpy(&index, key, sizeof index);
    return index < map->max_entries ? &((reference_array *)(void *)map)->references[index] : NULL;
}

static void *lookup(ab_map *map, const void *key, ab_slot *slot) {
    _Atomic uintptr_t *place = reference(map, key);
    (void)slot;
    return place == NULL ? NULL : (void *)atomic_load_explicit(place, memory_order_acquire);
}

static int read_user(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot) {
    void *found = lookup(map, key, slot);
    (void)flags;
    if (found == NULL) {
        return -AB_ENOENT;
    }
    memcpy(value, &found, sizeof found);
    return 0;
}

static int write_user(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot) {
    _Atomic uintptr_t *place = reference(map, key);
    uintptr_t address;
    (void)slot;
    memcpy(&address, value, sizeof address);
    if (flags != AB_ANY || address == 0) {
        return -AB_EINVAL;
    }
    if (place == NULL) {
        return -AB_E2BIG;
    }
    atomic_store_explicit(place, address, memory_order_release);
    return 0;
}

static int remove_reference(ab_map *map, const void *key, ab_slot *slot) {
    _Atomic uintptr_t *place = reference(map, key);
    (void)slot;
    if (place == NULL) {
        return -AB_E2BIG;
    }
    return atomic_exchange_explicit(place, 0, memory_order_acq_rel) == 0 ? -AB_ENOENT : 0;
}

/* Only what is there. */
static int iterate(ab_map *map, ab_map_cursor *cursor, ab_slot *slot) {
    if (cursor->key != NULL) {
        cursor->index++;
    }
    for (; cursor->index < map->max_entries; cursor->index++) {
        cursor->number = (uint32_t)cursor->index;
        if (lookup(map, &cursor->number, slot) != NULL) {
            cursor->key = &cursor->number;
            cursor->value = (uint8_t *)(void *)reference(map, &cursor->number);
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

static const ab_map_ops reference_ops = {
    .lookup = lookup, .remove = remove_reference, .next_key = ab_array_next_key, .read = read_user, .write = write_user,
    .destroy = destroy, .iterate = iterate, .count = count,
};

static ab_map *create(ab_engine *engine, const ab_map_shape *shape, uint32_t allowed, int *error) {
    ab_map_shape addresses = *shape;
    reference_array *array;
    *error = -AB_EINVAL;
    /* Objects declare 4-byte values, a file descriptor in the kernel's interface; ours are addresses. */
    if (shape->key_size != 4 || shape->value_size != 4 || shape->max_entries == 0 ||
        (shape->flags & ~allowed) != 0 || shape->lock_offset >= 0) {
        return NULL;
    }
    *error = -AB_ENOMEM;
    array = calloc(1, sizeof *array + (uint64_t)shape->max_entries * sizeof array->references[0]);
    if (array == NULL) {
        return NULL;
    }
    addresses.value_size = sizeof(void *);
    ab_map_head_init(&array->map, engine, &addresses, &reference_ops);
    *error = 0;
    return &array->map;
}

ab_map *ab_prog_array_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, AB_MAP_NUMA_NODE | AB_MAP_RDONLY | AB_MAP_WRONLY, error);
}

ab_map *ab_array_of_maps_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, AB_MAP_NUMA_NODE | AB_MAP_ACCESS, error);
}
