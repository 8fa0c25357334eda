/* api_wire.h: live frames: ports that frames come in and go out by, and the wire, which runs a chain on every frame and does what
 * the verdict says. Linux only; elsewhere nothing can be created. Python opens descriptors and maps rings.
 */
#ifndef ANYBPF_API_WIRE_H
#define ANYBPF_API_WIRE_H
#include "api_chain.h"

typedef struct ab_wire ab_wire;
typedef struct ab_port ab_port;

/* What to do with a frame. */
enum { AB_WIRE_ABORT, AB_WIRE_DROP, AB_WIRE_PASS, AB_WIRE_TX, AB_WIRE_REDIRECT };
/* Why ab_wire_run came back. */
enum {
    AB_WIRE_WOKEN,  /* the wake-up descriptor can be read */
    AB_WIRE_WANTS,  /* a frame is to go to an interface that has no port: add one, or not, and run again */
    AB_WIRE_FAILED, /* a port's descriptor reports an error or has hung up */
    AB_WIRE_IDLE    /* nothing has happened for so long */
};
enum { AB_WIRE_PORTS = 64, AB_PORT_CONTEXT = 64 };

/* A packet socket's rings (TPACKET_V2, PACKET_VNET_HDR): frames of `frame_size` bytes each. */
typedef struct ab_packet_rings {
    uint8_t *receive;         /* NULL with receive_frames 0: the port only sends */
    uint8_t *transmit;
    uint32_t receive_frames;
    uint32_t transmit_frames;
    uint32_t frame_size;
    uint32_t largest;         /* bytes of the largest frame that the interface takes */
} ab_packet_rings;

typedef struct ab_port_counts {
    uint64_t received;   /* frames that met the chain; packets cut from a merged one count each */
    uint64_t sent;
    uint64_t no_room;    /* frames not sent: the ring or the descriptor was full, or the frame too long for the interface */
    uint64_t unreadable; /* frames not received whole */
} ab_port_counts;

/* The wire's ports are used by the thread that runs it, and closed before their descriptors are. NULL: no memory, or not Linux.
 * `ifindex` tells ports apart. */
ab_port *ab_port_packet_create(int32_t descriptor, uint32_t ifindex, const ab_packet_rings *rings);
/* A descriptor (not blocking) that gives and takes a whole frame a call: TAP, a socket of packets. */
ab_port *ab_port_frames_create(int32_t descriptor, uint32_t ifindex, uint32_t largest);
void ab_port_destroy(ab_port *port);
/* Frames are taken from here, and leave by `peer` when they pass; `context` holds the AB_PORT_CONTEXT bytes that a
 * program's context begins with. Both ports are the wire's. */
void ab_port_join(ab_port *port, ab_port *peer, const uint8_t *context);
void ab_port_count(const ab_port *port, ab_port_counts *counts);

/* `actions`: AB_WIRE_* by verdict. `wake`: a descriptor; when it can be read, ab_wire_run returns. */
ab_wire *ab_wire_create(ab_chain *chain, uint32_t event_kind, uint32_t context_size, const uint8_t *actions, int32_t wake);
void ab_wire_destroy(ab_wire *wire);
/* 0, or -ENOSPC when there are AB_WIRE_PORTS already. */
int32_t ab_wire_add(ab_wire *wire, ab_port *port);
void ab_wire_remove(ab_wire *wire, ab_port *port);
/* Handles frames until something else is to be done: AB_WIRE_*, with the interface in *ifindex; or -EOPNOTSUPP. `patience`: of
 * AB_WIRE_IDLE, milliseconds; -1 for ever. */
int32_t ab_wire_run(ab_wire *wire, int32_t patience, uint32_t *ifindex);
/* Frames whose redirect led nowhere: no target in the map, or no port for it. */
uint64_t ab_wire_astray(const ab_wire *wire);
#endif
