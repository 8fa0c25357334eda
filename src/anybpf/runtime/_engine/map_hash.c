/* map_hash.c: hash and per-CPU hash. An update puts a new element in the old one's place, so that readers see either whole value
 * and a program's pointer to the old value stays good; per-CPU values are overwritten where they are. */
#include <stdlib.h>
#include "hash_table.h"

#define HASH_FLAGS (AB_MAP_NO_PREALLOC | AB_MAP_NUMA_NODE | AB_MAP_ACCESS | AB_MAP_ZERO_SEED)

static ab_hash_map *hash_of(ab_map *map) {
    return (ab_hash_map *)(void *)map; /* the head is its first member */
}

/* Lookups for the common sizes of keys compare whole words. */
static void *lookup_4(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    ab_hash_element *element = ab_hash_first(hash, ab_hash_4(key, hash->seed));
    uint32_t wanted, found;
    (void)slot;
    memcpy(&wanted, key, sizeof wanted);
    for (; element != NULL; element = ab_hash_next(element)) {
        memcpy(&found, element->key, sizeof found);
        if (found == wanted) {
            return element->key + 8; /* the padded key */
        }
    }
    return NULL;
}

static void *lookup_8(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    ab_hash_element *element = ab_hash_first(hash, ab_hash_8(key, hash->seed));
    uint64_t wanted, found;
    (void)slot;
    memcpy(&wanted, key, sizeof wanted);
    for (; element != NULL; element = ab_hash_next(element)) {
        memcpy(&found, element->key, sizeof found);
        if (found == wanted) {
            return element->key + 8;
        }
    }
    return NULL;
}

static void *lookup_16(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    ab_hash_element *element = ab_hash_first(hash, ab_hash_bytes(key, 16, hash->seed));
    uint64_t wanted[2], found[2];
    (void)slot;
    memcpy(wanted, key, sizeof wanted);
    for (; element != NULL; element = ab_hash_next(element)) {
        memcpy(found, element->key, sizeof found);
        if (found[0] == wanted[0] && found[1] == wanted[1]) {
            return element->key + 16;
        }
    }
    return NULL;
}

static void *lookup(ab_map *map, const void *key, ab_slot *slot) {
    const ab_hash_map *hash = hash_of(map);
    ab_hash_element *element = ab_hash_find(hash, key, ab_hash_key(hash, key));
    return element == NULL ? NULL : ab_hash_value(hash, element) + slot->cpu * map->cpu_stride;
}

static int put(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot, int user) {
    ab_hash_map *hash = hash_of(map);
    uint64_t hashed = ab_hash_key(hash, key);
    int per_cpu = map->cpu_stride != 0;
    ab_hash_element *old, *fresh = NULL;
    int error = ab_map_check_flags(map, flags, !per_cpu);
    if (error < 0) {
        return error;
    }
    /* The new element is made ready outside the lock, unless an overwrite is likely to do. */
    if (!per_cpu && (flags & AB_F_LOCK) == 0) {
        fresh = (ab_hash_element *)(void *)ab_pool_take(&hash->pool, slot);
        if (fresh == NULL) {
            return -AB_ENOMEM;
        }
        ab_hash_fill(hash, fresh, key, value, slot, user);
    }
    ab_hash_lock(hash, hashed);
    old = ab_hash_find(hash, key, hashed);
    if (old != NULL && (flags & AB_NOEXIST) != 0) {
        error = -AB_EEXIST;
    } else if (old == NULL && (flags & AB_EXIST) != 0) {
        error = -AB_ENOENT;
    } else if (old != NULL && fresh == NULL) {
        ab_hash_overwrite(hash, old, value, flags, slot, user);
    } else if (old != NULL) {
        ab_hash_exchange(hash, hashed, old, fresh);
        ab_hash_unlock(hash, hashed);
        ab_pool_retire(&hash->pool, slot, &old->head);
        return 0;
    } else {
        error = ab_hash_reserve(hash);
        if (error == 0 && fresh == NULL) {
            fresh = (ab_hash_element *)(void *)ab_pool_take(&hash->pool, slot);
            if (fresh == NULL) {
                ab_hash_unreserve(hash);
                error = -AB_ENOMEM;
            } else {
                ab_hash_fill(hash, fresh, key, value, slot, user);
            }
        }
        if (error == 0) {
            ab_hash_link(hash, hashed, fresh);
            fresh = NULL;
        }
    }
    ab_hash_unlock(hash, hashed);
    if (fresh != NULL) {
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

static void destroy(ab_map *map) {
    ab_hash_deinit(hash_of(map));
    free(map);
}

#define HASH_OPS(lookup_function)                                                                                       \
    {                                                                                                                   \
        .lookup = (lookup_function), .update = update, .remove = remove_key, .next_key = ab_hash_next_key,              \
        .read = ab_hash_read, .write = write_user, .take = take, .destroy = destroy, .iterate = ab_hash_iterate,        \
        .count = ab_hash_count,                                                                                         \
    }

static const ab_map_ops hash_ops = HASH_OPS(lookup);
static const ab_map_ops hash_ops_4 = HASH_OPS(lookup_4);
static const ab_map_ops hash_ops_8 = HASH_OPS(lookup_8);
static const ab_map_ops hash_ops_16 = HASH_OPS(lookup_16);

static ab_map *create(ab_engine *engine, const ab_map_shape *shape, const ab_map_ops *ops, int per_cpu, int *error) {
    ab_hash_map *hash;
    *error = -AB_EINVAL;
    if ((shape->flags & ~HASH_FLAGS) != 0) {
        return NULL;
    }
    *error = -AB_ENOMEM;
    hash = calloc(1, sizeof *hash);
    if (hash == NULL) {
        return NULL;
    }
    *error = ab_hash_init(hash, engine, shape, ops, per_cpu, 0);
    if (*error < 0) {
        free(hash);
        return NULL;
    }
    return &hash->map;
}

ab_map *ab_hash_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    switch (shape->key_size) {
    case 4: return create(engine, shape, &hash_ops_4, 0, error);
    case 8: return create(engine, shape, &hash_ops_8, 0, error);
    case 16: return create(engine, shape, &hash_ops_16, 0, error);
    default: return create(engine, shape, &hash_ops, 0, error);
    }
}

ab_map *ab_percpu_hash_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, &hash_ops, 1, error);
}
