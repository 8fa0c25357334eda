/* ringbuf.c: ring buffers (one ring) and perf event arrays (a ring a cpu), and reading them from the user's side. */
#include "ringbuf.h"
#include <stdlib.h>
#include "api_ring.h"
#include "map.h"

#define PERF_RING_DEFAULT ((uint64_t)256 * 1024)
#define INDEX_MASK 0xffffffffu         /* BPF_F_INDEX_MASK; all ones: BPF_F_CURRENT_CPU */
#define PACKET_LENGTH_MASK ((uint64_t)0xfffff << 32) /* BPF_F_CTXLEN_MASK: bytes of the packet; the helper has read it */

typedef struct ring_map {
    ab_map map;
    uint32_t count;
    ab_ring *rings[];
} ring_map;

static ring_map *rings_of(const ab_map *map) {
    return (ring_map *)(uintptr_t)map; /* the head is its first member */
}

ab_ring *ab_map_ring(const ab_map *map, uint32_t ring) {
    return ring < ab_map_rings(map) ? rings_of(map)->rings[ring] : NULL;
}

void *ab_ringbuf_reserve(ab_map *map, uint64_t size, uint64_t flags) {
    return flags != 0 ? NULL : ab_ring_reserve(rings_of(map)->rings[0], size);
}

void ab_ringbuf_submit(void *record, uint64_t flags) {
    ab_ring_commit(record, 0, flags);
}

void ab_ringbuf_discard(void *record, uint64_t flags) {
    ab_ring_commit(record, 1, flags);
}

int ab_ringbuf_output(ab_map *map, const void *data, uint64_t size, uint64_t flags) {
    void *record;
    if ((flags & ~(uint64_t)(AB_RING_NO_WAKEUP | AB_RING_FORCE_WAKEUP)) != 0) {
        return -AB_EINVAL;
    }
    record = ab_ring_reserve(rings_of(map)->rings[0], size);
    if (record == NULL) {
        return -AB_EAGAIN;
    }
    memcpy(record, data, (size_t)size);
    ab_ring_commit(record, 0, flags);
    return 0;
}

uint64_t ab_ringbuf_query(ab_map *map, uint64_t what) {
    const ab_ring *ring = rings_of(map)->rings[0];
    switch (what) {
    case 0: return ab_ring_waiting_bytes(ring);
    case 1: return ring->size;
    case 2: return atomic_load_explicit(&ring->consumed, memory_order_acquire);
    case 3: return atomic_load_explicit(&ring->produced, memory_order_acquire);
    default: return 0;
    }
}

int ab_perf_output(ab_map *map, uint64_t flags, const void *data, uint64_t size, const void *packet, uint64_t packet_size,
                   ab_slot *slot) {
    uint32_t index = (uint32_t)(flags & INDEX_MASK);
    uint8_t *record;
    if ((flags & ~(INDEX_MASK | PACKET_LENGTH_MASK)) != 0) {
        return -AB_EINVAL;
    }
    if (index == INDEX_MASK) {
        index = slot->cpu;
    }
    if (index >= map->max_entries) {
        return -AB_E2BIG;
    }
    if (index >= rings_of(map)->count) {
        return -AB_ENOENT;
    }
    if (index != slot->cpu) {
        return -AB_EOPNOTSUPP;
    }
    record = ab_ring_reserve(rings_of(map)->rings[index], size + packet_size);
    if (record == NULL) {
        return -AB_ENOSPC;
    }
    memcpy(record, data, (size_t)size);
    if (packet_size != 0) {
        memcpy(record + size, packet, (size_t)packet_size);
    }
    ab_ring_commit(record, 0, 0);
    return 0;
}

uint32_t ab_map_rings(const ab_map *map) {
    return map->kind == AB_MAP_RINGBUF || map->kind == AB_MAP_PERF_EVENT_ARRAY ? rings_of(map)->count : 0;
}

uint64_t ab_map_ring_bytes(ab_map *map, uint32_t ring) {
    const ab_ring *found = ab_map_ring(map, ring);
    return found == NULL ? 0 : ab_ring_waiting_bytes(found);
}

uint64_t ab_map_ring_lost(ab_map *map, uint32_t ring) {
    ab_ring *found = ab_map_ring(map, ring);
    return found == NULL ? 0 : atomic_load_explicit(&found->lost, memory_order_relaxed);
}

int64_t ab_map_ring_drain(ab_map *map, uint32_t ring, void *buffer, uint32_t capacity, uint32_t *ends, uint32_t limit) {
    ab_ring *found = ab_map_ring(map, ring);
    return found == NULL ? -AB_EINVAL : ab_ring_drain(found, buffer, capacity, ends, limit);
}

static void destroy(ab_map *map) {
    ring_map *rings = rings_of(map);
    for (uint32_t ring = 0; ring < rings->count; ring++) {
        ab_ring_release(rings->rings[ring]);
    }
    free(rings);
}

static uint64_t owned(ab_map *map, uint64_t address) {
    return ab_ring_owned(rings_of(map)->rings[0], address);
}

static const ab_map_ops ringbuf_ops = {.destroy = destroy, .owned = owned};
static const ab_map_ops perf_ops = {.destroy = destroy};

static ab_map *create(ab_engine *engine, const ab_map_shape *shape, const ab_map_ops *ops, uint32_t count, uint64_t size,
                      int *error) {
    ring_map *rings = calloc(1, sizeof *rings + count * sizeof rings->rings[0]);
    *error = -AB_ENOMEM;
    if (rings == NULL) {
        return NULL;
    }
    ab_map_head_init(&rings->map, engine, shape, ops);
    for (; rings->count < count; rings->count++) {
        rings->rings[rings->count] = ab_ring_create(size);
        if (rings->rings[rings->count] == NULL) {
            destroy(&rings->map);
            return NULL;
        }
    }
    *error = 0;
    return &rings->map;
}

static int is_ring_size(uint64_t size) {
    return size >= AB_RING_PAGE && (size & (size - 1)) == 0;
}

ab_map *ab_ringbuf_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    *error = -AB_EINVAL;
    if (shape->key_size != 0 || shape->value_size != 0 || !is_ring_size(shape->max_entries) ||
        (shape->flags & ~AB_MAP_NUMA_NODE) != 0) {
        return NULL;
    }
    return create(engine, shape, &ringbuf_ops, 1, shape->max_entries, error);
}

ab_map *ab_perf_create(ab_engine *engine, const ab_map_shape *shape, int *error) {
    uint64_t size = shape->extra == 0 ? PERF_RING_DEFAULT : shape->extra;
    uint32_t count = shape->max_entries < engine->cpus ? shape->max_entries : engine->cpus;
    *error = -AB_EINVAL;
    if (shape->key_size != 4 || shape->value_size != 4 || shape->max_entries == 0 || !is_ring_size(size) ||
        size > AB_VALUE_SIZE_MAX || (shape->flags & ~(AB_MAP_NUMA_NODE | AB_MAP_RDONLY | AB_MAP_WRONLY | AB_MAP_PRESERVE_ELEMS)) != 0) {
        return NULL;
    }
    return create(engine, shape, &perf_ops, count, size, error);
}
