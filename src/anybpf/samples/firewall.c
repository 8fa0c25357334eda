/* firewall: drops IPv4 packets whose source lies in a denied network, and decides the others by exact rules for flows.
 *
 * `denied` holds networks by prefix: the longest that covers the source address decides, so a 1 inside a denied network
 * makes an exception. `rules` holds flows by their five values, each direction apart. What no rule names is treated as
 * `otherwise` says, which may be changed at any time. `verdicts` counts what was done and why. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum action { DENY = 0, ALLOW = 1 };
enum verdict { PASSED, DENIED_NETWORK, DENIED_FLOW, VERDICTS };

__u32 otherwise = ALLOW; /* enum action */

struct network {
    __u32 prefix; /* bits of the address that count */
    __be32 address;
};

struct flow {
    __be32 source;
    __be32 destination;
    __be16 source_port;
    __be16 destination_port;
    __u8 protocol;
    __u8 unused[3];
};

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 10000);
    __type(key, struct network);
    __type(value, __u32); /* enum action */
} denied SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10000);
    __type(key, struct flow);
    __type(value, __u32); /* enum action */
} rules SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, VERDICTS);
    __type(key, __u32); /* enum verdict */
    __type(value, __u64);
} verdicts SEC(".maps");

static __always_inline int decide(__u32 verdict)
{
    __u64 *packets = bpf_map_lookup_elem(&verdicts, &verdict);
    if (packets)
        (*packets)++;
    return verdict == PASSED ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);

    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
        return decide(PASSED);

    struct network source = {.prefix = 32, .address = ip->saddr};
    __u32 *action = bpf_map_lookup_elem(&denied, &source);
    if (action && *action == DENY)
        return decide(DENIED_NETWORK);

    struct flow flow = {.source = ip->saddr, .destination = ip->daddr, .protocol = ip->protocol};
    void *transport = (void *)ip + ip->ihl * 4;
    if (ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) {
        struct udphdr *ports = transport; /* TCP begins with the same two ports */
        if ((void *)(ports + 1) > end)
            return decide(PASSED);
        flow.source_port = ports->source;
        flow.destination_port = ports->dest;
    }
    action = bpf_map_lookup_elem(&rules, &flow);
    return decide((action ? *action : otherwise) == DENY ? DENIED_FLOW : PASSED);
}

char _license[] SEC("license") = "GPL";
