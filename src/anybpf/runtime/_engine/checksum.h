/* checksum.h: the Internet checksum (RFC 1071): one's complement sums of 16-bit words in memory order. */
#ifndef ANYBPF_CHECKSUM_H
#define ANYBPF_CHECKSUM_H

#include <stdint.h>

/* Sum of the bytes, folded to 32 bits, plus `sum`; an odd last byte counts as if a zero followed. */
uint32_t ab_checksum_add(const void *bytes, uint64_t size, uint32_t sum);
/* The same sum in 16 bits, not complemented. */
uint16_t ab_checksum_fold(uint32_t sum);
/* One's complement addition and subtraction of 32-bit sums. */
uint32_t ab_checksum_plus(uint32_t left, uint32_t right);
uint32_t ab_checksum_minus(uint32_t left, uint32_t right);
/* The checksum field (as it stands in the packet) after `from` became `to` in what it covers. */
uint16_t ab_checksum_replace(uint16_t field, uint32_t from, uint32_t to);

#endif
