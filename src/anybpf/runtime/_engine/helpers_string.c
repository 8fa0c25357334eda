/* helpers_string.c: numbers out of text, and comparing text. */
#include <string.h>

#include "helpers.h"

#define STRTOX_BASE_MASK 0x1fu
#define STRTOX_DIGITS_MAX 63 /* Linux looks at no more characters after the sign */

static int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (uint8_t)c == 0xa0; }

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* Returns the characters consumed, or a negative error. */
static int64_t parse(const char *text, uint64_t size, uint64_t flags, uint64_t *magnitude, int *negative) {
    uint32_t base = (uint32_t)(flags & STRTOX_BASE_MASK);
    uint64_t at = 0, number = 0;
    if (size == 0 || (flags & ~(uint64_t)STRTOX_BASE_MASK) != 0) return -AB_EINVAL;
    if (base != 0 && base != 8 && base != 10 && base != 16) return -AB_EINVAL;
    while (at < size && is_space(text[at])) at++;
    *negative = at < size && text[at] == '-';
    if (*negative) at++;
    if (at >= size) return -AB_EINVAL;
    uint64_t end = size - at < STRTOX_DIGITS_MAX ? size : at + STRTOX_DIGITS_MAX;
    int hex = end - at > 1 && text[at] == '0' && (text[at + 1] | 32) == 'x';
    if (base == 0) {
        base = text[at] != '0' ? 10 : hex && end - at > 2 && digit_of(text[at + 2]) < 16 ? 16 : 8;
    }
    if (base == 16 && hex) at += 2;
    uint64_t first = at;
    int overflow = 0;
    for (; at < end && (uint32_t)digit_of(text[at]) < base; at++) {
        uint32_t digit = (uint32_t)digit_of(text[at]);
        if (number > (UINT64_MAX - digit) / base) overflow = 1;
        number = number * base + digit;
    }
    if (overflow) return -AB_ERANGE;
    if (at == first) return -AB_EINVAL;
    *magnitude = number;
    return (int64_t)at;
}

AB_HELPER(strtol) {
    uint64_t magnitude = 0, *out = ab_pointer(a4);
    int negative = 0;
    *out = 0;
    int64_t consumed = parse(ab_pointer(a1), a2, a3, &magnitude, &negative);
    if (consumed < 0) return ab_result(consumed);
    if (magnitude > (uint64_t)INT64_MAX + (uint64_t)negative) return ab_result(-AB_ERANGE);
    *out = negative ? 0 - magnitude : magnitude;
    return ab_result(consumed);
}

AB_HELPER(strtoul) {
    uint64_t magnitude = 0, *out = ab_pointer(a4);
    int negative = 0;
    *out = 0;
    int64_t consumed = parse(ab_pointer(a1), a2, a3, &magnitude, &negative);
    if (consumed < 0) return ab_result(consumed);
    if (negative) return ab_result(-AB_EINVAL);
    *out = magnitude;
    return ab_result(consumed);
}

/* bpf_strncmp(s1, s1_size, s2): -1, 0 or 1. */
AB_HELPER(strncmp) {
    const uint8_t *left = ab_pointer(a1), *right = ab_pointer(a3);
    for (uint32_t i = 0; i < (uint32_t)a2; i++) {
        if (left[i] != right[i]) return ab_result(left[i] < right[i] ? -1 : 1);
        if (left[i] == 0) break;
    }
    return 0;
}
