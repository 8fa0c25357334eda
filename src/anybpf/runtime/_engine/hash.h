/* hash.h: from a key's bytes to a well-mixed 64-bit number, seeded per map so that traffic cannot aim at one bucket. */
#ifndef ANYBPF_HASH_H
#define ANYBPF_HASH_H

#include <stdint.h>
#include <string.h>

#define AB_HASH_A 0x9e3779b97f4a7c15u
#define AB_HASH_B 0xbf58476d1ce4e5b9u
#define AB_HASH_C 0x94d049bb133111ebu

static inline uint64_t ab_hash_mix(uint64_t x) {
    x = (x ^ (x >> 32)) * AB_HASH_B;
    return x ^ (x >> 29);
}

static inline uint64_t ab_hash_4(const void *key, uint64_t seed) {
    uint32_t word;
    memcpy(&word, key, sizeof word);
    return ab_hash_mix((word ^ seed) * AB_HASH_A);
}

static inline uint64_t ab_hash_8(const void *key, uint64_t seed) {
    uint64_t word;
    memcpy(&word, key, sizeof word);
    return ab_hash_mix((word ^ seed) * AB_HASH_A);
}

static inline uint64_t ab_hash_bytes(const void *key, uint64_t size, uint64_t seed) {
    const uint8_t *from = key;
    uint64_t state = seed ^ (size * AB_HASH_C);
    uint64_t word = 0;
    for (; size >= 8; size -= 8, from += 8) {
        memcpy(&word, from, 8);
        state = ab_hash_mix((state ^ word) * AB_HASH_A);
    }
    if (size != 0) {
        word = 0;
        memcpy(&word, from, size);
        state = ab_hash_mix((state ^ word) * AB_HASH_A);
    }
    return state;
}

#endif
