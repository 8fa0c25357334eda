/* checked.h: the checked interpreter's knowledge of what a program may touch.
 *
 * One ab_checked belongs to one slot while a checked run is on (slot->tier). The functions that return 0 have recorded a fault;
 * the run then ends, through every program, callback and helper that is under way.
 */
#ifndef ANYBPF_CHECKED_H
#define ANYBPF_CHECKED_H

#include "program.h"

#define AB_F_RDONLY_PROG 0x80u /* map flag: programs may not write values (Linux's BPF_F_RDONLY_PROG) */
#define AB_ARGUMENT_REGISTERS 0x3eu  /* r1 to r5, a bit each */

/* Memory that the run has been given: a map's value, a record, or (AB_REGION_MAP) the handle of an inner map. */
typedef struct ab_region {
    uint64_t start;
    uint64_t size;
    uint32_t kind;
    uint32_t map;
    uint32_t writable;
} ab_region;

typedef struct ab_checked {
    const ab_program *program;  /* what runs now, and where */
    const ab_instruction *at;
    ab_slot *slot;
    ab_event *event;            /* NULL: r1 is plain memory */
    uint64_t memory;
    uint64_t memory_size;
    uint64_t steps;
    uint64_t limit;
    const ab_helper *helper;    /* the helper that is being called, for its callback */
    uint64_t lock;              /* the bpf_spin_lock that is held, or 0 */
    ab_region *regions;         /* ascending by start */
    uint32_t region_count;
    uint32_t region_capacity;
    ab_fault fault;
} ab_checked;

ab_checked *ab_checked_create(ab_slot *slot);
void ab_checked_destroy(ab_checked *checked);
/* Before each event, or each run on plain memory. */
void ab_checked_begin(ab_checked *checked, const ab_program *program, ab_event *event, const uint8_t *memory, uint64_t size);
/* After it: gives back what a stopped run still held. Returns 0 when the run faulted. */
int ab_checked_end(ab_checked *checked);

uint64_t ab_checked_run(const ab_program *program, uint64_t r1, uint64_t r2, ab_slot *slot);
uint64_t ab_checked_call(ab_slot *slot, uint64_t callback, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);

/* For the interpreter's loop. */
int ab_checked_fault(ab_checked *checked, uint32_t reason, uint64_t address, uint64_t size, uint32_t subject);
int ab_checked_step(ab_checked *checked, const ab_program *program, const ab_instruction *at, uint32_t *written);
uint32_t ab_checked_arguments(const ab_checked *checked, uint32_t start);
int ab_checked_context(ab_checked *checked, uint64_t address);
int ab_checked_packet_field(const ab_checked *checked, uint64_t address, uint64_t size, uint64_t *value);
int ab_checked_read(ab_checked *checked, uint64_t address, uint64_t size, void *into);
int ab_checked_write(ab_checked *checked, uint64_t address, uint64_t size, const void *from);
int ab_checked_atomic(ab_checked *checked, uint64_t address, uint64_t size, int writes);
int ab_checked_before_call(ab_checked *checked, const ab_helper *helper, const uint64_t *r, uint32_t written);
int ab_checked_after_call(ab_checked *checked, const ab_program *program, const ab_instruction *at, const ab_helper *helper,
                          const uint64_t *r);
int ab_checked_resume(ab_checked *checked, const ab_program *program, const ab_instruction *at);

static inline int ab_inside(uint64_t address, uint64_t size, uint64_t start, uint64_t extent) {
    return address >= start && address - start <= extent && size <= extent - (address - start);
}

/* checked_memory.c: memory that the run was given: ab_checked_add returns 0 when it faulted for want of memory. */
int ab_checked_add(ab_checked *checked, uint64_t start, uint64_t size, uint32_t kind, uint32_t map, uint32_t writable);
ab_region *ab_checked_region(const ab_checked *checked, uint64_t start, uint32_t kind);
void ab_checked_remove(ab_checked *checked, ab_region *region);
int ab_checked_map_permits(const ab_checked *checked, uint64_t address, uint64_t size, int writes);
/* Memory that the program may touch at this moment. */
int ab_checked_permits(const ab_checked *checked, uint64_t address, uint64_t size, int writes);

#endif
