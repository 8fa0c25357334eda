/* slot.c: an engine and its cpu slots. A slot has one owner thread at a time; a thread that acquires again gets the same slot. */
#include "slot.h"
#include <stdlib.h>
#include "reclaim.h"

#define MAX_CPUS 4096

/* A slot, its reclamation state and its programs' stack, padded so that neighbours share no cache line. */
typedef struct seat {
    ab_slot slot;
    uint8_t between[AB_CACHE_LINE];
    ab_reclaim reclaim;
    uint8_t after[AB_CACHE_LINE];
    _Alignas(16) uint8_t stack[AB_STACK_FRAMES * AB_STACK_SIZE]; /* machine code relies on the alignment */
} seat;

ab_slot *ab_engine_slot(const ab_engine *engine, uint32_t cpu) {
    return &((seat *)engine->slots)[cpu].slot;
}

static void free_memory(ab_engine *engine) {
    ab_trace_destroy(engine->trace);
    free(engine->owners);
    free(engine->slots);
    free(engine);
}

ab_engine *ab_engine_create(uint32_t cpus) {
    ab_engine *engine;
    if (cpus == 0 || cpus > MAX_CPUS) {
        return NULL;
    }
    engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return NULL;
    }
    engine->slots = calloc(cpus, sizeof(seat));
    engine->owners = calloc(cpus, sizeof *engine->owners);
    engine->trace = ab_trace_create(AB_TRACE_CAPACITY);
    if (engine->slots == NULL || engine->owners == NULL || engine->trace == NULL || ab_mutex_init(&engine->mutex) < 0) {
        free_memory(engine);
        return NULL;
    }
    if (ab_condition_init(&engine->released) < 0) {
        ab_mutex_deinit(&engine->mutex);
        free_memory(engine);
        return NULL;
    }
    engine->cpus = cpus;
    atomic_init(&engine->epoch, AB_EPOCH_FIRST);
    atomic_init(&engine->next_id, 1);
    atomic_init(&engine->users, 1);
    atomic_init(&engine->closed, 0);
    for (uint32_t cpu = 0; cpu < cpus; cpu++) {
        seat *here = &((seat *)engine->slots)[cpu];
        here->slot.engine = engine;
        here->slot.cpu = cpu;
        here->slot.reclaim = &here->reclaim;
        here->slot.stack_base = here->slot.stack_top = here->stack;
        here->slot.stack_end = here->stack + sizeof here->stack;
        here->reclaim.now = &engine->epoch;
        atomic_init(&here->reclaim.epoch, 0);
    }
    return engine;
}

void ab_engine_destroy(ab_engine *engine) {
    if (engine == NULL) {
        return;
    }
    atomic_store_explicit(&engine->closed, 1, memory_order_release);
    for (uint32_t cpu = 0; cpu < engine->cpus; cpu++) {
        ab_reclaim_drain(ab_engine_slot(engine, cpu));
    }
    ab_engine_release(engine);
}

void ab_engine_retain(ab_engine *engine) {
    atomic_fetch_add_explicit(&engine->users, 1, memory_order_relaxed);
}

void ab_engine_release(ab_engine *engine) {
    if (atomic_fetch_sub_explicit(&engine->users, 1, memory_order_acq_rel) != 1) {
        return;
    }
    ab_condition_deinit(&engine->released);
    ab_mutex_deinit(&engine->mutex);
    free_memory(engine);
}

uint32_t ab_engine_next_id(ab_engine *engine) {
    return atomic_fetch_add_explicit(&engine->next_id, 1, memory_order_relaxed);
}

uint32_t ab_engine_cpus(const ab_engine *engine) {
    return engine->cpus;
}

/* The slot that a thread holds, else the first free one, else `cpus`. Under the mutex. */
static uint32_t find_slot(const ab_engine *engine, uintptr_t thread) {
    uint32_t found = engine->cpus;
    for (uint32_t cpu = 0; cpu < engine->cpus; cpu++) {
        if (engine->owners[cpu] == thread) {
            return cpu;
        }
        if (engine->owners[cpu] == 0 && found == engine->cpus) {
            found = cpu;
        }
    }
    return found;
}

/* Whether a thread may have the slot that find_slot gave: who keeps others out waits for those that hold one already. */
static int may_take(const ab_engine *engine, uint32_t cpu, uintptr_t thread) {
    if (cpu == engine->cpus) {
        return 0;
    }
    return engine->holder == 0 || engine->holder == thread || engine->owners[cpu] == thread;
}

ab_slot *ab_slot_acquire(ab_engine *engine) {
    uintptr_t self = ab_thread_self();
    ab_slot *slot;
    uint32_t cpu;
    ab_mutex_lock(&engine->mutex);
    while (cpu = find_slot(engine, self), !may_take(engine, cpu, self)) {
        ab_condition_wait(&engine->released, &engine->mutex);
    }
    engine->owners[cpu] = self;
    slot = ab_engine_slot(engine, cpu);
    slot->in_use++;
    ab_mutex_unlock(&engine->mutex);
    return slot;
}

void ab_slot_release(ab_slot *slot) {
    ab_engine *engine = slot->engine;
    ab_reclaim_collect(slot);
    ab_mutex_lock(&engine->mutex);
    if (--slot->in_use == 0) {
        engine->owners[slot->cpu] = 0;
        if (engine->holder != 0) {
            ab_condition_broadcast(&engine->released); /* the holder waits among those that it keeps out */
        } else {
            ab_condition_signal(&engine->released);
        }
    }
    ab_mutex_unlock(&engine->mutex);
}

static int others_inside(const ab_engine *engine, uintptr_t thread) {
    for (uint32_t cpu = 0; cpu < engine->cpus; cpu++) {
        if (engine->owners[cpu] != 0 && engine->owners[cpu] != thread) {
            return 1;
        }
    }
    return 0;
}

void ab_engine_hold(ab_engine *engine) {
    uintptr_t self = ab_thread_self();
    ab_mutex_lock(&engine->mutex);
    while (engine->holder != 0 && engine->holder != self) {
        ab_condition_wait(&engine->released, &engine->mutex);
    }
    engine->holder = self;
    while (others_inside(engine, self)) {
        ab_condition_wait(&engine->released, &engine->mutex);
    }
    ab_mutex_unlock(&engine->mutex);
}

void ab_engine_go_on(ab_engine *engine, int forked) {
    if (forked) { /* threads that are not here may have had the mutex, to see that they must wait */
        ab_mutex_init(&engine->mutex);
        ab_condition_init(&engine->released);
    }
    ab_mutex_lock(&engine->mutex);
    engine->holder = 0;
    ab_condition_broadcast(&engine->released);
    ab_mutex_unlock(&engine->mutex);
}

void ab_engine_synchronize(ab_engine *engine) {
    uint64_t until = atomic_load_explicit(&engine->epoch, memory_order_seq_cst) + AB_EPOCH_GRACE;
    while (atomic_load_explicit(&engine->epoch, memory_order_seq_cst) < until) {
        ab_epoch_advance(engine);
        ab_thread_yield();
    }
}
