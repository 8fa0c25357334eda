/* helpers_callback.c: helpers that call a function of the program, through slot->call. */
#include "helpers.h"

#define MAX_LOOPS (1u << 23) /* Linux's BPF_MAX_LOOPS */

/* bpf_loop(count, callback, context, flags): how many times the callback ran; it ends the loop by returning non-zero. */
AB_HELPER(loop) {
    uint32_t count = (uint32_t)a1;
    if (a4 != 0) return ab_result(-AB_EINVAL);
    if (count > MAX_LOOPS) return ab_result(-AB_E2BIG);
    for (uint32_t i = 0; i < count; i++) {
        if (slot->call(slot, a2, i, a3, 0, 0, 0) != 0) return i + 1;
    }
    return count;
}

/* bpf_for_each_map_elem(map, callback, context, flags): how many elements the callback saw. Per-CPU kinds show this cpu's
 * values. The callback may delete what it sees. */
AB_HELPER(for_each_map_elem) {
    ab_map *map = ab_pointer(a1);
    ab_map_cursor cursor = {0};
    int64_t seen = 0;
    if (a4 != 0 || map->ops->iterate == NULL) return ab_result(-AB_EINVAL);
    while (map->ops->iterate(map, &cursor, slot) > 0) {
        uint8_t *value = cursor.value + slot->cpu * map->cpu_stride;
        seen++;
        if (slot->call(slot, a2, a1, ab_address(cursor.key), ab_address(value), a3, 0) != 0) break;
    }
    return ab_result(seen);
}
