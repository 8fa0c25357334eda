/* helpers_windows.c: what eBPF for Windows does otherwise than Linux, and helpers of its single program types. What only its
 * network stack could know is answered as it answers where it does not know: -1, and zeros. */
#include <string.h>

#include "helpers.h"
#include "ringbuf.h"

/* Sizes that are not a multiple of 4 are errors, as in Linux before 6.13. */
AB_HELPER(csum_diff_windows) {
    if (((uint32_t)a2 | (uint32_t)a4) % 4 != 0) return ab_result(-AB_EINVAL);
    return ab_helper_csum_diff(a1, a2, a3, a4, a5, slot);
}

/* Its flags are ignored. */
AB_HELPER(ringbuf_output_windows) { return ab_result(ab_ringbuf_output(ab_pointer(a1), ab_pointer(a2), a3, 0)); }

/* bpf_netevent_push_event(context): nobody listens. */
AB_HELPER(nowhere) { return ab_result(-1); }

/* bpf_sock_addr_get_network_context(context, out, size), bpf_process_get_image_path(context, path, size) */
AB_HELPER(unknown_bytes) {
    memset(ab_pointer(a2), 0, (uint32_t)a3);
    return ab_result(-1);
}
