/* load_balancer: spreads the flows of IPv4 TCP and UDP services over their backends.
 *
 * The entry program jumps, by protocol, to the program that knows where the ports and the checksum are (a tail call
 * through `jumps`). That one finds the service, picks a backend by a hash of the flow, and writes its addresses. */
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_BACKENDS 64

struct service {
    __be32 address;
    __be16 port;
    __u8 protocol;
    __u8 unused;
};

struct backends {
    __u32 first; /* index in `backends` */
    __u32 count;
};

struct backend {
    __be32 address;
    __u8 mac[ETH_ALEN];
    __u16 unused;
    __u64 packets;
};

int on_tcp(struct xdp_md *ctx);
int on_udp(struct xdp_md *ctx);

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 256);
    __type(key, __u32); /* IP protocol number */
    __array(values, int(struct xdp_md *));
} jumps SEC(".maps") = {
    .values = {
        [IPPROTO_TCP] = (void *)&on_tcp,
        [IPPROTO_UDP] = (void *)&on_udp,
    },
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 256);
    __type(key, struct service);
    __type(value, struct backends);
} services SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, MAX_BACKENDS);
    __type(key, __u32);
    __type(value, struct backend);
} backends SEC(".maps");

/* The one's complement sum of what `check` covers, with `from` replaced by `to`. */
static __always_inline __sum16 replace_in_checksum(__sum16 check, __be32 from, __be32 to)
{
    __s64 sum = bpf_csum_diff(&from, sizeof(from), &to, sizeof(to), (__u16)~check);

    sum = (sum & 0xffff) + ((sum >> 16) & 0xffff);
    sum = (sum & 0xffff) + ((sum >> 16) & 0xffff);
    return (__sum16)~sum;
}

/* Mix the flow's source so that neighbouring ports land on different backends. */
static __always_inline __u32 flow_hash(__be32 source, __be16 port)
{
    __u32 hash = source ^ ((__u32)port << 16 | port);

    hash ^= hash >> 16;
    hash *= 0x7feb352d;
    hash ^= hash >> 15;
    hash *= 0x846ca68b;
    hash ^= hash >> 16;
    return hash;
}

static __always_inline struct backend *choose(struct iphdr *ip, __be16 source_port, __be16 port)
{
    struct service service = {.address = ip->daddr, .port = port, .protocol = ip->protocol};
    struct backends *members = bpf_map_lookup_elem(&services, &service);
    if (!members || !members->count)
        return NULL;
    __u32 index = members->first + flow_hash(ip->saddr, source_port) % members->count;
    return bpf_map_lookup_elem(&backends, &index);
}

static __always_inline int deliver(struct ethhdr *eth, struct iphdr *ip, struct backend *backend)
{
    ip->check = replace_in_checksum(ip->check, ip->daddr, backend->address);
    ip->daddr = backend->address;
    __builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
    __builtin_memcpy(eth->h_dest, backend->mac, ETH_ALEN);
    __sync_fetch_and_add(&backend->packets, 1);
    return XDP_TX;
}

SEC("xdp/on_tcp")
int on_tcp(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    struct tcphdr *tcp = (void *)(ip + 1);

    if ((void *)(tcp + 1) > end)
        return XDP_PASS;
    struct backend *backend = choose(ip, tcp->source, tcp->dest);
    if (!backend)
        return XDP_PASS;
    tcp->check = replace_in_checksum(tcp->check, ip->daddr, backend->address);
    return deliver(eth, ip, backend);
}

SEC("xdp/on_udp")
int on_udp(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    struct udphdr *udp = (void *)(ip + 1);

    if ((void *)(udp + 1) > end)
        return XDP_PASS;
    struct backend *backend = choose(ip, udp->source, udp->dest);
    if (!backend)
        return XDP_PASS;
    if (udp->check) /* zero means that the sender made none */
        udp->check = replace_in_checksum(udp->check, ip->daddr, backend->address);
    return deliver(eth, ip, backend);
}

SEC("xdp")
int balance(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);

    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
        return XDP_PASS;
    bpf_tail_call(ctx, &jumps, ip->protocol);
    return XDP_PASS; /* no program for this protocol */
}

char _license[] SEC("license") = "GPL";
