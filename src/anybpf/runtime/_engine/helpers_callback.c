/* helpers_callback.c: helpers that call a function of the program, through slot->call. */
#include "helpers.h"

#define MAX_LOOPS (1u << 23) /* Linux's BPF_MAX_LOOPS */

/* bpf_loop(count, callback, context, flags): how many times the callback ran; it stops the loop by returning non-zero. */
AB_HELPER(loop) {
    uint32_t count = (uint32_t)a1;
    if (a4 != 0) return ab_result(-AB_EINVAL);
    if (count > MAX_LOOPS) return ab_result(-AB_E2BIG);
    for (uint32_t i = 0; i < count; i++) {
        if (slot->call(slot, a2, i, a3, 0, 0, 0) != 0) return i + 1;
    }
    return count;
}
