/* ring.h: a ring of variable-sized records with many producers and one consumer, in the record format of Linux's BPF ring buffer.
 *
 * A record is a header and its bytes, padded to 8. The header's first word is the length, with a bit while the producer still
 * writes (busy) and a bit when the record is to be skipped (discarded); the second word leads from the record back to the ring,
 * in pages. Positions count bytes from the beginning of time; a record begins at its position modulo the size. The memory is
 * twice the size, so that a record that begins before the end runs on past it and every record is contiguous.
 */
#ifndef ANYBPF_RING_H
#define ANYBPF_RING_H

#include "engine.h"
#include "slot.h"
#include "spinlock.h"

#define AB_RING_PAGE 4096
#define AB_RING_BUSY ((uint32_t)1 << 31)
#define AB_RING_DISCARDED ((uint32_t)1 << 30)
#define AB_RING_NO_WAKEUP 1u
#define AB_RING_FORCE_WAKEUP 2u

typedef struct ab_ring_header {
    _Atomic uint32_t length;
    uint32_t pages;
} ab_ring_header;

typedef struct ab_ring {
    void *allocation; /* what the ring, aligned to a page, lies in */
    uint64_t size;    /* a power of two, at least a page */
    ab_mutex mutex;   /* the consumer */
    ab_condition filled;
    _Atomic uint32_t waiting; /* consumers asleep */
    uint8_t before_consumer[AB_CACHE_LINE];
    _Atomic uint64_t consumed; /* position up to which records were read */
    uint8_t before_producer[AB_CACHE_LINE];
    ab_spinlock lock; /* producers reserve one at a time */
    _Atomic uint64_t produced; /* position up to which records were reserved */
    _Atomic uint64_t lost;     /* records for which there was no room */
} ab_ring;

/* NULL: out of memory. */
ab_ring *ab_ring_create(uint64_t size);
void ab_ring_destroy(ab_ring *ring);

/* Room for a record of `size` bytes, or NULL when there is none (counted as lost). */
void *ab_ring_reserve(ab_ring *ring, uint64_t size);
/* Ends a reservation: the record can be read, or (discard) is skipped. */
void ab_ring_commit(void *record, int discard, uint64_t flags);

/* Copies records from the oldest on into `buffer`, each as a 64-bit length and its bytes padded to 8, as many as fit; bytes
 * written, or -ENOSPC when the first does not fit. */
int64_t ab_ring_drain(ab_ring *ring, void *buffer, uint64_t capacity);
/* Bytes from `address` to the end of the memory for records, 0 when it is not there. */
uint64_t ab_ring_owned(const ab_ring *ring, uint64_t address);
/* Bytes between the consumer's and the producers' positions. */
uint64_t ab_ring_waiting_bytes(const ab_ring *ring);
/* Waits for a record: 1, or 0 after so many milliseconds without one. */
int ab_ring_wait(ab_ring *ring, uint32_t milliseconds);

#endif
