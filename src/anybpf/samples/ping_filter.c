/* ping_filter: drops the echo requests (IPv4 and IPv6) whose sequence number is a multiple of `every`; 0 drops none.
 *
 * `echoes` counts the requests that passed and those that were dropped. Everything else passes. */
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum fate { PASSED, DROPPED, FATES };

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} every SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, FATES);
    __type(key, __u32); /* enum fate */
    __type(value, __u64);
} echoes SEC(".maps");

/* What ICMP and ICMPv6 begin an echo with. */
struct echo {
    __u8 type;
    __u8 code;
    __sum16 checksum;
    __be16 id;
    __be16 sequence;
};

/* The echo request in the packet, NULL when it is none. */
static __always_inline struct echo *echo_request(void *data, void *end)
{
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    struct ipv6hdr *ip6 = (void *)(eth + 1);
    struct echo *echo;
    __u8 request;

    if ((void *)(ip + 1) > end)
        return NULL;
    if (eth->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_ICMP) {
        echo = (void *)ip + ip->ihl * 4;
        request = ICMP_ECHO;
    } else if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end && ip6->nexthdr == IPPROTO_ICMPV6) {
        echo = (void *)(ip6 + 1);
        request = ICMPV6_ECHO_REQUEST;
    } else {
        return NULL;
    }
    return (void *)(echo + 1) <= end && echo->type == request ? echo : NULL;
}

SEC("xdp")
int ping_filter(struct xdp_md *ctx)
{
    __u32 zero = 0, fate = PASSED;
    struct echo *echo = echo_request((void *)(long)ctx->data, (void *)(long)ctx->data_end);
    if (!echo)
        return XDP_PASS;

    __u32 *period = bpf_map_lookup_elem(&every, &zero);
    if (period && *period && bpf_ntohs(echo->sequence) % *period == 0)
        fate = DROPPED;
    __u64 *count = bpf_map_lookup_elem(&echoes, &fate);
    if (count)
        __sync_fetch_and_add(count, 1);
    return fate == DROPPED ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
