/* run.h: a thread's turn to run a program: what one test run and a batch have in common. */
#ifndef ANYBPF_RUN_H
#define ANYBPF_RUN_H

#include "checked.h"
#include "clock.h"
#include "event.h"
#include "helpers.h"
#include "program.h"
#include "reclaim.h"

/* A slot of this thread, entered; and what it was doing before, since helpers may run programs too. */
typedef struct ab_session {
    ab_slot *slot;
    ab_checked *checked; /* made when a program first asks for that mode */
    ab_slot before;
} ab_session;

/* Takes a slot of the engine (waits for one) and enters it, to run programs in AB_MODE_AUTOMATIC. */
void ab_session_open(ab_session *session, ab_engine *engine, ab_event *event);
/* From now on programs run in this mode: 0 or -ENOMEM. */
int ab_session_mode(ab_session *session, uint32_t mode);
void ab_session_finish(ab_session *session);

/* Runs one event, or, when `event` is NULL, on memory. -AB_EFAULT: it was a checked run, and it stopped. */
static inline int ab_run_once(const ab_program *program, ab_slot *slot, ab_event *event, uint8_t *memory, uint64_t length,
                              uint64_t *result) {
    uint64_t r1 = event != NULL ? ab_address(event + 1) : ab_address(memory), r2 = event != NULL ? 0 : length;
    slot->tail_calls = 0;
    slot->redirect.map = NULL;
    slot->redirect.target = slot->redirect.flags = 0;
    if (slot->mode != AB_MODE_CHECKED) {
        ab_entry_fn entry = atomic_load_explicit(&program->entry, memory_order_acquire);
        if (entry != NULL && slot->mode == AB_MODE_AUTOMATIC) {  /* ab_program_run, without what the session restores */
            slot->program = program;
            slot->call = ab_machine_call;
            *result = entry(r1, r2, slot);
        } else {
            *result = ab_program_run(program, r1, r2, slot);
        }
        return 0;
    }
    ab_checked_begin(slot->tier, program, event, memory, length);
    *result = ab_program_run(program, r1, r2, slot);
    return ab_checked_end(slot->tier) ? 0 : -AB_EFAULT;
}

#endif
