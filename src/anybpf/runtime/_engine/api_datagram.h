/* api_datagram.h: where packets that begin at their network header meet XDP programs. */
#ifndef ANYBPF_API_DATAGRAM_H
#define ANYBPF_API_DATAGRAM_H
#include "api_chain.h"

/* What a source of such packets needs to know of the point that its programs are attached to. It holds no reference. */
typedef struct ab_datagram_point {
    ab_chain *chain;
    ab_event *event;           /* made for the chain's type of program, with room for AB_DATAGRAM_FRAME bytes */
    uint64_t passes;           /* verdicts, a bit each, after which a packet goes on its way; any other ends it */
    uint32_t interface_offset; /* in the context: the 32-bit index of the interface that the packet came in by */
} ab_datagram_point;

/* Bytes of the largest IP packet (IPv6, whose own header its length leaves out), and of the frame that is made of it. */
enum { AB_DATAGRAM_MAX = 65575, AB_DATAGRAM_FRAME = 65575 + 14 };
#endif
