/* packet_hash.c: a hash of the packet's flow, for bpf_get_hash_recalc and bpf_get_socket_cookie. Linux's is keyed anew at every
 * boot, so no program can rely on its value; this one is the same for the same packet, so that runs can be repeated. Both
 * directions of a flow hash alike, as Linux's do. */
#include <string.h>

#include "hash.h"
#include "packet.h"

#define IPPROTO_TCP_NUMBER 6
#define IPPROTO_UDP_NUMBER 17
#define IPPROTO_SCTP_NUMBER 132
#define FRAGMENT_OFFSET_MASK 0x1fffu

typedef struct flow {
    uint8_t low[16], high[16]; /* the addresses, smaller first */
    uint16_t low_port, high_port;
    uint32_t protocol;
} flow;

static int has_ports(uint32_t protocol) {
    return protocol == IPPROTO_TCP_NUMBER || protocol == IPPROTO_UDP_NUMBER || protocol == IPPROTO_SCTP_NUMBER;
}

static void set_flow(flow *key, const uint8_t *source, const uint8_t *target, uint32_t size, const uint8_t *ports) {
    int order = memcmp(source, target, size);
    if (order == 0 && ports != NULL) order = memcmp(ports, ports + 2, 2);
    memcpy(key->low, order <= 0 ? source : target, size);
    memcpy(key->high, order <= 0 ? target : source, size);
    if (ports == NULL) return;
    memcpy(&key->low_port, ports + (order <= 0 ? 0 : 2), 2);
    memcpy(&key->high_port, ports + (order <= 0 ? 2 : 0), 2);
}

/* Fills in the packet's flow; returns whether it has ports. */
static int find_flow(const ab_event *event, flow *key) {
    memset(key, 0, sizeof *key);
    uint64_t at = (uint64_t)(event->hard_start + event->network_header - event->data);
    uint32_t protocol = ab_context_be16(event, AB_SKB_PROTOCOL);
    const uint8_t *header;
    for (int tags = 0; (protocol == AB_ETH_P_8021Q || protocol == AB_ETH_P_8021AD) && tags < 2; tags++) {
        if ((header = ab_packet_at(event, at, 4)) == NULL) break;
        protocol = ab_packet_be16(header + 2);
        at += 4;
    }
    if (protocol == AB_ETH_P_IP && (header = ab_packet_at(event, at, 20)) != NULL) {
        int fragment = (ab_packet_be16(header + 6) & FRAGMENT_OFFSET_MASK) != 0;
        key->protocol = header[9];
        const uint8_t *ports = ab_packet_at(event, at + (header[0] & 15u) * 4u, 4);
        if (!has_ports(key->protocol) || fragment) ports = NULL;
        set_flow(key, header + 12, header + 16, 4, ports);
        return ports != NULL;
    }
    if (protocol == AB_ETH_P_IPV6 && (header = ab_packet_at(event, at, 40)) != NULL) {
        key->protocol = header[6];
        const uint8_t *ports = has_ports(key->protocol) ? ab_packet_at(event, at + 40, 4) : NULL;
        set_flow(key, header + 8, header + 24, 16, ports);
        return ports != NULL;
    }
    key->protocol = protocol << 8;
    return 0;
}

uint32_t ab_packet_hash(const ab_event *event) {
    flow key;
    find_flow(event, &key);
    uint32_t hash = (uint32_t)ab_hash_bytes(&key, sizeof key, AB_HASH_C);
    return hash == 0 ? 1 : hash;
}

uint64_t ab_packet_connection(const ab_event *event) {
    flow key;
    if (!find_flow(event, &key)) return 0;
    uint64_t number = ab_hash_bytes(&key, sizeof key, AB_HASH_B);
    return number == 0 ? 1 : number;
}
