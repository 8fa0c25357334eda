/* helpers_output.c: records for the user: ring buffers and perf event arrays. */
#include "helpers.h"
#include "packet.h"
#include "ringbuf.h"

#define PERF_PACKET_SHIFT 32u
#define PERF_PACKET_MASK 0xfffffu /* bits 32 to 51 of the flags (BPF_F_CTXLEN_MASK): bytes of the packet to append */

AB_HELPER(ringbuf_reserve) { return ab_address(ab_ringbuf_reserve(ab_pointer(a1), a2, a3)); }
AB_HELPER(ringbuf_output) { return ab_result(ab_ringbuf_output(ab_pointer(a1), ab_pointer(a2), a3, a4)); }
AB_HELPER(ringbuf_query) { return ab_ringbuf_query(ab_pointer(a1), a2); }

AB_HELPER(ringbuf_submit) {
    ab_ringbuf_submit(ab_pointer(a1), a2);
    return 0;
}

AB_HELPER(ringbuf_discard) {
    ab_ringbuf_discard(ab_pointer(a1), a2);
    return 0;
}

/* bpf_perf_event_output(context, map, flags, data, size) */
AB_HELPER(perf_event_output) {
    const ab_event *event = ab_packet_of(a1);
    uint32_t packet_size = (uint32_t)(a3 >> PERF_PACKET_SHIFT) & PERF_PACKET_MASK;
    if (packet_size != 0 && event->kind == AB_EVENT_PLAIN && event->data == event->data_end) return ab_result(-AB_EINVAL);
    if (packet_size > ab_packet_length(event)) return ab_result(-AB_EFAULT);
    return ab_result(ab_perf_output(ab_pointer(a2), a3, ab_pointer(a4), a5, event->data, packet_size, slot));
}
