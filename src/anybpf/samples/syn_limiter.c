/* syn_limiter: lets each IPv4 source open only so many TCP connections a second, and drops the SYNs beyond.
 *
 * Each source has a token bucket: it may open `burst` connections at once, and gets `syns_per_second` new tokens. Packets
 * of connections that are open already always pass. The least recently seen sources are forgotten when the table is full.
 * The limits are read-only data: change them before loading. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NANOSECONDS 1000000000ULL

const volatile __u32 syns_per_second = 10;
const volatile __u32 burst = 10;

__u64 syns_passed;
__u64 syns_dropped;

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 65536);
    __type(key, __be32);  /* source address */
    __type(value, __u64); /* when its bucket is full again, nanoseconds of the system's clock */
} sources SEC(".maps");

/* Take a token from a bucket; whether there was one. Two CPUs at once may take the same one. */
static __always_inline int take_token(__u64 *full_at, __u64 now)
{
    __u64 token = NANOSECONDS / (syns_per_second ?: 1);
    __u64 begin = *full_at > now ? *full_at : now;

    if (begin + token > now + burst * token)
        return 0;
    *full_at = begin + token;
    return 1;
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
    __u64 *full_at = bpf_map_lookup_elem(&sources, &source);
    if (!full_at) {
        __u64 full = 0;
        bpf_map_update_elem(&sources, &source, &full, BPF_NOEXIST);
        full_at = bpf_map_lookup_elem(&sources, &source);
        if (!full_at)
            return XDP_PASS;
    }
    if (!take_token(full_at, bpf_ktime_get_ns())) {
        __sync_fetch_and_add(&syns_dropped, 1);
        return XDP_DROP;
    }
    __sync_fetch_and_add(&syns_passed, 1);
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
