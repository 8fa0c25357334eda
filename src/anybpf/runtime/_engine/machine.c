/* machine.c: what machine code calls for its stack frames; and addresses and offsets for the JIT, so that Python need not know
 * how the engine's structs lie in memory. */
#include "api_machine.h"

#include <string.h>

#include "event.h"
#include "program.h"
#include "stack.h"

uint8_t *ab_machine_push_frame(ab_slot *slot) {
    uint8_t *frame = ab_stack_push(slot);
    if (frame != NULL) memset(frame, 0, AB_STACK_SIZE);
    return frame;
}

void ab_machine_pop_frame(ab_slot *slot) { ab_stack_pop(slot); }

void ab_machine_describe(ab_machine *machine) {
    machine->tail_call = (uint64_t)(uintptr_t)ab_tail_call;
    machine->packet_load = (uint64_t)(uintptr_t)ab_packet_load;
    machine->call_by_number = (uint64_t)(uintptr_t)ab_call_by_number;
    machine->push_frame = (uint64_t)(uintptr_t)ab_machine_push_frame;
    machine->pop_frame = (uint64_t)(uintptr_t)ab_machine_pop_frame;
    machine->cpu_offset = offsetof(ab_slot, cpu);
    machine->event_size = sizeof(ab_event);
}

void ab_machine_describe_map(const ab_map *map, ab_machine_map *described) {
    memset(described, 0, sizeof *described);
    described->address = (uint64_t)(uintptr_t)map;
    if (map->kind != AB_MAP_ARRAY && map->kind != AB_MAP_PERCPU_ARRAY) return;
    described->values = (uint64_t)(uintptr_t)map->values;
    described->value_stride = map->value_stride;
    described->cpu_stride = map->cpu_stride;
    described->max_entries = map->max_entries;
}
