/* pool.h: the elements of one map, all of one size, handed out again only after their grace period.
 *
 * Each slot keeps a few free elements and its own limbo; slots exchange surplus through a list under a mutex. Memory is taken in
 * chunks as it is needed and given back when the pool ends. How many elements may be in the map is the map's business.
 */
#ifndef ANYBPF_POOL_H
#define ANYBPF_POOL_H

#include "engine.h"
#include "reclaim.h"
#include "slot.h"

/* What every element begins with. */
typedef struct ab_element {
    ab_link link; /* the pool's; the map's readers never look at it */
} ab_element;

/* One slot's part of a pool; only its owner touches it. */
typedef struct ab_pool_share {
    ab_link_list free;
    ab_limbo limbo;
    uint32_t retired; /* since the last look for expired elements */
    uint8_t after[AB_CACHE_LINE];
} ab_pool_share;

typedef struct ab_pool_chunk ab_pool_chunk;

typedef struct ab_pool {
    ab_engine *engine;
    uint64_t element_size;   /* bytes from element to element, a multiple of 8 */
    uint64_t per_cpu_size;   /* bytes of one cpu's value, a multiple of 8; 0: the pool has no per-CPU values */
    uint64_t pointer_offset; /* where an element holds the address of cpu 0's value */
    uint64_t cpu_stride;     /* bytes from one cpu's value to the next cpu's */
    uint64_t chunk_elements;
    ab_pool_share *shares;   /* one a slot */
    ab_mutex mutex;          /* guards the rest */
    ab_link_list spare;
    ab_pool_chunk *chunks;   /* the newest first */
    uint64_t carved;         /* elements of the newest chunk already handed out */
} ab_pool;

/* per_cpu_size 0: elements only. Otherwise every element gets a value a cpu, and at pointer_offset the address of cpu 0's. */
int ab_pool_init(ab_pool *pool, ab_engine *engine, uint64_t element_size, uint32_t max_entries, uint64_t per_cpu_size,
                 uint64_t pointer_offset);
void ab_pool_deinit(ab_pool *pool);
/* NULL: out of memory. Contents are whatever the last user left, or zero. */
ab_element *ab_pool_take(ab_pool *pool, ab_slot *slot);
/* An element that no reader has seen. */
void ab_pool_give_back(ab_pool *pool, ab_slot *slot, ab_element *element);
/* An element that has just been unlinked; the slot is inside. */
void ab_pool_retire(ab_pool *pool, ab_slot *slot, ab_element *element);
/* Bytes from `address` to the end of the element, or of one cpu's value, that holds it. 0 when none does, or `address` lies in
 * the first `private` bytes of an element. */
uint64_t ab_pool_owned(ab_pool *pool, uint64_t address, uint64_t private);

#endif
