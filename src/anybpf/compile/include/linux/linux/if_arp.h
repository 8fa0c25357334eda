/* linux/if_arp.h: the ARP header; addresses of varying length follow it. */
#ifndef ANYBPF_LINUX_IF_ARP_H
#define ANYBPF_LINUX_IF_ARP_H

#include <linux/types.h>

#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

struct arphdr {
    __be16 ar_hrd;
    __be16 ar_pro;
    unsigned char ar_hln;
    unsigned char ar_pln;
    __be16 ar_op;
};

#endif
