/* ring_reader.c: readers of many rings, which sleep until one of them has a record; see api_ring.h.
 *
 * Several threads may sleep on one wake. The signal stands as long as there is something to read: only who finds nothing clears it,
 * looks again, and signals for those that still sleep when there is something after all. */
#include <stdlib.h>

#include "ringbuf.h"

typedef struct source {
    ab_ring *ring;
    ab_ring_watch watch;
} source;

struct ab_reader {
    ab_wake wake;
    _Atomic uint32_t closed;
    _Atomic uint32_t turn; /* the ring to begin with, modulo their number */
    uint32_t count;
    source sources[];
};

static ab_reader *allocate(ab_map *const *maps, uint32_t count, int32_t *error) {
    uint64_t rings = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (ab_map_rings(maps[i]) == 0) {
            *error = -AB_EINVAL;
            return NULL;
        }
        rings += ab_map_rings(maps[i]);
    }
    *error = -AB_ENOMEM;
    return rings > UINT32_MAX / sizeof(source) ? NULL : calloc(1, sizeof(ab_reader) + (size_t)rings * sizeof(source));
}

ab_reader *ab_reader_create(ab_map *const *maps, uint32_t count, int32_t *error) {
    ab_reader *reader = allocate(maps, count, error);
    if (reader == NULL) return NULL;
    *error = ab_wake_init(&reader->wake);
    if (*error < 0) {
        free(reader);
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t ring = 0; ring < ab_map_rings(maps[i]); ring++) {
            source *added = &reader->sources[reader->count++];
            added->ring = ab_map_ring(maps[i], ring);
            added->watch.wake = &reader->wake;
            ab_ring_retain(added->ring);
            ab_ring_watch_add(added->ring, &added->watch);
        }
    }
    return reader;
}

void ab_reader_destroy(ab_reader *reader) {
    for (uint32_t i = 0; i < reader->count; i++) {
        ab_ring_watch_remove(reader->sources[i].ring, &reader->sources[i].watch);
        ab_ring_release(reader->sources[i].ring);
    }
    ab_wake_deinit(&reader->wake);
    free(reader);
}

uint32_t ab_reader_rings(const ab_reader *reader) {
    return reader->count;
}

uint64_t ab_reader_lost(const ab_reader *reader, uint32_t ring) {
    return ring < reader->count ? atomic_load_explicit(&reader->sources[ring].ring->lost, memory_order_relaxed) : 0;
}

int64_t ab_reader_take(ab_reader *reader, void *buffer, uint32_t capacity, uint32_t *ends, uint32_t limit, uint32_t *ring) {
    uint32_t turn = atomic_load_explicit(&reader->turn, memory_order_relaxed);
    for (uint32_t i = 0; i < reader->count; i++) {
        uint32_t at = (turn + i) % reader->count;
        int64_t taken = ab_ring_drain(reader->sources[at].ring, buffer, capacity, ends, limit);
        if (taken != 0) {
            *ring = at;
            atomic_store_explicit(&reader->turn, taken < 0 ? at : (at + 1) % reader->count, memory_order_relaxed);
            return taken;
        }
    }
    return 0;
}

/* What ab_reader_arm says. */
static int32_t readable(ab_reader *reader) {
    if (atomic_load_explicit(&reader->closed, memory_order_seq_cst)) return -AB_EBADF;
    for (uint32_t i = 0; i < reader->count; i++) {
        if (ab_ring_readable(reader->sources[i].ring)) return 1;
    }
    return 0;
}

int32_t ab_reader_arm(ab_reader *reader) {
    int32_t state = readable(reader);
    if (state != 0) return state;
    ab_wake_clear(&reader->wake);
    atomic_store_explicit(&reader->wake.armed, 1, memory_order_seq_cst);
    for (uint32_t i = 0; i < reader->count; i++) ab_ring_sleeper_begin(reader->sources[i].ring);
    state = readable(reader);
    if (state != 0) {
        ab_reader_disarm(reader);
        ab_wake_signal(&reader->wake); /* others may sleep on, whose signal was cleared here */
    }
    return state;
}

void ab_reader_disarm(ab_reader *reader) {
    for (uint32_t i = 0; i < reader->count; i++) ab_ring_sleeper_end(reader->sources[i].ring);
}

int32_t ab_reader_sleep(const ab_reader *reader, int32_t milliseconds) {
    return ab_wake_sleep(&reader->wake, milliseconds);
}

int32_t ab_reader_descriptor(const ab_reader *reader) {
    return ab_wake_descriptor(&reader->wake);
}

void ab_reader_rouse(ab_reader *reader) {
    ab_wake_signal(&reader->wake);
}

void ab_reader_close(ab_reader *reader) {
    atomic_store_explicit(&reader->closed, 1, memory_order_seq_cst);
    ab_wake_signal(&reader->wake);
}
