/* wire.h: what becomes of a frame: the chain's verdict, and the ports that it leaves by. */
#ifndef ANYBPF_WIRE_H
#define ANYBPF_WIRE_H

#include "chain.h"
#include "port.h"

#define AB_WIRE_TARGETS 256 /* interfaces that one frame is sent to at most */

struct ab_wire {
    ab_chain *chain;
    ab_event *event;
    int wake;
    uint32_t count;
    ab_port *ports[AB_WIRE_PORTS];
    uint8_t actions[AB_CHAIN_VERDICTS];
    /* Where the frame in the event still has to go: interfaces next_target to target_count - 1. */
    uint32_t targets[AB_WIRE_TARGETS];
    uint32_t target_count;
    uint32_t next_target;
    _Atomic uint64_t astray;
};

ab_port *ab_wire_port(const ab_wire *wire, uint32_t ifindex);
/* Lists the interfaces that a redirect means, in wire->targets. The session that made the decision is still open. */
void ab_wire_resolve(ab_wire *wire, ab_slot *slot, const ab_port *from);
/* Sends the frame in the event to its targets; 0, or the interface of the next one when it has no port. `give_up`: the first
 * one goes nowhere if that is still so. */
uint32_t ab_wire_redirect(ab_wire *wire, int give_up);
/* Runs the chain on the frame in the event, which came in by `port`, and acts: 0, or as ab_wire_redirect. */
uint32_t ab_wire_frame(ab_wire *wire, ab_session *session, ab_port *port);

#endif
