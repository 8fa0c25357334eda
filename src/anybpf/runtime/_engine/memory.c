/* memory.c: see memory.h. */
#include "memory.h"

#include <string.h>

#include "checked.h"
#include "map.h"
#include "program.h"

static uint64_t rest_of(uint64_t address, const void *start, const void *end) {
    uint64_t first = (uint64_t)(uintptr_t)start, last = (uint64_t)(uintptr_t)end;
    return address >= first && address < last ? last - address : 0;
}

/* The fast tiers keep programs' stacks on the thread's stack, somewhere between the frame of this call and stack_base. */
static uint64_t owned_stack(const ab_slot *slot, uint64_t address) {
    volatile uint8_t here = 0;
    return slot->stack_base == NULL ? 0 : rest_of(address, (const uint8_t *)&here, slot->stack_base);
}

static uint64_t owned_by_map(ab_map *map, uint64_t address) {
    if (map->ops->owned != NULL) return map->ops->owned(map, address);
    if (map->values == NULL) return 0;
    uint64_t cpus = map->cpu_stride != 0 ? ab_engine_cpus(map->engine) : 1;
    uint64_t size = map->cpu_stride * (cpus - 1) + map->value_stride * map->max_entries;
    return rest_of(address, map->values, map->values + size);
}

uint64_t ab_memory_owned(ab_slot *slot, uint64_t address) {
    const ab_event *event = slot->event;
    const ab_program *program = slot->program;
    uint64_t size = 0;
    if (event != NULL) {
        size = rest_of(address, event->data_meta, event->data_end);
        if (size == 0) size = rest_of(address, event + 1, (const uint8_t *)(event + 1) + event->context_size);
    }
    if (size == 0) size = owned_stack(slot, address);
    for (uint32_t i = 0; size == 0 && program != NULL && i < program->map_count; i++) {
        if (program->maps[i] != NULL) size = owned_by_map(program->maps[i], address);
    }
    return size;
}

/* Whether `size` bytes may be read. A checked run's own list of what the program may touch is stricter and decides there. */
static int permits(ab_slot *slot, uint64_t address, uint64_t size) {
    if (slot->mode == AB_MODE_CHECKED && slot->tier != NULL) return ab_checked_permits(slot->tier, address, size, 0);
    return ab_memory_owned(slot, address) >= size;
}

int ab_memory_read(ab_slot *slot, uint64_t address, void *out, uint64_t size) {
    if (size == 0) return 0;
    if (!permits(slot, address, size)) return -AB_EFAULT;
    memmove(out, (const void *)(uintptr_t)address, (size_t)size);
    return 0;
}

int64_t ab_memory_read_string(ab_slot *slot, uint64_t address, char *out, uint64_t size) {
    for (uint64_t i = 0; i < size; i++) {
        /* Byte by byte: how far the memory reaches is known for the fast tiers only, and strings are short. */
        if (i + 1 == size) {
            out[i] = 0;
            return (int64_t)size;
        }
        if (!permits(slot, address + i, 1)) return -AB_EFAULT;
        out[i] = *(const char *)(uintptr_t)(address + i);
        if (out[i] == 0) return (int64_t)i + 1;
    }
    return -AB_EFAULT;
}
