/* lru.c: second-chance eviction; see lru.h. */
#include "lru.h"

void ab_lru_init(ab_lru *lru) {
    atomic_init(&lru->lock, 0);
    lru->ends.newer = lru->ends.older = &lru->ends;
}

static void link_newest(ab_lru *lru, ab_lru_node *node) {
    node->newer = &lru->ends;
    node->older = lru->ends.older;
    node->older->newer = node;
    lru->ends.older = node;
    node->listed = 1;
}

static void unlink(ab_lru_node *node) {
    if (node->listed) {
        node->older->newer = node->newer;
        node->newer->older = node->older;
        node->listed = 0;
    }
}

void ab_lru_add(ab_lru *lru, ab_lru_node *node) {
    atomic_store_explicit(&node->used, 0, memory_order_relaxed);
    ab_spin_lock(&lru->lock);
    link_newest(lru, node);
    ab_spin_unlock(&lru->lock);
}

void ab_lru_remove(ab_lru *lru, ab_lru_node *node) {
    ab_spin_lock(&lru->lock);
    unlink(node);
    ab_spin_unlock(&lru->lock);
}

void ab_lru_replace(ab_lru *lru, ab_lru_node *old, ab_lru_node *fresh) {
    atomic_store_explicit(&fresh->used, 1, memory_order_relaxed);
    ab_spin_lock(&lru->lock);
    unlink(old);
    link_newest(lru, fresh);
    ab_spin_unlock(&lru->lock);
}

ab_lru_node *ab_lru_evict(ab_lru *lru) {
    ab_lru_node *node;
    ab_spin_lock(&lru->lock);
    /* Every round clears a mark that some lookup set, so the cost is the lookups' in the end. */
    while ((node = lru->ends.newer) != &lru->ends && atomic_exchange_explicit(&node->used, 0, memory_order_relaxed) != 0) {
        unlink(node);
        link_newest(lru, node);
    }
    if (node == &lru->ends) {
        node = NULL;
    } else {
        unlink(node);
    }
    ab_spin_unlock(&lru->lock);
    return node;
}
