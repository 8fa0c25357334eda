/* map_hash.c: the hash kinds: hash and LRU hash, plain and per-CPU, hash of maps, devmap hash. An update puts a new element in the old one's place, so that readers see
 * either whole value and a program's pointer to the old value stays good; per-CPU values are overwritten where they are. */
#include <stdlib.h>
#include "hash_table.h"

#define HASH_FLAGS (AB_MAP_NO_PREALLOC | AB_MAP_NUMA_NODE | AB_MAP_ACCESS | AB_MAP_ZERO_SEED)
#define LRU_FLAGS (AB_MAP_NO_COMMON_LRU | AB_MAP_NUMA_NODE | AB_MAP_ACCESS | AB_MAP_ZERO_SEED)

static ab_hash_map *hash_of(ab_map *map) {
    return (ab_hash_map *)(void *)map; /* the head is its first member */
}

/* Lookups for the common sizes of keys compare whole words. */
static void *lookup_4(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    const ab_hash_element *element = ab_hash_first(hash, ab_hash_4(key, hash->seed));
    uint32_t wanted, found;
    (void)slot;
    memcpy(&wanted, key, sizeof wanted);
    for (; element != NULL; element = ab_hash_next(element)) {
        memcpy(&found, element->key, sizeof found);
        if (found == wanted) {
            return (uint8_t *)(uintptr_t)element->key + 8; /* the padded key */
        }
    }
    return NULL;
}

static void *lookup_8(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    const ab_hash_element *element = ab_hash_first(hash, ab_hash_8(key, hash->seed));
    uint64_t wanted, found;
    (void)slot;
    memcpy(&wanted, key, sizeof wanted);
    for (; element != NULL; element = ab_hash_next(element)) {
        memcpy(&found, element->key, sizeof found);
        if (found == wanted) {
            return (uint8_t *)(uintptr_t)element->key + 8;
        }
    }
    return NULL;
}

static void *lookup_16(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    const ab_hash_element *element = ab_hash_first(hash, ab_hash_bytes(key, 16, hash->seed));
    uint64_t wanted[2], found[2];
    (void)slot;
    memcpy(wanted, key, sizeof wanted);
    for (; element != NULL; element = ab_hash_next(element)) {
        memcpy(found, element->key, sizeof found);
        if (found[0] == wanted[0] && found[1] == wanted[1]) {
            return (uint8_t *)(uintptr_t)element->key + 16;
        }
    }
    return NULL;
}

static void *lookup(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    const ab_hash_element *element = ab_hash_find(hash, key, ab_hash_key(hash, key));
    return element == NULL ? NULL : ab_hash_value(hash, element) + slot->cpu * map->cpu_stride;
}

static void *lookup_lru(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    const ab_hash_element *element = ab_hash_find(hash, key, ab_hash_key(hash, key));
    if (element == NULL) {
        return NULL;
    }
    ab_lru_touch(ab_hash_lru_node(hash, element));
    return ab_hash_value(hash, element) + slot->cpu * map->cpu_stride;
}

/* Hash of maps: a value is an address, and a program gets the inner map itself. */
static void *lookup_map(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    const ab_hash_element *element = ab_hash_find(hash, key, ab_hash_key(hash, key));
    (void)slot;
    return element == NULL ? NULL : *(void **)(void *)ab_hash_value(hash, element);
}

/* The user's reads do not count as use, as in Linux. */
static int read_user(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    const ab_hash_element *element = ab_hash_find(hash, key, ab_hash_key(hash, key));
    (void)slot;
    if (element == NULL) {
        return -AB_ENOENT;
    }
    ab_map_load_user(map, ab_hash_value(hash, element), value, flags);
    return 0;
}

/* Gives up one entry of an LRU map; its seat now belongs to the caller. 0, or -ENOMEM when there is none to give up. */
static int evict(ab_hash_map *hash, ab_slot *slot) {
    ab_lru_node *node;
    while ((node = ab_lru_evict(&hash->lru)) != NULL) {
        uint8_t *key = (uint8_t *)node - hash->lru_offset;
        ab_hash_element *element = (ab_hash_element *)(void *)(key - offsetof(ab_hash_element, key));
        uint64_t hashed = ab_hash_key(hash, key);
        int removed;
        ab_hash_lock(hash, hashed);
        removed = ab_hash_exchange(hash, hashed, element, NULL);
        ab_hash_unlock(hash, hashed);
        if (removed) { /* else another thread deleted or replaced it first */
            ab_pool_retire(&hash->pool, slot, &element->head);
            return 0;
        }
    }
    return -AB_ENOMEM;
}

static int in_place_update(const ab_hash_map *hash, uint64_t flags) {
    return hash->map.cpu_stride != 0 || (flags & AB_F_LOCK) != 0;
}

/* An update's way through the locked bucket. */
enum outcome { DONE, REPLACED, FAILED, FULL };

/* Uses `fresh` up when it returns DONE with *linked set, or REPLACED (then *old is to be retired). */
static enum outcome put_locked(ab_hash_map *hash, uint64_t hashed, const void *key, const void *value, uint64_t flags,
                               ab_slot *slot, int user, int *seat, ab_hash_element *fresh, ab_hash_element **old, int *linked,
                               int *error) {
    int in_place = in_place_update(hash, flags);
    *old = ab_hash_find(hash, key, hashed);
    if (*old != NULL) {
        if ((flags & AB_NOEXIST) != 0) {
            *error = -AB_EEXIST;
            return FAILED;
        }
        if (in_place) {
            ab_hash_overwrite(hash, *old, value, flags, slot, user);
            if (hash->lru_offset != 0) {
                ab_lru_touch(ab_hash_lru_node(hash, *old));
            }
            return DONE;
        }
        ab_hash_exchange(hash, hashed, *old, fresh);
        if (hash->lru_offset != 0) {
            ab_lru_replace(&hash->lru, ab_hash_lru_node(hash, *old), ab_hash_lru_node(hash, fresh));
        }
        return REPLACED;
    }
    if ((flags & AB_EXIST) != 0) {
        *error = -AB_ENOENT;
        return FAILED;
    }
    if (!*seat && ab_hash_reserve(hash) < 0) {
        *error = -AB_E2BIG;
        return FULL;
    }
    *seat = 0; /* the entry has it now */
    if (in_place) {
        ab_hash_fill(hash, fresh, key, value, slot, user);
    }
    ab_hash_link(hash, hashed, fresh);
    if (hash->lru_offset != 0) {
        ab_lru_add(&hash->lru, ab_hash_lru_node(hash, fresh));
    }
    *linked = 1;
    return DONE;
}

static int put(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot, int user) {
    ab_hash_map *hash = hash_of(map);
    uint64_t hashed = ab_hash_key(hash, key);
    ab_hash_element *old, *fresh;
    int linked = 0, seat = 0;
    enum outcome outcome;
    int error = ab_map_check_flags(map, flags, map->cpu_stride == 0 && hash->lru_offset == 0);
    if (error < 0) {
        return error;
    }
    fresh = (ab_hash_element *)(void *)ab_pool_take(&hash->pool, slot);
    if (fresh == NULL) {
        return -AB_ENOMEM;
    }
    if (!in_place_update(hash, flags)) { /* outside the lock; the others most often do not need it at all */
        ab_hash_fill(hash, fresh, key, value, slot, user);
    }
    do {
        ab_hash_lock(hash, hashed);
        outcome = put_locked(hash, hashed, key, value, flags, slot, user, &seat, fresh, &old, &linked, &error);
        ab_hash_unlock(hash, hashed);
        if (outcome == FULL && hash->lru_offset != 0) {
            error = evict(hash, slot);
            seat = error == 0;
        }
    } while (outcome == FULL && seat);
    if (seat) { /* evicted in vain: the key came in meanwhile */
        ab_hash_unreserve(hash);
    }
    if (outcome == REPLACED) {
        ab_pool_retire(&hash->pool, slot, &old->head);
    } else if (!linked) {
        ab_pool_give_back(&hash->pool, slot, &fresh->head);
    }
    return error;
}

static int update(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot) {
    return put(map, key, value, flags, slot, 0);
}

static int write_user(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot) {
    return put(map, key, value, flags, slot, 1);
}

/* Devmap hash: a value begins with an interface index, which is never 0. */
static int write_device(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot) {
    uint32_t index;
    memcpy(&index, value, sizeof index);
    if (flags > AB_EXIST || index == 0) {
        return -AB_EINVAL;
    }
    return put(map, key, value, flags & AB_NOEXIST, slot, 1); /* Linux takes AB_EXIST for AB_ANY here */
}

static int take(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot) {
    ab_hash_map *hash = hash_of(map);
    uint64_t hashed = ab_hash_key(hash, key);
    ab_hash_element *element;
    ab_hash_lock(hash, hashed);
    element = ab_hash_find(hash, key, hashed);
    if (element != NULL) {
        if (value != NULL) {
            ab_map_load_user(map, ab_hash_value(hash, element), value, flags);
        }
        ab_hash_exchange(hash, hashed, element, NULL);
        if (hash->lru_offset != 0) {
            ab_lru_remove(&hash->lru, ab_hash_lru_node(hash, element));
        }
        ab_hash_unreserve(hash);
    }
    ab_hash_unlock(hash, hashed);
    if (element == NULL) {
        return -AB_ENOENT;
    }
    ab_pool_retire(&hash->pool, slot, &element->head);
    return 0;
}

static int remove_key(ab_map *map, const void *key, ab_slot *slot) {
    return take(map, key, NULL, 0, slot);
}

static int next_key(ab_map *map, const void *key, void *next, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    const ab_hash_element *element = NULL;
    uint64_t bucket = 0;
    (void)slot;
    if (key != NULL) {
        uint64_t hashed = ab_hash_key(hash, key);
        element = ab_hash_find(hash, key, hashed);
        if (element != NULL) { /* else, as Linux: start over */
            bucket = (hashed & hash->mask) + 1;
            element = ab_hash_next(element);
        }
    }
    while (element == NULL) {
        if (bucket > hash->mask) {
            return -AB_ENOENT;
        }
        element = ab_hash_first(hash, bucket++);
    }
    memcpy(next, element->key, map->key_size);
    return 0;
}

static int iterate(ab_map *map, ab_map_cursor *cursor, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    ab_hash_element *element = cursor->element;
    (void)slot;
    if (element != NULL) {
        element = ab_hash_next(element);
        if (element == NULL) {
            cursor->index++;
        }
    }
    while (element == NULL && cursor->index <= hash->mask) {
        element = ab_hash_first(hash, cursor->index);
        if (element == NULL) {
            cursor->index++;
        }
    }
    cursor->element = element;
    if (element == NULL) {
        return 0;
    }
    cursor->key = element->key;
    cursor->value = ab_hash_value(hash, element);
    return 1;
}

static int64_t count(ab_map *map, ab_slot *slot) {
    (void)slot;
    return atomic_load_explicit(&hash_of(map)->count, memory_order_relaxed);
}

static void destroy(ab_map *map) {
    ab_hash_deinit(hash_of(map));
    free(map);
}

static uint64_t owned(ab_map *map, uint64_t address) {
    return ab_pool_owned(&hash_of(map)->pool, address, sizeof(ab_hash_element));
}

#define HASH_OPS(lookup_function)                                                                            \
    {                                                                                                        \
        .lookup = (lookup_function), .update = update, .remove = remove_key, .next_key = next_key,           \
        .read = read_user, .write = write_user, .take = take, .destroy = destroy, .iterate = iterate,        \
        .count = count, .owned = owned,                                                                      \
    }

static const ab_map_ops hash_ops = HASH_OPS(lookup);
static const ab_map_ops hash_ops_4 = HASH_OPS(lookup_4);
static const ab_map_ops hash_ops_8 = HASH_OPS(lookup_8);
static const ab_map_ops hash_ops_16 = HASH_OPS(lookup_16);
static const ab_map_ops lru_ops = HASH_OPS(lookup_lru);
/* What holds references or targets is written by the user alone. */
static const ab_map_ops maps_ops = {
    .lookup = lookup_map, .remove = remove_key, .next_key = next_key, .read = read_user, .write = write_user,
    .destroy = destroy, .iterate = iterate, .count = count,
};
static const ab_map_ops devices_ops = {
    .lookup = lookup, .remove = remove_key, .next_key = next_key, .read = read_user, .write = write_device,
    .destroy = destroy, .iterate = iterate, .count = count,
};

static ab_map *create(ab_engine *engine, const ab_map_shape *shape, const ab_map_ops *ops, int per_cpu, int lru, int *error) {
    ab_hash_map *hash;
    *error = -AB_ENOTSUPP;
    if (lru && (shape->flags & AB_MAP_NO_PREALLOC) != 0) {
        return NULL;
    }
    *error = -AB_EINVAL;
    if ((shape->flags & ~(lru ? LRU_FLAGS : HASH_FLAGS)) != 0 || (shape->lock_offset >= 0 && (lru || per_cpu))) {
        return NULL;
    }
    *error = -AB_ENOMEM;
    hash = calloc(1, sizeof *hash);
    if (hash == NULL) {
        return NULL;
    }
    *error = ab_hash_init(hash, engine, shape, ops, per_cpu, lru);
    if (*error < 0) {
        free(hash);
        return NULL;
    }
    return &hash->map;
}

ab_map *ab_hash_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    switch (shape->key_size) {
    case 4: return create(engine, shape, &hash_ops_4, 0, 0, error);
    case 8: return create(engine, shape, &hash_ops_8, 0, 0, error);
    case 16: return create(engine, shape, &hash_ops_16, 0, 0, error);
    default: return create(engine, shape, &hash_ops, 0, 0, error);
    }
}

ab_map *ab_percpu_hash_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, &hash_ops, 1, 0, error);
}

ab_map *ab_lru_hash_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, &lru_ops, 0, 1, error);
}

ab_map *ab_lru_percpu_hash_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, &lru_ops, 1, 1, error);
}

ab_map *ab_hash_of_maps_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    ab_map_shape addresses = *shape;
    *error = -AB_EINVAL;
    if (shape->value_size != 4) { /* what objects declare, a file descriptor in the kernel's interface */
        return NULL;
    }
    addresses.value_size = sizeof(void *);
    return create(engine, &addresses, &maps_ops, 0, 0, error);
}

ab_map *ab_devmap_hash_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    *error = -AB_EINVAL;
    if (shape->key_size != 4 || (shape->value_size != 4 && shape->value_size != 8) ||
        (shape->flags & ~(AB_MAP_NUMA_NODE | AB_MAP_RDONLY | AB_MAP_WRONLY)) != 0) {
        return NULL;
    }
    return create(engine, shape, &devices_ops, 0, 0, error);
}
