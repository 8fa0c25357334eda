/* run.c: a thread's turn to run a program, and one program run on one input. */
#include "run.h"

void ab_session_open(ab_session *session, ab_engine *engine, ab_event *event) {
    ab_slot *slot = ab_slot_acquire(engine);
    *session = (ab_session){slot, NULL, *slot};
    slot->mode = AB_MODE_AUTOMATIC;
    slot->tier = NULL;
    slot->event = event;
    slot->task = NULL;
    slot->socket = NULL;
    slot->retval = 0;
    slot->stack_base = slot->stack_top;
    ab_slot_enter(slot);
}

int ab_session_mode(ab_session *session, uint32_t mode) {
    ab_slot *slot = session->slot;
    if (mode == AB_MODE_CHECKED && session->checked == NULL) {
        session->checked = ab_checked_create(slot);
        if (session->checked == NULL) return -AB_ENOMEM;
    }
    slot->mode = mode;
    slot->tier = mode == AB_MODE_CHECKED ? session->checked : NULL;
    return 0;
}

void ab_session_finish(ab_session *session) {
    ab_slot *slot = session->slot;
    ab_slot_leave(slot);
    ab_checked_destroy(session->checked);
    slot->mode = session->before.mode;
    slot->tier = session->before.tier;
    slot->event = session->before.event;
    slot->task = session->before.task;
    slot->socket = session->before.socket;
    slot->retval = session->before.retval;
    slot->stack_base = session->before.stack_base;
    slot->stack_top = session->before.stack_top;
    slot->program = session->before.program;
    slot->call = session->before.call;
    slot->tail_calls = session->before.tail_calls;
    slot->redirect = session->before.redirect;
    ab_slot_release(slot);
}

int32_t ab_program_test(const ab_program *program, ab_event *event, uint8_t *memory, uint64_t length, ab_run *run) {
    ab_session session;
    ab_session_open(&session, program->engine, event);
    ab_slot *slot = session.slot;
    int error = ab_session_mode(&session, run->mode);
    uint64_t start = ab_clock_monotonic();
    for (uint32_t i = 0; i < run->repeat && error == 0; i++) {
        error = ab_run_once(program, slot, event, memory, length, &run->result);
        ab_slot_quiesce(slot);
    }
    run->duration_ns = ab_clock_monotonic() - start;
    if (error == -AB_EFAULT) run->fault = session.checked->fault;
    run->redirect_target = slot->redirect.target;
    run->redirect_flags = slot->redirect.flags;
    run->redirect_map = slot->redirect.map != NULL ? slot->redirect.map->id : 0;
    ab_session_finish(&session);
    return error;
}
