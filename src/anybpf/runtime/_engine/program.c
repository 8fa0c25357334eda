/* program.c: the life of a program, the choice of the tier that runs it, and calls from one program into the next. */
#include "program.h"

#include <stdlib.h>
#include <string.h>

#include "checked.h"
#include "helpers.h"
#include "reclaim.h"
#include "slot.h"

/* A copy of `count` elements, or NULL when memory is short. Never asks for zero bytes, which may give NULL. */
static void *copy(const void *from, size_t count, size_t size) {
    void *to = calloc(count + 1, size);
    if (to != NULL && count != 0) memcpy(to, from, count * size);
    return to;
}

ab_program *ab_program_create(ab_engine *engine, const ab_program_config *config, int32_t *error, uint32_t *slot) {
    *slot = 0;
    *error = -AB_EINVAL;
    if (config->slots == 0) return NULL;
    *error = -AB_EXDEV;
    for (uint32_t i = 0; i < config->map_count; i++)
        if (config->maps[i]->engine != engine) return NULL;
    *error = -AB_ENOMEM;
    ab_program *program = calloc(1, sizeof *program);
    if (program == NULL) return NULL;
    atomic_init(&program->entry, NULL);
    program->engine = engine;
    program->slots = config->slots;
    program->helper_count = config->helper_count;
    program->map_count = config->map_count;
    program->function_count = config->function_count;
    program->field_count = config->field_count;
    program->lowered = config->lowered;
    program->packet_writable = config->packet_writable;
    program->checked_only = config->checked_only;
    program->type = config->type;
    program->instruction_limit = config->instruction_limit;
    program->text = calloc((size_t)config->slots + 1, sizeof *program->text);
    program->helpers = copy(config->helpers, config->helper_count, sizeof *program->helpers);
    program->maps = copy(config->maps, config->map_count, sizeof *program->maps);
    program->functions = copy(config->functions, config->function_count, sizeof *program->functions);
    program->fields = copy(config->fields, config->field_count, sizeof *program->fields);
    for (uint32_t i = 0; i < config->helper_count; i++)
        program->reads_unproven |= (uint32_t)ab_helper_reads_unproven(config->helpers[i].function);
    if (program->text != NULL && program->helpers != NULL && program->maps != NULL && program->functions != NULL
        && program->fields != NULL) {
        *error = ab_program_predecode(program, config->code, slot);
        if (*error == 0) return program;
    }
    ab_program_destroy(program);
    return NULL;
}

void ab_program_destroy(ab_program *program) {
    if (program == NULL) return;
    free(program->text);
    free(program->helpers);
    free(program->maps);
    free(program->functions);
    free(program->fields);
    free(program);
}

uint64_t ab_engine_retire(ab_engine *engine) {
    /* One more than the grace period, because the caller stands in no epoch of its own. */
    return atomic_load_explicit(&engine->epoch, memory_order_seq_cst) + AB_EPOCH_GRACE + 1;
}

int32_t ab_engine_retired(ab_engine *engine, uint64_t retirement) {
    uint64_t now;
    while ((now = atomic_load_explicit(&engine->epoch, memory_order_seq_cst)) < retirement) {
        ab_epoch_advance(engine);
        if (atomic_load_explicit(&engine->epoch, memory_order_seq_cst) == now) return 0;
    }
    return 1;
}

void ab_program_set_entry(ab_program *program, uint64_t entry) {
    atomic_store_explicit(&program->entry, (ab_entry_fn)(uintptr_t)entry, memory_order_release);
}

uint64_t ab_program_entry(const ab_program *program) {
    return (uint64_t)(uintptr_t)atomic_load_explicit(&program->entry, memory_order_acquire);
}

uint64_t ab_machine_call(ab_slot *slot, uint64_t callback, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    return ((ab_function_fn)(uintptr_t)callback)(a1, a2, a3, a4, a5, slot);
}

uint64_t ab_program_run(const ab_program *program, uint64_t r1, uint64_t r2, ab_slot *slot) {
    const ab_program *outer = slot->program;
    uint64_t (*outer_call)(ab_slot *, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t) = slot->call;
    ab_entry_fn entry = NULL;
    uint64_t result;
    slot->program = program;
    if (slot->mode == AB_MODE_AUTOMATIC) entry = atomic_load_explicit(&program->entry, memory_order_acquire);
    if (entry != NULL) {
        slot->call = ab_machine_call;
        result = entry(r1, r2, slot);
    } else if (slot->mode == AB_MODE_CHECKED) {
        slot->call = ab_checked_call;
        result = ab_checked_run(program, r1, r2, slot);
    } else {
        slot->call = ab_interpreter_call;
        result = ab_interpreter_run(program, r1, r2, slot);
    }
    slot->program = outer;
    slot->call = outer_call;
    return result;
}

int ab_tail_call(uint64_t context, uint64_t map_address, uint64_t index, ab_slot *slot, uint64_t *result) {
    ab_map *map = ab_pointer(map_address);
    uint32_t key = (uint32_t)index;
    *result = ab_result(-AB_EINVAL);
    if (map->kind != AB_MAP_PROG_ARRAY || key >= map->max_entries) return 0;
    *result = ab_result(-AB_E2BIG);
    if (slot->tail_calls >= AB_MAX_TAIL_CALLS) return 0;
    const ab_program *target = map->ops->lookup(map, &key, slot);
    *result = ab_result(-AB_ENOENT);
    if (target == NULL) return 0;
    *result = ab_result(-AB_EPERM);
    if (target->type != slot->program->type || target->engine != slot->engine) return 0;
    if (target->checked_only && slot->mode != AB_MODE_CHECKED) return 0;
    slot->tail_calls++;
    uint8_t *left = slot->stack_base; /* frames of the programs that were left are not the target's */
    slot->stack_base = slot->stack_top;
    *result = ab_program_run(target, context, 0, slot);
    slot->stack_base = left;
    return 1;
}

const ab_helper *ab_program_helper(const ab_program *program, uint64_t id) {
    for (uint32_t i = 0; i < program->helper_count; i++)
        if (program->helpers[i].id == id) return &program->helpers[i];
    return NULL;
}

uint64_t ab_call_by_number(uint64_t id, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, ab_slot *slot) {
    const ab_helper *helper = ab_program_helper(slot->program, id);
    if (helper == NULL || helper->returns == AB_RETURNS_TAIL_CALL) return ab_result(-AB_EINVAL);
    return ((ab_helper_fn)(uintptr_t)helper->function)(a1, a2, a3, a4, a5, slot);
}
