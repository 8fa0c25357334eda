/* stack.h: the stack frames of running programs.
 *
 * They lie in the cpu slot, not on the thread's own stack: there is nothing of the host process among them, and where the
 * running program's begin and end is known exactly. That is what bpf_probe_read and its kin may read (memory.h). Machine code
 * keeps its frames there only for programs that call such helpers, because the thread's stack is a little faster.
 */
#ifndef ANYBPF_STACK_H
#define ANYBPF_STACK_H

#include "engine.h"

/* A frame for the function that begins now, its bytes as the last user left them; NULL when there is no room. */
static inline uint8_t *ab_stack_push(ab_slot *slot) {
    uint8_t *frame = slot->stack_top;
    if (frame == slot->stack_end) return NULL;
    slot->stack_top = frame + AB_STACK_SIZE;
    return frame;
}

static inline void ab_stack_pop(ab_slot *slot) { slot->stack_top -= AB_STACK_SIZE; }

/* For machine code: a frame of zeros, or NULL; and its end. */
uint8_t *ab_machine_push_frame(ab_slot *slot);
void ab_machine_pop_frame(ab_slot *slot);

#endif
