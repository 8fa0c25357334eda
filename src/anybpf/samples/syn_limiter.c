/* syn_limiter: lets each IPv4 source open only so many TCP connections a second, and drops the SYNs beyond.
 *
 * The least recently seen sources are forgotten when the table is full. The limit is read-only data: change it before
 * loading. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NANOSECONDS 1000000000ULL

const volatile __u32 syns_per_second = 10;

__u64 syns_passed;
__u64 syns_dropped;

struct window {
    __u64 second; /* of the system's clock */
    __u64 syns;   /* that came in it */
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 65536);
    __type(key, __be32); /* source address */
    __type(value, struct window);
} sources SEC(".maps");

/* Count a SYN; whether it is within the limit. Two CPUs that begin a second at once may let a few SYNs more pass. */
static __always_inline int within_limit(struct window *window, __u64 second)
{
    if (window->second != second) {
        window->second = second;
        window->syns = 0;
    }
    return __sync_fetch_and_add(&window->syns, 1) < syns_per_second;
}

SEC("xdp")
int syn_limiter(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);

    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_TCP)
        return XDP_PASS;
    struct tcphdr *tcp = (void *)ip + ip->ihl * 4;
    if ((void *)(tcp + 1) > end || !tcp->syn || tcp->ack)
        return XDP_PASS;

    __be32 source = ip->saddr;
    __u64 second = bpf_ktime_get_ns() / NANOSECONDS;
    struct window *window = bpf_map_lookup_elem(&sources, &source);
    if (!window) {
        struct window first = {.second = second};
        bpf_map_update_elem(&sources, &source, &first, BPF_NOEXIST);
        window = bpf_map_lookup_elem(&sources, &source);
        if (!window)
            return XDP_PASS;
    }
    if (!within_limit(window, second)) {
        __sync_fetch_and_add(&syns_dropped, 1);
        return XDP_DROP;
    }
    __sync_fetch_and_add(&syns_passed, 1);
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
