/* port_frames_linux.c: a descriptor that gives and takes one whole frame a call: a TAP interface's, or a socket of packets. */
#if defined(__linux__)
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "port.h"

static int receive(ab_port *port, ab_event *event) {
    uint8_t *to = ab_port_place(event, port->largest);
    ssize_t got;
    while (to != NULL && (got = read(port->descriptor, to, port->largest)) > 0) {
        event->data_end = to + got;
        if ((size_t)got >= AB_ETH_HLEN) return 1;
        ab_port_tally(&port->unreadable);
    }
    return 0;
}

static void send_frame(ab_port *port, const uint8_t *bytes, uint32_t length) {
    int fits = length >= AB_ETH_HLEN && length <= port->largest;
    ab_port_tally(fits && write(port->descriptor, bytes, length) == (ssize_t)length ? &port->sent : &port->no_room);
}

static int flush(ab_port *port) {
    (void)port;
    return 0;
}

static void destroy(ab_port *port) { free(port); }

static const ab_port_ops frames_ops = {receive, send_frame, flush, destroy};

ab_port *ab_port_frames_create(int32_t descriptor, uint32_t ifindex, uint32_t largest) {
    ab_port *port = calloc(1, sizeof *port);
    if (port != NULL) ab_port_init(port, &frames_ops, descriptor, ifindex, largest);
    return port;
}
#else
#include "port.h"

ab_port *ab_port_frames_create(int32_t descriptor, uint32_t ifindex, uint32_t largest) {
    (void)descriptor, (void)ifindex, (void)largest;
    return NULL;
}
#endif
