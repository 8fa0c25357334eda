/* socket.c: one socket call's turn through the programs attached to it. */
#include "api_socket.h"

#include "chain.h"

int64_t ab_socket_fire(ab_chain *chain, ab_event *event, const uint8_t *data, uint32_t length, const uint8_t *context,
                       const ab_task *task, ab_socket_call *call) {
    ab_session session;
    int error = ab_event_load(event, data, length, context);
    if (error) return error;
    call->source_length = call->redirect_length = 0;
    ab_session_open(&session, ab_chain_engine(chain), event);
    session.slot->task = task;
    session.slot->socket = call;
    uint32_t verdict = ab_chain_run(chain, &session, event);
    call->retval = session.slot->retval;
    ab_session_finish(&session);
    return verdict;
}
