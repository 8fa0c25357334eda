/* slot.h: what an engine is made of, for the files that look inside. */
#ifndef ANYBPF_SLOT_H
#define ANYBPF_SLOT_H

#include <stdatomic.h>
#include "engine.h"
#include "threads.h"
#include "trace.h"

#define AB_CACHE_LINE 64

struct ab_engine {
    uint32_t cpus;
    void *slots;               /* cpus of them; ab_engine_slot finds one */
    ab_mutex mutex;            /* guards ownership of slots */
    uintptr_t *owners;         /* the thread that holds each slot, 0: free */
    uintptr_t holder;          /* the thread that keeps all others out (ab_engine_hold), 0: none */
    ab_condition released;
    _Atomic uint32_t next_id; /* ids of programs, maps and links */
    _Atomic uint32_t users;    /* its creator, every map, chain and attachment: the last one frees it */
    _Atomic uint32_t closed;   /* ab_engine_destroy was called */
    ab_trace *trace;           /* lines that programs print */
    uint8_t before[AB_CACHE_LINE];
    _Atomic uint64_t epoch; /* on a line of its own: every slot reads it between events */
    uint8_t after[AB_CACHE_LINE];
};

/* For what lives in the engine: it goes when the last user has released it. */
void ab_engine_retain(ab_engine *engine);
void ab_engine_release(ab_engine *engine);

ab_slot *ab_engine_slot(const ab_engine *engine, uint32_t cpu);

#endif
