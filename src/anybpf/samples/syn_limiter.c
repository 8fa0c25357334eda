/* syn_limiter: lets each IPv4 source open only so many TCP connections a second, and drops the SYNs beyond.
 *
 * Each source has a bucket of tokens that fills with time; a SYN takes one. The least recently seen sources are
 * forgotten when the table is full. Rates are read-only data: change them before loading. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NANOSECONDS 1000000000ULL

const volatile __u32 syns_per_second = 10;
const volatile __u32 burst = 20;

__u64 syns_passed;
__u64 syns_dropped;

struct bucket {
    struct bpf_spin_lock lock;
    __u32 tokens;
    __u64 filled_at; /* nanoseconds */
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 65536);
    __type(key, __be32); /* source address */
    __type(value, struct bucket);
} sources SEC(".maps");

/* Fill the bucket for the time that has passed, and take a token; whether there was one. */
static __always_inline int take_token(struct bucket *bucket, __u64 now)
{
    int taken = 0;

    bpf_spin_lock(&bucket->lock);
    __u64 waited = now - bucket->filled_at;
    __u64 earned = waited > NANOSECONDS * 60 ? burst : waited * syns_per_second / NANOSECONDS;
    if (earned) {
        __u64 tokens = bucket->tokens + earned;
        bucket->tokens = tokens > burst ? burst : tokens;
        bucket->filled_at = now;
    }
    if (bucket->tokens) {
        bucket->tokens--;
        taken = 1;
    }
    bpf_spin_unlock(&bucket->lock);
    return taken;
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
    __u64 now = bpf_ktime_get_ns();
    struct bucket *bucket = bpf_map_lookup_elem(&sources, &source);
    if (!bucket) {
        struct bucket first = {.tokens = burst, .filled_at = now};
        bpf_map_update_elem(&sources, &source, &first, BPF_NOEXIST);
        bucket = bpf_map_lookup_elem(&sources, &source);
        if (!bucket)
            return XDP_PASS;
    }
    if (!take_token(bucket, now)) {
        __sync_fetch_and_add(&syns_dropped, 1);
        return XDP_DROP;
    }
    __sync_fetch_and_add(&syns_passed, 1);
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
