/* net/if_ether.h: the Ethernet header. */
#ifndef ANYBPF_WINDOWS_NET_IF_ETHER_H
#define ANYBPF_WINDOWS_NET_IF_ETHER_H

#include <stdint.h>

#define ETHERNET_TYPE_IPV4 0x0800
#define ETHERNET_TYPE_ARP 0x0806
#define ETHERNET_TYPE_VLAN 0x8100
#define ETHERNET_TYPE_IPV6 0x86dd

#pragma pack(push, 1)
typedef struct _ETHERNET_HEADER {
    uint8_t Destination[6];
    uint8_t Source[6];
    uint16_t Type;
} ETHERNET_HEADER, *PETHERNET_HEADER;
#pragma pack(pop)

#endif
