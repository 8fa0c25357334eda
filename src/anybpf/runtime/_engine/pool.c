/* pool.c: element pools; see pool.h. */
#include "pool.h"
#include <stdlib.h>

#define CHUNK_BYTES 65536
#define BATCH 32        /* elements moved between a slot and the common list at a time */
#define SURPLUS 256     /* free elements that a slot keeps at most */
#define LOOK_EVERY 64   /* retirements between two looks at the limbo */

struct ab_pool_chunk {
    ab_pool_chunk *next;
    uint8_t *values; /* per-CPU values, or NULL */
    /* elements follow */
};

int ab_pool_init(ab_pool *pool, ab_engine *engine, uint64_t element_size, uint32_t max_entries, uint64_t per_cpu_size,
                 uint64_t pointer_offset) {
    uint64_t elements = CHUNK_BYTES / element_size;
    if (elements > (uint64_t)max_entries + BATCH) {
        elements = (uint64_t)max_entries + BATCH;
    }
    if (elements < BATCH) {
        elements = BATCH;
    }
    pool->engine = engine;
    pool->element_size = element_size;
    pool->per_cpu_size = per_cpu_size;
    pool->pointer_offset = pointer_offset;
    pool->chunk_elements = elements;
    /* Cpus' values lie apart in whole cache lines, so that no two cpus write to the same one. */
    pool->cpu_stride = (elements * per_cpu_size + AB_CACHE_LINE - 1) / AB_CACHE_LINE * AB_CACHE_LINE;
    pool->shares = calloc(engine->cpus, sizeof *pool->shares);
    if (pool->shares == NULL) {
        return -AB_ENOMEM;
    }
    if (ab_mutex_init(&pool->mutex) < 0) {
        free(pool->shares);
        return -AB_ENOMEM;
    }
    return 0;
}

void ab_pool_deinit(ab_pool *pool) {
    while (pool->chunks != NULL) {
        ab_pool_chunk *next = pool->chunks->next;
        free(pool->chunks->values);
        free(pool->chunks);
        pool->chunks = next;
    }
    ab_mutex_deinit(&pool->mutex);
    free(pool->shares);
}

static int grow(ab_pool *pool) {
    ab_pool_chunk *chunk = calloc(1, sizeof *chunk + pool->chunk_elements * pool->element_size);
    if (chunk == NULL) {
        return -AB_ENOMEM;
    }
    if (pool->per_cpu_size != 0) {
        chunk->values = calloc(pool->engine->cpus, pool->cpu_stride);
        if (chunk->values == NULL) {
            free(chunk);
            return -AB_ENOMEM;
        }
    }
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    pool->carved = 0;
    return 0;
}

static ab_element *carve(ab_pool *pool) {
    ab_pool_chunk *chunk = pool->chunks;
    uint64_t index = pool->carved++;
    ab_element *element = (ab_element *)(void *)((uint8_t *)(chunk + 1) + index * pool->element_size);
    if (pool->per_cpu_size != 0) {
        *(uint8_t **)(void *)((uint8_t *)element + pool->pointer_offset) = chunk->values + index * pool->per_cpu_size;
    }
    return element;
}

static void refill(ab_pool *pool, ab_pool_share *share) {
    ab_mutex_lock(&pool->mutex);
    while (pool->spare.head != NULL && share->free.count < BATCH) {
        ab_link *link = pool->spare.head;
        pool->spare.head = link->next;
        pool->spare.count--;
        ab_link_list_push(&share->free, link);
    }
    if (share->free.head == NULL && (pool->chunks == NULL || pool->carved == pool->chunk_elements)) {
        grow(pool);
    }
    while (share->free.count < BATCH && pool->chunks != NULL && pool->carved < pool->chunk_elements) {
        ab_link_list_push(&share->free, &carve(pool)->link);
    }
    ab_mutex_unlock(&pool->mutex);
}

static void spill(ab_pool *pool, ab_pool_share *share) {
    ab_link_list surplus = share->free;
    /* Keep the head of the list, whose elements were used last and are in the cache. */
    for (uint32_t kept = 1; kept < BATCH; kept++) {
        surplus.head = surplus.head->next;
    }
    ab_link *last_kept = surplus.head;
    surplus.head = last_kept->next;
    surplus.count -= BATCH;
    last_kept->next = NULL;
    share->free.tail = last_kept;
    share->free.count = BATCH;
    ab_mutex_lock(&pool->mutex);
    ab_link_list_splice(&pool->spare, &surplus);
    ab_mutex_unlock(&pool->mutex);
}

ab_element *ab_pool_take(ab_pool *pool, ab_slot *slot) {
    ab_pool_share *share = &pool->shares[slot->cpu];
    if (share->free.head == NULL) {
        ab_epoch_advance(pool->engine);
        ab_limbo_collect(&share->limbo, slot, &share->free);
        if (share->free.head == NULL) {
            refill(pool, share);
            if (share->free.head == NULL) {
                return NULL;
            }
        }
    }
    ab_link *link = share->free.head;
    share->free.head = link->next;
    share->free.count--;
    return (ab_element *)(void *)link; /* link is its first member */
}

void ab_pool_give_back(ab_pool *pool, ab_slot *slot, ab_element *element) {
    ab_link_list_push(&pool->shares[slot->cpu].free, &element->link);
}

void ab_pool_retire(ab_pool *pool, ab_slot *slot, ab_element *element) {
    ab_pool_share *share = &pool->shares[slot->cpu];
    ab_limbo_add(&share->limbo, slot, &element->link, &share->free);
    if (++share->retired >= LOOK_EVERY) {
        share->retired = 0;
        ab_epoch_advance(pool->engine);
        ab_limbo_collect(&share->limbo, slot, &share->free);
        if (share->free.count > SURPLUS) {
            spill(pool, share);
        }
    }
}

uint64_t ab_pool_owned(ab_pool *pool, uint64_t address, uint64_t private) {
    uint64_t elements_size = pool->chunk_elements * pool->element_size;
    uint64_t values_size = pool->chunk_elements * pool->per_cpu_size;
    uint64_t owned = 0;
    ab_mutex_lock(&pool->mutex);
    for (const ab_pool_chunk *chunk = pool->chunks; chunk != NULL; chunk = chunk->next) {
        uint64_t in_elements = address - (uint64_t)(uintptr_t)(chunk + 1);
        uint64_t in_values = address - (uint64_t)(uintptr_t)chunk->values;
        if (in_elements < elements_size) {
            uint64_t at = in_elements % pool->element_size;
            owned = at < private ? 0 : pool->element_size - at;
            break;
        }
        if (chunk->values != NULL && in_values < pool->engine->cpus * pool->cpu_stride) {
            uint64_t at = in_values % pool->cpu_stride;
            owned = at < values_size ? pool->per_cpu_size - at % pool->per_cpu_size : 0;
            break;
        }
    }
    ab_mutex_unlock(&pool->mutex);
    return owned;
}
