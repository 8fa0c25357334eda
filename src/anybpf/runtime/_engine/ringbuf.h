/* ringbuf.h: ring buffers and perf event arrays, for the helpers that write to them. Results as Linux's helpers give them. */
#ifndef ANYBPF_RINGBUF_H
#define ANYBPF_RINGBUF_H

#include "api_ring.h"
#include "engine.h"
#include "ring.h"

/* A map's ring, NULL when it has none of this number. */
ab_ring *ab_map_ring(const ab_map *map, uint32_t ring);

/* bpf_ringbuf_reserve: NULL when there is no room or flags are not 0. */
void *ab_ringbuf_reserve(ab_map *map, uint64_t size, uint64_t flags);
/* bpf_ringbuf_submit, bpf_ringbuf_discard: record is what reserve gave. */
void ab_ringbuf_submit(void *record, uint64_t flags);
void ab_ringbuf_discard(void *record, uint64_t flags);
/* bpf_ringbuf_output: 0, -EINVAL for unknown flags, -EAGAIN without room. */
int ab_ringbuf_output(ab_map *map, const void *data, uint64_t size, uint64_t flags);
/* bpf_ringbuf_query: BPF_RB_AVAIL_DATA 0, BPF_RB_RING_SIZE 1, BPF_RB_CONS_POS 2, BPF_RB_PROD_POS 3; 0 for others. */
uint64_t ab_ringbuf_query(ab_map *map, uint64_t what);

/* bpf_perf_event_output: `data`, then `packet_size` bytes of `packet` as one record in this cpu's ring. The low half of flags is
 * the index (BPF_F_CURRENT_CPU: this cpu). -EINVAL for other bits below the packet length's, -E2BIG for an index beyond
 * max_entries, -ENOENT where there is no ring, -EOPNOTSUPP for another cpu's ring, -ENOSPC without room. */
int ab_perf_output(ab_map *map, uint64_t flags, const void *data, uint64_t size, const void *packet, uint64_t packet_size,
                   ab_slot *slot);

#endif
