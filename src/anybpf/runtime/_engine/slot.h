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
    ab_condition released;
    _Atomic uint32_t next_map; /* ids of maps */
    ab_trace *trace;           /* lines that programs print */
    uint8_t before[AB_CACHE_LINE];
    _Atomic uint64_t epoch; /* on a line of its own: every slot reads it between events */
    uint8_t after[AB_CACHE_LINE];
};

ab_slot *ab_engine_slot(const ab_engine *engine, uint32_t cpu);

#endif
