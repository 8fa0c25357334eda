/* chain.h: running what is attached at a point, for whoever brings events. */
#ifndef ANYBPF_CHAIN_H
#define ANYBPF_CHAIN_H

#include "api_chain.h"
#include "run.h"

/* Runs the chain on `event`, which holds the packet and the context, and returns the verdict. The session is open
 * (ab_session_open) on this thread; slot->redirect is what the last program decided. Call ab_slot_quiesce(session->slot)
 * between events. */
uint32_t ab_chain_run(ab_chain *chain, ab_session *session, ab_event *event);

/* Whether a call's return value is an error number, as Linux tells them from results (IS_ERR_VALUE). */
static inline int ab_is_error(int32_t retval) { return retval < 0 && retval >= -4095; }

ab_engine *ab_chain_engine(const ab_chain *chain);

#endif
