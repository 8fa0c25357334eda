/* wire_linux.c: the loop that waits for frames on all of a wire's ports. */
#include "wire.h"

#if defined(__linux__)
#include <errno.h>
#include <poll.h>

#define BATCH 64u          /* frames of one port before the next port's turn */
#define RETRY_MILLISECONDS 1 /* after which frames are offered again that the kernel would not take */

/* Handles what waits at a port: 0, or the interface that a frame is to go to and that has no port. */
static uint32_t serve(ab_wire *wire, ab_port *port) {
    uint32_t wanted = 0;
    ab_session session;
    ab_session_open(&session, ab_chain_engine(wire->chain), wire->event);
    for (uint32_t i = 0; i < BATCH && wanted == 0 && port->ops->receive(port, wire->event); i++) {
        wanted = ab_wire_frame(wire, &session, port);
        ab_slot_quiesce(session.slot);
    }
    ab_session_finish(&session);
    return wanted;
}

/* 0; 1 when some frames must be offered again; -1, with *ifindex, when an interface does not send. */
static int flush_all(ab_wire *wire, uint32_t *ifindex) {
    int state = 0;
    for (uint32_t i = 0; i < wire->count; i++) {
        ab_port *port = wire->ports[i];
        int left = port->unflushed ? port->ops->flush(port) : 0;
        port->unflushed = left == 1;
        if (left < 0) *ifindex = port->ifindex;
        if (left < 0 || state == 0) state = left;
    }
    return state;
}

int32_t ab_wire_run(ab_wire *wire, int32_t patience, uint32_t *ifindex) {
    struct pollfd waits[AB_WIRE_PORTS + 1];
    uint32_t wanted = ab_wire_redirect(wire, 1);
    for (;;) {
        int left = flush_all(wire, ifindex);
        if (left < 0) return AB_WIRE_FAILED;
        if (wanted != 0) {
            *ifindex = wanted;
            return AB_WIRE_WANTS;
        }
        for (uint32_t i = 0; i < wire->count; i++)
            waits[i] = (struct pollfd){.fd = wire->ports[i]->descriptor, .events = wire->ports[i]->joined ? POLLIN : 0};
        waits[wire->count] = (struct pollfd){.fd = wire->wake, .events = POLLIN};
        int ready = poll(waits, wire->count + 1, left ? RETRY_MILLISECONDS : patience);
        if (ready < 0 && errno != EINTR) return -errno;
        if (ready <= 0) {
            if (ready == 0 && !left) return AB_WIRE_IDLE;
            continue;
        }
        if (waits[wire->count].revents != 0) return AB_WIRE_WOKEN;
        for (uint32_t i = 0; i < wire->count && wanted == 0; i++) {
            ab_port *port = wire->ports[i];
            if (waits[i].revents & (POLLERR | POLLHUP | POLLNVAL)) {
                *ifindex = port->ifindex;
                return AB_WIRE_FAILED;
            }
            if (waits[i].revents & POLLIN) wanted = serve(wire, port);
        }
    }
}
#else
int32_t ab_wire_run(ab_wire *wire, int32_t patience, uint32_t *ifindex) {
    (void)wire, (void)patience, (void)ifindex;
    return -AB_EOPNOTSUPP;
}
#endif
