/* datagram.h: a packet that begins at its network header, shown to XDP programs as the Ethernet frame that they expect. */
#ifndef ANYBPF_DATAGRAM_H
#define ANYBPF_DATAGRAM_H

#include "api_datagram.h"
#include "chain.h"

typedef struct ab_datagram {
    const uint8_t *data;
    uint32_t length;
    uint32_t interface;  /* index of the one that it came in by, 0: none */
    uint8_t source[6];   /* link-layer address of the sender, zeros where unknown; the frame's target is always zeros */
    uint8_t protocol[2]; /* EtherType, in network order */
    int truncated;       /* `data` is only its beginning: it can pass or not, but not be changed */
} ab_datagram;

/* What becomes of the packet. LOST: the program let it pass, but made of it what cannot go on from here: another EtherType, an
 * IP header that says more than there is, or a change to a packet of which only the beginning is there. */
enum ab_datagram_fate { AB_DATAGRAM_PASSES, AB_DATAGRAM_CHANGED, AB_DATAGRAM_STOPS, AB_DATAGRAM_LOST };

/* Runs the chain on a packet. After CHANGED, `*changed` is what the packet has become, in the point's event, from its network
 * header on. The session is open on this thread, for the point's event. */
enum ab_datagram_fate ab_datagram_run(const ab_datagram_point *point, ab_session *session, const ab_datagram *datagram,
                                      ab_datagram *changed);

/* Bytes of the IP packet that stands at `data`, by its own header; 0 when that is no IP header or says more than there is. */
uint32_t ab_datagram_ip_length(const uint8_t *data, uint64_t available);
#endif
