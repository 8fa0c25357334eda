/* trace.c: see trace.h. A byte ring of records, each a header and its text; one lock, since printing is slow anyway. */
#include "trace.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "process.h"
#include "slot.h"
#include "threads.h"

typedef struct record {
    uint64_t time_ns;
    uint32_t thread;
    uint32_t cpu;
    uint32_t length;  /* of the text behind */
    char comm[AB_COMM_SIZE];
} record;

struct ab_trace {
    ab_mutex mutex;
    uint64_t head;     /* bytes ever written; the ring holds tail..head */
    uint64_t tail;
    uint64_t lost;     /* lines overwritten since the last one read */
    uint32_t capacity;
    uint8_t bytes[];
};

ab_trace *ab_trace_create(uint32_t capacity) {
    if (capacity < sizeof(record) + AB_TRACE_TEXT_MAX) return NULL;
    ab_trace *trace = calloc(1, sizeof *trace + capacity);
    if (trace == NULL) return NULL;
    trace->capacity = capacity;
    if (ab_mutex_init(&trace->mutex) < 0) {
        free(trace);
        return NULL;
    }
    return trace;
}

void ab_trace_destroy(ab_trace *trace) {
    if (trace == NULL) return;
    ab_mutex_deinit(&trace->mutex);
    free(trace);
}

static void copy_in(ab_trace *trace, const void *from, uint32_t size) {
    uint32_t at = (uint32_t)(trace->head % trace->capacity), first = trace->capacity - at;
    if (first > size) first = size;
    memcpy(trace->bytes + at, from, first);
    memcpy(trace->bytes, (const uint8_t *)from + first, size - first);
    trace->head += size;
}

static void copy_out(ab_trace *trace, void *to, uint32_t size) {
    uint32_t at = (uint32_t)(trace->tail % trace->capacity), first = trace->capacity - at;
    if (first > size) first = size;
    memcpy(to, trace->bytes + at, first);
    memcpy((uint8_t *)to + first, trace->bytes, size - first);
    trace->tail += size;
}

void ab_trace_write(ab_slot *slot, const char *text, uint32_t length) {
    ab_trace *trace = ab_engine_trace(slot->engine);
    record entry = {ab_clock_boot(), ab_thread_id(), slot->cpu, 0, {0}}, oldest;
    ab_thread_name(entry.comm);
    if (length > 0 && text[length - 1] == '\n') length--;
    entry.length = length < AB_TRACE_TEXT_MAX ? length : AB_TRACE_TEXT_MAX - 1;
    ab_mutex_lock(&trace->mutex);
    while (trace->capacity - (trace->head - trace->tail) < sizeof entry + entry.length) {
        copy_out(trace, &oldest, sizeof oldest);
        trace->tail += oldest.length;
        trace->lost++;
    }
    copy_in(trace, &entry, sizeof entry);
    copy_in(trace, text, entry.length);
    ab_mutex_unlock(&trace->mutex);
}

uint32_t ab_trace_read(ab_trace *trace, ab_trace_line *lines, uint32_t capacity) {
    uint32_t count = 0;
    record entry;
    ab_mutex_lock(&trace->mutex);
    for (; count < capacity && trace->tail != trace->head; count++) {
        ab_trace_line *line = &lines[count];
        copy_out(trace, &entry, sizeof entry);
        copy_out(trace, line->text, entry.length);
        line->text[entry.length] = 0;
        line->time_ns = entry.time_ns;
        line->lost = trace->lost;
        line->thread = entry.thread;
        line->cpu = entry.cpu;
        memcpy(line->comm, entry.comm, sizeof line->comm);
        trace->lost = 0;
    }
    ab_mutex_unlock(&trace->mutex);
    return count;
}

ab_trace *ab_engine_trace(ab_engine *engine) { return engine->trace; }
