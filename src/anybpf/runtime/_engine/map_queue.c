/* map_queue.c: queue (first in, first out) and stack (last in, first out): a ring of values under a lock. */
#include <stdlib.h>
#include "map.h"

typedef struct ring {
    ab_map map;
    ab_spinlock lock;
    uint32_t oldest; /* index of the oldest value */
    uint32_t filled; /* values there are, from the oldest on */
    uint8_t values[];
} ring;

static ring *ring_of(ab_map *map) {
    return (ring *)(void *)map; /* the head is its first member */
}

/* The place of the value that came `age` after the oldest. */
static uint8_t *place(ring *queue, uint32_t age) {
    uint64_t index = ((uint64_t)queue->oldest + age) % queue->map.max_entries;
    return queue->values + index * queue->map.value_size;
}

/* When full: AB_EXIST drops the oldest value, anything else is refused. */
static int push(ab_map *map, const void *value, uint64_t flags, ab_slot *slot) {
    ring *queue = ring_of(map);
    int error = 0;
    (void)slot;
    if (flags != AB_ANY && flags != AB_EXIST) {
        return -AB_EINVAL;
    }
    ab_spin_lock(&queue->lock);
    if (queue->filled == map->max_entries) {
        if (flags == AB_EXIST) {
            queue->oldest = (queue->oldest + 1) % map->max_entries;
            queue->filled--;
        } else {
            error = -AB_E2BIG;
        }
    }
    if (error == 0) {
        memcpy(place(queue, queue->filled), value, map->value_size);
        queue->filled++;
    }
    ab_spin_unlock(&queue->lock);
    return error;
}

/* An empty one gives zeros and -ENOENT. */
static int get(ring *queue, void *value, int take, int newest) {
    int error = 0;
    ab_spin_lock(&queue->lock);
    if (queue->filled == 0) {
        memset(value, 0, queue->map.value_size);
        error = -AB_ENOENT;
    } else {
        memcpy(value, place(queue, newest ? queue->filled - 1 : 0), queue->map.value_size);
        if (take) {
            queue->filled--;
            if (!newest) {
                queue->oldest = (queue->oldest + 1) % queue->map.max_entries;
            }
        }
    }
    ab_spin_unlock(&queue->lock);
    return error;
}

static int pop_oldest(ab_map *map, void *value, ab_slot *slot) {
    (void)slot;
    return get(ring_of(map), value, 1, 0);
}

static int peek_oldest(ab_map *map, void *value, ab_slot *slot) {
    (void)slot;
    return get(ring_of(map), value, 0, 0);
}

static int pop_newest(ab_map *map, void *value, ab_slot *slot) {
    (void)slot;
    return get(ring_of(map), value, 1, 1);
}

static int peek_newest(ab_map *map, void *value, ab_slot *slot) {
    (void)slot;
    return get(ring_of(map), value, 0, 1);
}

static int64_t count(ab_map *map, ab_slot *slot) {
    ring *queue = ring_of(map);
    int64_t filled;
    (void)slot;
    ab_spin_lock(&queue->lock);
    filled = queue->filled;
    ab_spin_unlock(&queue->lock);
    return filled;
}

static void destroy(ab_map *map) {
    free(map);
}

static const ab_map_ops queue_ops = {
    .push = push, .pop = pop_oldest, .peek = peek_oldest, .destroy = destroy, .count = count,
};

static const ab_map_ops stack_ops = {
    .push = push, .pop = pop_newest, .peek = peek_newest, .destroy = destroy, .count = count,
};

static ab_map *create(ab_engine *engine, const ab_map_shape *shape, const ab_map_ops *ops, int *error) {
    ring *queue;
    *error = -AB_EINVAL;
    if (shape->key_size != 0 || shape->value_size == 0 || shape->max_entries == 0 || shape->lock_offset >= 0 ||
        (shape->flags & ~(AB_MAP_NUMA_NODE | AB_MAP_ACCESS)) != 0) {
        return NULL;
    }
    *error = -AB_E2BIG;
    if (shape->value_size > AB_VALUE_SIZE_MAX) {
        return NULL;
    }
    *error = -AB_ENOMEM;
    queue = calloc(1, sizeof *queue + (uint64_t)shape->max_entries * shape->value_size);
    if (queue == NULL) {
        return NULL;
    }
    ab_map_head_init(&queue->map, engine, shape, ops);
    *error = 0;
    return &queue->map;
}

ab_map *ab_queue_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, &queue_ops, error);
}

ab_map *ab_stack_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    return create(engine, shape, &stack_ops, error);
}
