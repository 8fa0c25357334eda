/* What Python may call of event.c. Plain declarations only: the build hands this file to cffi. */
#ifndef ANYBPF_API_EVENT_H
#define ANYBPF_API_EVENT_H
#include <stdint.h>

typedef struct ab_event ab_event;

enum ab_event_kind {
    AB_EVENT_PLAIN,       /* no packet helpers apply */
    AB_EVENT_XDP,         /* context is Linux's struct xdp_md */
    AB_EVENT_SKB,         /* context is Linux's struct __sk_buff */
    AB_EVENT_XDP_WINDOWS  /* context is eBPF for Windows' xdp_md_t */
};

/* In the flags of a redirect decision, beside Linux's BPF_F_*: by bpf_redirect_peer, by bpf_redirect_neigh. */
enum ab_redirect_flag { AB_REDIRECT_PEER = 0x10000, AB_REDIRECT_NEIGH = 0x20000 };

enum ab_event_field { AB_FIELD_DATA, AB_FIELD_DATA_END, AB_FIELD_DATA_META };

/* Byte offsets in struct __sk_buff (include/uapi/linux/bpf.h) of what helpers read or keep right. */
enum ab_skb_field {
    AB_SKB_LEN = 0,
    AB_SKB_PKT_TYPE = 4,
    AB_SKB_MARK = 8,
    AB_SKB_QUEUE_MAPPING = 12,
    AB_SKB_PROTOCOL = 16,
    AB_SKB_VLAN_PRESENT = 20,
    AB_SKB_VLAN_TCI = 24,
    AB_SKB_VLAN_PROTO = 28,
    AB_SKB_PRIORITY = 32,
    AB_SKB_INGRESS_IFINDEX = 36,
    AB_SKB_IFINDEX = 40,
    AB_SKB_HASH = 68,
    AB_SKB_DATA = 76,
    AB_SKB_TSTAMP = 152,
    AB_SKB_WIRE_LEN = 160,
    AB_SKB_GSO_SEGS = 164,
    AB_SKB_GSO_SIZE = 176,
    AB_SKB_TSTAMP_TYPE = 180,
    AB_SKB_SIZE = 192
};

ab_event *ab_event_create(uint32_t kind, uint32_t context_size, uint32_t capacity);
void ab_event_destroy(ab_event *event);
void ab_event_hide_link_layer(ab_event *event);
/* The context begins with `count` pairs of pointers, which bound buffers that lie in the data one behind the other. What is loaded
 * has 0 and the buffer's length in each pair's place; loading fails with -EINVAL when the data are shorter than that. 0, or -EINVAL when
 * the context is too small for them. */
int ab_event_set_buffers(ab_event *event, uint32_t count);
int ab_event_load(ab_event *event, const uint8_t *packet, uint32_t length, const uint8_t *context);
int ab_event_set_metadata(ab_event *event, uint32_t size);
void ab_event_show_link_layer(ab_event *event);
int ab_event_insert_vlan(ab_event *event);
uint8_t *ab_event_context(ab_event *event);
uint8_t *ab_event_data(const ab_event *event);
uint32_t ab_event_length(const ab_event *event);
uint32_t ab_event_metadata_size(const ab_event *event);
#endif
