/* checksum.c: see checksum.h. Sums are taken in the machine's byte order, which RFC 1071 section 2 (B) allows. */
#include "checksum.h"

#include <string.h>

uint32_t ab_checksum_plus(uint32_t left, uint32_t right) {
    uint32_t sum = left + right;
    return sum + (sum < right);
}

uint32_t ab_checksum_minus(uint32_t left, uint32_t right) { return ab_checksum_plus(left, ~right); }

uint32_t ab_checksum_add(const void *bytes, uint64_t size, uint32_t sum) {
    const uint8_t *from = bytes;
    uint64_t total = sum;
    for (; size >= 4; size -= 4, from += 4) { /* no overflow: packets and stacks are far below 2^32 words */
        uint32_t word;
        memcpy(&word, from, sizeof word);
        total += word;
    }
    if (size != 0) {
        uint32_t word = 0;
        memcpy(&word, from, (size_t)size);
        total += word;
    }
    total = (total & UINT32_MAX) + (total >> 32);
    return (uint32_t)((total & UINT32_MAX) + (total >> 32));
}

uint16_t ab_checksum_fold(uint32_t sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

uint16_t ab_checksum_replace(uint16_t field, uint32_t from, uint32_t to) {
    return (uint16_t)~ab_checksum_fold(ab_checksum_plus(ab_checksum_minus((uint32_t)~field, from), to));
}
