/* wire_linux.c: the loop that waits for frames on all of a wire's ports. */
#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "wire.h"

#if defined(__linux__)
#include <errno.h>
#include <poll.h>
#include <time.h>

#define BATCH 64u            /* frames of one port before the next port's turn */
#define RETRY_MILLISECONDS 1 /* after which frames are offered again that the kernel would not take */
/* Being woken costs the sender more than a frame does. After so many frames at once, which only busy ports have, it is worth
 * letting some more gather. */
#define BUSY 8u
#define GATHER_NANOSECONDS 20000

/* Handles what waits at a port, at most BATCH frames; how many. Stops at one that is to go to an interface without a port, which
 * becomes *wanted. */
static uint32_t serve(ab_wire *wire, ab_port *port, uint32_t *wanted) {
    uint32_t handled = 0;
    ab_session session;
    ab_session_open(&session, ab_chain_engine(wire->chain), wire->event);
    for (; handled < BATCH && *wanted == 0 && port->ops->receive(port, wire->event); handled++) {
        *wanted = ab_wire_frame(wire, &session, port);
        ab_slot_quiesce(session.slot);
    }
    ab_session_finish(&session);
    return handled;
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

/* Waits until a port or the wake-up descriptor has something: as poll(). */
static int wait_for_any(ab_wire *wire, struct pollfd *waits, int milliseconds) {
    for (uint32_t i = 0; i < wire->count; i++)
        waits[i] = (struct pollfd){.fd = wire->ports[i]->descriptor, .events = wire->ports[i]->joined ? POLLIN : 0};
    waits[wire->count] = (struct pollfd){.fd = wire->wake, .events = POLLIN};
    return poll(waits, wire->count + 1, milliseconds);
}

int32_t ab_wire_run(ab_wire *wire, int32_t patience, uint32_t *ifindex) {
    const struct timespec gather = {.tv_nsec = GATHER_NANOSECONDS};
    struct pollfd waits[AB_WIRE_PORTS + 1];
    uint32_t wanted = ab_wire_redirect(wire, 1), handled = 0, most = 0;
    for (;;) {
        int left = flush_all(wire, ifindex);
        if (left < 0) return AB_WIRE_FAILED;
        if (wanted != 0) {
            *ifindex = wanted;
            return AB_WIRE_WANTS;
        }
        if (handled >= BUSY && most < BATCH) nanosleep(&gather, NULL);
        handled = most = 0;
        int ready = wait_for_any(wire, waits, left ? RETRY_MILLISECONDS : patience);
        if (ready < 0 && errno != EINTR) return -errno;
        if (ready == 0 && !left) return AB_WIRE_IDLE;
        if (ready <= 0) continue;
        if (waits[wire->count].revents != 0) return AB_WIRE_WOKEN;
        for (uint32_t i = 0; i < wire->count && wanted == 0; i++) {
            if (waits[i].revents & (POLLERR | POLLHUP | POLLNVAL)) {
                *ifindex = wire->ports[i]->ifindex;
                return AB_WIRE_FAILED;
            }
            uint32_t count = waits[i].revents & POLLIN ? serve(wire, wire->ports[i], &wanted) : 0;
            handled += count;
            if (count > most) most = count;
        }
    }
}
#else
int32_t ab_wire_run(ab_wire *wire, int32_t patience, uint32_t *ifindex) {
    (void)wire, (void)patience, (void)ifindex;
    return -AB_EOPNOTSUPP;
}
#endif
