/* program.h: a loaded program, and the tiers that run it. */
#ifndef ANYBPF_PROGRAM_H
#define ANYBPF_PROGRAM_H

#include <stdatomic.h>

#include "api_program.h"

#define AB_MAY_GOTO_LIMIT (8u * 1024 * 1024)  /* times that may_goto falls through, in one activation of a function */

/* Machine code of a program, and of a function that a helper calls back. */
typedef uint64_t (*ab_entry_fn)(uint64_t r1, uint64_t r2, ab_slot *slot);
typedef uint64_t (*ab_function_fn)(uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, ab_slot *slot);

/* An instruction in the interpreter's form. Slots stay what they are in the bytecode; the second slot of lddw is never
 * reached. */
typedef struct ab_instruction {
    uint16_t op;      /* AB_OP_* (ops.h) */
    uint8_t dst;
    uint8_t src;
    int32_t offset;   /* bytes from an address, or slots from this instruction to a jump's target */
    int64_t imm;      /* sign-extended; of lddw all 64 bits, references resolved; of a call the index in `helpers` */
} ab_instruction;

struct ab_program {
    _Atomic(ab_entry_fn) entry;  /* machine code; NULL until there is some */
    ab_engine *engine;
    ab_instruction *text;        /* slots + 1: the last stops a program that runs off its end */
    ab_helper *helpers;
    ab_map **maps;
    uint32_t *functions;
    ab_context_field *fields;
    uint32_t slots;
    uint32_t helper_count;
    uint32_t map_count;
    uint32_t function_count;
    uint32_t field_count;
    uint32_t lowered;
    uint32_t packet_writable;
    uint32_t checked_only;
    uint32_t reads_unproven;     /* it calls a helper that follows addresses which nobody has proven (helpers.h) */
    uint64_t type;
    uint64_t direct_maps;        /* a bit for each of the first 64 maps whose value the text addresses directly */
    uint64_t instruction_limit;
};

/* predecode.c: fills program->text, whose slots + 1 entries exist, from `code`. Returns 0 or -EINVAL with *slot set. */
int ab_program_predecode(ab_program *program, const uint8_t *code, uint32_t *slot);

/* Runs a program in the tier that slot->mode asks for; saves and restores slot->program and slot->call. The caller has
 * entered the slot, has reset slot->tail_calls and slot->redirect for this event, and has set slot->event. */
uint64_t ab_program_run(const ab_program *program, uint64_t r1, uint64_t r2, ab_slot *slot);

/* bpf_tail_call, for interpreter and machine code alike. Returns 1 when the target ran: the calling function then exits
 * with *result. Returns 0 when it did not: *result is the negative error to leave in r0. */
int ab_tail_call(uint64_t context, uint64_t map, uint64_t index, ab_slot *slot, uint64_t *result);

/* The helper with this number among those that the program may call, or NULL. */
const ab_helper *ab_program_helper(const ab_program *program, uint64_t id);

/* callx (not in RFC 9669; older toolchains emit it): calls the helper with the number `id` of the running program.
 * Machine code calls this function; an unknown number gives -EINVAL. */
uint64_t ab_call_by_number(uint64_t id, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, ab_slot *slot);

/* slot->call of machine code: `callback` is the function's address. */
uint64_t ab_machine_call(ab_slot *slot, uint64_t callback, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);

/* interpreter.c. `ab_interpreter_call` is slot->call: `callback` is the slot at which the function starts. */
uint64_t ab_interpreter_run(const ab_program *program, uint64_t r1, uint64_t r2, ab_slot *slot);
uint64_t ab_interpreter_call(ab_slot *slot, uint64_t callback, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);

#endif
