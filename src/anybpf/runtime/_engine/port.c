/* port.c: see port.h. */
#include "port.h"

void ab_port_init(ab_port *port, const ab_port_ops *ops, int descriptor, uint32_t ifindex, uint32_t largest) {
    port->ops = ops;
    port->descriptor = descriptor;
    port->ifindex = ifindex;
    port->largest = largest;
}

uint8_t *ab_port_place(ab_event *event, uint32_t length) {
    if (!ab_event_fits(event, length)) {
        ab_event_place(event, 0);
        if (ab_event_reserve(event, 0, length + AB_EVENT_TAILROOM) != 0) return NULL;
    }
    return ab_event_place(event, length);
}

void ab_port_destroy(ab_port *port) {
    if (port != NULL) port->ops->destroy(port);
}

void ab_port_join(ab_port *port, ab_port *peer, const uint8_t *context) {
    port->peer = peer;
    port->joined = 1;
    memcpy(port->context, context, sizeof port->context);
}

void ab_port_count(const ab_port *port, ab_port_counts *counts) {
    counts->received = atomic_load_explicit(&port->received, memory_order_relaxed);
    counts->sent = atomic_load_explicit(&port->sent, memory_order_relaxed);
    counts->no_room = atomic_load_explicit(&port->no_room, memory_order_relaxed);
    counts->unreadable = atomic_load_explicit(&port->unreadable, memory_order_relaxed);
}
