/* helpers_skb.c: reading, writing and reshaping the packet behind a struct __sk_buff. */
#include <string.h>

#include "helpers.h"
#include "packet.h"

#define F_RECOMPUTE_CSUM 1u
#define F_INVALIDATE_HASH 2u
#define HDR_START_MAC 0u
#define HDR_START_NET 1u
#define RELATIVE_OFFSET_MAX 0xffffu
#define PACKET_OTHERHOST 3u
#define IPV4_HEADER 20u
#define IPV6_HEADER 40u

AB_HELPER(skb_load_bytes) {
    uint32_t offset = (uint32_t)a2, size = (uint32_t)a4;
    const uint8_t *from = offset > INT32_MAX ? NULL : ab_packet_at(ab_packet_of(a1), offset, size);
    if (from == NULL) {
        memset(ab_pointer(a3), 0, size);
        return ab_result(-AB_EFAULT);
    }
    memmove(ab_pointer(a3), from, size);
    return 0;
}

AB_HELPER(skb_load_bytes_relative) {
    const ab_event *event = ab_packet_of(a1);
    uint32_t offset = (uint32_t)a2, size = (uint32_t)a4, start = (uint32_t)a5;
    const uint8_t *header = event->hard_start + (start == HDR_START_MAC ? event->mac_header : event->network_header);
    int outside = start > HDR_START_NET || offset > RELATIVE_OFFSET_MAX || header > event->data_end
                  || (uint64_t)offset + size > (uint64_t)(event->data_end - header);
    if (outside) {
        memset(ab_pointer(a3), 0, size);
        return ab_result(-AB_EFAULT);
    }
    memmove(ab_pointer(a3), header + offset, size);
    return 0;
}

static void forget_hash(ab_event *event) {
    ab_context_set_u32(event, AB_SKB_HASH, 0);
    event->flags &= ~AB_EVENT_F_HASH_VALID;
}

AB_HELPER(skb_store_bytes) {
    ab_event *event = ab_packet_of(a1);
    uint32_t offset = (uint32_t)a2, size = (uint32_t)a4;
    if ((a5 & ~(uint64_t)(F_RECOMPUTE_CSUM | F_INVALIDATE_HASH)) != 0) return ab_result(-AB_EINVAL);
    uint8_t *to = offset > INT32_MAX ? NULL : ab_packet_at(event, offset, size);
    if (to == NULL) return ab_result(-AB_EFAULT);
    memmove(to, ab_pointer(a3), size);
    if (a5 & F_INVALIDATE_HASH) forget_hash(event);
    return 0;
}

/* Packets here are always in one piece, so there is nothing to pull; what is beyond the packet still is an error. */
AB_HELPER(skb_pull_data) {
    return (uint32_t)a2 > ab_packet_length(ab_packet_of(a1)) ? ab_result(-AB_ENOMEM) : 0;
}

AB_HELPER(skb_change_tail) {
    ab_event *event = ab_packet_of(a1);
    uint32_t length = (uint32_t)a2, old = ab_packet_length(event);
    int64_t network = event->hard_start + event->network_header - event->data;
    if (a3 != 0 || length > AB_SKB_MAX_LENGTH || (int64_t)length < network) return ab_result(-AB_EINVAL);
    if (length > old) {
        int error = ab_event_reserve(event, 0, length - old);
        if (error) return ab_result(error);
        memset(event->data_end, 0, length - old);
    }
    event->data_end = event->data + length;
    ab_event_length_changed(event);
    return 0;
}

AB_HELPER(skb_change_head) {
    ab_event *event = ab_packet_of(a1);
    uint32_t room = (uint32_t)a2;
    if (a3 != 0 || room > INT32_MAX || (uint64_t)room + ab_packet_length(event) > AB_SKB_MAX_LENGTH) return ab_result(-AB_EINVAL);
    int error = ab_packet_insert(event, 0, room);
    if (error) return ab_result(error);
    event->mac_header = (uint32_t)(event->data - event->hard_start);
    return 0;
}

/* Between IPv4 and IPv6: makes or removes the room by which their headers differ; the program writes the new header. */
AB_HELPER(skb_change_proto) {
    ab_event *event = ab_packet_of(a1);
    uint8_t wire[2];
    uint16_t stored = (uint16_t)a2;
    memcpy(wire, &stored, sizeof wire);
    uint32_t from = ab_context_be16(event, AB_SKB_PROTOCOL), to = ab_packet_be16(wire);
    uint32_t offset = event->network_header - event->mac_header;
    int error;
    if (a3 != 0) return ab_result(-AB_EINVAL);
    if (from == AB_ETH_P_IP && to == AB_ETH_P_IPV6) {
        error = ab_packet_insert(event, offset, IPV6_HEADER - IPV4_HEADER);
    } else if (from == AB_ETH_P_IPV6 && to == AB_ETH_P_IP) {
        error = ab_packet_remove(event, offset, IPV6_HEADER - IPV4_HEADER);
    } else {
        return ab_result(-AB_ENOTSUPP);
    }
    if (error) return ab_result(error);
    event->mac_header = (uint32_t)(event->data - event->hard_start);
    event->network_header = event->mac_header + offset;
    ab_context_set_be16(event, AB_SKB_PROTOCOL, to);
    forget_hash(event);
    return 0;
}

AB_HELPER(skb_change_type) {
    ab_event *event = ab_packet_of(a1);
    if (ab_context_u32(event, AB_SKB_PKT_TYPE) > PACKET_OTHERHOST || (uint32_t)a2 > PACKET_OTHERHOST) return ab_result(-AB_EINVAL);
    ab_context_set_u32(event, AB_SKB_PKT_TYPE, (uint32_t)a2);
    return 0;
}

AB_HELPER(skb_vlan_push) {
    uint8_t wire[2];
    uint16_t stored = (uint16_t)a2;
    memcpy(wire, &stored, sizeof wire);
    return ab_result(ab_vlan_push(ab_packet_of(a1), ab_packet_be16(wire), (uint16_t)a3));
}

AB_HELPER(skb_vlan_pop) { return ab_result(ab_vlan_pop(ab_packet_of(a1))); }

AB_HELPER(get_hash_recalc) {
    ab_event *event = ab_packet_of(a1);
    uint32_t hash = ab_context_u32(event, AB_SKB_HASH);
    if (hash != 0 || event->flags & AB_EVENT_F_HASH_VALID) return hash;
    hash = ab_packet_hash(event);
    ab_context_set_u32(event, AB_SKB_HASH, hash);
    event->flags |= AB_EVENT_F_HASH_VALID;
    return hash;
}

AB_HELPER(set_hash_invalid) {
    forget_hash(ab_packet_of(a1));
    return 0;
}

AB_HELPER(set_hash) {
    ab_event *event = ab_packet_of(a1);
    ab_context_set_u32(event, AB_SKB_HASH, (uint32_t)a2);
    event->flags |= AB_EVENT_F_HASH_VALID;
    return 0;
}
