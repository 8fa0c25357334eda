/* segment.h: what network cards do for a host's stack, done here: checksums that were left to the hardware, and packets that were
 * left in one piece (or merged on receipt) cut into those that stand on the wire. Pure functions on bytes; nothing is trusted.
 */
#ifndef ANYBPF_SEGMENT_H
#define ANYBPF_SEGMENT_H

#include <stdint.h>

#include "engine.h"

/* struct virtio_net_hdr (virtio 1.2, section 5.1.6, in the machine's byte order): how the kernel says what it left undone. */
typedef struct ab_offload {
    uint8_t flags;            /* AB_OFFLOAD_CHECKSUM */
    uint8_t kind;             /* AB_OFFLOAD_* */
    uint16_t header_length;   /* a hint on receipt; when sending, the bytes that are to stand together */
    uint16_t segment_size;    /* payload bytes of each packet but the last */
    uint16_t checksum_start;  /* bytes from the frame's start: the sum is over everything from here ... */
    uint16_t checksum_offset; /* ... and goes here, counted from checksum_start; the pseudo header's sum stands there */
} ab_offload;

enum { AB_OFFLOAD_CHECKSUM = 1 };
enum { AB_OFFLOAD_NONE = 0, AB_OFFLOAD_TCP4 = 1, AB_OFFLOAD_TCP6 = 4, AB_OFFLOAD_UDP = 5, AB_OFFLOAD_ECN = 0x80 };

/* Puts in the checksum of a frame that was left without. 0, or -AB_EINVAL when it lies outside the frame. */
int ab_checksum_complete(uint8_t *frame, uint32_t length, const ab_offload *offload);

/* A merged frame on its way into packets. */
typedef struct ab_segmenter {
    const uint8_t *frame;
    uint32_t length;
    uint32_t network;   /* where the IP header begins, */
    uint32_t transport; /* the TCP or UDP header, */
    uint32_t payload;   /* and what follows it */
    uint32_t size;      /* payload bytes of each packet but the last */
    uint32_t done;      /* payload bytes given out */
    uint32_t count;     /* packets given out */
    uint8_t version;    /* of IP */
    uint8_t protocol;
} ab_segmenter;

/* `frame` must stay as it is until the last packet has been taken. 0; -AB_EINVAL, the headers are not what `offload` says;
 * -AB_EOPNOTSUPP, a kind of merging that is not known here. */
int ab_segment_begin(ab_segmenter *segmenter, const uint8_t *frame, uint32_t length, const ab_offload *offload);
/* Bytes of the largest packet that will come. */
uint32_t ab_segment_largest(const ab_segmenter *segmenter);
/* Writes the next packet, whole and with its checksums; its length, 0 after the last. */
uint32_t ab_segment_next(ab_segmenter *segmenter, uint8_t *packet);

#endif
