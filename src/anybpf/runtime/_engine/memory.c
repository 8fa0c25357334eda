/* memory.c: see memory.h. */
#include "memory.h"

#include <string.h>

#include "map.h"
#include "program.h"

static uint64_t rest_of(uint64_t address, const void *start, const void *end) {
    uint64_t first = (uint64_t)(uintptr_t)start, last = (uint64_t)(uintptr_t)end;
    return address >= first && address < last ? last - address : 0;
}

static uint64_t owned_by_map(ab_map *map, uint64_t address) {
    if (map->ops->owned != NULL) return map->ops->owned(map, address);
    if (map->values == NULL) return 0;
    uint64_t cpus = map->cpu_stride != 0 ? ab_engine_cpus(map->engine) : 1;
    uint64_t size = map->cpu_stride * (cpus - 1) + map->value_stride * map->max_entries;
    return rest_of(address, map->values, map->values + size);
}

/* An inner map is the program's while its outer map holds it. */
static uint64_t owned_by_inner_maps(ab_map *outer, uint64_t address, ab_slot *slot) {
    ab_map_cursor cursor = {0};
    uint64_t size = 0;
    while (size == 0 && outer->ops->iterate(outer, &cursor, slot) > 0) {
        ab_map *inner;
        memcpy(&inner, cursor.value, sizeof inner);
        if (inner != NULL) size = owned_by_map(inner, address); /* NULL: removed just now */
    }
    return size;
}

uint64_t ab_memory_owned(ab_slot *slot, uint64_t address) {
    const ab_event *event = slot->event;
    const ab_program *program = slot->program;
    uint64_t size = rest_of(address, slot->stack_base, slot->stack_top);
    if (size == 0 && event != NULL) {
        size = rest_of(address, event->data_meta, event->data_end);
        if (size == 0) size = rest_of(address, event + 1, (const uint8_t *)(event + 1) + event->context_size);
    }
    for (uint32_t i = 0; size == 0 && program != NULL && i < program->map_count; i++) {
        ab_map *map = program->maps[i];
        if (map->kind == AB_MAP_ARRAY_OF_MAPS || map->kind == AB_MAP_HASH_OF_MAPS) size = owned_by_inner_maps(map, address, slot);
        else size = owned_by_map(map, address);
    }
    return size;
}

int ab_memory_read(ab_slot *slot, uint64_t address, void *out, uint64_t size) {
    if (size == 0) return 0;
    if (ab_memory_owned(slot, address) < size) return -AB_EFAULT;
    memmove(out, (const void *)(uintptr_t)address, (size_t)size);
    return 0;
}

int64_t ab_memory_read_string(ab_slot *slot, uint64_t address, char *out, uint64_t size) {
    const char *text = (const char *)(uintptr_t)address;
    uint64_t owned = ab_memory_owned(slot, address), most = size - 1 < owned ? size - 1 : owned;
    for (uint64_t i = 0; i < most; i++) { /* character by character: another thread may be writing it */
        out[i] = text[i];
        if (out[i] == 0) return (int64_t)i + 1;
    }
    if (most < size - 1) return -AB_EFAULT;
    out[most] = 0;
    return (int64_t)size;
}
