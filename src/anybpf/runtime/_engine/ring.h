/* ring.h: a ring of variable-sized records with many producers, in the record format of Linux's BPF ring buffer; consumers take turns.
 *
 * A record is a header and its bytes, padded to 8. The header's first word is the length, with a bit while the producer still
 * writes (busy) and a bit when the record is to be skipped (discarded); the second word leads from the record back to the ring,
 * in pages. Positions count bytes from the beginning of time; a record begins at its position modulo the size. The memory is
 * twice the size, so that a record that begins before the end runs on past it and every record is contiguous.
 *
 * Who sleeps until records come is a sleeper in the lists of its rings (ab_ring_watch). As in Linux, a record rouses sleepers when
 * it is the next to be read, unless its producer says not to (NO_WAKEUP); FORCE_WAKEUP rouses them in any case. Nobody asleep:
 * a producer pays one load for it; otherwise one of them signals, once.
 */
#ifndef ANYBPF_RING_H
#define ANYBPF_RING_H

#include "engine.h"
#include "slot.h"
#include "spinlock.h"
#include "wake.h"

#define AB_RING_PAGE 4096
#define AB_RING_BUSY ((uint32_t)1 << 31)
#define AB_RING_DISCARDED ((uint32_t)1 << 30)
#define AB_RING_NO_WAKEUP 1u
#define AB_RING_FORCE_WAKEUP 2u

typedef struct ab_ring_header {
    _Atomic uint32_t length;
    uint32_t pages;
} ab_ring_header;

/* A sleeper's place in a ring's list. */
typedef struct ab_ring_watch {
    struct ab_ring_watch *next;
    ab_wake *wake;
} ab_ring_watch;

typedef struct ab_ring {
    void *allocation;       /* what the ring, aligned to a page, lies in */
    uint64_t size;          /* a power of two, at least a page */
    _Atomic uint32_t users; /* its map, and every reader: the last one frees it */
    ab_mutex mutex;         /* consumers, one at a time */
    ab_mutex watching;      /* guards the list */
    ab_ring_watch *watches;
    _Atomic uint32_t asleep; /* of those in the list: asleep or about to be */
    uint8_t before_consumer[AB_CACHE_LINE];
    _Atomic uint64_t consumed; /* position up to which records were read */
    uint8_t before_producer[AB_CACHE_LINE];
    ab_spinlock lock; /* producers reserve one at a time */
    _Atomic uint64_t produced; /* position up to which records were reserved */
    _Atomic uint64_t lost;     /* records for which there was no room */
} ab_ring;

/* NULL: out of memory. */
ab_ring *ab_ring_create(uint64_t size);
void ab_ring_retain(ab_ring *ring);
void ab_ring_release(ab_ring *ring);

/* Room for a record of `size` bytes, or NULL when there is none (counted as lost). */
void *ab_ring_reserve(ab_ring *ring, uint64_t size);
/* Ends a reservation: the record can be read, or (discard) is skipped. */
void ab_ring_commit(void *record, int discard, uint64_t flags);

/* Copies records from the oldest on into `buffer`, one right behind the other, as many as fit; where each ends goes into `ends`,
 * which has room for `limit`. The number of records, or -ENOSPC when the first does not fit. */
int64_t ab_ring_drain(ab_ring *ring, void *buffer, uint32_t capacity, uint32_t *ends, uint32_t limit);
/* Bytes from `address` to the end of the memory for records, 0 when it is not there. */
uint64_t ab_ring_owned(const ab_ring *ring, uint64_t address);
/* Bytes between the consumer's and the producers' positions. */
uint64_t ab_ring_waiting_bytes(const ab_ring *ring);
/* Whether the next record (which may be a discarded one) is complete. */
int ab_ring_readable(ab_ring *ring);

void ab_ring_watch_add(ab_ring *ring, ab_ring_watch *watch);
void ab_ring_watch_remove(ab_ring *ring, ab_ring_watch *watch);
/* Says that a sleeper goes to sleep. It has cleared and armed its wake before, and looks whether the ring is readable after:
 * either it sees a record, or the record's producer sees it. */
void ab_ring_sleeper_begin(ab_ring *ring);
void ab_ring_sleeper_end(ab_ring *ring);

#endif
