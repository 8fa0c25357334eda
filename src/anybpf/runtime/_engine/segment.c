/* segment.c: see segment.h. Every offset is checked once, in ab_segment_begin, against the frame's length. */
#include "segment.h"

#include <string.h>

#include "checksum.h"
#include "packet.h"

#define PROTOCOL_TCP 6u
#define PROTOCOL_UDP 17u
#define IPV4_HEADER 20u
#define IPV6_HEADER 40u
#define TCP_HEADER 20u
#define UDP_HEADER 8u
#define TCP_CHECKSUM 16u
#define UDP_CHECKSUM 6u
#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u
#define VLAN_TAGS_MAX 8u

static void put_checksum(uint8_t *at, uint32_t sum) {
    uint16_t field = (uint16_t)~ab_checksum_fold(sum);
    if (field == 0) field = 0xffff; /* in UDP 0 means "none"; the two are equal in one's complement */
    memcpy(at, &field, sizeof field);
}

int ab_checksum_complete(uint8_t *frame, uint32_t length, const ab_offload *offload) {
    uint32_t start = offload->checksum_start, offset = offload->checksum_offset;
    if (start > length || offset > length - start || length - start - offset < 2) return -AB_EINVAL;
    put_checksum(frame + start + offset, ab_checksum_add(frame + start, length - start, 0));
    return 0;
}

/* Where the network header begins, and its protocol; 0 when the frame ends before. */
static uint32_t find_network(const uint8_t *frame, uint32_t length, uint32_t *type) {
    uint32_t at = AB_ETH_HLEN;
    for (uint32_t tags = 0; at <= length; tags++, at += 4) {
        *type = ab_packet_be16(frame + at - 2);
        if ((*type != AB_ETH_P_8021Q && *type != AB_ETH_P_8021AD) || tags == VLAN_TAGS_MAX) return at;
    }
    return 0;
}

/* The IP header, which must end where, or (IPv6, with extension headers) before, the transport header begins. */
static int check_network(ab_segmenter *segmenter) {
    uint32_t type = 0, network = find_network(segmenter->frame, segmenter->length, &type), room;
    const uint8_t *header = segmenter->frame + network;
    if (network == 0 || segmenter->transport <= network || segmenter->transport > segmenter->length) return -AB_EINVAL;
    room = segmenter->transport - network;
    segmenter->network = network;
    segmenter->version = header[0] >> 4;
    if (type == AB_ETH_P_IP && segmenter->version == 4)
        return room >= IPV4_HEADER && room == (header[0] & 15u) * 4u && header[9] == segmenter->protocol ? 0 : -AB_EINVAL;
    return type == AB_ETH_P_IPV6 && segmenter->version == 6 && room >= IPV6_HEADER ? 0 : -AB_EINVAL;
}

int ab_segment_begin(ab_segmenter *segmenter, const uint8_t *frame, uint32_t length, const ab_offload *offload) {
    uint32_t kind = offload->kind & ~(uint32_t)AB_OFFLOAD_ECN, room, header = UDP_HEADER;
    memset(segmenter, 0, sizeof *segmenter);
    if (kind != AB_OFFLOAD_TCP4 && kind != AB_OFFLOAD_TCP6 && kind != AB_OFFLOAD_UDP) return -AB_EOPNOTSUPP;
    segmenter->frame = frame;
    segmenter->length = length;
    segmenter->transport = offload->checksum_start;
    segmenter->size = offload->segment_size;
    segmenter->protocol = kind == AB_OFFLOAD_UDP ? PROTOCOL_UDP : PROTOCOL_TCP;
    if (!(offload->flags & AB_OFFLOAD_CHECKSUM) || segmenter->size == 0 || check_network(segmenter) != 0) return -AB_EINVAL;
    if (kind != AB_OFFLOAD_UDP && (kind == AB_OFFLOAD_TCP4) != (segmenter->version == 4)) return -AB_EINVAL;
    room = length - segmenter->transport;
    if (kind != AB_OFFLOAD_UDP) {
        if (room < TCP_HEADER) return -AB_EINVAL;
        header = (frame[segmenter->transport + 12] >> 4) * 4u;
        if (header < TCP_HEADER) return -AB_EINVAL;
    }
    if (room < header) return -AB_EINVAL;
    segmenter->payload = segmenter->transport + header;
    if (ab_segment_largest(segmenter) - segmenter->network > UINT16_MAX) return -AB_EINVAL;
    return 0;
}

uint32_t ab_segment_largest(const ab_segmenter *segmenter) {
    uint32_t rest = segmenter->length - segmenter->payload;
    return segmenter->payload + (rest < segmenter->size ? rest : segmenter->size);
}

static void finish_network(const ab_segmenter *segmenter, uint8_t *packet, uint32_t length) {
    uint8_t *header = packet + segmenter->network;
    uint32_t size = length - segmenter->network;
    if (segmenter->version == 6) {
        ab_packet_put_be16(header + 4, size - IPV6_HEADER);
        return;
    }
    ab_packet_put_be16(header + 2, size);
    ab_packet_put_be16(header + 4, ab_packet_be16(header + 4) + segmenter->count); /* identification */
    memset(header + 10, 0, 2);
    uint16_t sum = (uint16_t)~ab_checksum_fold(ab_checksum_add(header, segmenter->transport - segmenter->network, 0));
    memcpy(header + 10, &sum, sizeof sum);
}

static uint32_t pseudo_header(const ab_segmenter *segmenter, const uint8_t *packet, uint32_t size) {
    const uint8_t *header = packet + segmenter->network;
    uint8_t tail[4] = {0, segmenter->protocol, (uint8_t)(size >> 8), (uint8_t)size};
    uint32_t sum = segmenter->version == 6 ? ab_checksum_add(header + 8, 32, 0) : ab_checksum_add(header + 12, 8, 0);
    return ab_checksum_add(tail, sizeof tail, sum);
}

/* As Linux's tcp_gso_segment: the sequence number moves on; FIN and PSH are the last packet's, CWR the first one's. */
static void finish_tcp(const ab_segmenter *segmenter, uint8_t *tcp, int last) {
    uint32_t sequence = ab_packet_be16(tcp + 4) << 16 | ab_packet_be16(tcp + 6);
    sequence += segmenter->done;
    ab_packet_put_be16(tcp + 4, sequence >> 16);
    ab_packet_put_be16(tcp + 6, sequence);
    if (!last) tcp[13] &= (uint8_t)~(TCP_FIN | TCP_PSH);
    if (segmenter->count != 0) tcp[13] &= (uint8_t)~TCP_CWR;
}

uint32_t ab_segment_next(ab_segmenter *segmenter, uint8_t *packet) {
    uint32_t rest = segmenter->length - segmenter->payload - segmenter->done;
    if (rest == 0 && segmenter->count != 0) return 0;
    uint32_t part = rest < segmenter->size ? rest : segmenter->size, length = segmenter->payload + part;
    uint32_t size = length - segmenter->transport;
    uint8_t *transport = packet + segmenter->transport, *checksum = transport + TCP_CHECKSUM;
    memcpy(packet, segmenter->frame, segmenter->payload);
    memcpy(packet + segmenter->payload, segmenter->frame + segmenter->payload + segmenter->done, part);
    finish_network(segmenter, packet, length);
    if (segmenter->protocol == PROTOCOL_TCP) {
        finish_tcp(segmenter, transport, part == rest);
    } else {
        ab_packet_put_be16(transport + 4, size);
        checksum = transport + UDP_CHECKSUM;
    }
    memset(checksum, 0, 2);
    put_checksum(checksum, ab_checksum_add(transport, size, pseudo_header(segmenter, packet, size)));
    segmenter->done += part;
    segmenter->count++;
    return length;
}
