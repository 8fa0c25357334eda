/* dns_filter: keeps a flood of DNS requests from a server; for Linux and for eBPF for Windows.
 *
 * Of IPv4 datagrams to UDP port 53 it drops those that are no query (too short for one, or an answer), and those of a
 * source that asks more often than `limit` allows: so many queries in each second of the clock, 0 for any number.
 * `requests` counts what was done and why. Everything else passes. */
#include <stdint.h>

#if __has_include(<linux/bpf.h>)
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#define CONTEXT struct xdp_md /* by its name a loader knows the platform */
#else
#include "bpf_endian.h"
#include "bpf_helpers.h"
#define CONTEXT xdp_md_t
#endif

#define NANOSECONDS 1000000000ULL
#define IPV4 0x0800
#define UDP 17
#define DNS_PORT 53
#define ANSWER 0x8000    /* among a message's flags */
#define OFFSET 0x1fff    /* of a fragment */
#define PLAIN_IPV4 0x45  /* version 4, five words: no options */

/* A request as it travels, in network byte order. */
struct request {
    uint8_t ethernet_addresses[12];
    uint16_t type;
    uint8_t version_and_words;
    uint8_t service;
    uint16_t ip_length;
    uint16_t identification;
    uint16_t fragment;
    uint8_t hops;
    uint8_t protocol;
    uint16_t ip_checksum;
    uint32_t source;
    uint32_t destination;
    uint16_t source_port;
    uint16_t destination_port;
    uint16_t udp_length;
    uint16_t udp_checksum;
    /* from here on absent in datagrams that are too short */
    uint16_t id;
    uint16_t flags;
    uint16_t counts[4];
} __attribute__((packed));

#define DATAGRAM __builtin_offsetof(struct request, id)
#define UDP_HEADER_SIZE 8

enum verdict { ANSWERED, MALFORMED, TOO_MANY, VERDICTS };

struct window {
    uint64_t second;
    uint64_t queries; /* that came in it */
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, uint32_t); /* queries a second from one source */
} limit SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, VERDICTS);
    __type(key, uint32_t); /* enum verdict */
    __type(value, uint64_t);
} requests SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 16384);
    __type(key, uint32_t); /* source address */
    __type(value, struct window);
} sources SEC(".maps");

static __attribute__((always_inline)) int decide(uint32_t verdict)
{
    uint64_t *count = bpf_map_lookup_elem(&requests, &verdict);
    if (count)
        __sync_fetch_and_add(count, 1);
    return verdict == ANSWERED ? XDP_PASS : XDP_DROP;
}

static __attribute__((always_inline)) int within_limit(uint32_t source, uint32_t most)
{
    struct window now = {.second = bpf_ktime_get_ns() / NANOSECONDS, .queries = 1};
    struct window *window = bpf_map_lookup_elem(&sources, &source);

    if (!window || window->second != now.second) {
        bpf_map_update_elem(&sources, &source, &now, BPF_ANY);
        return 1;
    }
    return __sync_fetch_and_add(&window->queries, 1) < most;
}

SEC("xdp")
int dns_filter(CONTEXT *ctx)
{
    uint8_t *data = (void *)(long)ctx->data;
    uint8_t *end = (void *)(long)ctx->data_end;
    struct request *request = (void *)data;
    uint32_t zero = 0;

    if (data + DATAGRAM > end || request->type != bpf_htons(IPV4) || request->version_and_words != PLAIN_IPV4)
        return XDP_PASS;
    if (request->protocol != UDP || request->destination_port != bpf_htons(DNS_PORT))
        return XDP_PASS;
    if (request->fragment & bpf_htons(OFFSET))
        return XDP_PASS;
    if ((uint8_t *)(request + 1) > end || bpf_ntohs(request->udp_length) < sizeof(*request) - DATAGRAM + UDP_HEADER_SIZE)
        return decide(MALFORMED);
    if (request->flags & bpf_htons(ANSWER))
        return decide(MALFORMED);
    uint32_t *most = bpf_map_lookup_elem(&limit, &zero);
    if (most && *most && !within_limit(request->source, *most))
        return decide(TOO_MANY);
    return decide(ANSWERED);
}

char _license[] SEC("license") = "GPL";
