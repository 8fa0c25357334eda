/* wire.c: see wire.h. What waits for frames is wire_linux.c's. */
#include "wire.h"

#include <stdlib.h>

#include "map.h"
#include "packet.h"

#define F_BROADCAST 8u
#define F_EXCLUDE_INGRESS 16u

ab_wire *ab_wire_create(ab_chain *chain, uint32_t event_kind, uint32_t context_size, const uint8_t *actions, int32_t wake) {
    ab_wire *wire = context_size <= AB_PORT_CONTEXT ? calloc(1, sizeof *wire) : NULL;
    if (wire == NULL) return NULL;
    wire->event = ab_event_create(event_kind, context_size, 0);
    if (wire->event == NULL) {
        free(wire);
        return NULL;
    }
    wire->chain = chain;
    wire->wake = wake;
    memcpy(wire->actions, actions, sizeof wire->actions);
    return wire;
}

void ab_wire_destroy(ab_wire *wire) {
    if (wire == NULL) return;
    ab_event_destroy(wire->event);
    free(wire);
}

int32_t ab_wire_add(ab_wire *wire, ab_port *port) {
    if (wire->count == AB_WIRE_PORTS) return -AB_ENOSPC;
    wire->ports[wire->count++] = port;
    return 0;
}

void ab_wire_remove(ab_wire *wire, ab_port *port) {
    for (uint32_t i = 0; i < wire->count; i++)
        if (wire->ports[i] == port) wire->ports[i] = wire->ports[--wire->count];
}

ab_port *ab_wire_port(const ab_wire *wire, uint32_t ifindex) {
    for (uint32_t i = 0; i < wire->count; i++)
        if (wire->ports[i]->ifindex == ifindex) return wire->ports[i];
    return NULL;
}

uint64_t ab_wire_astray(const ab_wire *wire) { return atomic_load_explicit(&wire->astray, memory_order_relaxed); }

static void lead_to(ab_wire *wire, const void *value) {
    uint32_t ifindex = 0;
    if (value != NULL) ab_value_load(&ifindex, value, sizeof ifindex); /* struct bpf_devmap_val begins with it */
    if (ifindex == 0 || wire->target_count == AB_WIRE_TARGETS) ab_port_tally(&wire->astray);
    else wire->targets[wire->target_count++] = ifindex;
}

void ab_wire_resolve(ab_wire *wire, ab_slot *slot, const ab_port *from) {
    const ab_redirect *redirect = &slot->redirect;
    ab_map *map = redirect->map;
    uint32_t key = (uint32_t)redirect->target;
    wire->target_count = wire->next_target = 0;
    if (map == NULL) {
        lead_to(wire, redirect->target != 0 ? &key : NULL);
    } else if (map->kind != AB_MAP_DEVMAP && map->kind != AB_MAP_DEVMAP_HASH) {
        lead_to(wire, NULL); /* no AF_XDP socket takes frames here */
    } else if (!(redirect->flags & F_BROADCAST)) {
        lead_to(wire, map->ops->lookup(map, &key, slot));
    } else {
        ab_map_cursor cursor = {.index = 0};
        while (map->ops->iterate(map, &cursor, slot) == 1) lead_to(wire, cursor.value);
        for (uint32_t i = 0; (redirect->flags & F_EXCLUDE_INGRESS) && i < wire->target_count; i++)
            if (wire->targets[i] == from->ifindex) wire->targets[i--] = wire->targets[--wire->target_count];
    }
}

static void send_event(ab_port *port, const ab_event *event) {
    port->ops->send(port, event->data, ab_packet_length(event));
    port->unflushed = 1;
}

uint32_t ab_wire_redirect(ab_wire *wire, int give_up) {
    for (; wire->next_target < wire->target_count; wire->next_target++, give_up = 0) {
        uint32_t ifindex = wire->targets[wire->next_target];
        ab_port *port = ab_wire_port(wire, ifindex);
        if (port == NULL && !give_up) return ifindex;
        if (port == NULL) ab_port_tally(&wire->astray);
        else send_event(port, wire->event);
    }
    return 0;
}

/* A processor of a cpumap would give the frame to the stack, as if it had passed. */
static int leads_to_processor(const ab_redirect *redirect) { return redirect->map != NULL && redirect->map->kind == AB_MAP_CPUMAP; }

uint32_t ab_wire_frame(ab_wire *wire, ab_session *session, ab_port *port) {
    memcpy(wire->event + 1, port->context, (size_t)wire->event->context_size);
    uint32_t verdict = ab_chain_run(wire->chain, session, wire->event);
    uint8_t action = verdict < AB_CHAIN_VERDICTS ? wire->actions[verdict] : AB_WIRE_ABORT;
    ab_port_tally(&port->received);
    if (action == AB_WIRE_PASS || (action == AB_WIRE_REDIRECT && leads_to_processor(&session->slot->redirect))) {
        send_event(port->peer, wire->event);
    } else if (action == AB_WIRE_TX) {
        send_event(port, wire->event);
    } else if (action == AB_WIRE_REDIRECT) {
        ab_wire_resolve(wire, session->slot, port);
        return ab_wire_redirect(wire, 0);
    }
    return 0;
}
