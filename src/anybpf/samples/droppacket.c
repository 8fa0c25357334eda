/* droppacket: for eBPF for Windows. Drops UDP datagrams without data, which a flood of DNS requests can consist of.
 *
 * Drops are counted in `dropped_packet_map`. When `interface_index_map` holds a number, other interfaces are left alone. */
#include "bpf_endian.h"
#include "bpf_helpers.h"
#include "net/if_ether.h"
#include "net/ip.h"
#include "net/udp.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, uint64_t);
} dropped_packet_map SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, uint32_t);
} interface_index_map SEC(".maps");

SEC("xdp")
int drop_packet(xdp_md_t *ctx)
{
    uint32_t zero = 0;
    ETHERNET_HEADER *ethernet = ctx->data;
    IPV4_HEADER *ip = (IPV4_HEADER *)(ethernet + 1);
    UDP_HEADER *udp = (UDP_HEADER *)(ip + 1);

    uint32_t *interface_index = bpf_map_lookup_elem(&interface_index_map, &zero);
    if (interface_index && *interface_index && *interface_index != ctx->ingress_ifindex)
        return XDP_PASS;
    if ((void *)(udp + 1) > ctx->data_end)
        return XDP_PASS;
    if (ntohs(ethernet->Type) != ETHERNET_TYPE_IPV4 || ip->Protocol != IPPROTO_UDP)
        return XDP_PASS;
    if (ntohs(udp->length) > sizeof(UDP_HEADER))
        return XDP_PASS;

    uint64_t *dropped = bpf_map_lookup_elem(&dropped_packet_map, &zero);
    if (dropped)
        *dropped += 1;
    return XDP_DROP;
}
