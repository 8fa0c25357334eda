/* port.h: a place where frames come in and go out, under one set of operations for all kinds. A port belongs to the thread that
 * runs its wire; only its counts are read by others.
 */
#ifndef ANYBPF_PORT_H
#define ANYBPF_PORT_H

#include <stdatomic.h>

#include "api_wire.h"
#include "event.h"

typedef struct ab_port_ops {
    /* Puts the next frame into the event: 1, or 0 when there is none now. Frames that cannot be had whole are counted and left. */
    int (*receive)(ab_port *port, ab_event *event);
    /* Takes a frame to send, at the latest when it is flushed; what does not fit is counted and dropped. */
    void (*send)(ab_port *port, const uint8_t *frame, uint32_t length);
    /* Has the kernel send what was taken: 0; 1 when some must wait for a later flush; -1 when the interface does not send. */
    int (*flush)(ab_port *port);
    void (*destroy)(ab_port *port);
} ab_port_ops;

/* The head of every port; each kind's own struct begins with it. */
struct ab_port {
    const ab_port_ops *ops;
    ab_port *peer;
    int descriptor;
    uint32_t ifindex;
    int joined;     /* frames are taken from it */
    int unflushed;
    uint32_t largest;
    _Atomic uint64_t received, sent, no_room, unreadable;
    uint8_t context[AB_PORT_CONTEXT];
};

void ab_port_init(ab_port *port, const ab_port_ops *ops, int descriptor, uint32_t ifindex, uint32_t largest);

static inline void ab_port_tally(_Atomic uint64_t *count) { /* one writer */
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Makes room for a frame of `length` bytes in the event; where to put it, or NULL: no memory. */
uint8_t *ab_port_place(ab_event *event, uint32_t length);

#endif
