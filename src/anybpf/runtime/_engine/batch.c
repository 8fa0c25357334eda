/* batch.c: one crossing from Python runs a program once, many times on one input, or over many events. */
#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "clock.h"
#include "event.h"
#include "helpers.h"
#include "reclaim.h"

/* A slot of this thread, entered and set to `mode`. NULL: no memory for the checked interpreter's state. */
static ab_slot *begin(const ab_program *program, uint32_t mode, uint32_t *outer_mode, void **outer_tier) {
    ab_slot *slot = ab_slot_acquire(program->engine);
    *outer_mode = slot->mode;
    *outer_tier = slot->tier;
    if (mode == AB_MODE_CHECKED) {
        ab_checked *checked = ab_checked_create(slot);
        if (checked == NULL) {
            ab_slot_release(slot);
            return NULL;
        }
        slot->tier = checked;
    }
    slot->mode = mode;
    slot->stack_base = (const uint8_t *)outer_mode;
    ab_slot_enter(slot);
    return slot;
}

static void finish(ab_slot *slot, uint32_t outer_mode, void *outer_tier) {
    ab_slot_leave(slot);
    if (slot->mode == AB_MODE_CHECKED) ab_checked_destroy(slot->tier);
    slot->mode = outer_mode;
    slot->tier = outer_tier;
    ab_slot_release(slot);
}

/* Runs one event. Returns 0 when it was a checked run that stopped. */
static inline int run_once(const ab_program *program, ab_slot *slot, ab_event *event, uint8_t *memory, uint64_t length, uint64_t *result) {
    ab_checked *checked = slot->mode == AB_MODE_CHECKED ? slot->tier : NULL;
    slot->tail_calls = 0;
    slot->redirect.map = NULL;
    slot->redirect.target = slot->redirect.flags = 0;
    slot->event = event;
    if (checked != NULL) ab_checked_begin(checked, program, event, memory, length);
    *result = event != NULL ? ab_program_run(program, ab_address(event + 1), 0, slot)
                            : ab_program_run(program, ab_address(memory), length, slot);
    slot->event = NULL;
    return checked == NULL || ab_checked_end(checked);
}

int32_t ab_program_test(const ab_program *program, ab_event *event, uint8_t *memory, uint64_t length, ab_run *run) {
    uint32_t outer_mode;
    void *outer_tier;
    int error = 0;
    ab_event *outer_event;
    ab_slot *slot = begin(program, run->mode, &outer_mode, &outer_tier);
    if (slot == NULL) return -AB_ENOMEM;
    outer_event = slot->event;
    uint64_t start = ab_clock_monotonic();
    for (uint32_t i = 0; i < run->repeat; i++) {
        if (!run_once(program, slot, event, memory, length, &run->result)) {
            run->fault = ((ab_checked *)slot->tier)->fault;
            error = -AB_EFAULT;
            break;
        }
        ab_slot_quiesce(slot);
    }
    run->duration_ns = ab_clock_monotonic() - start;
    run->redirect_target = slot->redirect.target;
    run->redirect_flags = slot->redirect.flags;
    run->redirect_map = slot->redirect.map != NULL ? slot->redirect.map->id : 0;
    slot->event = outer_event;
    finish(slot, outer_mode, outer_tier);
    return error;
}

/* The head of a record in a pcap file whose times are in nanoseconds. */
typedef struct pcap_record {
    uint32_t seconds;
    uint32_t nanoseconds;
    uint32_t captured;
    uint32_t length;
} pcap_record;

/* Appends what is left of the packet (or the memory) to the records that are kept. */
static int keep(ab_batch *batch, ab_event *event, const uint8_t *memory, uint32_t length) {
    const uint8_t *bytes = memory;
    if (event != NULL) {
        ab_event_show_link_layer(event);
        int error = ab_event_insert_vlan(event);
        if (error) return error;
        bytes = event->data;
        length = (uint32_t)(event->data_end - event->data);
    }
    uint64_t time = batch->times != NULL ? batch->times[batch->first] : 0;
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

static int run_events(const ab_program *program, ab_slot *slot, ab_event *event, ab_batch *batch) {
    for (; batch->first < batch->count; batch->first++) {
        uint64_t offset = batch->offsets[batch->first], result;
        uint32_t length = batch->lengths[batch->first];
        if (offset > batch->data_length || length > batch->data_length - offset) return -AB_EINVAL;
        uint8_t *memory = (uint8_t *)(uintptr_t)batch->data + offset;
        if (event != NULL) {
            int error = ab_event_load(event, memory, length, batch->context);
            if (error) return error;
        }
        if (!run_once(program, slot, event, memory, length, &result)) {
            batch->fault = ((ab_checked *)slot->tier)->fault;
            return -AB_EFAULT;
        }
        if (event != NULL) result = (uint32_t)result;
        if (batch->results != NULL) batch->results[batch->first] = result;
        batch->counts[result < AB_BATCH_COUNTED ? result : AB_BATCH_COUNTED]++;
        if (batch->keep >> (result < 63 ? result : 63) & 1) {
            int error = keep(batch, event, memory, length);
            if (error) return error;
        }
        ab_slot_quiesce(slot);
    }
    return 0;
}

int32_t ab_batch_run(const ab_program *program, ab_event *event, ab_batch *batch) {
    uint32_t outer_mode;
    void *outer_tier;
    ab_slot *slot = begin(program, batch->mode, &outer_mode, &outer_tier);
    if (slot == NULL) return -AB_ENOMEM;
    uint64_t start = ab_clock_monotonic();
    int error = run_events(program, slot, event, batch);
    batch->duration_ns += ab_clock_monotonic() - start;
    finish(slot, outer_mode, outer_tier);
    return error;
}
