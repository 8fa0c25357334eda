/* linux/ipv6.h: the IPv6 header and its common extension headers. */
#ifndef ANYBPF_LINUX_IPV6_H
#define ANYBPF_LINUX_IPV6_H

#include <linux/in6.h>
#include <linux/types.h>

struct ipv6hdr {
    __u8 priority : 4, version : 4;
    __u8 flow_lbl[3];
    __be16 payload_len;
    __u8 nexthdr;
    __u8 hop_limit;
    union {
        struct {
            struct in6_addr saddr;
            struct in6_addr daddr;
        };
        struct {
            struct in6_addr saddr;
            struct in6_addr daddr;
        } addrs;
    };
};

struct ipv6_opt_hdr {
    __u8 nexthdr;
    __u8 hdrlen;
} __attribute__((packed));

struct ipv6_rt_hdr {
    __u8 nexthdr;
    __u8 hdrlen;
    __u8 type;
    __u8 segments_left;
};

#endif
