/* xdp.c: the smallest XDP program, and one that reads a packet's 5-tuple and hashes it. */
#include "bpf.h"

SEC("xdp") int drop(struct xdp_md *context) {
    return XDP_DROP;
}

#define rotate(x, by) ((x) << (by) | (x) >> (32 - (by)))

static __attribute__((always_inline)) u32 hash(u32 a, u32 b, u32 c) {
    c ^= b; c -= rotate(b, 14);
    a ^= c; a -= rotate(c, 11);
    b ^= a; b -= rotate(a, 25);
    c ^= b; c -= rotate(b, 16);
    a ^= c; a -= rotate(c, 4);
    b ^= a; b -= rotate(a, 14);
    c ^= b; c -= rotate(b, 24);
    return c;
}

SEC("xdp") int parse(struct xdp_md *context) {
    u8 *data = (u8 *)(u64)context->data, *end = (u8 *)(u64)context->data_end;
    if (data + 34 + 4 > end) return XDP_PASS;
    if (data[12] != 8 || data[13] != 0) return XDP_PASS;
    u8 *ip = data + 14;
    u32 length = (ip[0] & 15) * 4;
    if (length < 20) return XDP_PASS;
    u8 protocol = ip[9];
    if (protocol != 6 && protocol != 17) return XDP_PASS;
    u8 *transport = ip + length;
    if (transport + 4 > end) return XDP_PASS;
    u32 mixed = hash(*(u32 *)(ip + 12), *(u32 *)(ip + 16), *(u32 *)transport + protocol);
    return mixed & 1 ? XDP_TX : XDP_DROP;
}
