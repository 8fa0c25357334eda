/* packet_vlan.c: VLAN tags. As in Linux, the outermost tag of a __sk_buff stands beside the packet (vlan_present, vlan_tci,
 * vlan_proto), where a network card would have put it; pushing another one writes it into the packet first. */
#include <string.h>

#include "packet.h"

#define VLAN_HLEN 4u
#define MAC_ADDRESSES 12u

static int is_vlan(uint32_t protocol) { return protocol == AB_ETH_P_8021Q || protocol == AB_ETH_P_8021AD; }

static void put_tag(ab_event *event, uint32_t protocol, uint32_t tci) {
    ab_context_set_u32(event, AB_SKB_VLAN_PRESENT, 1);
    ab_context_set_u32(event, AB_SKB_VLAN_TCI, tci);
    ab_context_set_be16(event, AB_SKB_VLAN_PROTO, protocol);
}

static void clear_tag(ab_event *event) {
    ab_context_set_u32(event, AB_SKB_VLAN_PRESENT, 0);
    ab_context_set_u32(event, AB_SKB_VLAN_TCI, 0);
    ab_context_set_u32(event, AB_SKB_VLAN_PROTO, 0);
}

/* Moves the tag that stands beside the packet into the frame, as a network card does when it sends. */
int ab_event_insert_vlan(ab_event *event) {
    if (event->kind != AB_EVENT_SKB || ab_context_u32(event, AB_SKB_VLAN_PRESENT) == 0) return 0;
    if (ab_packet_at(event, 0, AB_ETH_HLEN) == NULL) return -AB_EINVAL;
    int error = ab_packet_insert(event, MAC_ADDRESSES, VLAN_HLEN);
    if (error) return error;
    uint32_t protocol = ab_context_be16(event, AB_SKB_VLAN_PROTO);
    ab_packet_put_be16(event->data + MAC_ADDRESSES, protocol);
    ab_packet_put_be16(event->data + MAC_ADDRESSES + 2, ab_context_u32(event, AB_SKB_VLAN_TCI));
    ab_context_set_be16(event, AB_SKB_PROTOCOL, protocol);
    event->mac_header -= VLAN_HLEN;
    event->network_header -= VLAN_HLEN;
    clear_tag(event);
    return 0;
}

int ab_vlan_push(ab_event *event, uint32_t protocol, uint32_t tci) {
    int error = ab_event_insert_vlan(event);
    if (error) return error;
    put_tag(event, is_vlan(protocol) ? protocol : AB_ETH_P_8021Q, tci);
    return 0;
}

/* Takes the tag out of the frame: its number, or a negative error. The packet's protocol becomes what the tag announced. */
static int64_t take_tag(ab_event *event) {
    uint8_t *frame = ab_packet_at(event, 0, AB_ETH_HLEN + VLAN_HLEN);
    if (frame == NULL) return -AB_ENOMEM;
    uint32_t tci = ab_packet_be16(frame + 14), inner = ab_packet_be16(frame + 16);
    if (inner < 0x0600) { /* a length: 802.3, told apart as eth_type_trans does */
        const uint8_t *body = ab_packet_at(event, 18, 2);
        inner = body != NULL && ab_packet_be16(body) == 0xffff ? 0x0001 : 0x0004;
    }
    ab_packet_remove(event, MAC_ADDRESSES, VLAN_HLEN);
    ab_context_set_be16(event, AB_SKB_PROTOCOL, inner);
    event->mac_header += VLAN_HLEN;
    uint32_t least = (uint32_t)(event->data - event->hard_start) + AB_ETH_HLEN;
    if (event->network_header < least) event->network_header = least;
    return tci;
}

int ab_vlan_pop(ab_event *event) {
    if (ab_context_u32(event, AB_SKB_VLAN_PRESENT) != 0) {
        clear_tag(event);
    } else {
        if (!is_vlan(ab_context_be16(event, AB_SKB_PROTOCOL))) return 0;
        int64_t tci = take_tag(event);
        if (tci < 0) return (int)tci;
    }
    uint32_t protocol = ab_context_be16(event, AB_SKB_PROTOCOL);
    if (!is_vlan(protocol)) return 0;
    int64_t tci = take_tag(event);
    if (tci < 0) return (int)tci;
    put_tag(event, protocol, (uint32_t)tci);
    return 0;
}
