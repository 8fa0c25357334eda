/* value.h: copying map values that other threads may be reading and writing at the same time.
 *
 * Shared values start at multiples of 8 bytes and are copied in 8-byte words (then 4, 2, 1), each of them whole: a reader may
 * see some words of one update and some of another, never half a word. The private side may have any alignment.
 */
#ifndef ANYBPF_VALUE_H
#define ANYBPF_VALUE_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define ab_round_up_8(size) (((uint64_t)(size) + 7) & ~(uint64_t)7)

#define AB_STORE_WORD(type)                                                                              \
    do {                                                                                                 \
        type word;                                                                                       \
        memcpy(&word, from + at, sizeof word);                                                           \
        atomic_store_explicit((_Atomic type *)(void *)(to + at), word, memory_order_relaxed);            \
        at += sizeof word;                                                                               \
    } while (0)

#define AB_LOAD_WORD(type)                                                                               \
    do {                                                                                                 \
        type word = atomic_load_explicit((const _Atomic type *)(const void *)(from + at), memory_order_relaxed); \
        memcpy(to + at, &word, sizeof word);                                                             \
        at += sizeof word;                                                                               \
    } while (0)

static inline void ab_value_store(uint8_t *to, const void *private, uint64_t size) {
    const uint8_t *from = private;
    uint64_t at = 0;
    while (size - at >= 8) {
        AB_STORE_WORD(uint64_t);
    }
    if ((size & 4) != 0) {
        AB_STORE_WORD(uint32_t);
    }
    if ((size & 2) != 0) {
        AB_STORE_WORD(uint16_t);
    }
    if ((size & 1) != 0) {
        AB_STORE_WORD(uint8_t);
    }
}

static inline void ab_value_load(void *private, const uint8_t *from, uint64_t size) {
    uint8_t *to = private;
    uint64_t at = 0;
    while (size - at >= 8) {
        AB_LOAD_WORD(uint64_t);
    }
    if ((size & 4) != 0) {
        AB_LOAD_WORD(uint32_t);
    }
    if ((size & 2) != 0) {
        AB_LOAD_WORD(uint16_t);
    }
    if ((size & 1) != 0) {
        AB_LOAD_WORD(uint8_t);
    }
}

static inline void ab_value_clear(uint8_t *to, uint64_t size) {
    static const uint64_t zero = 0;
    uint64_t at = 0;
    for (; at + 8 <= size; at += 8) {
        ab_value_store(to + at, &zero, 8);
    }
    ab_value_store(to + at, &zero, size - at);
}

#endif
