/* helpers_sample.c: the helpers of eBPF for Windows' sample extension, which is there to try out extensions. */
#include <string.h>

#include "event.h"
#include "helpers.h"

/* Byte offsets in sample_program_context_t. */
#define HELPER_DATA_1 24
#define HELPER_DATA_2 28

static uint64_t length_of(const char *text, uint64_t size) {
    const char *end = memchr(text, 0, (size_t)size);
    return end == NULL ? size : (uint64_t)(end - text);
}

AB_HELPER(sample_function1) { return 0; }

/* sample_ebpf_extension_find(buffer, size, text, text_size): where the text first stands in the buffer, or -1. Both end at a NUL
 * or with their size. */
AB_HELPER(sample_find) {
    const char *buffer = ab_pointer(a1), *text = ab_pointer(a3);
    uint64_t size = length_of(buffer, (uint32_t)a2), wanted = length_of(text, (uint32_t)a4);
    for (uint64_t at = 0; at + wanted <= size; at++) {
        if (memcmp(buffer + at, text, (size_t)wanted) == 0) return at;
    }
    return ab_result(-1);
}

/* sample_ebpf_extension_replace(buffer, size, position, text, text_size): writes the text over the buffer's bytes from the position
 * on, up to the buffer's last byte, which stays. 0, or -1 for a position outside. */
AB_HELPER(sample_replace) {
    uint32_t size = (uint32_t)a2;
    if (a3 >= size) return ab_result(-1);
    uint64_t room = size - 1 - a3, length = length_of(ab_pointer(a4), (uint32_t)a5);
    memmove((char *)ab_pointer(a1) + a3, ab_pointer(a4), (size_t)(length < room ? length : room));
    return 0;
}

/* The two that see the context without being given it. */
AB_HELPER(sample_implicit_1) { return slot->event == NULL ? 0 : ab_context_u32(slot->event, HELPER_DATA_1); }
AB_HELPER(sample_implicit_2) { return slot->event == NULL ? 0 : (uint64_t)ab_context_u32(slot->event, HELPER_DATA_2) + (uint32_t)a1; }

/* sample_ext_helper_map_get_value(map, key, value, size): copies the value; 0, or -1 when there is none or it is of another size. */
AB_HELPER(sample_map_get_value) {
    ab_map *map = ab_pointer(a1);
    if (map->ops->lookup == NULL || a4 != map->value_size) return ab_result(-1);
    const void *value = map->ops->lookup(map, ab_pointer(a2), slot);
    if (value == NULL) return ab_result(-1);
    memcpy(ab_pointer(a3), value, map->value_size);
    return 0;
}
