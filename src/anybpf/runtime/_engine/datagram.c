/* datagram.c: see datagram.h. */
#include "datagram.h"

#include "packet.h"

#define IPV4_HEADER 20u
#define IPV6_HEADER 40u

uint32_t ab_datagram_ip_length(const uint8_t *data, uint64_t available) {
    uint32_t length = 0;
    if (available >= IPV4_HEADER && data[0] >> 4 == 4) {
        uint32_t header = (data[0] & 15u) * 4u;
        length = ab_packet_be16(data + 2);
        if (header < IPV4_HEADER || length < header) return 0;
    } else if (available >= IPV6_HEADER && data[0] >> 4 == 6) {
        length = IPV6_HEADER + ab_packet_be16(data + 4);
    }
    return length <= available ? length : 0;
}

/* Checks what a program may have written to the header, as a system does with what comes from outside, and cuts off what stands
 * behind the packet. Whether the system can go on with it. */
static int receive(ab_datagram *datagram) {
    uint32_t protocol = ab_packet_be16(datagram->protocol);
    if (datagram->length > AB_DATAGRAM_MAX) return 0;
    if (protocol != AB_ETH_P_IP && protocol != AB_ETH_P_IPV6) return 1;
    uint32_t length = ab_datagram_ip_length(datagram->data, datagram->length);
    if (length == 0 || datagram->data[0] >> 4 != (protocol == AB_ETH_P_IP ? 4 : 6)) return 0;
    datagram->length = length;
    return 1;
}

static int load(ab_event *event, const ab_datagram *datagram) {
    if (!ab_event_fits(event, datagram->length + AB_ETH_HLEN)) return -AB_EMSGSIZE;
    uint8_t *frame = ab_event_place(event, datagram->length + AB_ETH_HLEN);
    memset(frame, 0, 6);
    memcpy(frame + 6, datagram->source, 6);
    memcpy(frame + 12, datagram->protocol, 2);
    memcpy(frame + AB_ETH_HLEN, datagram->data, datagram->length);
    return 0;
}

enum ab_datagram_fate ab_datagram_run(const ab_datagram_point *point, ab_session *session, const ab_datagram *datagram,
                                      ab_datagram *changed) {
    ab_event *event = point->event;
    if (load(event, datagram) != 0) return AB_DATAGRAM_LOST;
    ab_context_set_u32(event, point->interface_offset, datagram->interface);
    uint32_t verdict = ab_chain_run(point->chain, session, event);
    if ((point->passes >> (verdict & 63) & 1) == 0) return AB_DATAGRAM_STOPS;
    uint64_t length = (uint64_t)(event->data_end - event->data);
    if (length < AB_ETH_HLEN || memcmp(event->data + 12, datagram->protocol, 2) != 0) return AB_DATAGRAM_LOST;
    *changed = *datagram;
    changed->data = event->data + AB_ETH_HLEN;
    changed->length = (uint32_t)(length - AB_ETH_HLEN);
    if (changed->length == datagram->length && memcmp(changed->data, datagram->data, datagram->length) == 0)
        return AB_DATAGRAM_PASSES;
    return !datagram->truncated && receive(changed) ? AB_DATAGRAM_CHANGED : AB_DATAGRAM_LOST;
}
