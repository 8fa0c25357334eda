/* lru.h: which element of a full map has gone longest without use, by second chance: a lookup only marks an element; eviction
 * goes from the oldest to the newest, gives marked elements another round, and takes the first unmarked one.
 *
 * The list has its own lock, taken last (a bucket may be locked around it). A node belongs to the list from add to remove, replace
 * or evict; the operations ignore nodes that have left it already, because eviction works without the bucket's lock.
 */
#ifndef ANYBPF_LRU_H
#define ANYBPF_LRU_H

#include "spinlock.h"

typedef struct ab_lru_node {
    struct ab_lru_node *newer;
    struct ab_lru_node *older;
    _Atomic uint32_t used;
    uint32_t listed;
} ab_lru_node;

typedef struct ab_lru {
    ab_spinlock lock;
    ab_lru_node ends; /* ends.older is the newest node, ends.newer the oldest: the list is a ring */
} ab_lru;

void ab_lru_init(ab_lru *lru);
void ab_lru_add(ab_lru *lru, ab_lru_node *node);
void ab_lru_remove(ab_lru *lru, ab_lru_node *node);
/* `fresh` becomes the newest, marked as used, in exchange for `old`. */
void ab_lru_replace(ab_lru *lru, ab_lru_node *old, ab_lru_node *fresh);
/* Takes the node to give up out of the list; NULL when the list is empty. */
ab_lru_node *ab_lru_evict(ab_lru *lru);

static inline void ab_lru_touch(ab_lru_node *node) {
    if (atomic_load_explicit(&node->used, memory_order_relaxed) == 0) { /* most often no write to a shared line */
        atomic_store_explicit(&node->used, 1, memory_order_relaxed);
    }
}

#endif
