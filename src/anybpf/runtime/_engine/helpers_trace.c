/* helpers_trace.c: bpf_trace_printk and its kin: text for people. */
#include <string.h>

#include "format.h"
#include "helpers.h"
#include "trace.h"

#define MAX_ARGUMENTS 12 /* Linux's MAX_BPRINTF_VARARGS */
#define WINDOWS_MIN_FORMAT 2u
#define WINDOWS_MAX_FORMAT 512u

static uint64_t print(ab_slot *slot, uint64_t format, uint64_t size, const uint64_t *arguments, uint32_t count) {
    char text[AB_TRACE_TEXT_MAX];
    uint32_t used;
    int64_t length = ab_format(text, sizeof text, ab_pointer(format), size, arguments, count, &used, slot);
    if (length < 0) return ab_result(length);
    ab_trace_write(slot, text, (uint32_t)(length < AB_TRACE_TEXT_MAX ? length : AB_TRACE_TEXT_MAX - 1));
    return ab_result(length);
}

AB_HELPER(trace_printk) {
    const uint64_t arguments[3] = {a3, a4, a5};
    return print(slot, a1, (uint32_t)a2, arguments, 3);
}

static int bad_arguments(uint64_t data, uint32_t bytes) {
    return bytes % 8 != 0 || bytes > 8 * MAX_ARGUMENTS || (bytes != 0 && data == 0);
}

AB_HELPER(trace_vprintk) {
    uint32_t bytes = (uint32_t)a4;
    if (bad_arguments(a3, bytes)) return ab_result(-AB_EINVAL);
    return print(slot, a1, (uint32_t)a2, ab_pointer(a3), bytes / 8);
}

/* The format of bpf_snprintf is constant text of a read-only map, which the verifier saw end. */
AB_HELPER(snprintf) {
    uint32_t bytes = (uint32_t)a5, used;
    if (bad_arguments(a4, bytes)) return ab_result(-AB_EINVAL);
    int64_t length = ab_format(ab_pointer(a1), (uint32_t)a2, ab_pointer(a3), UINT32_MAX, ab_pointer(a4), bytes / 8, &used, slot);
    return ab_result(length < 0 ? length : length + 1);
}

/* How many conversions of eBPF for Windows a format has: %d, %i, %u and %x, with l or ll; -1 when it has any other. */
static int windows_conversions(const char *format, uint64_t size) {
    int count = 0;
    for (const char *at = format, *end = format + size; at < end && *at != 0; at++) {
        if (*at != '%') continue;
        if (++at < end && *at == '%') continue;
        for (int longs = 0; longs < 2 && at < end && *at == 'l'; longs++) at++;
        if (at == end || *at == 0 || strchr("diux", *at) == NULL) return -1;
        count++;
    }
    return count;
}

/* eBPF for Windows: a helper for each number of arguments, which must be the number of conversions. */
static uint64_t print_exactly(ab_slot *slot, uint64_t format, uint64_t size, const uint64_t *arguments, uint32_t count) {
    if (size < WINDOWS_MIN_FORMAT || size >= WINDOWS_MAX_FORMAT) return ab_result(-1);
    if (windows_conversions(ab_pointer(format), size) != (int)count) return ab_result(-1);
    uint64_t length = print(slot, format, size, arguments, count);
    return (int64_t)length < 0 ? ab_result(-1) : length;
}

AB_HELPER(trace_printk2) { return print_exactly(slot, a1, (uint32_t)a2, NULL, 0); }

AB_HELPER(trace_printk3) {
    const uint64_t arguments[1] = {a3};
    return print_exactly(slot, a1, (uint32_t)a2, arguments, 1);
}

AB_HELPER(trace_printk4) {
    const uint64_t arguments[2] = {a3, a4};
    return print_exactly(slot, a1, (uint32_t)a2, arguments, 2);
}

AB_HELPER(trace_printk5) {
    const uint64_t arguments[3] = {a3, a4, a5};
    return print_exactly(slot, a1, (uint32_t)a2, arguments, 3);
}
