/* helpers_buffer.c: eBPF for Windows' memory and string helpers, with the limits of C11 Annex K: a destination that is too small
 * is an error, not an overflow. */
#include <string.h>

#include "helpers.h"

/* bpf_memcpy_s(destination, destination_size, source, source_size) and bpf_memmove_s, which may overlap. */
AB_HELPER(memmove_s) {
    if (a4 > a2) return ab_result(-AB_EINVAL);
    memmove(ab_pointer(a1), ab_pointer(a3), (size_t)a4);
    return 0;
}

/* bpf_memcmp_s(left, left_size, right, right_size): the common part first, then the shorter one is less. */
AB_HELPER(memcmp_s) {
    uint64_t common = a2 < a4 ? a2 : a4;
    int order = memcmp(ab_pointer(a1), ab_pointer(a3), (size_t)common);
    if (order == 0) return ab_result((a2 > a4) - (a2 < a4));
    return ab_result(order < 0 ? -1 : 1);
}

AB_HELPER(memset) {
    memset(ab_pointer(a1), (int)a3, (size_t)a2);
    return a1;
}

static uint64_t length_of(const char *text, uint64_t size) {
    const char *end = memchr(text, 0, (size_t)size);
    return end == NULL ? size : (uint64_t)(end - text);
}

AB_HELPER(strnlen_s) { return a1 == 0 ? 0 : length_of(ab_pointer(a1), a2); }

/* Copies at most `count` characters of `from` and a NUL to `to`, which has room for `size` bytes. */
static uint64_t copy_string(char *to, uint64_t size, const char *from, uint64_t count) {
    uint64_t length = length_of(from, count < size ? count : size);
    if (length >= size) return ab_result(-AB_EINVAL);
    memcpy(to, from, (size_t)length);
    to[length] = 0;
    return 0;
}

/* bpf_strncpy_s(destination, destination_size, source, count). On an error the destination is an empty string. */
AB_HELPER(strncpy_s) {
    char *to = ab_pointer(a1);
    if (to == NULL || a2 == 0) return ab_result(-AB_EINVAL);
    uint64_t result = copy_string(to, a2, ab_pointer(a3), a4);
    if (result != 0) to[0] = 0;
    return result;
}

AB_HELPER(strncat_s) {
    char *to = ab_pointer(a1);
    if (to == NULL || a2 == 0) return ab_result(-AB_EINVAL);
    uint64_t length = length_of(to, a2);
    uint64_t result = length == a2 ? ab_result(-AB_EINVAL) : copy_string(to + length, a2 - length, ab_pointer(a3), a4);
    if (result != 0) to[0] = 0;
    return result;
}
