/* batch.c: one crossing from Python runs a program over many events. */
#include <stdlib.h>
#include <string.h>

#include "event_load.h"
#include "run.h"

/* The head of a record in a pcap file whose times are in nanoseconds. */
typedef struct pcap_record {
    uint32_t seconds;
    uint32_t nanoseconds;
    uint32_t captured;
    uint32_t length;
} pcap_record;

/* Appends what is left of the packet (or the memory) to the records that are kept. */
static int keep(ab_batch *batch, uint64_t number, ab_event *event, const uint8_t *memory, uint32_t length) {
    const uint8_t *bytes = memory;
    if (event != NULL) {
        ab_event_show_link_layer(event);
        int error = ab_event_insert_vlan(event);
        if (error) return error;
        bytes = event->data;
        length = (uint32_t)(event->data_end - event->data);
    }
    uint64_t time = batch->times != NULL ? batch->times[number] : 0;
    pcap_record head = {(uint32_t)(time / 1000000000u), (uint32_t)(time % 1000000000u), length, length};
    uint64_t needed = batch->kept_length + sizeof head + length;
    if (needed > batch->kept_capacity) {
        uint8_t *kept = realloc(batch->kept, (size_t)(2 * needed));
        if (kept == NULL) return -AB_ENOMEM;
        batch->kept = kept;
        batch->kept_capacity = 2 * needed;
    }
    uint8_t *to = batch->kept + batch->kept_length;
    memcpy(to, &head, sizeof head);
    if (length != 0) memcpy(to + sizeof head, bytes, length);
    batch->kept_length = needed;
    return 0;
}

void ab_batch_release(ab_batch *batch) {
    free(batch->kept);
    batch->kept = NULL;
    batch->kept_capacity = batch->kept_length = 0;
}

/* What ab_event_load does, without calls for Linux's packets. No program can write an XDP context, so it stays as it was loaded
 * first. */
static inline int load(ab_event *event, const uint8_t *packet, uint32_t length, uint64_t readable, const uint8_t *context) {
    int is_skb = event->kind == AB_EVENT_SKB && context != NULL;
    if ((event->kind != AB_EVENT_XDP && !is_skb) || !ab_event_fits(event, length))
        return ab_event_load(event, packet, length, context);
    ab_packet_copy(ab_event_place(event, length), packet, length, readable);
    if (is_skb) {
        ab_skb_restore(event, context);
        ab_skb_describe(event, packet, length);
    }
    return 0;
}

static int run_events(const ab_program *program, ab_slot *slot, ab_event *event, ab_batch *batch) {
    const uint8_t *data = batch->data, *context = batch->context;
    const uint64_t *offsets = batch->offsets, data_length = batch->data_length, count = batch->count, kept = batch->keep;
    const uint32_t *lengths = batch->lengths;
    uint64_t *results = batch->results, *counts = batch->counts, i;
    int error = event != NULL ? ab_event_load(event, NULL, 0, context) : 0;
    if (error) return error;
    for (i = batch->first; i < count; i++) {
        uint64_t offset = offsets[i], result;
        uint32_t length = lengths[i];
        error = -AB_EINVAL;
        if (offset > data_length || length > data_length - offset) break;
        uint8_t *memory = (uint8_t *)(uintptr_t)data + offset;
        if (event != NULL) {
            error = load(event, memory, length, data_length - offset, context);
            if (error) break;
        }
        error = ab_run_once(program, slot, event, memory, length, &result);
        if (error) {
            batch->fault = ((ab_checked *)slot->tier)->fault;
            break;
        }
        if (event != NULL) result = (uint32_t)result;
        if (results != NULL) results[i] = result;
        counts[result < AB_BATCH_COUNTED ? result : AB_BATCH_COUNTED]++;
        if (kept >> (result < 63 ? result : 63) & 1) {
            error = keep(batch, i, event, memory, length);
            if (error) break;
        }
        ab_slot_quiesce(slot);
    }
    batch->first = i;
    return error;
}

int32_t ab_batch_run(const ab_program *program, ab_event *event, ab_batch *batch) {
    ab_session session;
    if (event != NULL && batch->context != NULL && batch->context_length < event->context_size) return -AB_EINVAL;
    ab_session_open(&session, program->engine, event);
    uint64_t start = ab_clock_monotonic();
    int error = ab_session_mode(&session, batch->mode);
    if (!error) error = run_events(program, session.slot, event, batch);
    batch->duration_ns += ab_clock_monotonic() - start;
    ab_session_finish(&session);
    return error;
}
