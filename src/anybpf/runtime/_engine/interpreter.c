/* interpreter.c: the fast interpreter, for programs that the verifier accepted. */
#include "interpreter_loop.h"

uint64_t ab_interpreter_run(const ab_program *program, uint64_t r1, uint64_t r2, ab_slot *slot) {
    return interpret(program, 0, r1, r2, 0, 0, 0, slot);
}

uint64_t ab_interpreter_call(ab_slot *slot, uint64_t callback, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    return interpret(slot->program, (uint32_t)callback, a1, a2, a3, a4, a5, slot);
}
