/* checked.c: the checked interpreter, and what it knows of the memory that a program may touch. */
#include "checked.h"

#include <stdlib.h>
#include <string.h>

#include "helpers.h"
#include "ops.h"


#define AB_CHECKED
#include "interpreter_loop.h"

ab_checked *ab_checked_create(ab_slot *slot) {
    ab_checked *checked = calloc(1, sizeof *checked);
    if (checked != NULL) checked->slot = slot;
    return checked;
}

void ab_checked_destroy(ab_checked *checked) {
    if (checked == NULL) return;
    free(checked->regions);
    free(checked);
}

void ab_checked_begin(ab_checked *checked, const ab_program *program, ab_event *event, const uint8_t *memory, uint64_t size) {
    checked->program = program;
    checked->at = program->text;
    checked->event = event;
    checked->memory = ab_address(memory);
    checked->memory_size = size;
    checked->steps = 0;
    checked->limit = program->instruction_limit;
    checked->lock = 0;
    checked->region_count = 0;
    memset(&checked->fault, 0, sizeof checked->fault);
}

int ab_checked_end(ab_checked *checked) {
    if (checked->lock != 0) {
        ab_checked_fault(checked, AB_FAULT_LOCK, checked->lock, 4, 0);
        ab_helper_spin_unlock(checked->lock, 0, 0, 0, 0, checked->slot);
    }
    for (uint32_t i = 0; i < checked->region_count; i++) {
        if (checked->regions[i].kind != AB_REGION_RECORD) continue;
        ab_checked_fault(checked, AB_FAULT_LEAK, checked->regions[i].start, checked->regions[i].size, 0);
        ab_helper_fn discard = ab_helper_find("bpf_ringbuf_discard");
        if (discard != NULL) discard(checked->regions[i].start, 0, 0, 0, 0, checked->slot);
    }
    checked->region_count = 0;
    return checked->fault.reason == AB_FAULT_NONE;
}

/* For the interpreter's loop. */

int ab_checked_step(ab_checked *checked, const ab_program *program, const ab_instruction *at, uint32_t *written) {
#define AB_OP_REGISTERS(name, registers) registers,
    static const uint8_t uses[] = {AB_OPS(AB_OP_REGISTERS)};
#undef AB_OP_REGISTERS
    uint32_t use = uses[at->op], missing = 0;
    checked->program = program;
    checked->at = at;
    if (checked->steps++ == checked->limit && checked->limit != 0)
        return ab_checked_fault(checked, AB_FAULT_LIMIT, 0, 0, 0);
    if (use & AB_READS_DST) missing |= 1u << at->dst;
    if (use & AB_READS_SRC) missing |= 1u << at->src;
    if (use & AB_READS_R0) missing |= 1u;
    if (use & AB_READS_R6) missing |= 1u << 6;
    missing &= ~*written;
    if (missing) {
        uint32_t number = 0;
        while (!(missing >> number & 1)) number++;
        return ab_checked_fault(checked, AB_FAULT_REGISTER, 0, 0, number);
    }
    if (use & AB_CLOBBERS) *written &= ~AB_ARGUMENT_REGISTERS;
    if (use & AB_WRITES_DST) *written |= 1u << at->dst;
    if (use & AB_WRITES_SRC) *written |= 1u << at->src;
    if (use & AB_WRITES_R0) *written |= 1u;
    return 1;
}

/* Registers that have a value when a function begins that no program calls: the entry function, or a callback. */
uint32_t ab_checked_arguments(const ab_checked *checked, uint32_t start) {
    uint32_t count = checked->event != NULL ? 1 : 2;
    if (start != 0) count = checked->helper->callback == AB_CALLBACK_ELEMENT ? 4 : 2;
    return 1u << 10 | ((2u << count) - 2);
}

/* LD_ABS and LD_IND read through r6. */
int ab_checked_context(ab_checked *checked, uint64_t address) {
    if (checked->event != NULL && address == ab_address(checked->event + 1)) return 1;
    return ab_checked_fault(checked, AB_FAULT_REGISTER, address, 0, 6);
}

int ab_checked_packet_field(const ab_checked *checked, uint64_t address, uint64_t size, uint64_t *value) {
    const ab_event *event = checked->event;
    if (event == NULL || !ab_inside(address, size, ab_address(event + 1), event->context_size)) return 0;
    uint64_t offset = address - ab_address(event + 1);
    for (uint32_t i = 0; i < checked->program->field_count; i++) {
        const ab_context_field *field = &checked->program->fields[i];
        if (field->offset != offset || field->size != size || field->kind == AB_FIELD_NUMBER) continue;
        if (field->kind == AB_FIELD_BUFFER || field->kind == AB_FIELD_BUFFER_END) {
            memcpy(value, ab_pointer(address), sizeof *value);
            return 1;
        }
        *value = ab_address(field->kind == AB_FIELD_DATA       ? event->data
                            : field->kind == AB_FIELD_DATA_END ? event->data_end
                                                               : event->data_meta);
        return 1;
    }
    return 0;
}

int ab_checked_read(ab_checked *checked, uint64_t address, uint64_t size, void *into) {
    if (!ab_checked_permits(checked, address, size, 0)) return ab_checked_fault(checked, AB_FAULT_READ, address, size, 0);
    memcpy(into, ab_pointer(address), (size_t)size);
    return 1;
}

int ab_checked_write(ab_checked *checked, uint64_t address, uint64_t size, const void *from) {
    if (!ab_checked_permits(checked, address, size, 1)) return ab_checked_fault(checked, AB_FAULT_WRITE, address, size, 0);
    memcpy(ab_pointer(address), from, (size_t)size);
    return 1;
}

int ab_checked_atomic(ab_checked *checked, uint64_t address, uint64_t size, int writes) {
    if (!ab_checked_permits(checked, address, size, writes))
        return ab_checked_fault(checked, writes ? AB_FAULT_WRITE : AB_FAULT_READ, address, size, 0);
    if (address % size != 0) return ab_checked_fault(checked, AB_FAULT_ALIGNMENT, address, size, 0);
    return 1;
}

/* Helpers. */

static int is_map(const ab_checked *checked, uint64_t address) {
    for (uint32_t i = 0; i < checked->program->map_count; i++)
        if (ab_address(checked->program->maps[i]) == address) return 1;
    return ab_checked_region(checked, address, AB_REGION_MAP) != NULL;
}

static int is_function(const ab_program *program, uint64_t slot) {
    for (uint32_t i = 0; i < program->function_count; i++)
        if (program->functions[i] == slot) return 1;
    return 0;
}

static uint64_t size_of(uint8_t size_from, uint32_t size, const ab_map *map, const uint64_t *r) {
    switch (size_from) {
    case AB_SIZE_ARGUMENT: return r[size];
    case AB_SIZE_KEY: return map != NULL ? map->key_size : 0;
    case AB_SIZE_VALUE: return map != NULL ? map->value_size : 0;
    default: return size;
    }
}

static int string_permits(const ab_checked *checked, uint64_t address) {
    while (ab_checked_permits(checked, address, 1, 0))
        if (*(const char *)ab_pointer(address++) == 0) return 1;
    return 0;
}

static int argument_permits(ab_checked *checked, const ab_helper_argument *argument, uint64_t value, const ab_map *map, const uint64_t *r) {
    switch (argument->kind) {
    case AB_ARG_ANYTHING: return 1;
    case AB_ARG_CONTEXT: return checked->event == NULL ? value == checked->memory : value == ab_address(checked->event + 1);
    case AB_ARG_MAP:
        if (!is_map(checked, value)) return 0;
        return argument->maps == 0 || (argument->maps >> ((const ab_map *)ab_pointer(value))->kind & 1);
    case AB_ARG_MEMORY: {
        uint64_t size = size_of(argument->size_from, argument->size, map, r);
        if (value == 0 && (argument->flags & AB_ARG_NULLABLE)) return 1;
        if (size == 0) return 1;
        if (argument->flags & AB_ARG_IN_MAP) return ab_checked_map_permits(checked, value, size, 1);
        return ab_checked_permits(checked, value, size, argument->flags & AB_ARG_WRITES);
    }
    case AB_ARG_STRING: return string_permits(checked, value);
    case AB_ARG_CALLBACK: return is_function(checked->program, value);
    case AB_ARG_RECORD: return ab_checked_region(checked, value, AB_REGION_RECORD) != NULL;
    default: return 0;
    }
}

static const ab_map *map_argument(const ab_helper *helper, const uint64_t *r) {
    for (uint32_t i = 0; i < 5; i++)
        if (helper->arguments[i].kind == AB_ARG_MAP) return ab_pointer(r[i + 1]);
    return NULL;
}

int ab_checked_before_call(ab_checked *checked, const ab_helper *helper, const uint64_t *r, uint32_t written) {
    const ab_map *map = NULL;
    for (uint32_t i = 0; i < 5 && helper->arguments[i].kind != AB_ARG_NONE; i++) {
        const ab_helper_argument *argument = &helper->arguments[i];
        uint64_t value = r[i + 1];
        if (!(written >> (i + 1) & 1)) return ab_checked_fault(checked, AB_FAULT_REGISTER, 0, 0, i + 1);
        if (!argument_permits(checked, argument, value, map, r)) {
            uint64_t size = argument->kind == AB_ARG_MEMORY ? size_of(argument->size_from, argument->size, map, r) : 0;
            return ab_checked_fault(checked, AB_FAULT_ARGUMENT, value, size, i + 1);
        }
        if (argument->kind == AB_ARG_MAP) map = ab_pointer(value);
    }
    uint64_t function = helper->function;
    if (function == (uint64_t)(uintptr_t)ab_helper_spin_lock) {
        if (checked->lock != 0) return ab_checked_fault(checked, AB_FAULT_LOCK, r[1], 4, 1);
        checked->lock = r[1];
    } else if (function == (uint64_t)(uintptr_t)ab_helper_spin_unlock) {
        if (checked->lock != r[1]) return ab_checked_fault(checked, AB_FAULT_LOCK, r[1], 4, 1);
        checked->lock = 0;
    }
    checked->helper = helper;
    return 1;
}

int ab_checked_resume(ab_checked *checked, const ab_program *program, const ab_instruction *at) {
    if (checked->fault.reason != AB_FAULT_NONE) return 0;
    checked->program = program;
    checked->at = at;
    return 1;
}

/* r: the result, and the arguments as they were passed. */
int ab_checked_after_call(ab_checked *checked, const ab_program *program, const ab_instruction *at, const ab_helper *helper,
                          const uint64_t *r) {
    if (!ab_checked_resume(checked, program, at)) return 0;
    const ab_map *map = map_argument(helper, r);
    for (uint32_t i = 0; i < 5; i++)
        if (helper->arguments[i].kind == AB_ARG_RECORD) ab_checked_remove(checked, ab_checked_region(checked, r[i + 1], AB_REGION_RECORD));
    if (r[0] == 0) return 1;
    switch (helper->returns) {
    case AB_RETURNS_MAP_VALUE:
        if (map->kind == AB_MAP_ARRAY_OF_MAPS || map->kind == AB_MAP_HASH_OF_MAPS)
            return ab_checked_add(checked, r[0], 1, AB_REGION_MAP, ((const ab_map *)ab_pointer(r[0]))->id, 0);
        return ab_checked_add(checked, r[0], map->value_size, AB_REGION_MAP_VALUE, map->id, !(map->flags & AB_F_RDONLY_PROG));
    case AB_RETURNS_RECORD:
        return ab_checked_add(checked, r[0], size_of(helper->size_from, helper->size, map, r), AB_REGION_RECORD, map ? map->id : 0, 1);
    case AB_RETURNS_MEMORY:
        return ab_checked_add(checked, r[0], size_of(helper->size_from, helper->size, map, r), AB_REGION_MEMORY, 0, 1);
    default: return 1;
    }
}

uint64_t ab_checked_run(const ab_program *program, uint64_t r1, uint64_t r2, ab_slot *slot) {
    return interpret(program, 0, r1, r2, 0, 0, 0, slot);
}

/* After a fault every callback returns 1 at once, which ends the loop of the helper that calls it. */
uint64_t ab_checked_call(ab_slot *slot, uint64_t callback, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    ab_checked *checked = slot->tier;
    const ab_helper *helper = checked->helper;
    if (checked->fault.reason != AB_FAULT_NONE) return 1;
    if (helper->callback == AB_CALLBACK_ELEMENT) {
        const ab_map *map = ab_pointer(a1);
        if (!ab_checked_add(checked, a2, map->key_size, AB_REGION_MAP_KEY, map->id, 0)
            || !ab_checked_add(checked, a3, map->value_size, AB_REGION_MAP_VALUE, map->id, 1))
            return 1;
    }
    uint64_t result = interpret(slot->program, (uint32_t)callback, a1, a2, a3, a4, a5, slot);
    checked->helper = helper;
    if (helper->callback == AB_CALLBACK_ELEMENT) {
        ab_region *key = ab_checked_region(checked, a2, AB_REGION_MAP_KEY);
        if (key != NULL) ab_checked_remove(checked, key);
    }
    return checked->fault.reason == AB_FAULT_NONE ? result : 1;
}
