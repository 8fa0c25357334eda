/* ring.c: the record ring; see ring.h. */
#include "ring.h"
#include <stdlib.h>
#include <string.h>
#include "value.h"

#define LENGTH_MAX (AB_RING_DISCARDED - 1)

_Static_assert(sizeof(ab_ring) <= AB_RING_PAGE, "the data begins on the page after the ring");

static uint8_t *data_of(const ab_ring *ring) {
    return (uint8_t *)(uintptr_t)ring + AB_RING_PAGE;
}

static ab_ring_header *header_at(const ab_ring *ring, uint64_t position) {
    return (ab_ring_header *)(void *)(data_of(ring) + (position & (ring->size - 1)));
}

ab_ring *ab_ring_create(uint64_t size) {
    void *allocation = calloc(1, (size_t)(2 * size + 2 * AB_RING_PAGE)); /* a page for the ring, up to one for alignment */
    ab_ring *ring;
    if (allocation == NULL) {
        return NULL;
    }
    ring = (ab_ring *)(((uintptr_t)allocation + AB_RING_PAGE - 1) / AB_RING_PAGE * AB_RING_PAGE);
    ring->allocation = allocation;
    ring->size = size;
    atomic_init(&ring->users, 1);
    if (ab_mutex_init(&ring->mutex) < 0) {
        free(allocation);
        return NULL;
    }
    if (ab_mutex_init(&ring->watching) < 0) {
        ab_mutex_deinit(&ring->mutex);
        free(allocation);
        return NULL;
    }
    return ring;
}

void ab_ring_retain(ab_ring *ring) {
    atomic_fetch_add_explicit(&ring->users, 1, memory_order_relaxed);
}

void ab_ring_release(ab_ring *ring) {
    if (atomic_fetch_sub_explicit(&ring->users, 1, memory_order_acq_rel) != 1) {
        return;
    }
    ab_mutex_deinit(&ring->watching);
    ab_mutex_deinit(&ring->mutex);
    free(ring->allocation);
}

void *ab_ring_reserve(ab_ring *ring, uint64_t size) {
    uint64_t room = ab_round_up_8(size + sizeof(ab_ring_header));
    ab_ring_header *header = NULL;
    uint64_t produced;
    if (size <= LENGTH_MAX && room <= ring->size) {
        ab_spin_lock(&ring->lock);
        produced = atomic_load_explicit(&ring->produced, memory_order_relaxed);
        if (produced + room - atomic_load_explicit(&ring->consumed, memory_order_acquire) <= ring->size) {
            header = header_at(ring, produced);
            atomic_store_explicit(&header->length, (uint32_t)size | AB_RING_BUSY, memory_order_relaxed);
            header->pages = (uint32_t)(((uintptr_t)header - (uintptr_t)ring) / AB_RING_PAGE);
            atomic_store_explicit(&ring->produced, produced + room, memory_order_release);
        }
        ab_spin_unlock(&ring->lock);
    }
    if (header == NULL) {
        atomic_fetch_add_explicit(&ring->lost, 1, memory_order_relaxed);
        return NULL;
    }
    return header + 1;
}

/* Under the mutex: another consumer could pass the record meanwhile, and a producer write there. */
static int readable(ab_ring *ring) {
    uint64_t consumed = atomic_load_explicit(&ring->consumed, memory_order_relaxed);
    return consumed < atomic_load_explicit(&ring->produced, memory_order_seq_cst) &&
           (atomic_load_explicit(&header_at(ring, consumed)->length, memory_order_seq_cst) & AB_RING_BUSY) == 0;
}

int ab_ring_readable(ab_ring *ring) {
    int found;
    ab_mutex_lock(&ring->mutex);
    found = readable(ring);
    ab_mutex_unlock(&ring->mutex);
    return found;
}

static void rouse(ab_ring *ring) {
    ab_mutex_lock(&ring->watching);
    for (ab_ring_watch *watch = ring->watches; watch != NULL; watch = watch->next) {
        if (atomic_exchange_explicit(&watch->wake->armed, 0, memory_order_seq_cst) != 0) {
            ab_wake_signal(watch->wake);
        }
    }
    ab_mutex_unlock(&ring->watching);
}

void ab_ring_commit(void *record, int discard, uint64_t flags) {
    ab_ring_header *header = (ab_ring_header *)record - 1;
    uintptr_t page = (uintptr_t)header / AB_RING_PAGE * AB_RING_PAGE;
    ab_ring *ring = (ab_ring *)(page - (uintptr_t)header->pages * AB_RING_PAGE);
    uint32_t length = atomic_load_explicit(&header->length, memory_order_relaxed) & ~AB_RING_BUSY;
    /* After this the record may be read and its memory reused: the header is not looked at again. Sequentially consistent
     * against a consumer that goes to sleep: it sees the record, or we see it asleep and where it stands. */
    atomic_exchange_explicit(&header->length, discard ? length | AB_RING_DISCARDED : length, memory_order_seq_cst);
    if (atomic_load_explicit(&ring->asleep, memory_order_seq_cst) == 0) {
        return;
    }
    if ((flags & AB_RING_FORCE_WAKEUP) != 0 ||
        ((flags & AB_RING_NO_WAKEUP) == 0 &&
         header_at(ring, atomic_load_explicit(&ring->consumed, memory_order_seq_cst)) == header)) {
        rouse(ring);
    }
}

int64_t ab_ring_drain(ab_ring *ring, void *buffer, uint32_t capacity, uint32_t *ends, uint32_t limit) {
    uint8_t *to = buffer;
    uint32_t written = 0, count = 0;
    int full = 0;
    ab_mutex_lock(&ring->mutex);
    while (count < limit && readable(ring)) {
        uint64_t consumed = atomic_load_explicit(&ring->consumed, memory_order_relaxed);
        ab_ring_header *header = header_at(ring, consumed);
        uint32_t word = atomic_load_explicit(&header->length, memory_order_acquire);
        uint32_t length = word & LENGTH_MAX;
        if ((word & AB_RING_DISCARDED) == 0) {
            if (capacity - written < length) {
                full = 1;
                break;
            }
            memcpy(to + written, header + 1, length);
            written += length;
            ends[count++] = written;
        }
        atomic_store_explicit(&ring->consumed, consumed + sizeof *header + ab_round_up_8(length), memory_order_seq_cst);
    }
    ab_mutex_unlock(&ring->mutex);
    return full && count == 0 ? -AB_ENOSPC : (int64_t)count;
}

uint64_t ab_ring_owned(const ab_ring *ring, uint64_t address) {
    uint64_t at = address - (uint64_t)(uintptr_t)data_of(ring);
    return at < 2 * ring->size ? 2 * ring->size - at : 0;
}

uint64_t ab_ring_waiting_bytes(const ab_ring *ring) {
    uint64_t consumed = atomic_load_explicit(&ring->consumed, memory_order_acquire);
    return atomic_load_explicit(&ring->produced, memory_order_acquire) - consumed;
}

void ab_ring_watch_add(ab_ring *ring, ab_ring_watch *watch) {
    ab_mutex_lock(&ring->watching);
    watch->next = ring->watches;
    ring->watches = watch;
    ab_mutex_unlock(&ring->watching);
}

void ab_ring_watch_remove(ab_ring *ring, ab_ring_watch *watch) {
    ab_ring_watch **at = &ring->watches;
    ab_mutex_lock(&ring->watching);
    while (*at != watch) {
        at = &(*at)->next;
    }
    *at = watch->next;
    ab_mutex_unlock(&ring->watching);
}

void ab_ring_sleeper_begin(ab_ring *ring) {
    atomic_fetch_add_explicit(&ring->asleep, 1, memory_order_seq_cst);
}

void ab_ring_sleeper_end(ab_ring *ring) {
    atomic_fetch_sub_explicit(&ring->asleep, 1, memory_order_relaxed);
}
