/* net/udp.h: the UDP header. */
#ifndef ANYBPF_WINDOWS_NET_UDP_H
#define ANYBPF_WINDOWS_NET_UDP_H

#include <stdint.h>

typedef struct _UDP_HEADER {
    uint16_t srcPort;
    uint16_t destPort;
    uint16_t length;
    uint16_t checksum;
} UDP_HEADER, *PUDP_HEADER;

#endif
