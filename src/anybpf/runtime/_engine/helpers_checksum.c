/* helpers_checksum.c: Internet checksums: differences, and repairing the fields of L3 and L4 headers. */
#include <string.h>

#include "checksum.h"
#include "helpers.h"
#include "packet.h"

#define F_FIELD_SIZE 0xfu
#define F_PSEUDO_HDR 0x10u
#define F_MARK_MANGLED_0 0x20u
#define F_MARK_ENFORCE 0x40u
#define F_IPV6 0x80u
#define L4_FLAGS (F_FIELD_SIZE | F_PSEUDO_HDR | F_MARK_MANGLED_0 | F_MARK_ENFORCE | F_IPV6)
#define FIELD_OFFSET_MAX 0xffffu
#define CSUM_MANGLED_0 0xffffu

#define CSUM_LEVEL_QUERY 0u
#define CSUM_LEVEL_INC 1u
#define CSUM_LEVEL_DEC 2u
#define CSUM_LEVEL_RESET 3u
#define CSUM_LEVEL_MAX 3u

/* bpf_csum_diff(from, from_size, to, to_size, seed): since Linux 6.13 of any sizes, and 16 bits on every architecture. */
AB_HELPER(csum_diff) {
    uint32_t from_size = (uint32_t)a2, to_size = (uint32_t)a4, seed = (uint32_t)a5;
    uint32_t sum = to_size != 0 ? ab_checksum_add(ab_pointer(a3), to_size, seed) : seed;
    if (from_size != 0) sum = ab_checksum_minus(sum, ab_checksum_add(ab_pointer(a1), from_size, 0));
    return ab_checksum_fold(sum);
}

/* The field as it will stand in the packet, or a negative error. */
static int64_t replaced(uint16_t field, uint64_t from, uint64_t to, uint64_t field_size) {
    switch (field_size) {
        case 0: return from != 0 ? -AB_EINVAL : ab_checksum_replace(field, 0, (uint32_t)to);
        case 2: return ab_checksum_replace(field, (uint16_t)from, (uint16_t)to);
        case 4: return ab_checksum_replace(field, (uint32_t)from, (uint32_t)to);
        default: return -AB_EINVAL;
    }
}

static uint8_t *field_at(uint64_t context, uint32_t offset) {
    return offset > FIELD_OFFSET_MAX || offset % 2 != 0 ? NULL : ab_packet_at(ab_packet_of(context), offset, 2);
}

AB_HELPER(l3_csum_replace) {
    if ((a5 & ~(uint64_t)F_FIELD_SIZE) != 0) return ab_result(-AB_EINVAL);
    uint8_t *at = field_at(a1, (uint32_t)a2);
    if (at == NULL) return ab_result(-AB_EFAULT);
    uint16_t field;
    memcpy(&field, at, sizeof field);
    int64_t result = replaced(field, a3, a4, a5);
    if (result < 0) return ab_result(result);
    field = (uint16_t)result;
    memcpy(at, &field, sizeof field);
    return 0;
}

AB_HELPER(l4_csum_replace) {
    if ((a5 & ~(uint64_t)L4_FLAGS) != 0) return ab_result(-AB_EINVAL);
    uint8_t *at = field_at(a1, (uint32_t)a2);
    if (at == NULL) return ab_result(-AB_EFAULT);
    uint16_t field;
    memcpy(&field, at, sizeof field);
    /* UDP over IPv4: zero means "no checksum", and a computed zero is written as all ones. */
    if (a5 & F_MARK_MANGLED_0 && !(a5 & F_MARK_ENFORCE) && field == 0) return 0;
    int64_t result = replaced(field, a3, a4, a5 & F_FIELD_SIZE);
    if (result < 0) return ab_result(result);
    field = (uint16_t)result;
    if (a5 & F_MARK_MANGLED_0 && field == 0) field = CSUM_MANGLED_0;
    memcpy(at, &field, sizeof field);
    return 0;
}

/* There is no checksum of the whole packet from a network card that could be updated. */
AB_HELPER(csum_update) { return ab_result(-AB_ENOTSUPP); }

AB_HELPER(csum_level) {
    ab_event *event = ab_packet_of(a1);
    uint32_t known = event->flags & AB_EVENT_F_CSUM_UNNECESSARY;
    uint32_t level = (event->flags & AB_EVENT_F_CSUM_LEVEL_MASK) >> AB_EVENT_F_CSUM_LEVEL_SHIFT;
    switch (a2) {
        case CSUM_LEVEL_INC:
            if (known && level < CSUM_LEVEL_MAX) level++;
            known = AB_EVENT_F_CSUM_UNNECESSARY;
            break;
        case CSUM_LEVEL_DEC:
            if (level == 0) known = 0;
            else level--;
            break;
        case CSUM_LEVEL_RESET: known = level = 0; break;
        case CSUM_LEVEL_QUERY: return known ? level : ab_result(-AB_EACCES);
        default: return ab_result(-AB_EINVAL);
    }
    event->flags &= ~(AB_EVENT_F_CSUM_UNNECESSARY | AB_EVENT_F_CSUM_LEVEL_MASK);
    event->flags |= known | level << AB_EVENT_F_CSUM_LEVEL_SHIFT;
    return 0;
}
