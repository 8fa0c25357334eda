/* helpers_probe.c: bpf_probe_read and its kin: reads of addresses that the program has not proven. */
#include <string.h>

#include "helpers.h"
#include "memory.h"

/* bpf_probe_read(destination, size, address): all bytes, or zeros and -EFAULT. */
AB_HELPER(probe_read) {
    int error = ab_memory_read(slot, a3, ab_pointer(a1), (uint32_t)a2);
    if (error) memset(ab_pointer(a1), 0, (uint32_t)a2);
    return ab_result(error);
}

/* bpf_probe_read_str(destination, size, address): the bytes written, NUL included; or zeros and -EFAULT. */
AB_HELPER(probe_read_str) {
    uint32_t size = (uint32_t)a2;
    if (size == 0) return 0;
    int64_t copied = ab_memory_read_string(slot, a3, ab_pointer(a1), size);
    if (copied < 0) memset(ab_pointer(a1), 0, size);
    return ab_result(copied);
}
