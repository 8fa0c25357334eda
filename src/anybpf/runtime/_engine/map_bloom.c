/* map_bloom.c: bloom filter: push adds a value, peek tells whether a value may be in (0) or certainly is not (-ENOENT). */
#include <stdlib.h>
#include "hash.h"
#include "map.h"

#define HASHES_DEFAULT 5
#define HASHES_MAX 15 /* four bits of map_extra */

typedef struct bloom {
    ab_map map;
    uint32_t hashes;
    uint64_t mask; /* bits - 1 */
    _Atomic uint64_t words[];
} bloom;

/* The bit of a value by the `number`th hash function. */
static uint64_t bit_of(const bloom *filter, const void *value, uint32_t number) {
    return ab_hash_bytes(value, filter->map.value_size, filter->map.id + number * AB_HASH_C) & filter->mask;
}

static int push(ab_map *map, const void *value, uint64_t flags, ab_slot *slot) {
    bloom *filter = (bloom *)(void *)map; /* the head is its first member */
    (void)slot;
    if (flags != AB_ANY) {
        return -AB_EINVAL;
    }
    for (uint32_t number = 0; number < filter->hashes; number++) {
        uint64_t bit = bit_of(filter, value, number);
        atomic_fetch_or_explicit(&filter->words[bit / 64], (uint64_t)1 << bit % 64, memory_order_relaxed);
    }
    return 0;
}

static int peek(ab_map *map, void *value, ab_slot *slot) {
    bloom *filter = (bloom *)(void *)map;
    (void)slot;
    for (uint32_t number = 0; number < filter->hashes; number++) {
        uint64_t bit = bit_of(filter, value, number);
        uint64_t word = atomic_load_explicit(&filter->words[bit / 64], memory_order_relaxed);
        if ((word >> bit % 64 & 1) == 0) {
            return -AB_ENOENT;
        }
    }
    return 0;
}

static void destroy(ab_map *map) {
    free(map);
}

static const ab_map_ops bloom_ops = {.push = push, .peek = peek, .destroy = destroy};

ab_map *ab_bloom_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    uint64_t hashes = shape->extra == 0 ? HASHES_DEFAULT : shape->extra;
    uint64_t wanted, bits = 64;
    bloom *filter;
    *error = -AB_EINVAL;
    if (shape->key_size != 0 || shape->value_size == 0 || shape->max_entries == 0 || hashes > HASHES_MAX ||
        shape->lock_offset >= 0 || (shape->flags & ~(AB_MAP_NUMA_NODE | AB_MAP_ZERO_SEED | AB_MAP_ACCESS)) != 0) {
        return NULL;
    }
    *error = -AB_E2BIG;
    if (shape->value_size > AB_VALUE_SIZE_MAX) {
        return NULL;
    }
    /* About 1 / ln 2 bits an entry and hash function is where a filter of this many functions errs least. */
    wanted = shape->max_entries * hashes * 7 / 5;
    while (bits < wanted) {
        bits *= 2;
    }
    *error = -AB_ENOMEM;
    filter = calloc(1, sizeof *filter + bits / 8);
    if (filter == NULL) {
        return NULL;
    }
    ab_map_head_init(&filter->map, engine, shape, &bloom_ops);
    filter->hashes = (uint32_t)hashes;
    filter->mask = bits - 1;
    *error = 0;
    return &filter->map;
}
