/* checked_memory.c: what the running program may touch, and, when it touched something else, what lies nearest. */
#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "event.h"
#include "helpers.h"

#define NEAR 65536u            /* a fault further than this from all memory is near nothing */

static uint64_t stack_size(const ab_slot *slot) { return (uint64_t)(slot->stack_top - slot->stack_base); }
static uint64_t direct_size(const ab_map *map) { return map->value_stride * map->max_entries; }

static uint32_t after(const ab_checked *checked, uint64_t address) {
    uint32_t low = 0, high = checked->region_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (checked->regions[middle].start <= address) low = middle + 1;
        else high = middle;
    }
    return low;
}

int ab_checked_add(ab_checked *checked, uint64_t start, uint64_t size, uint32_t kind, uint32_t map, uint32_t writable) {
    uint32_t place = after(checked, start);
    ab_region region = {start, size, kind, map, writable};
    if (place > 0 && checked->regions[place - 1].start == start) {
        checked->regions[place - 1] = region;
        return 1;
    }
    if (checked->region_count == checked->region_capacity) {
        uint32_t capacity = checked->region_capacity ? 2 * checked->region_capacity : 64;
        ab_region *regions = realloc(checked->regions, capacity * sizeof *regions);
        if (regions == NULL) return ab_checked_fault(checked, AB_FAULT_MEMORY, 0, 0, 0);
        checked->regions = regions;
        checked->region_capacity = capacity;
    }
    memmove(&checked->regions[place + 1], &checked->regions[place], (checked->region_count - place) * sizeof region);
    checked->regions[place] = region;
    checked->region_count++;
    return 1;
}

ab_region *ab_checked_region(const ab_checked *checked, uint64_t start, uint32_t kind) {
    uint32_t place = after(checked, start);
    if (place == 0) return NULL;
    ab_region *region = &checked->regions[place - 1];
    return region->start == start && region->kind == kind ? region : NULL;
}

void ab_checked_remove(ab_checked *checked, ab_region *region) {
    uint32_t place = (uint32_t)(region - checked->regions);
    checked->region_count--;
    memmove(region, region + 1, (checked->region_count - place) * sizeof *region);
}

/* The context's own bytes: only what a field covers, packet pointers apart (see ab_checked_packet_field). */
static int context_permits(const ab_checked *checked, uint64_t offset, uint64_t size, int writes) {
    const ab_program *program = checked->program;
    for (uint32_t i = 0; i < program->field_count; i++) {
        const ab_context_field *field = &program->fields[i];
        if (field->kind == AB_FIELD_NUMBER && ab_inside(offset, size, field->offset, field->size) && (field->writable || !writes))
            return 1;
    }
    return 0;
}

/* The buffer that a field of the context begins, NULL for any other field. No program can write it. */
static const ab_buffer_bounds *buffer_of(const ab_event *event, const ab_context_field *field) {
    if (field->kind != AB_FIELD_BUFFER) return NULL;
    return (const ab_buffer_bounds *)(const void *)((const uint8_t *)(event + 1) + field->offset);
}

static int buffer_permits(const ab_checked *checked, uint64_t address, uint64_t size, int writes) {
    for (uint32_t i = 0; i < checked->program->field_count; i++) {
        const ab_context_field *field = &checked->program->fields[i];
        const ab_buffer_bounds *buffer = buffer_of(checked->event, field);
        if (buffer != NULL && ab_inside(address, size, buffer->start, buffer->end - buffer->start) && (field->writable || !writes))
            return 1;
    }
    return 0;
}

/* Whether the header's pointers are read as a lowered program reads them. */
static int header_permits(const ab_event *event, uint64_t address, uint64_t size) {
    return size == 8 && (address == ab_address(&event->data) || address == ab_address(&event->data_end)
                         || address == ab_address(&event->data_meta));
}

int ab_checked_map_permits(const ab_checked *checked, uint64_t address, uint64_t size, int writes) {
    uint32_t place = after(checked, address);
    if (place > 0) {
        const ab_region *region = &checked->regions[place - 1];
        if (region->kind != AB_REGION_MAP && ab_inside(address, size, region->start, region->size) && (region->writable || !writes))
            return 1;
    }
    for (uint32_t i = 0; i < checked->program->map_count && i < 64; i++) {
        const ab_map *map = checked->program->maps[i];
        if ((checked->program->direct_maps >> i & 1) && ab_inside(address, size, ab_address(map->values), direct_size(map))
            && !(writes && (map->flags & AB_F_RDONLY_PROG)))
            return 1;
    }
    return 0;
}

int ab_checked_permits(const ab_checked *checked, uint64_t address, uint64_t size, int writes) {
    if (ab_inside(address, size, ab_address(checked->slot->stack_base), stack_size(checked->slot))) return 1;
    if (checked->event != NULL) {
        const ab_event *event = checked->event;
        uint64_t context = ab_address(event + 1), start = ab_address(event->data_meta);
        if (ab_inside(address, size, context, event->context_size)) return context_permits(checked, address - context, size, writes);
        if (event->buffers) {
            if (buffer_permits(checked, address, size, writes)) return 1;
        } else if (ab_inside(address, size, start, (uint64_t)(event->data_end - event->data_meta)))
            return !writes || checked->program->packet_writable || address + size <= ab_address(event->data);
        if (checked->program->lowered && !writes && header_permits(event, address, size)) return 1;
    } else if (ab_inside(address, size, checked->memory, checked->memory_size)) {
        return 1;
    }
    return ab_checked_map_permits(checked, address, size, writes);
}

static uint64_t distance(uint64_t address, uint64_t start, uint64_t size) {
    if (address < start) return start - address;
    return address - start < size ? 0 : address - start - size + 1;
}

static void consider(ab_fault *fault, uint64_t *best, uint32_t kind, uint64_t start, uint64_t size, uint32_t map) {
    uint64_t away = distance(fault->address, start, size);
    if (away >= *best) return;
    *best = away;
    fault->region = kind;
    fault->region_start = start;
    fault->region_size = size;
    fault->map = map;
}

/* Finds the memory nearest to the address of a fault. */
static void locate(ab_checked *checked) {
    ab_fault *fault = &checked->fault;
    uint64_t best = NEAR;
    consider(fault, &best, AB_REGION_STACK, ab_address(checked->slot->stack_base), stack_size(checked->slot), 0);
    if (checked->event != NULL) {
        const ab_event *event = checked->event;
        for (uint32_t i = 0; i < checked->program->field_count; i++) {
            const ab_buffer_bounds *buffer = buffer_of(event, &checked->program->fields[i]);
            if (buffer != NULL) consider(fault, &best, AB_REGION_BUFFER, buffer->start, buffer->end - buffer->start, 0);
        }
        if (!event->buffers)
            consider(fault, &best, AB_REGION_PACKET, ab_address(event->data), (uint64_t)(event->data_end - event->data), 0);
        consider(fault, &best, AB_REGION_CONTEXT, ab_address(event + 1), event->context_size, 0);
    } else {
        consider(fault, &best, AB_REGION_MEMORY, checked->memory, checked->memory_size, 0);
    }
    for (uint32_t i = 0; i < checked->region_count; i++) {
        const ab_region *region = &checked->regions[i];
        if (region->kind != AB_REGION_MAP) consider(fault, &best, region->kind, region->start, region->size, region->map);
    }
    for (uint32_t i = 0; i < checked->program->map_count && i < 64; i++) {
        const ab_map *map = checked->program->maps[i];
        if (checked->program->direct_maps >> i & 1)
            consider(fault, &best, AB_REGION_MAP_VALUE, ab_address(map->values), direct_size(map), map->id);
    }
}

/* Records the first fault of a run; always returns 0. */
int ab_checked_fault(ab_checked *checked, uint32_t reason, uint64_t address, uint64_t size, uint32_t subject) {
    ab_fault *fault = &checked->fault;
    if (fault->reason != AB_FAULT_NONE) return 0;
    fault->reason = reason;
    fault->program = checked->program;
    fault->instruction = (uint32_t)(checked->at - checked->program->text);
    fault->address = address;
    fault->size = size;
    fault->subject = subject;
    locate(checked);
    return 0;
}

