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
/* Reads records, the oldest first, as many as fit: each a 64-bit length and its bytes padded to 8. Bytes written; -ENOSPC: the
 * first does not fit. */
int64_t ab_map_ring_drain(ab_map *map, uint32_t ring, void *buffer, uint64_t capacity);
/* Waits until a ring buffer has a record: 1, or 0 after so many milliseconds. -EINVAL for other kinds. */
int ab_map_ring_wait(ab_map *map, uint32_t milliseconds);
#endif
