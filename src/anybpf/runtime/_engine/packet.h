/* packet.h: what the packet helpers share: whole-packet edits that keep the event's pointers, header offsets and lengths right. */
#ifndef ANYBPF_PACKET_H
#define ANYBPF_PACKET_H

#include "event.h"

/* Linux's __sk_buff programs may make packets this large: SKB_MAX_ALLOC, 16 KiB less struct skb_shared_info. */
#define AB_SKB_MAX_LENGTH (16384u - 320u)

#define AB_ETH_P_IP 0x0800u
#define AB_ETH_P_8021Q 0x8100u
#define AB_ETH_P_IPV6 0x86ddu
#define AB_ETH_P_8021AD 0x88a8u

/* The event whose context is `context`. */
static inline ab_event *ab_packet_of(uint64_t context) { return ab_event_of(context); }
static inline uint32_t ab_packet_length(const ab_event *event) { return (uint32_t)(event->data_end - event->data); }
/* Where `size` bytes at `offset` stand, or NULL when the packet does not hold them. */
uint8_t *ab_packet_at(const ab_event *event, uint64_t offset, uint64_t size);

/* `size` bytes of zeros appear `offset` bytes into the packet (or vanish from there); what is before them moves. */
int ab_packet_insert(ab_event *event, uint32_t offset, uint32_t size);
int ab_packet_remove(ab_event *event, uint32_t offset, uint32_t size);

/* 16-bit big-endian numbers in packets, and as they stand in __sk_buff (a number whose bytes are in network order). */
uint32_t ab_packet_be16(const uint8_t *at);
void ab_packet_put_be16(uint8_t *at, uint32_t number);
uint32_t ab_context_be16(const ab_event *event, uint32_t offset);
void ab_context_set_be16(ab_event *event, uint32_t offset, uint32_t number);

/* packet_hash.c: a number from 1 up, the same for all packets of a flow: addresses, protocol and ports where they can be read. */
uint32_t ab_packet_hash(const ab_event *event);
/* The same for packets with ports, in 64 bits; 0 for others. */
uint64_t ab_packet_connection(const ab_event *event);

/* packet_vlan.c: Linux's skb_vlan_push and skb_vlan_pop. 0 or a negative error. */
int ab_vlan_push(ab_event *event, uint32_t protocol, uint32_t tci);
int ab_vlan_pop(ab_event *event);

#endif
