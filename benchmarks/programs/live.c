/* live.c: what benchmarks/live.py runs on live frames, here and in the kernel. Frames that are let through leave by ports[0]. */
#include "bpf.h"

struct flow {
    u32 source;
    u32 destination;
    u32 ports;
    u32 protocol;
};

struct {
    __uint(type, 1); /* hash */
    __uint(max_entries, 10000);
    __type(key, struct flow);
    __type(value, u64);
} denied SEC(".maps");

struct {
    __uint(type, 14); /* devmap */
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u32);
} ports SEC(".maps");

struct {
    __uint(type, 6); /* per-CPU array */
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u64);
} seen SEC(".maps");

static long (*bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

static __attribute__((always_inline)) void count(void) {
    u32 zero = 0;
    u64 *number = bpf_map_lookup_elem(&seen, &zero);
    if (number) ++*number;
}

SEC("xdp") int pass(struct xdp_md *context) {
    count();
    return XDP_PASS;
}

SEC("xdp") int drop(struct xdp_md *context) {
    count();
    return XDP_DROP;
}

SEC("xdp") int forward(struct xdp_md *context) {
    count();
    return bpf_redirect_map(&ports, 0, 0);
}

SEC("xdp") int firewall(struct xdp_md *context) {
    u8 *data = (u8 *)(u64)context->data, *end = (u8 *)(u64)context->data_end;
    count();
    if (data + 38 > end) return XDP_DROP;
    if (data[12] != 8 || data[13] != 0) return XDP_DROP;
    u8 *ip = data + 14, *transport = ip + (ip[0] & 15) * 4;
    if (transport + 4 > end) return XDP_DROP;
    struct flow flow = {*(u32 *)(ip + 12), *(u32 *)(ip + 16), *(u32 *)transport, ip[9]};
    return bpf_map_lookup_elem(&denied, &flow) ? XDP_DROP : bpf_redirect_map(&ports, 0, 0);
}

char _license[] SEC("license") = "GPL";
