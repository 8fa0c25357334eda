/* api_machine.h: what the JIT binds machine code to: the engine's own functions, offsets in its structs, maps in memory. */
#ifndef ANYBPF_API_MACHINE_H
#define ANYBPF_API_MACHINE_H
#include "engine.h"

/* Functions that machine code calls, as addresses, and where it finds things. */
typedef struct ab_machine {
    uint64_t tail_call;      /* ab_tail_call */
    uint64_t packet_load;    /* ab_packet_load */
    uint64_t call_by_number; /* ab_call_by_number */
    uint64_t push_frame;     /* ab_machine_push_frame (stack.h) */
    uint64_t pop_frame;      /* ab_machine_pop_frame */
    uint64_t cpu_offset;     /* bytes from an ab_slot to its `cpu` */
    uint64_t event_size;     /* bytes of an ab_event, which ends where the context begins */
} ab_machine;
void ab_machine_describe(ab_machine *machine);

/* A map as machine code sees it. The last four are 0 unless it is an array whose values stand in one block. */
typedef struct ab_machine_map {
    uint64_t address;
    uint64_t values;
    uint64_t value_stride;
    uint64_t cpu_stride;
    uint64_t max_entries;
} ab_machine_map;
void ab_machine_describe_map(const ab_map *map, ab_machine_map *described);

#endif
