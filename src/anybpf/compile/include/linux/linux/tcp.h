/* linux/tcp.h: the TCP header. */
#ifndef ANYBPF_LINUX_TCP_H
#define ANYBPF_LINUX_TCP_H

#include <linux/types.h>

struct tcphdr {
    __be16 source;
    __be16 dest;
    __be32 seq;
    __be32 ack_seq;
    __u16 ae : 1, res1 : 3, doff : 4, fin : 1, syn : 1, rst : 1, psh : 1, ack : 1, urg : 1, ece : 1, cwr : 1;
    __be16 window;
    __sum16 check;
    __be16 urg_ptr;
};

/* The fourth word of the header, which holds the flags, and the flags in it. */
union tcp_word_hdr {
    struct tcphdr hdr;
    __be32 words[5];
};
#define tcp_flag_word(tcp) (((union tcp_word_hdr *)(tcp))->words[3])

#define TCP_FLAG_AE __builtin_bswap32(0x01000000)
#define TCP_FLAG_CWR __builtin_bswap32(0x00800000)
#define TCP_FLAG_ECE __builtin_bswap32(0x00400000)
#define TCP_FLAG_URG __builtin_bswap32(0x00200000)
#define TCP_FLAG_ACK __builtin_bswap32(0x00100000)
#define TCP_FLAG_PSH __builtin_bswap32(0x00080000)
#define TCP_FLAG_RST __builtin_bswap32(0x00040000)
#define TCP_FLAG_SYN __builtin_bswap32(0x00020000)
#define TCP_FLAG_FIN __builtin_bswap32(0x00010000)
#define TCP_DATA_OFFSET __builtin_bswap32(0xF0000000)

#define TCP_NODELAY 1
#define TCP_MAXSEG 2
#define TCP_KEEPIDLE 4
#define TCP_KEEPINTVL 5
#define TCP_KEEPCNT 6
#define TCP_SYNCNT 7
#define TCP_WINDOW_CLAMP 10
#define TCP_CONGESTION 13
#define TCP_USER_TIMEOUT 18
#define TCP_BPF_IW 1001
#define TCP_BPF_SNDCWND_CLAMP 1002
#define TCP_BPF_DELACK_MAX 1003
#define TCP_BPF_RTO_MIN 1004
#define TCP_BPF_SYN 1005
#define TCP_BPF_SYN_IP 1006
#define TCP_BPF_SYN_MAC 1007

#endif
