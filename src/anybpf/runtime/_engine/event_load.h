/* event_load.h: what loading a packet into an event means for each kind of context. Batches do it for every packet, so it costs
 * no call.
 */
#ifndef ANYBPF_EVENT_LOAD_H
#define ANYBPF_EVENT_LOAD_H

#include "event.h"

#define AB_ETH_P_802_2 0x0004u
#define AB_ETH_P_802_3 0x0001u
#define AB_ETH_P_802_3_MIN 0x0600u

#define AB_PACKET_HOST 0u
#define AB_PACKET_MULTICAST 2u
#define AB_PACKET_OTHERHOST 3u

#define AB_COPY_BLOCK 64u
#define AB_COPY_SHORT 256u

/* Copies a packet, or a context; `readable` is how far its source reaches. Most are short, and a call of memcpy costs more than the
 * copy: those are copied in whole blocks, as far as the source allows. The event's tail room, and a block behind its context, take
 * what is too much. */
static inline void ab_packet_copy(uint8_t *to, const uint8_t *from, uint32_t length, uint64_t readable) {
    uint32_t blocks = (length + AB_COPY_BLOCK - 1) / AB_COPY_BLOCK;
    if (length <= AB_COPY_SHORT && (uint64_t)blocks * AB_COPY_BLOCK <= readable) {
        for (uint32_t i = 0; i < blocks; i++)
            memcpy(to + AB_COPY_BLOCK * (size_t)i, from + AB_COPY_BLOCK * (size_t)i, AB_COPY_BLOCK);
    } else if (length != 0) {
        memcpy(to, from, length);
    }
}

/* Turns the lengths that the context was loaded with into pointers. They are never NULL: the verifier counts on it. Lengths that
 * the data do not have are 0, and -AB_EINVAL. */
static inline int ab_event_point_buffers(ab_event *event) {
    ab_buffer_bounds *bounds = (ab_buffer_bounds *)(void *)(event + 1);
    uint8_t *at = event->data;
    int error = 0;
    for (uint32_t i = 0; i < event->buffers; i++) {
        uint64_t length = bounds[i].end;
        if (length > (uint64_t)(event->data_end - at)) {
            length = 0;
            error = -AB_EINVAL;
        }
        bounds[i].start = (uint64_t)(uintptr_t)at;
        at += length;
        bounds[i].end = (uint64_t)(uintptr_t)at;
    }
    return error;
}

/* __sk_buff.protocol, a big-endian number, from the Ethernet header (eth_type_trans). */
static inline uint16_t ab_protocol_of(const uint8_t *packet, uint32_t length) {
    uint16_t type;
    memcpy(&type, packet + 12, sizeof type);
    uint32_t number = (uint32_t)packet[12] << 8 | packet[13];
    if (number >= AB_ETH_P_802_3_MIN) return type;
    int raw_ipx = length >= AB_ETH_HLEN + 2 && packet[14] == 0xff && packet[15] == 0xff;
    uint8_t wire[2] = {0, raw_ipx ? AB_ETH_P_802_3 : AB_ETH_P_802_2};
    memcpy(&type, wire, sizeof type);
    return type;
}

/* __sk_buff.pkt_type as on the loopback interface, whose own and broadcast addresses are all zeros. */
static inline uint32_t ab_packet_type_of(const uint8_t *packet) {
    static const uint8_t own[6] = {0};
    uint32_t unicast = memcmp(packet, own, sizeof own) == 0 ? AB_PACKET_HOST : AB_PACKET_OTHERHOST;
    return packet[0] & 1 ? AB_PACKET_MULTICAST : unicast;
}

/* Puts the fields of a __sk_buff that programs and helpers write back to what they were: all but those from data to flow_keys. */
static inline void ab_skb_restore(ab_event *event, const uint8_t *context) {
    uint8_t *to = (uint8_t *)(event + 1);
    memcpy(to, context, AB_SKB_DATA);
    memcpy(to + AB_SKB_TSTAMP, context + AB_SKB_TSTAMP, AB_SKB_SIZE - AB_SKB_TSTAMP);
}

/* What a __sk_buff shows of its packet: the length always, protocol and packet type where the context leaves them zero. */
static inline void ab_skb_describe(ab_event *event, const uint8_t *packet, uint32_t length) {
    uint32_t shown = length;
    if (length >= AB_ETH_HLEN) {
        event->network_header += AB_ETH_HLEN;
        if (ab_context_u32(event, AB_SKB_PROTOCOL) == 0)
            ab_context_set_u32(event, AB_SKB_PROTOCOL, ab_protocol_of(packet, length));
        if (ab_context_u32(event, AB_SKB_PKT_TYPE) == 0)
            ab_context_set_u32(event, AB_SKB_PKT_TYPE, ab_packet_type_of(packet));
        if (event->flags & AB_EVENT_F_NETWORK_LAYER) {
            event->data += AB_ETH_HLEN;
            event->data_meta = event->data;
            shown -= AB_ETH_HLEN;
        }
    }
    if (ab_context_u32(event, AB_SKB_WIRE_LEN) == 0) ab_context_set_u32(event, AB_SKB_WIRE_LEN, length);
    ab_context_set_u32(event, AB_SKB_LEN, shown);
}

#endif
