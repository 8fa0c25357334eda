/* vlan_nat: joins an untagged network to a VLAN and hides it behind one IPv4 address.
 *
 * What comes untagged is from inside: it leaves with the VLAN's tag, and TCP and UDP over IPv4 with `address` and a port
 * of our choice as its source. What comes with the tag is from outside: it leaves without, and packets to a port that was
 * given out go to the address and port that it was given to. Ports are given out in turn: a
 * flow keeps its port until that many others have come. Everything else passes as it is. The same program serves both
 * directions. */
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VLAN_VID_MASK 0x0fff
#define VLAN_HLEN 4
#define FIRST_PORT 32768 /* the ports given out: so many, from this one on */
#define PORTS 16384
#define IP_OFFSET 0x1fff /* of a fragment: it has no ports when this is not zero */
#define MANGLED_0 0xffff /* a UDP checksum that comes to 0, which would mean that there is none */

struct settings {
    __be32 address; /* that the outside sees; 0: addresses and ports stay as they are */
    __u32 vlan;     /* number, 1 to 4094 */
};

struct endpoint {
    __be32 address;
    __be16 port;
    __u8 protocol;
    __u8 unused;
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct settings);
} settings SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, PORTS);
    __type(key, struct endpoint);   /* inside */
    __type(value, struct endpoint); /* what the outside sees */
} outward SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, PORTS);
    __type(key, struct endpoint);
    __type(value, struct endpoint);
} inward SEC(".maps");

__u32 ports_given;

struct vlan_hdr {
    __be16 h_vlan_TCI;
    __be16 h_vlan_encapsulated_proto;
};

struct tagged {
    struct ethhdr eth;
    struct vlan_hdr vlan;
};

/* A checksum after the 16-bit words of `from` that it covers became those of `to`. */
static __always_inline __sum16 replaced(__sum16 check, const struct endpoint *from, const struct endpoint *to)
{
    __be32 before[] = {from->address, from->port}, after[] = {to->address, to->port};
    __s64 sum = bpf_csum_diff(before, sizeof(before), after, sizeof(after), (__u16)~check);

    sum = (sum & 0xffff) + ((sum >> 16) & 0xffff);
    sum = (sum & 0xffff) + ((sum >> 16) & 0xffff);
    return (__sum16)~sum;
}

/* The port at which the outside sees an endpoint, from now on. */
static __always_inline struct endpoint given_port(const struct endpoint *inside, __be32 address)
{
    struct endpoint *known = bpf_map_lookup_elem(&outward, inside);
    if (known)
        return *known;
    __u32 turn = __sync_fetch_and_add(&ports_given, 1);
    struct endpoint outside = {
        .address = address, .port = bpf_htons(FIRST_PORT + turn % PORTS), .protocol = inside->protocol};
    bpf_map_update_elem(&outward, inside, &outside, BPF_ANY);
    bpf_map_update_elem(&inward, &outside, inside, BPF_ANY);
    return outside;
}

/* Write `to` where the packet has `from`: the source of what leaves, the destination of what comes. */
static __always_inline void rewrite(struct iphdr *ip, void *end, int leaving, __be32 address)
{
    struct endpoint from = {.protocol = ip->protocol}, to;
    struct udphdr *udp = (void *)(ip + 1);
    struct tcphdr *tcp = (void *)(ip + 1);
    __sum16 *check;

    if (ip->ihl != 5 || ip->frag_off & bpf_htons(IP_OFFSET))
        return;
    if (ip->protocol == IPPROTO_TCP && (void *)(tcp + 1) <= end)
        check = &tcp->check;
    else if (ip->protocol == IPPROTO_UDP && (void *)(udp + 1) <= end)
        check = &udp->check;
    else
        return;

    if (leaving) {
        from.address = ip->saddr;
        from.port = udp->source; /* TCP begins with the same two ports */
        to = given_port(&from, address);
        ip->saddr = to.address;
        udp->source = to.port;
    } else {
        from.address = ip->daddr;
        from.port = udp->dest;
        struct endpoint *inside = bpf_map_lookup_elem(&inward, &from);
        if (!inside)
            return;
        to = *inside;
        ip->daddr = to.address;
        udp->dest = to.port;
    }

    struct endpoint host_from = {.address = from.address}, host_to = {.address = to.address};
    ip->check = replaced(ip->check, &host_from, &host_to);
    if (ip->protocol == IPPROTO_UDP && !*check)
        return; /* the sender made none */
    *check = replaced(*check, &from, &to);
    if (ip->protocol == IPPROTO_UDP && !*check)
        *check = MANGLED_0;
}

static __always_inline int
outward_bound(struct xdp_md *ctx, struct ethhdr *eth, void *end, const struct settings *own)
{
    struct iphdr *ip = (void *)(eth + 1);

    if (own->address && (void *)(ip + 1) <= end && eth->h_proto == bpf_htons(ETH_P_IP))
        rewrite(ip, end, 1, own->address);

    struct tagged header = {.eth = *eth};
    header.vlan.h_vlan_TCI = bpf_htons(own->vlan & VLAN_VID_MASK);
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

static __always_inline int
inward_bound(struct xdp_md *ctx, struct tagged *packet, void *end, const struct settings *own)
{
    struct iphdr *ip = (void *)(packet + 1);

    if ((void *)(packet + 1) > end || (bpf_ntohs(packet->vlan.h_vlan_TCI) & VLAN_VID_MASK) != own->vlan)
        return XDP_PASS;
    if ((void *)(ip + 1) <= end && packet->vlan.h_vlan_encapsulated_proto == bpf_htons(ETH_P_IP))
        rewrite(ip, end, 0, own->address);

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

SEC("xdp")
int vlan_nat(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    __u32 zero = 0;

    struct settings *own = bpf_map_lookup_elem(&settings, &zero);
    if (!own || !own->vlan || (void *)(eth + 1) > end)
        return XDP_PASS;
    if (eth->h_proto == bpf_htons(ETH_P_8021Q))
        return inward_bound(ctx, data, end, own);
    return outward_bound(ctx, eth, end, own);
}

char _license[] SEC("license") = "GPL";
