/* map_lpm.c: longest-prefix match: a binary trie whose nodes stand for prefixes; a node's children extend its prefix by at least
 * one bit, child[0] those that go on with a 0.
 *
 * A key is a 32-bit prefix length in the machine's byte order, then the prefix's bits, the most significant of the first byte
 * first. Readers take no lock: writers put complete nodes in place with one store, and the pool keeps what was taken out until
 * its grace period is over. A node without a value (a branching point) has the `bare` mark.
 */
#include <stdlib.h>
#include "map.h"
#include "pool.h"
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

#define DATA_SIZE_MAX 256
#define LPM_FLAGS (AB_MAP_NO_PREALLOC | AB_MAP_NUMA_NODE | AB_MAP_ACCESS)

typedef struct node {
    ab_element head;
    _Atomic(struct node *) child[2];
    _Atomic uint32_t bare;
    uint32_t prefix_length;
    uint8_t key[]; /* as the user gave it, padded to 8; then the value */
} node;

typedef struct trie {
    ab_map map;
    uint32_t bits;        /* of the longest prefix */
    uint32_t entries;     /* under the lock */
    uint64_t value_offset; /* from a node's key */
    ab_spinlock lock;     /* writers */
    _Atomic(node *) root;
    ab_pool pool;
} trie;

static trie *trie_of(ab_map *map) {
    return (trie *)(void *)map; /* the head is its first member */
}

static node *load(_Atomic(node *) *place) {
    return atomic_load_explicit(place, memory_order_acquire);
}

static void publish(_Atomic(node *) *place, node *here) {
    atomic_store_explicit(place, here, memory_order_release);
}

static uint32_t prefix_length(const void *key) {
    uint32_t length;
    memcpy(&length, key, sizeof length);
    return length;
}

static const uint8_t *prefix(const void *key) {
    return (const uint8_t *)key + sizeof(uint32_t);
}

static uint32_t bit(const uint8_t *bits, uint32_t index) {
    return (uint32_t)bits[index / 8] >> (7 - index % 8) & 1;
}

static uint32_t leading_zeros(uint32_t word) {
#if defined(_MSC_VER) && !defined(__clang__)
    unsigned long highest;
    _BitScanReverse(&highest, word);
    return 31 - (uint32_t)highest;
#else
    return (uint32_t)__builtin_clz(word);
#endif
}

static uint32_t big_endian(const uint8_t *bytes, uint32_t count) {
    uint32_t word = 0;
    if (count >= 4) {
        return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    }
    for (uint32_t i = 0; i < count; i++) {
        word |= (uint32_t)bytes[i] << (24 - 8 * i);
    }
    return word;
}

/* Bits that a node's prefix and a key's have in common, at most the shorter one's length. */
static uint32_t common(const trie *lpm, const node *here, const void *key) {
    uint32_t length = prefix_length(key);
    uint32_t limit = here->prefix_length < length ? here->prefix_length : length;
    const uint8_t *ours = prefix(here->key), *theirs = prefix(key);
    uint32_t size = lpm->bits / 8;
    for (uint32_t at = 0; at * 8 < limit; at += 4) {
        uint32_t difference = big_endian(ours + at, size - at) ^ big_endian(theirs + at, size - at);
        if (difference != 0) {
            uint32_t same = at * 8 + leading_zeros(difference);
            return same < limit ? same : limit;
        }
    }
    return limit;
}

static uint8_t *value_of(const trie *lpm, const node *here) {
    return (uint8_t *)(uintptr_t)here->key + lpm->value_offset;
}

static void *lookup(ab_map *map, const void *key, ab_slot *slot) {
    trie *lpm = trie_of(map);
    node *here = load(&lpm->root), *best = NULL;
    (void)slot;
    if (prefix_length(key) > lpm->bits) {
        return NULL;
    }
    while (here != NULL) {
        uint32_t same = common(lpm, here, key);
        if (same < here->prefix_length) {
            break;
        }
        if (atomic_load_explicit(&here->bare, memory_order_relaxed) == 0) {
            best = here;
        }
        if (same == lpm->bits) {
            break;
        }
        here = load(&here->child[bit(prefix(key), same)]);
    }
    return best == NULL ? NULL : value_of(lpm, best);
}

static int read_user(ab_map *map, const void *key, void *value, uint64_t flags, ab_slot *slot) {
    const uint8_t *found = lookup(map, key, slot);
    if (found == NULL) {
        return -AB_ENOENT;
    }
    ab_map_load(map, found, value, flags);
    return 0;
}

static node *make_node(trie *lpm, const void *key, uint32_t length, const void *value, ab_slot *slot) {
    node *fresh = (node *)(void *)ab_pool_take(&lpm->pool, slot);
    if (fresh == NULL) {
        return NULL;
    }
    atomic_store_explicit(&fresh->child[0], NULL, memory_order_relaxed);
    atomic_store_explicit(&fresh->child[1], NULL, memory_order_relaxed);
    atomic_store_explicit(&fresh->bare, value == NULL, memory_order_relaxed);
    fresh->prefix_length = length;
    memcpy(fresh->key, key, lpm->map.key_size);
    if (value != NULL) {
        memcpy(value_of(lpm, fresh), value, lpm->map.value_size);
    }
    return fresh;
}

/* Hangs `fresh` where the walk ended: at `place`, at which `here` stands (or nothing). 0 or an error; *retired is a node that it
 * took out. Under the lock. */
static int hang(trie *lpm, _Atomic(node *) *place, node *here, node *fresh, uint64_t flags, node **retired, ab_slot *slot) {
    uint32_t same = here == NULL ? 0 : common(lpm, here, fresh->key);
    int replaces = here != NULL && same == here->prefix_length && same == fresh->prefix_length;
    int there = replaces && atomic_load_explicit(&here->bare, memory_order_relaxed) == 0;
    node *branch = NULL;
    if (there && flags == AB_NOEXIST) {
        return -AB_EEXIST;
    }
    if (!there && flags == AB_EXIST) {
        return -AB_ENOENT;
    }
    if (!there && lpm->entries == lpm->map.max_entries) {
        return -AB_ENOSPC;
    }
    if (replaces) {
        publish(&fresh->child[0], load(&here->child[0]));
        publish(&fresh->child[1], load(&here->child[1]));
        *retired = here;
    } else if (here != NULL && same == fresh->prefix_length) { /* a shorter prefix of what is there */
        publish(&fresh->child[bit(prefix(here->key), same)], here);
    } else if (here != NULL) { /* the two part ways after `same` bits */
        branch = make_node(lpm, fresh->key, same, NULL, slot);
        if (branch == NULL) {
            return -AB_ENOMEM;
        }
        publish(&branch->child[bit(prefix(fresh->key), same)], fresh);
        publish(&branch->child[bit(prefix(here->key), same)], here);
    }
    publish(place, branch != NULL ? branch : fresh);
    lpm->entries += !there;
    return 0;
}

static int update(ab_map *map, const void *key, const void *value, uint64_t flags, ab_slot *slot) {
    trie *lpm = trie_of(map);
    uint32_t length = prefix_length(key);
    _Atomic(node *) *place = &lpm->root;
    node *here, *fresh, *retired = NULL;
    int error;
    if (flags > AB_EXIST || length > lpm->bits) {
        return -AB_EINVAL;
    }
    ab_spin_lock(&lpm->lock);
    fresh = make_node(lpm, key, length, value, slot);
    if (fresh == NULL) {
        ab_spin_unlock(&lpm->lock);
        return -AB_ENOMEM;
    }
    while ((here = load(place)) != NULL) {
        uint32_t same = common(lpm, here, key);
        if (same < here->prefix_length || same == length) {
            break;
        }
        place = &here->child[bit(prefix(key), same)];
    }
    error = hang(lpm, place, here, fresh, flags, &retired, slot);
    ab_spin_unlock(&lpm->lock);
    if (error < 0) {
        ab_pool_give_back(&lpm->pool, slot, &fresh->head);
    } else if (retired != NULL) {
        ab_pool_retire(&lpm->pool, slot, &retired->head);
    }
    return error;
}

static int remove_prefix(ab_map *map, const void *key, ab_slot *slot) {
    trie *lpm = trie_of(map);
    uint32_t length = prefix_length(key);
    _Atomic(node *) *place = &lpm->root, *above = NULL; /* where `here` and its parent hang */
    node *here, *parent = NULL, *zero, *one;
    uint32_t same = 0;
    int keep = 0, drop_parent = 0;
    if (length > lpm->bits) {
        return -AB_EINVAL;
    }
    ab_spin_lock(&lpm->lock);
    while ((here = load(place)) != NULL) {
        same = common(lpm, here, key);
        if (same < here->prefix_length || same == length) {
            break;
        }
        above = place;
        parent = here;
        place = &here->child[bit(prefix(key), same)];
    }
    if (here == NULL || same != here->prefix_length || same != length ||
        atomic_load_explicit(&here->bare, memory_order_relaxed) != 0) {
        ab_spin_unlock(&lpm->lock);
        return -AB_ENOENT;
    }
    zero = load(&here->child[0]);
    one = load(&here->child[1]);
    if (zero != NULL && one != NULL) { /* still needed to branch */
        atomic_store_explicit(&here->bare, 1, memory_order_relaxed);
        keep = 1;
    } else if (zero == NULL && one == NULL && parent != NULL &&
               atomic_load_explicit(&parent->bare, memory_order_relaxed) != 0) {
        /* The branching point above has one child left: that one takes its place. */
        publish(above, load(&parent->child[place == &parent->child[0]]));
        drop_parent = 1;
    } else {
        publish(place, zero != NULL ? zero : one);
    }
    lpm->entries--;
    ab_spin_unlock(&lpm->lock);
    if (!keep) {
        ab_pool_retire(&lpm->pool, slot, &here->head);
    }
    if (drop_parent) {
        ab_pool_retire(&lpm->pool, slot, &parent->head);
    }
    return 0;
}

/* The first node with a value in the subtree: as in Linux, longer prefixes come before the shorter ones that contain them. */
static node *leftmost(node *here) {
    node *first = NULL;
    while (here != NULL) {
        node *next = load(&here->child[0]);
        if (next == NULL) {
            next = load(&here->child[1]);
        }
        if (atomic_load_explicit(&here->bare, memory_order_relaxed) == 0) {
            first = here;
        }
        here = next;
    }
    return first;
}

/* The node that comes after a key's place; *found tells whether the key itself is in. */
static node *successor(trie *lpm, const void *key, int *found) {
    node *here = load(&lpm->root), *after = NULL;
    uint32_t length = prefix_length(key);
    *found = 0;
    while (here != NULL) {
        uint32_t same = common(lpm, here, key);
        int bare = atomic_load_explicit(&here->bare, memory_order_relaxed) != 0;
        node *other = NULL;
        if (same == length) { /* here is the key's node, or an extension of the key: those come before it */
            *found = same == here->prefix_length && !bare;
            break;
        }
        if (same < here->prefix_length) { /* the two part ways; zeros come first */
            if (bit(prefix(key), same) == 0) {
                after = leftmost(here);
            }
            break;
        }
        if (bit(prefix(key), same) == 0) {
            other = leftmost(load(&here->child[1]));
        }
        if (other != NULL) {
            after = other;
        } else if (!bare) {
            after = here;
        }
        here = load(&here->child[bit(prefix(key), same)]);
    }
    return after;
}

static int next_key(ab_map *map, const void *key, void *next, ab_slot *slot) {
    trie *lpm = trie_of(map);
    node *after = NULL;
    int found = 0;
    (void)slot;
    if (key != NULL && prefix_length(key) <= lpm->bits) {
        after = successor(lpm, key, &found);
    }
    if (!found) {
        after = leftmost(load(&lpm->root));
    }
    if (after == NULL) {
        return -AB_ENOENT;
    }
    memcpy(next, after->key, map->key_size);
    return 0;
}

static int iterate(ab_map *map, ab_map_cursor *cursor, ab_slot *slot) {
    trie *lpm = trie_of(map);
    node *here = cursor->element;
    int found;
    (void)slot;
    here = here == NULL ? leftmost(load(&lpm->root)) : successor(lpm, here->key, &found);
    if (here == NULL) {
        return 0;
    }
    cursor->element = here;
    cursor->key = here->key;
    cursor->value = value_of(lpm, here);
    return 1;
}

static int64_t count(ab_map *map, ab_slot *slot) {
    trie *lpm = trie_of(map);
    int64_t entries;
    (void)slot;
    ab_spin_lock(&lpm->lock);
    entries = lpm->entries;
    ab_spin_unlock(&lpm->lock);
    return entries;
}

static void destroy(ab_map *map) {
    ab_pool_deinit(&trie_of(map)->pool);
    free(map);
}

static uint64_t owned(ab_map *map, uint64_t address) {
    return ab_pool_owned(&trie_of(map)->pool, address, sizeof(node));
}

static const ab_map_ops lpm_ops = {
    .lookup = lookup, .update = update, .remove = remove_prefix, .next_key = next_key, .read = read_user, .write = update,
    .destroy = destroy, .iterate = iterate, .count = count, .owned = owned,
};

ab_map *ab_lpm_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    trie *lpm;
    *error = -AB_EINVAL;
    if (shape->key_size <= sizeof(uint32_t) || shape->key_size > sizeof(uint32_t) + DATA_SIZE_MAX || shape->value_size == 0 ||
        shape->max_entries == 0 || (shape->flags & AB_MAP_NO_PREALLOC) == 0 || (shape->flags & ~LPM_FLAGS) != 0 ||
        shape->lock_offset >= 0) {
        return NULL;
    }
    *error = -AB_E2BIG;
    if (shape->value_size > AB_VALUE_SIZE_MAX) {
        return NULL;
    }
    *error = -AB_ENOMEM;
    lpm = calloc(1, sizeof *lpm);
    if (lpm == NULL) {
        return NULL;
    }
    ab_map_head_init(&lpm->map, engine, shape, &lpm_ops);
    lpm->bits = (shape->key_size - (uint32_t)sizeof(uint32_t)) * 8;
    lpm->value_offset = ab_round_up_8(shape->key_size);
    *error = ab_pool_init(&lpm->pool, engine, sizeof(node) + lpm->value_offset + ab_round_up_8(shape->value_size),
                          shape->max_entries, 0, 0);
    if (*error < 0) {
        free(lpm);
        return NULL;
    }
    return &lpm->map;
}
