/* fire.c: events that a service brings from Python. */
#include <string.h>

#include "api_fire.h"
#include "chain.h"
#include "event_load.h"

/* The context's bytes behind the buffers' pointers. */
static uint32_t scalars_at(const ab_event *event) { return event->buffers * (uint32_t)sizeof(ab_buffer_bounds); }

int64_t ab_fire(const ab_fire_turn *turn, const uint8_t *data, uint64_t length, const uint8_t *context) {
    ab_event *event = turn->event;
    uint32_t writable = turn->writable;
    if (length > AB_EVENT_MAX_LENGTH) return -AB_EMSGSIZE;
    int64_t verdict = ab_chain_fire(turn->chain, event, data, (uint32_t)length, context, NULL);
    if (verdict < 0 || writable == 0) return verdict;
    uint32_t start = scalars_at(event);
    const uint8_t *left = (const uint8_t *)(event + 1) + start;
    if ((writable & AB_FIRE_FIELDS) && memcmp(left, context + start, event->context_size - start) != 0)
        return verdict | AB_FIRE_CHANGED;
    if ((writable & AB_FIRE_BUFFERS) && length != 0 && memcmp(event->data, data, length) != 0) return verdict | AB_FIRE_CHANGED;
    return verdict;
}

/* Bytes of the buffers behind a record's context, or a negative error. */
static int64_t buffers_length(const ab_event *event, const uint8_t *record, uint64_t remaining) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < event->buffers; i++) {
        ab_buffer_bounds bounds;
        memcpy(&bounds, record + i * sizeof bounds, sizeof bounds);
        if (bounds.end > remaining - total) return -AB_EINVAL;
        total += bounds.end;
    }
    return total > AB_EVENT_MAX_LENGTH ? -AB_EMSGSIZE : (int64_t)total;
}

/* What ab_event_load does, for a record of which `readable` bytes are left. */
static inline int load_record(ab_event *event, const uint8_t *record, uint32_t data, uint64_t readable) {
    uint32_t size = event->context_size;
    if (!ab_event_fits(event, data)) return ab_event_load(event, record + size, data, record);
    ab_packet_copy(ab_event_place(event, data), record + size, data, readable - size);
    ab_packet_copy((uint8_t *)(event + 1), record, size, readable);
    return ab_event_point_buffers(event);
}

static int run_records(ab_chain *chain, ab_session *session, ab_event *event, ab_fire_batch *batch) {
    uint64_t size = event->context_size, start = scalars_at(event), length = batch->length, position = 0, count = 0;
    int error = 0;
    while (position < length) {
        uint8_t *record = batch->records + position;
        error = -AB_EINVAL;
        if (size > length - position) break;
        int64_t data = buffers_length(event, record, length - position - size);
        error = (int)(data < 0 ? data : count == batch->capacity ? -AB_ENOSPC : 0);
        if (error) break;
        error = load_record(event, record, (uint32_t)data, length - position);
        if (error) break;
        batch->verdicts[count++] = (uint8_t)ab_chain_run(chain, session, event);
        if (batch->write_back) {
            memcpy(record + start, (const uint8_t *)(event + 1) + start, size - start);
            if (data != 0) memcpy(record + size, event->data, (size_t)data);
        }
        position += size + (uint64_t)data;
        ab_slot_quiesce(session->slot);
    }
    batch->count = count;
    batch->position = position;
    return error;
}

int ab_fire_records(const ab_fire_turn *turn, ab_fire_batch *batch) {
    ab_session session;
    ab_session_open(&session, ab_chain_engine(turn->chain), turn->event);
    int error = run_records(turn->chain, &session, turn->event, batch);
    ab_session_finish(&session);
    return error;
}
