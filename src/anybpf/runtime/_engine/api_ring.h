/* api_ring.h: reading what programs put into ring buffers and perf event arrays. */
#ifndef ANYBPF_API_RING_H
#define ANYBPF_API_RING_H
#include "engine.h"
/* How many rings a map has: 1 for a ring buffer, one a cpu for a perf event array, 0 for other kinds. */
uint32_t ab_map_rings(const ab_map *map);
/* Bytes in a ring that wait to be read, headers included. */
uint64_t ab_map_ring_bytes(ab_map *map, uint32_t ring);
/* Records that found no room. */
uint64_t ab_map_ring_lost(ab_map *map, uint32_t ring);
/* Takes records, the oldest first, one right behind the other in `buffer`, as many as fit; where each ends goes into `ends`, which
 * has room for `limit`. The number of records; -ENOSPC: the first does not fit. */
int64_t ab_map_ring_drain(ab_map *map, uint32_t ring, void *buffer, uint32_t capacity, uint32_t *ends, uint32_t limit);

/* A reader of all rings of some maps. Any number of threads may use it, and any number of readers a ring: each record goes to one
 * of them. It keeps the rings, not the maps. */
typedef struct ab_reader ab_reader;
/* NULL: *error says why: -EINVAL, a map has no rings; -ENOMEM; what the operating system says. */
ab_reader *ab_reader_create(ab_map *const *maps, uint32_t count, int32_t *error);
/* No thread uses it any more. */
void ab_reader_destroy(ab_reader *reader);
/* Rings of the maps, in their order: those of the first map, of the second ... */
uint32_t ab_reader_rings(const ab_reader *reader);
/* Records of a ring that found no room since the ring was made. */
uint64_t ab_reader_lost(const ab_reader *reader, uint32_t ring);

/* Takes records, as ab_map_ring_drain does, from the next ring, in turn, that has some, and says which it is; 0: there are none. */
int64_t ab_reader_take(ab_reader *reader, void *buffer, uint32_t capacity, uint32_t *ends, uint32_t limit, uint32_t *ring);

/* Waiting: arm; when that says 0, sleep, then disarm, and look again: a sleep may end early.
 * arm: 1, there is something to take (or discarded records to skip); 0, armed; -EBADF, closed. */
int32_t ab_reader_arm(ab_reader *reader);
/* Until a record comes that rouses readers, or a call of ab_reader_rouse or _close since arm; negative milliseconds: for ever.
 * 1: roused. */
int32_t ab_reader_sleep(const ab_reader *reader, int32_t milliseconds);
void ab_reader_disarm(ab_reader *reader);
/* Readable as long as ab_reader_sleep would return at once; -1 where descriptors cannot be polled. */
int32_t ab_reader_descriptor(const ab_reader *reader);
void ab_reader_rouse(ab_reader *reader);
/* Rouses all, and lets nobody sleep any more. */
void ab_reader_close(ab_reader *reader);
#endif
