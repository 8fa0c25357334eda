/* packet_counter: packets and bytes of each IP protocol, counted on each CPU apart, so that no two CPUs share a counter.
 * VLAN tags are looked through. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PROTOCOLS 256
#define NOT_IP 256
#define MAX_TAGS 2

struct vlan_hdr {
    __be16 h_vlan_TCI;
    __be16 h_vlan_encapsulated_proto;
};

struct traffic {
    __u64 packets;
    __u64 bytes;
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, PROTOCOLS + 1);
    __type(key, __u32); /* IP protocol number, or NOT_IP */
    __type(value, struct traffic);
} traffic SEC(".maps");

static __always_inline __u32 protocol_of(void *data, void *end)
{
    struct ethhdr *eth = data;
    if ((void *)(eth + 1) > end)
        return NOT_IP;

    __be16 type = eth->h_proto;
    void *next = eth + 1;
#pragma unroll
    for (int tag = 0; tag < MAX_TAGS; tag++) {
        if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
            break;
        struct vlan_hdr *vlan = next;
        if ((void *)(vlan + 1) > end)
            return NOT_IP;
        type = vlan->h_vlan_encapsulated_proto;
        next = vlan + 1;
    }

    if (type == bpf_htons(ETH_P_IP)) {
        struct iphdr *ip = next;
        return (void *)(ip + 1) > end ? NOT_IP : ip->protocol;
    }
    if (type == bpf_htons(ETH_P_IPV6)) {
        struct ipv6hdr *ip = next;
        return (void *)(ip + 1) > end ? NOT_IP : ip->nexthdr;
    }
    return NOT_IP;
}

SEC("xdp")
int packet_counter(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    __u32 protocol = protocol_of(data, end);

    struct traffic *seen = bpf_map_lookup_elem(&traffic, &protocol);
    if (seen) {
        seen->packets++;
        seen->bytes += end - data;
    }
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
