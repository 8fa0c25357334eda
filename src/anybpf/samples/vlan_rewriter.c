/* vlan_rewriter: changes, removes or adds the VLAN tag of each packet, as `vlans` says for its VLAN number.
 *
 * Untagged packets are looked up as VLAN 0. A packet that `vlans` does not name passes as it is. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define UNTAGGED 0
#define VLAN_VID_MASK 0x0fff
#define VLAN_HLEN 4

struct vlan_hdr {
    __be16 h_vlan_TCI; /* priority, and the VLAN's number in the lower 12 bits */
    __be16 h_vlan_encapsulated_proto;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, __u16);   /* VLAN number that comes in, or UNTAGGED */
    __type(value, __u16); /* VLAN number that goes out, or UNTAGGED */
} vlans SEC(".maps");

struct tagged {
    struct ethhdr eth;
    struct vlan_hdr vlan;
};

static __always_inline int strip_tag(struct xdp_md *ctx, struct tagged *packet)
{
    struct ethhdr header = packet->eth;

    header.h_proto = packet->vlan.h_vlan_encapsulated_proto;
    if (bpf_xdp_adjust_head(ctx, VLAN_HLEN))
        return XDP_ABORTED;
    struct ethhdr *eth = (void *)(long)ctx->data;
    if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
        return XDP_ABORTED;
    *eth = header;
    return XDP_PASS;
}

static __always_inline int add_tag(struct xdp_md *ctx, struct ethhdr *eth, __u16 number)
{
    struct tagged header = {.eth = *eth};

    header.vlan.h_vlan_TCI = bpf_htons(number & VLAN_VID_MASK);
    header.vlan.h_vlan_encapsulated_proto = eth->h_proto;
    header.eth.h_proto = bpf_htons(ETH_P_8021Q);
    if (bpf_xdp_adjust_head(ctx, -VLAN_HLEN))
        return XDP_ABORTED;
    struct tagged *packet = (void *)(long)ctx->data;
    if ((void *)(packet + 1) > (void *)(long)ctx->data_end)
        return XDP_ABORTED;
    *packet = header;
    return XDP_PASS;
}

static __always_inline int rewrite_untagged(struct xdp_md *ctx, struct ethhdr *eth)
{
    __u16 number = UNTAGGED;
    __u16 *wanted = bpf_map_lookup_elem(&vlans, &number);

    if (!wanted || *wanted == UNTAGGED)
        return XDP_PASS;
    return add_tag(ctx, eth, *wanted);
}

static __always_inline int rewrite_tagged(struct xdp_md *ctx, struct tagged *packet)
{
    __u16 tag = bpf_ntohs(packet->vlan.h_vlan_TCI);
    __u16 number = tag & VLAN_VID_MASK;
    __u16 *wanted = bpf_map_lookup_elem(&vlans, &number);

    if (!wanted)
        return XDP_PASS;
    if (*wanted == UNTAGGED)
        return strip_tag(ctx, packet);
    packet->vlan.h_vlan_TCI = bpf_htons((tag & ~VLAN_VID_MASK) | (*wanted & VLAN_VID_MASK));
    return XDP_PASS;
}

SEC("xdp")
int vlan_rewriter(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct tagged *packet = data;

    if ((void *)(eth + 1) > end)
        return XDP_PASS;
    if (eth->h_proto != bpf_htons(ETH_P_8021Q))
        return rewrite_untagged(ctx, eth);
    if ((void *)(packet + 1) > end)
        return XDP_PASS;
    return rewrite_tagged(ctx, packet);
}

char _license[] SEC("license") = "GPL";
