/* net/tcp.h: the TCP header. */
#ifndef ANYBPF_WINDOWS_NET_TCP_H
#define ANYBPF_WINDOWS_NET_TCP_H

#include <stdint.h>

typedef struct _TCP_HEADER {
    uint16_t srcPort;
    uint16_t destPort;
    uint32_t sequence;
    uint32_t acknowledgement;
    uint8_t reserved : 4;
    uint8_t dataOffset : 4;
    uint8_t flags;
    uint16_t window;
    uint16_t checksum;
    uint16_t urgentPointer;
} TCP_HEADER, *PTCP_HEADER;

#endif
