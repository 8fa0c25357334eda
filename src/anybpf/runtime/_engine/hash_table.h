/* hash_table.h: the table under every hash kind: power-of-two buckets with chains that readers walk without locks.
 *
 * Writers lock a bucket by the lowest bit of its head. An element is complete before it is linked and keeps its `next` after it
 * is unlinked, so a reader that stands on it finds its way on; the pool hands it out again only after the grace period.
 */
#ifndef ANYBPF_HASH_TABLE_H
#define ANYBPF_HASH_TABLE_H

#include "hash.h"
#include "lru.h"
#include "map.h"
#include "pool.h"

typedef struct ab_hash_element {
    ab_element head;
    _Atomic(struct ab_hash_element *) next;
    uint8_t key[]; /* key_size bytes, padded to 8; then the value or the address of cpu 0's; LRU kinds: an ab_lru_node */
} ab_hash_element;

typedef struct ab_hash_map {
    ab_map map;
    uint64_t seed;
    uint64_t mask; /* buckets - 1 */
    _Atomic uintptr_t *buckets;
    uint64_t value_offset; /* from an element's key */
    uint64_t lru_offset;   /* from an element's key to its ab_lru_node; 0: a full map refuses, it does not evict */
    ab_pool pool;
    uint8_t before[AB_CACHE_LINE];
    _Atomic uint32_t count; /* entries, or seats given to entries on their way in */
    uint8_t after[AB_CACHE_LINE];
    ab_lru lru;
} ab_hash_map;

/* Checks the shape and makes the table. 0 or an error. */
int ab_hash_init(ab_hash_map *hash, ab_engine *engine, const ab_map_shape *shape, const ab_map_ops *ops, int per_cpu, int lru);
void ab_hash_deinit(ab_hash_map *hash);

static inline uint64_t ab_hash_key(const ab_hash_map *hash, const void *key) {
    switch (hash->map.key_size) {
    case 4: return ab_hash_4(key, hash->seed);
    case 8: return ab_hash_8(key, hash->seed);
    default: return ab_hash_bytes(key, hash->map.key_size, hash->seed);
    }
}

static inline ab_hash_element *ab_hash_first(const ab_hash_map *hash, uint64_t bucket) {
    uintptr_t head = atomic_load_explicit(&hash->buckets[bucket & hash->mask], memory_order_acquire);
    return (ab_hash_element *)(head & ~(uintptr_t)1);
}

static inline ab_hash_element *ab_hash_next(const ab_hash_element *element) {
    return atomic_load_explicit(&((ab_hash_element *)(uintptr_t)element)->next, memory_order_acquire);
}

static inline ab_hash_element *ab_hash_find(const ab_hash_map *hash, const void *key, uint64_t hashed) {
    ab_hash_element *element = ab_hash_first(hash, hashed);
    while (element != NULL && memcmp(element->key, key, hash->map.key_size) != 0) {
        element = ab_hash_next(element);
    }
    return element;
}

/* The value, or cpu 0's. */
static inline uint8_t *ab_hash_value(const ab_hash_map *hash, const ab_hash_element *element) {
    uint8_t *place = (uint8_t *)(uintptr_t)element->key + hash->value_offset;
    return hash->map.cpu_stride != 0 ? *(uint8_t **)(void *)place : place;
}

static inline ab_lru_node *ab_hash_lru_node(const ab_hash_map *hash, const ab_hash_element *element) {
    return (ab_lru_node *)(void *)((uint8_t *)(uintptr_t)element->key + hash->lru_offset);
}

void ab_hash_lock(ab_hash_map *hash, uint64_t hashed);
void ab_hash_unlock(ab_hash_map *hash, uint64_t hashed);
/* With the bucket locked: */
void ab_hash_link(ab_hash_map *hash, uint64_t hashed, ab_hash_element *element);
/* Takes `element` out, puts `replacement` (or nothing, when NULL) in its place. 0 when it was not there. */
int ab_hash_exchange(ab_hash_map *hash, uint64_t hashed, ab_hash_element *element, ab_hash_element *replacement);

/* A seat for one more entry: 0, or -E2BIG at max_entries. */
int ab_hash_reserve(ab_hash_map *hash);
void ab_hash_unreserve(ab_hash_map *hash);

/* Fills in an element that nobody has seen. Program's side: per-CPU kinds get this cpu's value, the others zero. */
void ab_hash_fill(ab_hash_map *hash, ab_hash_element *element, const void *key, const void *value, ab_slot *slot, int user);
/* Per-CPU kinds: overwrites this cpu's value (program) or all (user) in place. */
void ab_hash_overwrite(ab_hash_map *hash, ab_hash_element *element, const void *value, uint64_t flags, ab_slot *slot, int user);

#endif
