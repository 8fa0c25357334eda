/* chain.c: the programs attached at one point. The list and each place's program are immutable structures behind an atomic pointer:
 * whoever changes them swaps the pointer and leaves the old structure to reclamation, so running threads never wait. */
#include "chain.h"

#include <stdlib.h>
#include <string.h>

#include "slot.h"

#define LINE 64u

typedef struct attached {
    ab_retired retired;
    const ab_program *program;
    uint32_t mode;
} attached;

/* One cpu slot's counts, written by its owner alone and read by anybody. */
typedef struct slot_counts {
    _Atomic uint64_t events, errors, sampled, sampled_ns;
    _Atomic uint64_t verdicts[AB_CHAIN_VERDICTS + 1];
    ab_fault fault;
    uint8_t after[LINE];
} slot_counts;

struct ab_attachment {
    ab_retired retired;
    ab_engine *engine;
    _Atomic(attached *) current;
    slot_counts counts[];
};

typedef struct list {
    ab_retired retired;
    uint32_t count;
    ab_attachment *attachments[];
} list;

struct ab_chain {
    ab_engine *engine;
    ab_chain_rule rule;
    _Atomic(list *) list;
};

static void free_retired(ab_retired *retired) { free(retired); } /* it is the first member */

static void free_attachment(ab_retired *retired) {
    ab_attachment *attachment = (ab_attachment *)(void *)retired;
    ab_engine *engine = attachment->engine;
    free(atomic_load_explicit(&attachment->current, memory_order_relaxed));
    free(attachment);
    ab_engine_release(engine);
}

static void retire(ab_engine *engine, ab_retired *retired, void (*destroy)(ab_retired *)) {
    if (atomic_load_explicit(&engine->closed, memory_order_acquire) != 0) { /* nobody is left to do it later */
        ab_engine_synchronize(engine);
        destroy(retired);
        return;
    }
    ab_slot *slot = ab_slot_acquire(engine);
    ab_slot_enter(slot);
    ab_reclaim_defer(slot, retired, destroy);
    ab_slot_leave(slot);
    ab_slot_release(slot);
}

ab_chain *ab_chain_create(ab_engine *engine, const ab_chain_rule *rule) {
    ab_chain *chain = calloc(1, sizeof *chain);
    list *empty = calloc(1, sizeof *empty);
    if (chain == NULL || empty == NULL) {
        free(chain);
        free(empty);
        return NULL;
    }
    ab_engine_retain(engine);
    chain->engine = engine;
    chain->rule = *rule;
    atomic_init(&chain->list, empty);
    return chain;
}

void ab_chain_destroy(ab_chain *chain) {
    if (chain == NULL) return;
    ab_engine *engine = chain->engine;
    free(atomic_load_explicit(&chain->list, memory_order_relaxed));
    free(chain);
    ab_engine_release(engine);
}

ab_engine *ab_chain_engine(const ab_chain *chain) { return chain->engine; }

int ab_chain_set(ab_chain *chain, ab_attachment *const *attachments, uint32_t count) {
    list *next = calloc(1, sizeof *next + (size_t)count * sizeof next->attachments[0]);
    if (next == NULL) return -AB_ENOMEM;
    next->count = count;
    if (count != 0) memcpy(next->attachments, attachments, (size_t)count * sizeof next->attachments[0]);
    list *before = atomic_exchange_explicit(&chain->list, next, memory_order_acq_rel);
    retire(chain->engine, &before->retired, free_retired);
    return 0;
}

static attached *attached_create(const ab_program *program, uint32_t mode) {
    attached *made = calloc(1, sizeof *made);
    if (made == NULL) return NULL;
    made->program = program;
    made->mode = mode;
    return made;
}

ab_attachment *ab_attachment_create(ab_engine *engine, const ab_program *program, uint32_t mode) {
    ab_attachment *attachment = calloc(1, sizeof *attachment + ab_engine_cpus(engine) * sizeof attachment->counts[0]);
    attached *first = attached_create(program, mode);
    if (attachment == NULL || first == NULL) {
        free(attachment);
        free(first);
        return NULL;
    }
    ab_engine_retain(engine);
    attachment->engine = engine;
    atomic_init(&attachment->current, first);
    return attachment;
}

void ab_attachment_destroy(ab_attachment *attachment) {
    if (attachment != NULL) retire(attachment->engine, &attachment->retired, free_attachment);
}

int ab_attachment_update(ab_attachment *attachment, const ab_program *program, uint32_t mode) {
    attached *next = attached_create(program, mode);
    if (next == NULL) return -AB_ENOMEM;
    attached *before = atomic_exchange_explicit(&attachment->current, next, memory_order_acq_rel);
    retire(attachment->engine, &before->retired, free_retired);
    return 0;
}

static uint64_t read_count(const _Atomic uint64_t *count) { return atomic_load_explicit(count, memory_order_relaxed); }

static void add(_Atomic uint64_t *count, uint64_t number) {
    atomic_store_explicit(count, read_count(count) + number, memory_order_relaxed); /* its slot is the only writer */
}

void ab_attachment_count(const ab_attachment *attachment, ab_attachment_counts *counts) {
    uint64_t most = 0;
    memset(counts, 0, sizeof *counts);
    for (uint32_t cpu = 0; cpu < ab_engine_cpus(attachment->engine); cpu++) {
        const slot_counts *here = &attachment->counts[cpu];
        uint64_t errors = read_count(&here->errors);
        counts->events += read_count(&here->events);
        counts->errors += errors;
        counts->sampled += read_count(&here->sampled);
        counts->sampled_ns += read_count(&here->sampled_ns);
        for (uint32_t value = 0; value <= AB_CHAIN_VERDICTS; value++) counts->verdicts[value] += read_count(&here->verdicts[value]);
        if (errors > most) {
            most = errors;
            counts->fault = here->fault;
        }
    }
}

/* Runs one attachment's program: what it returned, or -1 when it faulted. */
static int64_t run_one(ab_attachment *attachment, ab_session *session, ab_event *event) {
    const attached *current = atomic_load_explicit(&attachment->current, memory_order_acquire);
    slot_counts *counts = &attachment->counts[session->slot->cpu];
    uint64_t result = 0, before = 0, number = read_count(&counts->events);
    int sample = number != 0 && (number < AB_CHAIN_SAMPLE || number % AB_CHAIN_SAMPLE == 0), error = 0;
    if (session->slot->mode != current->mode) error = ab_session_mode(session, current->mode);
    if (sample) before = ab_clock_monotonic();
    if (!error) error = ab_run_once(current->program, session->slot, event, NULL, 0, &result);
    if (sample) {
        add(&counts->sampled_ns, ab_clock_monotonic() - before);
        add(&counts->sampled, 1);
    }
    atomic_store_explicit(&counts->events, number + 1, memory_order_relaxed);
    if (error) {
        if (session->slot->mode == AB_MODE_CHECKED) counts->fault = ((ab_checked *)session->slot->tier)->fault;
        add(&counts->errors, 1);
        return -1;
    }
    result = (uint32_t)result;
    add(&counts->verdicts[result < AB_CHAIN_VERDICTS ? result : AB_CHAIN_VERDICTS], 1);
    return (int64_t)result;
}

static int has(uint64_t set, int64_t value) { return value < AB_CHAIN_VERDICTS && (set >> value & 1) != 0; }

uint32_t ab_chain_run(ab_chain *chain, ab_session *session, ab_event *event) {
    const ab_chain_rule *rule = &chain->rule;
    const list *attached_here = atomic_load_explicit(&chain->list, memory_order_acquire);
    const uint8_t *watched = (const uint8_t *)(event + 1) + rule->watch_offset;
    uint8_t before[64];
    uint32_t verdict = rule->empty;
    int watch = rule->watch_size != 0 && attached_here->count > 1;
    if (watch) memcpy(before, watched, rule->watch_size);
    session->slot->redirect.map = NULL;
    session->slot->redirect.target = session->slot->redirect.flags = 0;
    session->slot->retval = 0;
    for (uint32_t i = 0; i < attached_here->count; i++) {
        int64_t value = run_one(attached_here->attachments[i], session, event);
        if (value < 0) value = rule->fault;
        else if (!has(rule->known, value)) value = rule->otherwise;
        if (has(rule->denied, value) && !ab_is_error(session->slot->retval)) session->slot->retval = -AB_EPERM;
        if (i == 0 || rule->ranks[value] >= rule->ranks[verdict]) verdict = (uint32_t)value;
        if (!has(rule->proceed, value)) break;
        if (watch && memcmp(before, watched, rule->watch_size) != 0) break;
    }
    return verdict;
}

int64_t ab_chain_fire(ab_chain *chain, ab_event *event, const uint8_t *data, uint32_t length, const uint8_t *context,
                      const ab_task *task) {
    ab_session session;
    int error = ab_event_load(event, data, length, context);
    if (error) return error;
    ab_session_open(&session, chain->engine, event);
    session.slot->task = task;
    uint32_t verdict = ab_chain_run(chain, &session, event);
    ab_session_finish(&session);
    return verdict;
}
