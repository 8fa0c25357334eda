/* helpers_xdp.c: programs that see a packet before anything else does: Linux's and Windows' XDP. */
#include <string.h>

#include "helpers.h"
#include "packet.h"

#define XDP_FRAME_SIZE 40 /* Linux keeps its struct xdp_frame at the start of the head room */
#define XDP_META_MAX 252  /* the largest multiple of four that fits skb_shared_info.meta_len */
#define XDP_BYTES_MAX 0xffffu

AB_HELPER(xdp_adjust_head) {
    ab_event *event = ab_packet_of(a1);
    int64_t meta = event->data - event->data_meta, delta = (int32_t)a2;
    int64_t room = event->data - event->hard_start - XDP_FRAME_SIZE - meta;
    if (delta < -room || delta > event->data_end - event->data - (int64_t)AB_ETH_HLEN) return ab_result(-AB_EINVAL);
    if (meta != 0) memmove(event->data_meta + delta, event->data_meta, (size_t)meta);
    event->data_meta += delta;
    event->data += delta;
    return 0;
}

AB_HELPER(xdp_adjust_tail) {
    ab_event *event = ab_packet_of(a1);
    int64_t delta = (int32_t)a2;
    if (delta > event->hard_end - event->data_end) return ab_result(-AB_EINVAL);
    if (delta < -(event->data_end - event->data - (int64_t)AB_ETH_HLEN)) return ab_result(-AB_EINVAL);
    if (delta > 0) memset(event->data_end, 0, (size_t)delta);
    event->data_end += delta;
    return 0;
}

AB_HELPER(xdp_adjust_meta) {
    ab_event *event = ab_packet_of(a1);
    int64_t delta = (int32_t)a2, meta = event->data - event->data_meta - delta;
    if (event->data_meta - event->hard_start + delta < XDP_FRAME_SIZE || meta < 0) return ab_result(-AB_EINVAL);
    if (meta % 4 != 0 || meta > XDP_META_MAX) return ab_result(-AB_EACCES);
    event->data_meta += delta;
    return 0;
}

AB_HELPER(xdp_get_buff_len) { return ab_packet_length(ab_packet_of(a1)); }

/* Where bpf_xdp_load_bytes and its twin work, or NULL and an error. */
static uint8_t *bytes_at(uint64_t context, uint32_t offset, uint32_t size, int *error) {
    *error = -AB_EFAULT;
    if (offset > XDP_BYTES_MAX || size > XDP_BYTES_MAX) return NULL;
    *error = -AB_EINVAL;
    return ab_packet_at(ab_packet_of(context), offset, size);
}

AB_HELPER(xdp_load_bytes) {
    int error;
    const uint8_t *from = bytes_at(a1, (uint32_t)a2, (uint32_t)a4, &error);
    if (from == NULL) {
        memset(ab_pointer(a3), 0, (uint32_t)a4); /* the verifier counts on bytes there, whatever they are */
        return ab_result(error);
    }
    memmove(ab_pointer(a3), from, (uint32_t)a4);
    return 0;
}

AB_HELPER(xdp_store_bytes) {
    int error;
    uint8_t *to = bytes_at(a1, (uint32_t)a2, (uint32_t)a4, &error);
    if (to == NULL) return ab_result(error);
    memmove(to, ab_pointer(a3), (uint32_t)a4);
    return 0;
}
