/* hash_table.c: the table under every hash kind; see hash_table.h. */
#include "hash_table.h"
#include <stdlib.h>

#define BUCKETS_MAX ((uint64_t)1 << 31)

int ab_hash_init(ab_hash_map *hash, ab_engine *engine, const ab_map_shape *shape, const ab_map_ops *ops, int per_cpu,
                 int lru) {
    uint64_t key_room = ab_round_up_8(shape->key_size);
    uint64_t value_room = ab_round_up_8(shape->value_size);
    uint64_t value_place = per_cpu ? sizeof(uint8_t *) : value_room;
    uint64_t buckets = 1;
    int error;
    if (shape->key_size == 0 || shape->value_size == 0 || shape->max_entries == 0) {
        return -AB_EINVAL;
    }
    if (key_room + value_room > AB_VALUE_SIZE_MAX || shape->max_entries > BUCKETS_MAX) {
        return -AB_E2BIG;
    }
    while (buckets < shape->max_entries) {
        buckets *= 2;
    }
    ab_map_head_init(&hash->map, engine, shape, ops);
    hash->mask = buckets - 1;
    hash->seed = (shape->flags & AB_MAP_ZERO_SEED) != 0 ? 0 : ab_hash_mix((uint64_t)(uintptr_t)hash + hash->map.id);
    hash->value_offset = key_room;
    hash->lru_offset = lru ? key_room + value_place : 0;
    ab_lru_init(&hash->lru);
    hash->buckets = calloc((size_t)buckets, sizeof *hash->buckets);
    if (hash->buckets == NULL) {
        return -AB_ENOMEM;
    }
    error = ab_pool_init(&hash->pool, engine,
                         sizeof(ab_hash_element) + key_room + value_place + (lru ? sizeof(ab_lru_node) : 0),
                         shape->max_entries, per_cpu ? value_room : 0, sizeof(ab_hash_element) + key_room);
    if (error < 0) {
        free(hash->buckets);
        return error;
    }
    hash->map.cpu_stride = hash->pool.cpu_stride;
    return 0;
}

void ab_hash_deinit(ab_hash_map *hash) {
    ab_pool_deinit(&hash->pool);
    free(hash->buckets);
}

void ab_hash_lock(ab_hash_map *hash, uint64_t hashed) {
    _Atomic uintptr_t *bucket = &hash->buckets[hashed & hash->mask];
    uint32_t spins = 0;
    while ((atomic_fetch_or_explicit(bucket, 1, memory_order_acquire) & 1) != 0) {
        if (++spins >= AB_SPINS) {
            ab_thread_yield();
        }
    }
}

void ab_hash_unlock(ab_hash_map *hash, uint64_t hashed) {
    atomic_fetch_and_explicit(&hash->buckets[hashed & hash->mask], ~(uintptr_t)1, memory_order_release);
}

void ab_hash_link(ab_hash_map *hash, uint64_t hashed, ab_hash_element *element) {
    atomic_store_explicit(&element->next, ab_hash_first(hash, hashed), memory_order_relaxed);
    atomic_store_explicit(&hash->buckets[hashed & hash->mask], (uintptr_t)element | 1, memory_order_release);
}

int ab_hash_exchange(ab_hash_map *hash, uint64_t hashed, ab_hash_element *element, ab_hash_element *replacement) {
    ab_hash_element *before = NULL;
    ab_hash_element *here = ab_hash_first(hash, hashed);
    ab_hash_element *after;
    while (here != element) {
        if (here == NULL) {
            return 0;
        }
        before = here;
        here = ab_hash_next(here);
    }
    after = ab_hash_next(element);
    if (replacement != NULL) {
        atomic_store_explicit(&replacement->next, after, memory_order_relaxed);
        after = replacement;
    }
    if (before != NULL) {
        atomic_store_explicit(&before->next, after, memory_order_release);
    } else {
        atomic_store_explicit(&hash->buckets[hashed & hash->mask], (uintptr_t)after | 1, memory_order_release);
    }
    return 1;
}

int ab_hash_reserve(ab_hash_map *hash) {
    uint32_t count = atomic_load_explicit(&hash->count, memory_order_relaxed);
    do {
        if (count >= hash->map.max_entries) {
            return -AB_E2BIG;
        }
    } while (!atomic_compare_exchange_weak_explicit(&hash->count, &count, count + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return 0;
}

void ab_hash_unreserve(ab_hash_map *hash) {
    atomic_fetch_sub_explicit(&hash->count, 1, memory_order_relaxed);
}

void ab_hash_fill(ab_hash_map *hash, ab_hash_element *element, const void *key, const void *value, ab_slot *slot, int user) {
    uint8_t *to = ab_hash_value(hash, element);
    memcpy(element->key, key, hash->map.key_size);
    if (hash->map.cpu_stride == 0) {
        memcpy(to, value, hash->map.value_size);
        if (hash->map.lock_offset >= 0) {
            memset(to + hash->map.lock_offset, 0, 4);
        }
    } else if (user) {
        ab_map_store_user(&hash->map, to, value, 0);
    } else {
        for (uint32_t cpu = 0; cpu < hash->map.engine->cpus; cpu++) {
            uint8_t *cpu_value = to + cpu * hash->map.cpu_stride;
            if (cpu == slot->cpu) {
                memcpy(cpu_value, value, hash->map.value_size);
            } else {
                memset(cpu_value, 0, hash->map.value_size);
            }
        }
    }
}

void ab_hash_overwrite(ab_hash_map *hash, ab_hash_element *element, const void *value, uint64_t flags, ab_slot *slot, int user) {
    uint8_t *to = ab_hash_value(hash, element);
    if (user) {
        ab_map_store_user(&hash->map, to, value, flags);
    } else {
        ab_map_store(&hash->map, to + slot->cpu * hash->map.cpu_stride, value, flags);
    }
}
