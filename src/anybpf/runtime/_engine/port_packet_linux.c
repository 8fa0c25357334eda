/* port_packet_linux.c: an interface through a packet socket with mapped rings.
 *
 * Version 2 of the rings, because a frame can be read as soon as it has arrived; version 3 holds frames back until a block is
 * full or its time (whole milliseconds) is over. A merged frame, which is larger than the ring's, comes through the socket's own
 * queue, at its place in the ring's order (PACKET_COPY_THRESH). What is sent is to stand in one piece (header_length): the kernel
 * would otherwise attach the ring's page to the packet, which veth and its kin then have to copy into a page of its own.
 */
#if defined(__linux__)
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "packet.h"
#include "port.h"
#include "segment.h"

#define MERGED_MAX (8u * 65536u + 256u) /* bytes of the largest merged frame that is taken: Linux's GSO_MAX_SIZE and headers */
#define TOGETHER_MAX 4096u         /* bytes to stand in one piece */
#define ADDRESSES 12u              /* bytes before a VLAN tag */
#define TAG 4u
#define DATA_OFFSET TPACKET_ALIGN(sizeof(struct tpacket2_hdr)) /* of what is sent, in a frame of the ring */

typedef struct packet_port {
    ab_port port;
    ab_packet_rings rings;
    uint32_t next_received;
    uint32_t next_sent;
    uint32_t queued;           /* frames for the next flush */
    int splitting;
    ab_segmenter segmenter;    /* of a merged frame: of the next one in the ring, or of `merged` */
    uint8_t merged[sizeof(ab_offload) + MERGED_MAX];
} packet_port;

typedef _Atomic uint32_t status_word;

static packet_port *packet_of(ab_port *port) { return (packet_port *)(void *)port; }

static struct tpacket2_hdr *frame_at(uint8_t *ring, uint32_t number, uint32_t size) {
    return (struct tpacket2_hdr *)(void *)(ring + (size_t)number * size);
}

static uint32_t status_of(const struct tpacket2_hdr *frame) {
    return atomic_load_explicit((const status_word *)(const void *)&frame->tp_status, memory_order_acquire);
}

static void set_status(struct tpacket2_hdr *frame, uint32_t status) {
    atomic_store_explicit((status_word *)(void *)&frame->tp_status, status, memory_order_release);
}

static void release(packet_port *packet, struct tpacket2_hdr *frame) {
    set_status(frame, TP_STATUS_KERNEL);
    packet->next_received = packet->next_received + 1 == packet->rings.receive_frames ? 0 : packet->next_received + 1;
}

/* Bytes of the VLAN tag that the kernel took out of the frame. */
static uint32_t tag_size(const struct tpacket2_hdr *frame) { return frame->tp_status & TP_STATUS_VLAN_VALID ? TAG : 0; }

/* Puts the tag back: the frame without it begins TAG bytes after `to`. */
static void put_tag(const struct tpacket2_hdr *frame, uint8_t *to) {
    if (tag_size(frame) == 0) return;
    memmove(to, to + TAG, ADDRESSES);
    ab_packet_put_be16(to + ADDRESSES, frame->tp_status & TP_STATUS_VLAN_TPID_VALID ? frame->tp_vlan_tpid : AB_ETH_P_8021Q);
    ab_packet_put_be16(to + ADDRESSES + 2, frame->tp_vlan_tci);
}

/* The next packet of the merged frame; when there is none, the ring's frame is the kernel's again. */
static int receive_segment(packet_port *packet, struct tpacket2_hdr *frame, ab_event *event) {
    uint32_t tag = tag_size(frame), length = 0;
    uint8_t *to = ab_port_place(event, ab_segment_largest(&packet->segmenter) + tag);
    if (to != NULL) length = ab_segment_next(&packet->segmenter, to + tag);
    if (length == 0) {
        packet->splitting = 0;
        release(packet, frame);
        return 0;
    }
    put_tag(frame, to);
    event->data_end = to + tag + length;
    return 1;
}

/* What came through the socket's own queue. Bytes of the frame behind its offload header, 0 when it is not there whole. */
static uint32_t receive_merged(packet_port *packet) {
    ssize_t got = recv(packet->port.descriptor, packet->merged, sizeof packet->merged, MSG_DONTWAIT | MSG_TRUNC);
    if (got <= (ssize_t)sizeof(ab_offload) || (size_t)got > sizeof packet->merged) return 0;
    return (uint32_t)((size_t)got - sizeof(ab_offload));
}

/* Puts a frame that stands for one packet into the event: 0 or a negative error. */
static int receive_single(const struct tpacket2_hdr *frame, const uint8_t *from, uint32_t length, const ab_offload *offload,
                          ab_event *event) {
    uint32_t tag = tag_size(frame);
    uint8_t *to = ab_port_place(event, length + tag);
    if (to == NULL) return -AB_ENOMEM;
    memcpy(to + tag, from, length);
    int error = offload->flags & AB_OFFLOAD_CHECKSUM ? ab_checksum_complete(to + tag, length, offload) : 0;
    put_tag(frame, to);
    return error;
}

/* Takes the ring's frame: 1 when it, or the first packet of it, is in the event. It is released unless more packets follow. */
static int receive_frame(packet_port *packet, struct tpacket2_hdr *frame, ab_event *event) {
    const struct sockaddr_ll *address = (const void *)((const uint8_t *)frame + TPACKET_ALIGN(sizeof *frame));
    /* What the host sent itself, or looped back to itself, is not from the wire. */
    int own = address->sll_pkttype == PACKET_OUTGOING || address->sll_pkttype == PACKET_LOOPBACK, merged = 0;
    const uint8_t *from = (const uint8_t *)frame + frame->tp_mac;
    uint32_t length = frame->tp_snaplen;
    ab_offload offload;
    int error = length == frame->tp_len && frame->tp_mac + (uint64_t)length <= packet->rings.frame_size &&
                frame->tp_mac >= DATA_OFFSET + sizeof offload ? 0 : -AB_EMSGSIZE;
    if (frame->tp_status & TP_STATUS_COPY) {
        length = receive_merged(packet);
        from = packet->merged + sizeof offload;
        error = 0;
    }
    if (!error && length < AB_ETH_HLEN) error = -AB_EMSGSIZE;
    if (!error && !own) {
        memcpy(&offload, from - sizeof offload, sizeof offload);
        merged = offload.kind != AB_OFFLOAD_NONE;
        error = merged ? ab_segment_begin(&packet->segmenter, from, length, &offload)
                       : receive_single(frame, from, length, &offload, event);
    }
    if (merged && !error) {
        packet->splitting = 1;
        return receive_segment(packet, frame, event);
    }
    if (error) ab_port_tally(&packet->port.unreadable);
    release(packet, frame);
    return !own && !error;
}

static int receive(ab_port *port, ab_event *event) {
    packet_port *packet = packet_of(port);
    for (;;) {
        struct tpacket2_hdr *frame = frame_at(packet->rings.receive, packet->next_received, packet->rings.frame_size);
        if (packet->splitting) {
            if (receive_segment(packet, frame, event)) return 1;
            continue;
        }
        if (!(status_of(frame) & TP_STATUS_USER)) return 0;
        if (receive_frame(packet, frame, event)) return 1;
    }
}

static int flush(ab_port *port) {
    packet_port *packet = packet_of(port);
    if (packet->queued == 0) return 0;
    int congested = 0;
    if (send(port->descriptor, NULL, 0, MSG_DONTWAIT) < 0) congested = errno == EAGAIN || errno == ENOBUFS || errno == EINTR ? 1 : -1;
    if (congested != 1) packet->queued = 0; /* what is left in the ring goes with the next that is sent */
    return congested;
}

static void send_frame(ab_port *port, const uint8_t *bytes, uint32_t length) {
    packet_port *packet = packet_of(port);
    struct tpacket2_hdr *frame = frame_at(packet->rings.transmit, packet->next_sent, packet->rings.frame_size);
    uint32_t busy = TP_STATUS_SEND_REQUEST | TP_STATUS_SENDING;
    if (status_of(frame) & busy) flush(port);
    if (length > port->largest || length < AB_ETH_HLEN || (status_of(frame) & busy)) {
        ab_port_tally(&port->no_room);
        return;
    }
    ab_offload offload = {.header_length = (uint16_t)(length < TOGETHER_MAX ? length : TOGETHER_MAX)};
    uint8_t *to = (uint8_t *)frame + DATA_OFFSET;
    memcpy(to, &offload, sizeof offload);
    memcpy(to + sizeof offload, bytes, length);
    frame->tp_len = (uint32_t)sizeof offload + length;
    set_status(frame, TP_STATUS_SEND_REQUEST);
    packet->next_sent = packet->next_sent + 1 == packet->rings.transmit_frames ? 0 : packet->next_sent + 1;
    packet->queued++;
    ab_port_tally(&port->sent);
}

static void destroy(ab_port *port) { free(packet_of(port)); }

static const ab_port_ops packet_ops = {receive, send_frame, flush, destroy};

ab_port *ab_port_packet_create(int32_t descriptor, uint32_t ifindex, const ab_packet_rings *rings) {
    _Static_assert(sizeof(ab_offload) == 10, "as the kernel writes it");
    uint64_t room = (uint64_t)rings->largest + DATA_OFFSET + sizeof(ab_offload);
    if (rings->transmit_frames == 0 || room > rings->frame_size) return NULL;
    packet_port *packet = calloc(1, sizeof *packet);
    if (packet == NULL) return NULL;
    ab_port_init(&packet->port, &packet_ops, descriptor, ifindex, rings->largest);
    packet->rings = *rings;
    return &packet->port;
}
#else
#include "port.h"

ab_port *ab_port_packet_create(int32_t descriptor, uint32_t ifindex, const ab_packet_rings *rings) {
    (void)descriptor, (void)ifindex, (void)rings;
    return NULL;
}
#endif
