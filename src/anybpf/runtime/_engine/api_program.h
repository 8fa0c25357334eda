/* api_program.h: what Python calls to create programs and to run them. */
#ifndef ANYBPF_API_PROGRAM_H
#define ANYBPF_API_PROGRAM_H
#include "engine.h"

/* Which tier runs a program: machine code when there is some, else the interpreter; the interpreter; the checked
 * interpreter. */
enum { AB_MODE_AUTOMATIC, AB_MODE_INTERPRETER, AB_MODE_CHECKED };

/* What the checked interpreter makes sure of before a helper is called (anybpf.platforms.ArgKind, as far as memory is
 * concerned). NONE: the helper has no such argument; REFUSED: the argument cannot be checked, so the call is a fault. */
enum {
    AB_ARG_NONE, AB_ARG_ANYTHING, AB_ARG_CONTEXT, AB_ARG_MAP, AB_ARG_MEMORY, AB_ARG_STRING, AB_ARG_CALLBACK, AB_ARG_RECORD,
    AB_ARG_REFUSED
};
/* Of MEMORY: the helper writes it; it may be NULL; it must be part of a map's value. */
enum { AB_ARG_WRITES = 1, AB_ARG_NULLABLE = 2, AB_ARG_IN_MAP = 4 };
/* Where the size of MEMORY, or of what a helper returns, stands: fixed; in an argument; in the map argument's shape. */
enum { AB_SIZE_FIXED, AB_SIZE_ARGUMENT, AB_SIZE_KEY, AB_SIZE_VALUE };

/* What a helper leaves in r0, as far as memory is concerned. A value of a map of maps is the inner map's handle. */
enum { AB_RETURNS_NUMBER, AB_RETURNS_MAP_VALUE, AB_RETURNS_RECORD, AB_RETURNS_MEMORY, AB_RETURNS_TAIL_CALL };
/* What a helper's callback gets: (number, context), or (map, key, value, context). */
enum { AB_CALLBACK_NUMBER, AB_CALLBACK_ELEMENT };

typedef struct ab_helper_argument {
    uint8_t kind;      /* AB_ARG_* */
    uint8_t flags;
    uint8_t size_from; /* AB_SIZE_*; for AB_SIZE_ARGUMENT `size` is the argument's number, 1 to 5 */
    uint8_t reserved;
    uint32_t size;
    uint64_t maps;     /* kinds of map allowed, a bit each (1 << ab_map_kind); 0: any */
} ab_helper_argument;

typedef struct ab_helper {
    uint64_t function;     /* address of an ab_helper_fn; unused where `returns` is AB_RETURNS_TAIL_CALL */
    uint32_t id;           /* the number in call instructions */
    uint8_t returns;       /* AB_RETURNS_* */
    uint8_t callback;      /* AB_CALLBACK_* */
    uint8_t size_from;     /* of RECORD and MEMORY, as in an argument */
    uint8_t reserved;
    uint32_t size;
    ab_helper_argument arguments[5];
} ab_helper;

/* A field of the context: what the checked interpreter allows, and which loads it answers with a packet pointer. */
enum { AB_FIELD_NUMBER = 3, AB_FIELD_BUFFER, AB_FIELD_BUFFER_END };
typedef struct ab_context_field {
    uint32_t offset;
    uint32_t size;
    uint32_t kind;      /* AB_FIELD_DATA, _DATA_END, _DATA_META (api_event.h), or one of the above */
    uint32_t writable;  /* of AB_FIELD_BUFFER: the buffer, whose end is the pointer behind this one */
} ab_context_field;

/* All that ab_program_create reads; it keeps no pointer into it. */
typedef struct ab_program_config {
    const uint8_t *code;          /* instructions, 8 bytes a slot, little endian, already decoded without an error */
    uint32_t slots;
    uint32_t lowered;             /* packet fields of the context are loaded from the event's header (engine.h) */
    uint32_t packet_writable;
    uint32_t checked_only;        /* nobody has verified it: never run outside the checked interpreter */
    uint64_t type;                /* programs of one number may tail-call each other: they get the same context */
    ab_map *const *maps;          /* what by-index references mean */
    uint32_t map_count;
    uint32_t helper_count;
    const ab_helper *helpers;     /* ascending by id */
    const uint32_t *functions;    /* slots at which functions start, ascending */
    uint32_t function_count;
    uint32_t field_count;
    const ab_context_field *fields;
    uint64_t instruction_limit;   /* checked runs stop after so many instructions; 0: never */
} ab_program_config;

/* Creates a program, or sets *error and *slot (of the instruction at fault) and returns NULL: -EINVAL, the engine cannot run
 * the instruction; -ENOENT, it calls a helper that is not there; -EXDEV, a map is another engine's; -ENOMEM. */
ab_program *ab_program_create(ab_engine *engine, const ab_program_config *config, int32_t *error, uint32_t *slot);
/* The caller makes sure that no thread runs the program any more, and that no prog array holds it: see ab_engine_retire. */
void ab_program_destroy(ab_program *program);
/* A prog array that held a program may have been read just before it let go. What is let go before a call of
 * ab_engine_retire may be destroyed once ab_engine_retired(the number that it returned) is true. */
uint64_t ab_engine_retire(ab_engine *engine);
int32_t ab_engine_retired(ab_engine *engine, uint64_t retirement);
/* Publishes machine code: `entry` is an ab_entry_fn (program.h). Runs that begin from now on use it. 0 takes it back. */
void ab_program_set_entry(ab_program *program, uint64_t entry);
uint64_t ab_program_entry(const ab_program *program);

/* Why a checked run stopped. */
enum {
    AB_FAULT_NONE, AB_FAULT_READ, AB_FAULT_WRITE, AB_FAULT_ALIGNMENT, AB_FAULT_REGISTER, AB_FAULT_ARGUMENT, AB_FAULT_LIMIT,
    AB_FAULT_DEPTH, AB_FAULT_END, AB_FAULT_HELPER, AB_FAULT_LEAK, AB_FAULT_LOCK, AB_FAULT_MEMORY
};
/* What kind of memory lies at or nearest to the address of a fault. */
enum {
    AB_REGION_NONE, AB_REGION_STACK, AB_REGION_CONTEXT, AB_REGION_PACKET, AB_REGION_MEMORY, AB_REGION_MAP_VALUE,
    AB_REGION_MAP_KEY, AB_REGION_RECORD, AB_REGION_MAP, AB_REGION_BUFFER
};
typedef struct ab_fault {
    uint32_t reason;       /* AB_FAULT_* */
    uint32_t instruction;  /* slot */
    uint64_t address;
    uint64_t size;         /* bytes of the access */
    uint32_t subject;      /* register, or number of the argument, or id of the helper, that was wrong */
    uint32_t region;       /* AB_REGION_* */
    uint64_t region_start;
    uint64_t region_size;
    uint32_t map;          /* id of the map, for map values */
    uint32_t reserved;
    const ab_program *program; /* which program it was: not the first one after a tail call */
} ab_fault;

/* One input, run `repeat` times on the same event or memory without resetting it, as Linux's BPF_PROG_TEST_RUN does. */
typedef struct ab_run {
    uint32_t mode;         /* AB_MODE_* */
    uint32_t repeat;       /* at least 1 */
    uint64_t result;       /* out: r0 of the last run */
    uint64_t duration_ns;  /* out: of all runs together */
    uint64_t redirect_target;  /* out: what the last run's redirect helper decided */
    uint64_t redirect_flags;
    uint32_t redirect_map;     /* id of the map, 0: an interface index */
    uint32_t reserved;
    ab_fault fault;        /* out */
} ab_run;
/* Runs on an event (r1 is its context), or, when `event` is NULL, on memory (r1 its address, r2 its length).
 * Returns 0, or -EFAULT when a checked run stopped (see run->fault), or -ENOMEM. */
int32_t ab_program_test(const ab_program *program, ab_event *event, uint8_t *memory, uint64_t length, ab_run *run);

/* Many events in one call. */
enum { AB_BATCH_COUNTED = 16 };
typedef struct ab_batch {
    uint32_t mode;
    uint32_t context_length;      /* bytes of `context` */
    const uint8_t *data;          /* all packets (raw programs: memories, which they may write) */
    uint64_t data_length;
    const uint64_t *offsets;      /* where in `data` each begins */
    const uint32_t *lengths;
    const uint64_t *times;        /* nanoseconds since 1970, for records that are kept; may be NULL */
    uint64_t count;
    uint64_t first;               /* in and out: the next event to run */
    const uint8_t *context;       /* initial context of every event; may be NULL */
    uint64_t *results;            /* count numbers: r0 of each run; may be NULL */
    uint64_t keep;                /* a bit a return value, the last for all of 63 and more: append the packet, as it then is */
    uint8_t *kept;                /* pcap records with times in nanoseconds, in the machine's byte order; begin with NULL */
    uint64_t kept_capacity;       /* begin with 0 */
    uint64_t kept_length;         /* in and out; the caller sets it to 0 when it has taken the records */
    uint64_t counts[17];          /* in and out: runs that returned 0 to 15; the last: any other number */
    uint64_t duration_ns;         /* in and out */
    ab_fault fault;               /* out */
} ab_batch;
/* Runs events first to count - 1, and moves `first` on. Returns 0; -EINVAL when an event lies outside `data`; -EMSGSIZE when
 * one is too long for a packet; -EFAULT when a checked run stopped; -ENOMEM. After an error batch->first is the event that
 * was not completed. `event` is NULL for programs that run on plain memory. */
int32_t ab_batch_run(const ab_program *program, ab_event *event, ab_batch *batch);
/* Frees the records that were kept. */
void ab_batch_release(ab_batch *batch);

#endif
