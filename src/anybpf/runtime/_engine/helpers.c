/* helpers.c: finding helpers by name. */
#include "helpers.h"

#include <string.h>

static const struct {
    const char *name;
    ab_helper_fn function;
} table[] = {
#define AB_HELPER_ENTRY(name, function) {name, ab_helper_##function},
    AB_HELPERS(AB_HELPER_ENTRY)
#undef AB_HELPER_ENTRY
};

#define COUNT (sizeof table / sizeof table[0])

ab_helper_fn ab_helper_find(const char *bpf_name) {
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(table[i].name, bpf_name) == 0) return table[i].function;
    }
    return NULL;
}

uint64_t ab_helper_address(const char *name) { return (uint64_t)(uintptr_t)ab_helper_find(name); }

int ab_helper_reads_unproven(uint64_t helper) {
#define AB_IS_READER(function) || helper == (uint64_t)(uintptr_t)ab_helper_##function
    return 0 AB_UNPROVEN_READERS(AB_IS_READER);
#undef AB_IS_READER
}

const char *ab_helper_name(uint32_t index) { return index < COUNT ? table[index].name : NULL; }

uint64_t ab_helper_call(
    uint64_t helper, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, ab_slot *slot, ab_event *event) {
    ab_event *before = slot->event;
    ab_slot_enter(slot);
    slot->event = event;
    uint64_t result = ((ab_helper_fn)(uintptr_t)helper)(a1, a2, a3, a4, a5, slot);
    slot->event = before;
    ab_slot_leave(slot);
    return result;
}
