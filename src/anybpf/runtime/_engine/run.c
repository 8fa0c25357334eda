/* run.c: a thread's turn to run a program, and one program run on one input. */
#include "run.h"

void ab_session_finish(ab_session *session) {
    ab_slot *slot = session->slot;
    ab_slot_leave(slot);
    if (slot->mode == AB_MODE_CHECKED) ab_checked_destroy(slot->tier);
    slot->mode = session->before.mode;
    slot->tier = session->before.tier;
    slot->event = session->before.event;
    slot->stack_base = session->before.stack_base;
    slot->stack_top = session->before.stack_top;
    slot->program = session->before.program;
    slot->call = session->before.call;
    slot->tail_calls = session->before.tail_calls;
    slot->redirect = session->before.redirect;
    ab_slot_release(slot);
}

int ab_session_begin(ab_session *session, const ab_program *program, uint32_t mode, ab_event *event) {
    ab_slot *slot = ab_slot_acquire(program->engine);
    ab_checked *checked = NULL;
    if (mode == AB_MODE_CHECKED) {
        checked = ab_checked_create(slot);
        if (checked == NULL) {
            ab_slot_release(slot);
            return -AB_ENOMEM;
        }
    }
    *session = (ab_session){slot, *slot};
    slot->mode = mode;
    slot->tier = checked;
    slot->event = event;
    slot->stack_base = slot->stack_top;
    ab_slot_enter(slot);
    return 0;
}

int32_t ab_program_test(const ab_program *program, ab_event *event, uint8_t *memory, uint64_t length, ab_run *run) {
    ab_session session;
    int error = ab_session_begin(&session, program, run->mode, event);
    if (error) return error;
    ab_slot *slot = session.slot;
    uint64_t start = ab_clock_monotonic();
    for (uint32_t i = 0; i < run->repeat && error == 0; i++) {
        error = ab_run_once(program, slot, event, memory, length, &run->result);
        ab_slot_quiesce(slot);
    }
    run->duration_ns = ab_clock_monotonic() - start;
    if (error) run->fault = ((ab_checked *)slot->tier)->fault;
    run->redirect_target = slot->redirect.target;
    run->redirect_flags = slot->redirect.flags;
    run->redirect_map = slot->redirect.map != NULL ? slot->redirect.map->id : 0;
    ab_session_finish(&session);
    return error;
}
