/* What Python may call of helpers.c. Plain declarations only: the build hands this file to cffi. */
#ifndef ANYBPF_API_HELPERS_H
#define ANYBPF_API_HELPERS_H
#include "engine.h"

/* The helper with this name (with its bpf_ prefix), as the number that programs are bound to; 0 when none is offered. */
uint64_t ab_helper_address(const char *name);
/* Whether it reads addresses that nobody has proven (memory.h). */
int ab_helper_reads_unproven(uint64_t helper);
/* Names in the table, in its order; NULL past the end. */
const char *ab_helper_name(uint32_t index);
/* Calls a helper as a program would that runs on `event` (which may be NULL). */
uint64_t ab_helper_call(uint64_t helper, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, ab_slot *slot, ab_event *event);

#endif
