/* packet.c: see packet.h. */
#include "packet.h"

#include <string.h>

uint8_t *ab_packet_at(const ab_event *event, uint64_t offset, uint64_t size) {
    uint64_t length = (uint64_t)(event->data_end - event->data);
    return offset <= length && size <= length - offset ? event->data + offset : NULL;
}

int ab_packet_insert(ab_event *event, uint32_t offset, uint32_t size) {
    int error = ab_event_reserve(event, size, 0);
    if (error) return error;
    memmove(event->data - size, event->data, offset);
    event->data -= size;
    event->data_meta = event->data;
    memset(event->data + offset, 0, size);
    ab_event_length_changed(event);
    return 0;
}

int ab_packet_remove(ab_event *event, uint32_t offset, uint32_t size) {
    if (ab_packet_at(event, offset, size) == NULL) return -AB_EINVAL;
    memmove(event->data + size, event->data, offset);
    event->data += size;
    event->data_meta = event->data;
    ab_event_length_changed(event);
    return 0;
}

uint32_t ab_packet_be16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }

void ab_packet_put_be16(uint8_t *at, uint32_t number) {
    at[0] = (uint8_t)(number >> 8);
    at[1] = (uint8_t)number;
}

uint32_t ab_context_be16(const ab_event *event, uint32_t offset) {
    uint16_t stored = (uint16_t)ab_context_u32(event, offset);
    uint8_t wire[2];
    memcpy(wire, &stored, sizeof wire);
    return ab_packet_be16(wire);
}

void ab_context_set_be16(ab_event *event, uint32_t offset, uint32_t number) {
    uint8_t wire[2];
    uint16_t stored;
    ab_packet_put_be16(wire, number);
    memcpy(&stored, wire, sizeof stored);
    ab_context_set_u32(event, offset, stored);
}
