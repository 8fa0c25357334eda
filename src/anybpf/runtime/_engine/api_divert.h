/* api_divert.h: batches of packets as WinDivert gives and takes them, through the programs attached.
 *
 * Packets begin with their IP headers and stand without gaps; each has a WINDIVERT_ADDRESS (WinDivert 2.2, windivert.h), which
 * goes back with it unchanged: so checksums that were left to hardware are still filled in when the packet is sent on.
 */
#ifndef ANYBPF_API_DIVERT_H
#define ANYBPF_API_DIVERT_H
#include "api_datagram.h"

/* Packets that one batch holds, and bytes of an address. */
enum { AB_DIVERT_BATCH = 255, AB_DIVERT_ADDRESS = 80 };

typedef struct ab_divert_batch {
    const uint8_t *packets;
    const uint8_t *addresses;
    uint32_t length;         /* bytes of all packets */
    uint32_t count;
    uint32_t next_byte;      /* in and out, begin with 0: where the next packet begins */
    uint32_t next;           /* in and out, begin with 0: its number */
    uint8_t *kept;           /* what goes on: packets as they are now, and their addresses */
    uint8_t *kept_addresses;
    uint32_t kept_capacity;  /* bytes, at least AB_DATAGRAM_MAX; there is room for AB_DIVERT_BATCH addresses */
    uint32_t kept_length;    /* out */
    uint32_t kept_count;     /* out */
    uint32_t lost;           /* in and out: packets that programs let pass and made unfit to */
} ab_divert_batch;

/* Runs packets in order: 0, all have been run; 1, there is no room for more: send what is kept, and call again; -EINVAL, what
 * comes next is no IP packet. */
int32_t ab_divert_run(const ab_datagram_point *point, ab_divert_batch *batch);
#endif
