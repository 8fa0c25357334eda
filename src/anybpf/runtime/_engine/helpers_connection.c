/* helpers_connection.c: which connection an event belongs to. Where no socket is known, cookies are made of what the event
 * says: protocol, addresses and ports. All events of a connection give the same number, in every run; 0 where the event says
 * nothing of the kind, as Linux answers without a socket. */
#include <string.h>

#include "api_chain.h"
#include "hash.h"
#include "helpers.h"
#include "packet.h"

/* Bytes from `from` to `to` of a context, and `seed`, as a number; 0 when they are all zeros. */
static uint64_t number_of(uint64_t context, uint32_t from, uint32_t to, uint64_t seed) {
    const uint8_t *bytes = (const uint8_t *)ab_pointer(context);
    uint8_t any = 0;
    for (uint32_t i = from; i < to; i++) any |= bytes[i];
    if (!any) return 0;
    uint64_t number = ab_hash_bytes(bytes + from, to - from, seed);
    return number == 0 ? 1 : number;
}

static uint32_t word_at(uint64_t context, uint32_t offset) {
    uint32_t word;
    memcpy(&word, (const uint8_t *)ab_pointer(context) + offset, sizeof word);
    return word;
}

/* struct __sk_buff: both directions of a TCP, UDP or SCTP flow are one connection. */
AB_HELPER(get_socket_cookie) {
    const ab_event *event = ab_packet_of(a1);
    return event->kind == AB_EVENT_SKB ? ab_packet_connection(event) : 0;
}

/* The socket's own number where whoever brought the event knows it, else the one made of its addresses. */
static uint64_t cookie_or(const ab_slot *slot, uint64_t number) {
    return slot->task != NULL && slot->task->socket_cookie != 0 ? slot->task->socket_cookie : number;
}

/* A socket itself, of programs that trace the kernel: they never have one. */
AB_HELPER(get_cookie_of_socket) { return 0; }
/* struct bpf_sock_addr: user_family to user_port, family, type, protocol, msg_src_ip4 and msg_src_ip6. */
AB_HELPER(get_cookie_of_sock_addr) { return cookie_or(slot, number_of(a1, 0, 60, 0)); }
/* struct bpf_sock: src_ip4 to dst_ip6, of the protocol before them. */
AB_HELPER(get_cookie_of_sock) { return cookie_or(slot, number_of(a1, 24, 72, word_at(a1, 12))); }
/* struct bpf_sock_ops: family to local_port. */
AB_HELPER(get_cookie_of_sock_ops) { return cookie_or(slot, number_of(a1, 20, 72, 0)); }

/* eBPF for Windows' bpf_sock_addr_t: family to protocol, of the compartment behind them. */
AB_HELPER(get_cookie_of_sock_addr_windows) { return cookie_or(slot, number_of(a1, 0, 48, word_at(a1, 48))); }
/* Its bpf_sock_ops_t: family to protocol, of the compartment behind them. */
AB_HELPER(sock_ops_get_flow_id) { return number_of(a1, 4, 49, word_at(a1, 52)); }
