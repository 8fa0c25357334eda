/* event.h: the buffer that holds one event while programs see it: head room, packet, tail room, and the context.
 *
 * An event is made once and loaded again for every packet. It belongs to one thread at a time.
 */
#ifndef ANYBPF_EVENT_H
#define ANYBPF_EVENT_H

#include <string.h>

#include "api_event.h"
#include "engine.h"

/* Bytes before and after the packet: Linux's XDP_PACKET_HEADROOM, and its struct skb_shared_info rounded up. */
#define AB_EVENT_HEADROOM 256u
#define AB_EVENT_TAILROOM 320u
/* Never a smaller buffer than the page, less skb_shared_info, that Linux's test run gives a packet: programs that let
 * packets grow meet the same limit for every packet that fits. */
#define AB_EVENT_MIN_CAPACITY (4096u - AB_EVENT_HEADROOM - 2u * AB_EVENT_TAILROOM)
#define AB_EVENT_MAX_LENGTH (1u << 24)

#define AB_ETH_HLEN 14u

/* Flags of an event. The first stays for the event's life; loading a packet clears the others. */
#define AB_EVENT_F_NETWORK_LAYER 1u    /* programs see the packet from its network header on */
#define AB_EVENT_F_HASH_VALID 2u       /* __sk_buff.hash holds a hash, even when it is zero */
#define AB_EVENT_F_CSUM_UNNECESSARY 4u /* checksum levels are counted, see bpf_csum_level */
#define AB_EVENT_F_CSUM_LEVEL_SHIFT 3u /* two bits: how many checksums beyond the first are known to be good */
#define AB_EVENT_F_CSUM_LEVEL_MASK (3u << AB_EVENT_F_CSUM_LEVEL_SHIFT)
#define AB_EVENT_F_LASTING AB_EVENT_F_NETWORK_LAYER

/* A buffer's pointers, as they stand in the context. */
typedef struct ab_buffer_bounds {
    uint64_t start;
    uint64_t end;
} ab_buffer_bounds;

/* Whether a packet of `length` bytes has its head and tail room in the buffer as it is. */
static inline int ab_event_fits(const ab_event *event, uint32_t length) {
    return (uint64_t)length + AB_EVENT_HEADROOM + AB_EVENT_TAILROOM <= (uint64_t)(event->hard_end - event->hard_start);
}

/* Says where the next packet, which must fit, begins and ends; returns where to put its bytes. */
static inline uint8_t *ab_event_place(ab_event *event, uint32_t length) {
    uint8_t *data = event->hard_start + AB_EVENT_HEADROOM;
    event->data = event->data_meta = data;
    event->data_end = data + length;
    event->mac_header = event->network_header = AB_EVENT_HEADROOM;
    event->flags &= AB_EVENT_F_LASTING;
    return data;
}

static inline uint32_t ab_context_u32(const ab_event *event, uint32_t offset) {
    uint32_t value;
    memcpy(&value, (const uint8_t *)(event + 1) + offset, sizeof value);
    return value;
}

static inline void ab_context_set_u32(ab_event *event, uint32_t offset, uint32_t value) {
    memcpy((uint8_t *)(event + 1) + offset, &value, sizeof value);
}

/* Makes sure of `head` bytes before the data and `tail` bytes after it, moving the packet to a larger buffer if it must. */
int ab_event_reserve(ab_event *event, uint32_t head, uint32_t tail);

/* Writes what __sk_buff shows of the packet's length. */
void ab_event_length_changed(ab_event *event);

/* LD_ABS and LD_IND: `size` (1, 2 or 4) bytes in network order at `offset`, which is counted from the data, or, when negative,
 * from the network header (SKF_NET_OFF) or the link-layer header (SKF_LL_OFF). -AB_EFAULT outside the packet. */
int ab_packet_load(const ab_event *event, int64_t offset, uint32_t size, uint64_t *value);

#endif
