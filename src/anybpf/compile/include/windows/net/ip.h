/* net/ip.h: the IPv4 and IPv6 headers. */
#ifndef ANYBPF_WINDOWS_NET_IP_H
#define ANYBPF_WINDOWS_NET_IP_H

#include <stdint.h>

#define IPPROTO_ICMP 1
#define IPPROTO_IPV4 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_IPV6 41
#define IPPROTO_ICMPV6 58

#define AF_INET 2
#define AF_INET6 0x17

typedef struct _IPV4_HEADER {
    uint8_t HeaderLength : 4;
    uint8_t Version : 4;
    uint8_t TypeOfService;
    uint16_t TotalLength;
    uint16_t Identification;
    uint16_t FlagsAndOffset;
    uint8_t TimeToLive;
    uint8_t Protocol;
    uint16_t HeaderChecksum;
    uint32_t SourceAddress;
    uint32_t DestinationAddress;
} IPV4_HEADER, *PIPV4_HEADER;

typedef struct _IPV6_HEADER {
    uint32_t VersionClassFlow;
    uint16_t PayloadLength;
    uint8_t NextHeader;
    uint8_t HopLimit;
    uint8_t SourceAddress[16];
    uint8_t DestinationAddress[16];
} IPV6_HEADER, *PIPV6_HEADER;

#endif
