/* engine_driver.c: the engine's maps under many threads, for sanitizers, and their cost, for a quick look.
 *
 *     engine_driver stress [THREADS [OPERATIONS]]   every scenario; exits 1 and says which one when something does not hold
 *     engine_driver time                            nanoseconds an operation, one thread
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "api_map.h"
#include "api_ring.h"
#include "map.h"
#include "reclaim.h"
#include "ringbuf.h"
#include "slot.h"

static unsigned threads = 8, operations = 20000;

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __func__, __LINE__, #condition);   \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

static ab_map *make(ab_engine *engine, uint32_t kind, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags) {
    ab_map_shape shape = {kind, key, value, entries, flags, -1, 0};
    int error;
    ab_map *map = ab_map_create(engine, &shape, &error);
    CHECK(map != NULL && error == 0);
    return map;
}

static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* A scenario: every thread runs `work` on one shared map, on a slot of its own. */
typedef struct scenario {
    ab_engine *engine;
    ab_map *map;
    ab_reader *reader;
    void (*work)(struct scenario *scenario, ab_slot *slot, unsigned thread);
    _Atomic uint64_t tally[4];
} scenario;

typedef struct worker {
    scenario *scenario;
    unsigned number;
} worker;

static void *run_worker(void *argument) {
    worker *self = argument;
    ab_slot *slot = ab_slot_acquire(self->scenario->engine);
    ab_slot_enter(slot);
    self->scenario->work(self->scenario, slot, self->number);
    ab_slot_leave(slot);
    ab_slot_release(slot);
    return NULL;
}

static void run(scenario *scenario) {
    pthread_t *handles = calloc(threads, sizeof *handles);
    worker *workers = calloc(threads, sizeof *workers);
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (worker){scenario, i};
        CHECK(pthread_create(&handles[i], NULL, run_worker, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        CHECK(pthread_join(handles[i], NULL) == 0);
    }
    free(handles);
    free(workers);
}

/* Values of 32 bytes whose words all depend on the key and on one version: a torn or foreign value shows. */
typedef struct wide {
    uint64_t words[4];
} wide;

static wide wide_value(uint32_t key, uint32_t version) {
    wide value;
    for (unsigned i = 0; i < 4; i++) {
        value.words[i] = ((uint64_t)key << 32 | version) * (2 * i + 1);
    }
    return value;
}

static void check_wide(const wide *value, uint32_t key) {
    CHECK(value->words[0] >> 32 == key);
    for (unsigned i = 1; i < 4; i++) {
        CHECK(value->words[i] == value->words[0] * (2 * i + 1));
    }
}

/* Counters in a hash map: no increment may be lost, whoever creates the entry. */
static void count_work(scenario *scenario, ab_slot *slot, unsigned thread) {
    uint32_t state = thread + 1;
    for (unsigned i = 0; i < operations; i++) {
        uint32_t key = next_random(&state) % 64;
        uint64_t zero = 0;
        _Atomic uint64_t *counter = scenario->map->ops->lookup(scenario->map, &key, slot);
        if (counter == NULL) {
            int error = scenario->map->ops->update(scenario->map, &key, &zero, AB_NOEXIST, slot);
            CHECK(error == 0 || error == -AB_EEXIST);
            counter = scenario->map->ops->lookup(scenario->map, &key, slot);
        }
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
        ab_slot_quiesce(slot);
    }
}

static void count_scenario(ab_engine *engine, uint32_t kind) {
    scenario scenario = {.engine = engine, .map = make(engine, kind, 4, 8, 64, 0), .work = count_work};
    uint64_t total = 0;
    run(&scenario);
    for (uint32_t key = 0; key < 64; key++) {
        uint64_t value;
        CHECK(ab_map_read(scenario.map, &key, &value, 0) == 0);
        total += value;
    }
    CHECK(total == (uint64_t)threads * operations);
    ab_map_destroy(scenario.map);
}

/* Insert, replace, delete, look up, over and over: what a program has looked up stays as it was until it leaves, and entries
 * never exceed max_entries. */
static void churn_work(scenario *scenario, ab_slot *slot, unsigned thread) {
    uint32_t state = thread + 1;
    ab_map *map = scenario->map;
    for (unsigned i = 0; i < operations; i++) {
        uint32_t random = next_random(&state), key = random % 512;
        wide value = wide_value(key, random), copy;
        switch (random >> 29) {
        case 0: case 1: case 2: {
            int error = map->ops->update(map, &key, &value, AB_ANY, slot);
            CHECK(error == 0 || (error == -AB_E2BIG && map->kind == AB_MAP_HASH));
            break;
        }
        case 3: {
            int error = map->ops->remove(map, &key, slot);
            CHECK(error == 0 || error == -AB_ENOENT);
            break;
        }
        case 4:
            if (map->ops->take(map, &key, &copy, 0, slot) == 0) {
                check_wide(&copy, key);
            }
            break;
        default: {
            const wide *found = map->ops->lookup(map, &key, slot);
            if (found != NULL) {
                copy = *found;
                check_wide(&copy, key);
                if (random >> 29 == 5) {
                    ab_thread_yield();
                    CHECK(memcmp(&copy, found, sizeof copy) == 0);
                }
            }
            CHECK(map->ops->count(map, slot) <= map->max_entries);
        }
        }
        if (i % 16 == 0) {
            ab_slot_quiesce(slot);
        }
    }
}

static void churn_scenario(ab_engine *engine, uint32_t kind) {
    scenario scenario = {.engine = engine, .map = make(engine, kind, 4, sizeof(wide), 200, 0), .work = churn_work};
    uint8_t keys[4 * 200], values[sizeof(wide) * 200];
    uint64_t position = 0;
    uint32_t done;
    run(&scenario);
    CHECK(ab_map_read_batch(scenario.map, &position, keys, values, 200, 0, &done) == -AB_ENOENT);
    CHECK((int64_t)done == ab_map_count(scenario.map));
    CHECK(ab_map_clear(scenario.map) == done && ab_map_count(scenario.map) == 0);
    ab_map_destroy(scenario.map);
}

/* Per-CPU values: plain, unlocked increments on the slot's own value; a user reads all cpus' meanwhile. */
static void percpu_work(scenario *scenario, ab_slot *slot, unsigned thread) {
    uint64_t zero = 0;
    for (unsigned i = 0; i < operations; i++) {
        uint32_t key = (i + thread) % 16;
        _Atomic uint64_t *value = scenario->map->ops->lookup(scenario->map, &key, slot);
        if (value == NULL) {
            int error = scenario->map->ops->update(scenario->map, &key, &zero, AB_NOEXIST, slot);
            CHECK(error == 0 || error == -AB_EEXIST);
            value = scenario->map->ops->lookup(scenario->map, &key, slot);
        }
        atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + 1, memory_order_relaxed);
        if (i % 64 == 0) {
            uint64_t all[64];
            CHECK(scenario->map->ops->read(scenario->map, &key, all, 0, slot) == 0);
        }
    }
}

static void percpu_scenario(ab_engine *engine, uint32_t kind) {
    scenario scenario = {.engine = engine, .map = make(engine, kind, 4, 8, 16, 0), .work = percpu_work};
    uint64_t total = 0;
    run(&scenario);
    for (uint32_t key = 0; key < 16; key++) {
        uint64_t values[64];
        CHECK(ab_map_read(scenario.map, &key, values, 0) == 0);
        for (uint32_t cpu = 0; cpu < ab_engine_cpus(engine); cpu++) {
            total += values[cpu];
        }
    }
    CHECK(total == (uint64_t)threads * operations);
    ab_map_destroy(scenario.map);
}

/* Prefixes come and go; whatever a lookup finds is a prefix of what was looked for. */
typedef struct prefix {
    uint32_t length;
    uint8_t data[4];
} prefix;

static void lpm_work(scenario *scenario, ab_slot *slot, unsigned thread) {
    uint32_t state = thread + 1;
    for (unsigned i = 0; i < operations; i++) {
        uint32_t random = next_random(&state), address = random & 0x03030303;
        prefix key = {random >> 27, {0}};
        memcpy(key.data, &address, 4);
        if (i % 4 == 0) {
            prefix value = key;
            int error = scenario->map->ops->update(scenario->map, &key, &value, AB_ANY, slot);
            CHECK(error == 0 || error == -AB_ENOSPC);
        } else if (i % 4 == 1) {
            int error = scenario->map->ops->remove(scenario->map, &key, slot);
            CHECK(error == 0 || error == -AB_ENOENT);
        } else {
            const prefix *found;
            key.length = 32;
            found = scenario->map->ops->lookup(scenario->map, &key, slot);
            for (uint32_t bit = 0; found != NULL && bit < found->length; bit++) {
                CHECK(((found->data[bit / 8] ^ key.data[bit / 8]) >> (7 - bit % 8) & 1) == 0);
            }
        }
        if (i % 16 == 0) {
            ab_slot_quiesce(slot);
        }
    }
}

static void lpm_scenario(ab_engine *engine) {
    scenario scenario = {.engine = engine, .map = make(engine, AB_MAP_LPM_TRIE, 8, 8, 100, AB_MAP_NO_PREALLOC)};
    scenario.work = lpm_work;
    run(&scenario);
    CHECK(ab_map_count(scenario.map) <= 100);
    CHECK(ab_map_clear(scenario.map) >= 0 && ab_map_count(scenario.map) == 0);
    ab_map_destroy(scenario.map);
}

/* Queue and stack: what comes out is what went in, once. */
static void queue_work(scenario *scenario, ab_slot *slot, unsigned thread) {
    uint64_t value;
    for (unsigned i = 0; i < operations; i++) {
        value = (uint64_t)thread * operations + i + 1;
        if (scenario->map->ops->push(scenario->map, &value, AB_ANY, slot) == 0) {
            atomic_fetch_add(&scenario->tally[0], value);
        }
        if (i % 2 == 0 && scenario->map->ops->pop(scenario->map, &value, slot) == 0) {
            atomic_fetch_add(&scenario->tally[1], value);
        }
    }
}

static void queue_scenario(ab_engine *engine, uint32_t kind) {
    scenario scenario = {.engine = engine, .map = make(engine, kind, 0, 8, 100, 0), .work = queue_work};
    uint64_t value;
    run(&scenario);
    while (ab_map_pop(scenario.map, &value) == 0) {
        scenario.tally[1] += value;
    }
    CHECK(scenario.tally[0] == scenario.tally[1]);
    ab_map_destroy(scenario.map);
}

/* Ring buffer: threads 0 and 1 read, each as it pleases and both of one reader, and sleep when there is nothing; the others write
 * records of many sizes, some of them discarded. */
static void consume(scenario *scenario) {
    uint8_t buffer[8192];
    uint32_t ends[64], ring, at = 0;
    int64_t count = ab_reader_take(scenario->reader, buffer, sizeof buffer, ends, 64, &ring);
    CHECK(count >= 0 && count <= 64);
    for (int64_t record = 0; record < count; at = ends[record++]) {
        CHECK(ends[record] > at);
        for (uint32_t i = at + 1; i < ends[record]; i++) {
            CHECK(buffer[i] == (uint8_t)(buffer[i - 1] + 1));
        }
        atomic_fetch_add(&scenario->tally[1], 1);
    }
}

static void read_until_closed(scenario *scenario) {
    int32_t armed;
    while ((armed = ab_reader_arm(scenario->reader)) >= 0) {
        if (armed == 0) {
            ab_reader_sleep(scenario->reader, -1);
            ab_reader_disarm(scenario->reader);
        }
        consume(scenario);
    }
}

static void ring_work(scenario *scenario, ab_slot *slot, unsigned thread) {
    uint32_t state = thread + 1;
    (void)slot;
    if (thread < 2) {
        read_until_closed(scenario);
        return;
    }
    for (unsigned i = 0; i < operations; i++) {
        uint32_t size = 1 + next_random(&state) % 100;
        uint8_t *record = ab_ringbuf_reserve(scenario->map, size, 0);
        if (record == NULL) {
            atomic_fetch_add(&scenario->tally[2], 1);
            ab_thread_yield();
            continue;
        }
        for (uint32_t at = 0; at < size; at++) {
            record[at] = (uint8_t)(state + at);
        }
        if (size % 7 == 0) {
            ab_ringbuf_discard(record, 0);
        } else {
            ab_ringbuf_submit(record, 0);
            atomic_fetch_add(&scenario->tally[0], 1);
        }
    }
    if (atomic_fetch_add(&scenario->tally[3], 1) + 3 == threads) {
        ab_reader_close(scenario->reader);
    }
}

static void ring_scenario(ab_engine *engine) {
    scenario scenario = {.engine = engine, .map = make(engine, AB_MAP_RINGBUF, 0, 0, 8192, 0), .work = ring_work};
    int32_t error;
    scenario.reader = ab_reader_create(&scenario.map, 1, &error);
    CHECK(scenario.reader != NULL);
    run(&scenario);
    while (ab_map_ring_bytes(scenario.map, 0) != 0) {
        consume(&scenario);
    }
    CHECK(scenario.tally[0] == scenario.tally[1]);
    CHECK(ab_map_ring_lost(scenario.map, 0) == scenario.tally[2]);
    ab_map_destroy(scenario.map);
    CHECK(ab_reader_lost(scenario.reader, 0) == scenario.tally[2]);
    ab_reader_destroy(scenario.reader);
}

/* Inner maps are replaced and destroyed while others look into them. */
static void inner_work(scenario *scenario, ab_slot *slot, unsigned thread) {
    uint32_t key = 0;
    for (unsigned i = 0; i < operations / 20; i++) {
        if (thread == 0) {
            ab_map *old = scenario->map->ops->lookup(scenario->map, &key, slot);
            ab_map *fresh = make(scenario->engine, AB_MAP_ARRAY, 4, 8, 1, 0);
            uint64_t value = i + 1;
            CHECK(ab_map_write(fresh, &key, &value, 0) == 0);
            CHECK(scenario->map->ops->write(scenario->map, &key, &fresh, 0, slot) == 0);
            ab_map_destroy(old);
        } else {
            ab_map *inner = scenario->map->ops->lookup(scenario->map, &key, slot);
            const _Atomic uint64_t *value = inner->ops->lookup(inner, &key, slot);
            uint64_t seen = atomic_load_explicit(value, memory_order_relaxed);
            ab_thread_yield();
            CHECK(atomic_load_explicit(value, memory_order_relaxed) == seen);
        }
        ab_slot_quiesce(slot);
    }
}

static void inner_scenario(ab_engine *engine, uint32_t kind) {
    scenario scenario = {.engine = engine, .map = make(engine, kind, 4, 4, 1, 0), .work = inner_work};
    ab_map *inner = make(engine, AB_MAP_ARRAY, 4, 8, 1, 0);
    uint32_t key = 0;
    CHECK(ab_map_write(scenario.map, &key, &inner, 0) == 0);
    run(&scenario);
    CHECK(ab_map_read(scenario.map, &key, &inner, 0) == 0);
    ab_map_destroy(inner);
    ab_map_destroy(scenario.map);
}

/* Fewer slots than threads: nobody shares one, and everybody gets a turn. */
static void *slot_worker(void *argument) {
    scenario *scenario = ((worker *)argument)->scenario;
    for (unsigned i = 0; i < operations / 20; i++) {
        ab_slot *slot = ab_slot_acquire(scenario->engine);
        slot->tail_calls++; /* a data race if two threads were here */
        CHECK(ab_slot_acquire(scenario->engine) == slot);
        ab_slot_release(slot);
        slot->tail_calls--;
        CHECK(slot->tail_calls == 0);
        ab_slot_release(slot);
    }
    return NULL;
}

static void slot_scenario(void) {
    scenario scenario = {.engine = ab_engine_create(2)};
    worker worker = {&scenario, 0};
    pthread_t *handles = calloc(threads, sizeof *handles);
    CHECK(scenario.engine != NULL);
    for (unsigned i = 0; i < threads; i++) {
        CHECK(pthread_create(&handles[i], NULL, slot_worker, &worker) == 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        CHECK(pthread_join(handles[i], NULL) == 0);
    }
    free(handles);
    ab_engine_destroy(scenario.engine);
}

static void stress(void) {
    ab_engine *engine = ab_engine_create(threads);
    CHECK(engine != NULL);
    slot_scenario();
    count_scenario(engine, AB_MAP_HASH);
    count_scenario(engine, AB_MAP_ARRAY);
    churn_scenario(engine, AB_MAP_HASH);
    churn_scenario(engine, AB_MAP_LRU_HASH);
    percpu_scenario(engine, AB_MAP_PERCPU_ARRAY);
    percpu_scenario(engine, AB_MAP_PERCPU_HASH);
    percpu_scenario(engine, AB_MAP_LRU_PERCPU_HASH);
    lpm_scenario(engine);
    queue_scenario(engine, AB_MAP_QUEUE);
    queue_scenario(engine, AB_MAP_STACK);
    ring_scenario(engine);
    inner_scenario(engine, AB_MAP_ARRAY_OF_MAPS);
    inner_scenario(engine, AB_MAP_HASH_OF_MAPS);
    ab_engine_destroy(engine);
    printf("all scenarios hold with %u threads of %u operations\n", threads, operations);
}

#define ENTRIES 10000u
#define TURNS 2000000u

/* Times `statement` with `key` running through the entries in an order that defeats prefetching. */
#define TIME(label, statement)                                                                              \
    do {                                                                                                    \
        double best = 1e9;                                                                                  \
        for (int round = 0; round < 5; round++) {                                                           \
            struct timespec from, to;                                                                       \
            uint32_t state = 1;                                                                             \
            clock_gettime(CLOCK_MONOTONIC, &from);                                                          \
            for (unsigned turn = 0; turn < TURNS; turn++) {                                                 \
                state = state * 1664525 + 1013904223;                                                       \
                uint32_t key = (uint32_t)((uint64_t)state * ENTRIES >> 32);                                 \
                statement;                                                                                  \
                ab_slot_quiesce(slot);                                                                      \
            }                                                                                               \
            clock_gettime(CLOCK_MONOTONIC, &to);                                                            \
            double elapsed = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec); \
            best = elapsed / TURNS < best ? elapsed / TURNS : best;                                         \
        }                                                                                                   \
        printf("%-28s %6.1f ns\n", label, best);                                                            \
    } while (0)

static volatile uint32_t sink;

static void time_kind(ab_engine *engine, ab_slot *slot, const char *name, uint32_t kind) {
    ab_map *map = make(engine, kind, 4, 8, ENTRIES, 0);
    uint64_t value = 0, sum = 0;
    char label[64];
    for (uint32_t key = 0; key < ENTRIES; key++) {
        CHECK(map->ops->update(map, &key, &value, 0, slot) == 0);
    }
    snprintf(label, sizeof label, "%s lookup", name);
    TIME(label, sum += *(uint64_t *)map->ops->lookup(map, &key, slot));
    snprintf(label, sizeof label, "%s update", name);
    TIME(label, value = turn; map->ops->update(map, &key, &value, 0, slot));
    if (map->ops->take != NULL) {
        snprintf(label, sizeof label, "%s delete and insert", name);
        TIME(label, map->ops->remove(map, &key, slot); map->ops->update(map, &key, &value, 0, slot));
    }
    CHECK(sum == 0);
    ab_map_destroy(map);
}

static void time_operations(void) {
    ab_engine *engine = ab_engine_create(2);
    ab_slot *slot = ab_slot_acquire(engine);
    ab_slot_enter(slot);
    TIME("nothing", sink = key);
    time_kind(engine, slot, "hash", AB_MAP_HASH);
    time_kind(engine, slot, "LRU hash", AB_MAP_LRU_HASH);
    time_kind(engine, slot, "per-CPU hash", AB_MAP_PERCPU_HASH);
    time_kind(engine, slot, "array", AB_MAP_ARRAY);
    time_kind(engine, slot, "per-CPU array", AB_MAP_PERCPU_ARRAY);
    ab_slot_leave(slot);
    TIME("enter and leave", sink = key; ab_slot_enter(slot); ab_slot_leave(slot));
    ab_slot_release(slot);
    ab_engine_destroy(engine);
}

int main(int argc, char **argv) {
    if (argc > 2) {
        threads = (unsigned)atoi(argv[2]);
    }
    if (argc > 3) {
        operations = (unsigned)atoi(argv[3]);
    }
    if (argc > 1 && strcmp(argv[1], "stress") == 0) {
        stress();
    } else if (argc > 1 && strcmp(argv[1], "time") == 0) {
        time_operations();
    } else {
        fprintf(stderr, "usage: engine_driver stress [THREADS [OPERATIONS]] | time\n");
        return 2;
    }
    return 0;
}
