/* interpreter_loop.h: the interpreter, one source compiled twice. No include guard, on purpose.
 *
 * interpreter.c compiles it as it is: for programs that the verifier accepted (or that the user trusts). checked.c defines
 * AB_CHECKED first: then every register read, every access to memory and every helper argument is tested, and the
 * first bad one ends the run.
 *
 * With GNU C the fast one jumps from handler to handler through a table of labels, so that the processor predicts each handler's
 * successor by itself; elsewhere it is a switch.
 */
#include <string.h>

#include "event.h"
#include "ops.h"
#include "program.h"
#include "stack.h"

#if defined(__GNUC__) && !defined(AB_CHECKED)
#define AB_THREADED 1
#else
#define AB_THREADED 0
#endif

/* What a call saves of its caller. */
typedef struct ab_frame {
    const ab_instruction *return_to;
    uint64_t saved[4];  /* r6 to r9 */
    uint32_t may_goto;
} ab_frame;

#define DST r[at->dst]
#define SRC r[at->src]
#define ADDRESS_SRC (SRC + (uint64_t)(int64_t)at->offset)
#define ADDRESS_DST (DST + (uint64_t)(int64_t)at->offset)

#ifdef AB_CHECKED
#define READ(into, address) do { if (!ab_checked_read(checked, (address), sizeof(into), &(into))) goto stop; } while (0)
#define WRITE(address, from) do { if (!ab_checked_write(checked, (address), sizeof(from), &(from))) goto stop; } while (0)
#define ATOMIC_AT(address, type) do { if (!ab_checked_atomic(checked, (address), sizeof(type), 1)) goto stop; } while (0)
#define ATOMIC_READ_AT(address, type) do { if (!ab_checked_atomic(checked, (address), sizeof(type), 0)) goto stop; } while (0)
#else
#define READ(into, address) memcpy(&(into), (const void *)(uintptr_t)(address), sizeof(into))
#define WRITE(address, from) memcpy((void *)(uintptr_t)(address), &(from), sizeof(from))
#define ATOMIC_AT(address, type) ((void)0)
#define ATOMIC_READ_AT(address, type) ((void)0)
#endif
#define CELL(type, address) ((_Atomic type *)(uintptr_t)(address))

#if AB_THREADED
#define OP(name) L_##name:
#define NEXT do { at++; goto *labels[at->op]; } while (0)
#define JUMP do { at += at->offset; goto *labels[at->op]; } while (0)
#define RESUME(next) do { at = (next); goto *labels[at->op]; } while (0)
#else
#define OP(name) case AB_OP_##name:
#define NEXT { at++; continue; }
#define JUMP { at += at->offset; continue; }
#define RESUME(next) { at = (next); continue; }
#endif

#define ARITHMETIC64(name, result) \
    OP(name##64_IMM) { uint64_t a = DST, b = (uint64_t)at->imm; DST = (result); } NEXT; \
    OP(name##64_REG) { uint64_t a = DST, b = SRC; DST = (result); } NEXT;
#define ARITHMETIC32(name, result) \
    OP(name##32_IMM) { uint32_t a = (uint32_t)DST, b = (uint32_t)at->imm; DST = (uint32_t)(result); } NEXT; \
    OP(name##32_REG) { uint32_t a = (uint32_t)DST, b = (uint32_t)SRC; DST = (uint32_t)(result); } NEXT;
#define ARITHMETIC(name, result) ARITHMETIC64(name, result) ARITHMETIC32(name, result)
#define BRANCH(name, type, condition) \
    OP(name##_IMM) { type a = (type)DST, b = (type)at->imm; if (condition) JUMP; } NEXT; \
    OP(name##_REG) { type a = (type)DST, b = (type)SRC; if (condition) JUMP; } NEXT;
#define CONDITION(name, condition) BRANCH(name##64, uint64_t, condition) BRANCH(name##32, uint32_t, condition)
#define SIGNED_CONDITION(name, condition) BRANCH(name##64, int64_t, condition) BRANCH(name##32, int32_t, condition)

#define MEMORY(bits) \
    OP(STORE##bits##_REG) { uint##bits##_t value = (uint##bits##_t)SRC; WRITE(ADDRESS_DST, value); } NEXT; \
    OP(STORE##bits##_IMM) { uint##bits##_t value = (uint##bits##_t)at->imm; WRITE(ADDRESS_DST, value); } NEXT; \
    OP(LOAD_ACQUIRE##bits) { \
        ATOMIC_READ_AT(ADDRESS_SRC, uint##bits##_t); \
        DST = atomic_load_explicit(CELL(uint##bits##_t, ADDRESS_SRC), memory_order_acquire); \
    } NEXT; \
    OP(STORE_RELEASE##bits) { \
        ATOMIC_AT(ADDRESS_DST, uint##bits##_t); \
        atomic_store_explicit(CELL(uint##bits##_t, ADDRESS_DST), (uint##bits##_t)SRC, memory_order_release); \
    } NEXT;
#define LOAD(bits) OP(LOAD##bits) { uint##bits##_t value = 0; READ(value, ADDRESS_SRC); DST = value; } NEXT;
#define LOAD_SIGNED(bits) OP(LOAD_S##bits) { int##bits##_t value = 0; READ(value, ADDRESS_SRC); DST = (uint64_t)(int64_t)value; } NEXT;
/* Contexts show packet pointers in fields of 32 or 64 bits; programs that are not lowered get the pointer here. */
#ifdef AB_CHECKED
#define LOAD_FIELD(bits) \
    OP(LOAD##bits) { \
        uint##bits##_t value = 0; \
        if (ab_checked_packet_field(checked, ADDRESS_SRC, sizeof value, &DST)) NEXT; \
        READ(value, ADDRESS_SRC); \
        DST = value; \
    } NEXT;
#else
#define LOAD_FIELD(bits) LOAD(bits)
#endif

/* RFC 9669 leaves the order to the implementation; Linux's: operations that fetch are sequentially consistent. */
#define ATOMIC_BITS(name, operation, bits) \
    OP(ATOMIC_##name##bits) { \
        ATOMIC_AT(ADDRESS_DST, uint##bits##_t); \
        operation(CELL(uint##bits##_t, ADDRESS_DST), (uint##bits##_t)SRC, memory_order_relaxed); \
    } NEXT; \
    OP(FETCH_ATOMIC_##name##bits) { \
        ATOMIC_AT(ADDRESS_DST, uint##bits##_t); \
        SRC = operation(CELL(uint##bits##_t, ADDRESS_DST), (uint##bits##_t)SRC, memory_order_seq_cst); \
    } NEXT;
#define ATOMIC(name, operation) ATOMIC_BITS(name, operation, 32) ATOMIC_BITS(name, operation, 64)
#define EXCHANGE(bits) \
    OP(XCHG##bits) { \
        ATOMIC_AT(ADDRESS_DST, uint##bits##_t); \
        SRC = atomic_exchange_explicit(CELL(uint##bits##_t, ADDRESS_DST), (uint##bits##_t)SRC, memory_order_seq_cst); \
    } NEXT; \
    OP(CMPXCHG##bits) { \
        ATOMIC_AT(ADDRESS_DST, uint##bits##_t); \
        uint##bits##_t expected = (uint##bits##_t)r[0]; \
        atomic_compare_exchange_strong_explicit(CELL(uint##bits##_t, ADDRESS_DST), &expected, (uint##bits##_t)SRC, \
                                                memory_order_seq_cst, memory_order_seq_cst); \
        r[0] = expected; \
    } NEXT;

static inline uint16_t swap16(uint16_t x) { return (uint16_t)(x << 8 | x >> 8); }
static inline uint32_t swap32(uint32_t x) { return x << 24 | (x & 0xff00u) << 8 | (x >> 8 & 0xff00u) | x >> 24; }
static inline uint64_t swap64(uint64_t x) { return (uint64_t)swap32((uint32_t)x) << 32 | swap32((uint32_t)(x >> 32)); }

/* Division by zero gives 0 and the remainder of it the dividend; the smallest number divided by -1 gives itself, remainder 0
 * (RFC 9669 section 4.1). Negation is done without a sign, since overflow of signed numbers has no meaning in C. */
static inline uint64_t signed_divide64(uint64_t a, uint64_t b) {
    if (b == 0) return 0;
    if (b == UINT64_MAX) return 0 - a;
    return (uint64_t)((int64_t)a / (int64_t)b);
}
static inline uint64_t signed_modulo64(uint64_t a, uint64_t b) {
    if (b == 0) return a;
    if (b == UINT64_MAX) return 0;
    return (uint64_t)((int64_t)a % (int64_t)b);
}
static inline uint32_t signed_divide32(uint32_t a, uint32_t b) {
    if (b == 0) return 0;
    if (b == UINT32_MAX) return 0 - a;
    return (uint32_t)((int32_t)a / (int32_t)b);
}
static inline uint32_t signed_modulo32(uint32_t a, uint32_t b) {
    if (b == 0) return a;
    if (b == UINT32_MAX) return 0;
    return (uint32_t)((int32_t)a % (int32_t)b);
}

/* Arithmetic shift without relying on what C leaves to the compiler. */
static inline uint64_t shift_arithmetic64(uint64_t a, unsigned by) { return a >> 63 ? ~(~a >> by) : a >> by; }
static inline uint32_t shift_arithmetic32(uint32_t a, unsigned by) { return a >> 31 ? ~(~a >> by) : a >> by; }

/* Gives the function that begins its frame: of zeros where the program could see what was there before. */
static inline int push_frame(const ab_program *program, ab_slot *slot, uint64_t *frame_end) {
    uint8_t *frame = ab_stack_push(slot);
#ifdef AB_CHECKED
    (void)program;
    if (frame == NULL) return ab_checked_fault(slot->tier, AB_FAULT_DEPTH, 0, 0, 0);
    memset(frame, 0, AB_STACK_SIZE);
#else
    if (frame == NULL) return 0;
    if (program->reads_unproven) memset(frame, 0, AB_STACK_SIZE);
#endif
    *frame_end = (uint64_t)(uintptr_t)(frame + AB_STACK_SIZE);
    return 1;
}

/* Runs from slot `start` until the function that begins there exits. */
static uint64_t interpret(const ab_program *program, uint32_t start, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                          uint64_t a5, ab_slot *slot) {
    uint64_t r[11] = {0, a1, a2, a3, a4, a5, 0, 0, 0, 0, 0};
    ab_frame frames[AB_MAX_CALL_DEPTH - 1];
    uint8_t *const stack = slot->stack_top;
    uint32_t depth = 0, may_goto = AB_MAY_GOTO_LIMIT;
    const ab_instruction *at = program->text + start;
    const ab_helper *helper;
#ifdef AB_CHECKED
    ab_checked *checked = slot->tier;
    uint32_t written[AB_MAX_CALL_DEPTH];
    written[0] = ab_checked_arguments(checked, start);
#endif
    if (!push_frame(program, slot, &r[10])) return 0;

#if AB_THREADED
#define AB_OP_LABEL(name, registers) &&L_##name,
    static const void *const labels[] = {AB_OPS(AB_OP_LABEL)};
#undef AB_OP_LABEL
    goto *labels[at->op];
#else
    for (;;) {
#ifdef AB_CHECKED
        if (!ab_checked_step(checked, program, at, &written[depth])) goto stop;
#endif
        switch (at->op) {
#endif

    ARITHMETIC(ADD, a + b)
    ARITHMETIC(SUB, a - b)
    ARITHMETIC(MUL, a * b)
    ARITHMETIC(OR, a | b)
    ARITHMETIC(AND, a & b)
    ARITHMETIC(XOR, a ^ b)
    ARITHMETIC(DIV, b ? a / b : 0)
    ARITHMETIC(MOD, b ? a % b : a)
    ARITHMETIC64(SDIV, signed_divide64(a, b))
    ARITHMETIC32(SDIV, signed_divide32(a, b))
    ARITHMETIC64(SMOD, signed_modulo64(a, b))
    ARITHMETIC32(SMOD, signed_modulo32(a, b))
    ARITHMETIC64(LSH, a << (b & 63))
    ARITHMETIC32(LSH, a << (b & 31))
    ARITHMETIC64(RSH, a >> (b & 63))
    ARITHMETIC32(RSH, a >> (b & 31))
    ARITHMETIC64(ARSH, shift_arithmetic64(a, (unsigned)b & 63))
    ARITHMETIC32(ARSH, shift_arithmetic32(a, (unsigned)b & 31))
    OP(NEG64) DST = 0 - DST; NEXT;
    OP(NEG32) DST = (uint32_t)(0 - (uint32_t)DST); NEXT;
    OP(MOV64_IMM) DST = (uint64_t)at->imm; NEXT;
    OP(MOV64_REG) DST = SRC; NEXT;
    OP(MOV32_IMM) DST = (uint32_t)at->imm; NEXT;
    OP(MOV32_REG) DST = (uint32_t)SRC; NEXT;
    OP(MOV64_S8) DST = (uint64_t)(int64_t)(int8_t)SRC; NEXT;
    OP(MOV64_S16) DST = (uint64_t)(int64_t)(int16_t)SRC; NEXT;
    OP(MOV64_S32) DST = (uint64_t)(int64_t)(int32_t)SRC; NEXT;
    OP(MOV32_S8) DST = (uint32_t)(int32_t)(int8_t)SRC; NEXT;
    OP(MOV32_S16) DST = (uint32_t)(int32_t)(int16_t)SRC; NEXT;
    OP(KEEP16) DST = (uint16_t)DST; NEXT;
    OP(KEEP32) DST = (uint32_t)DST; NEXT;
    OP(KEEP64) NEXT;
    OP(SWAP16) DST = swap16((uint16_t)DST); NEXT;
    OP(SWAP32) DST = swap32((uint32_t)DST); NEXT;
    OP(SWAP64) DST = swap64(DST); NEXT;
    OP(LDDW) DST = (uint64_t)at->imm; RESUME(at + 2);

    CONDITION(JEQ, a == b)
    CONDITION(JNE, a != b)
    CONDITION(JGT, a > b)
    CONDITION(JGE, a >= b)
    CONDITION(JLT, a < b)
    CONDITION(JLE, a <= b)
    CONDITION(JSET, a & b)
    SIGNED_CONDITION(JSGT, a > b)
    SIGNED_CONDITION(JSGE, a >= b)
    SIGNED_CONDITION(JSLT, a < b)
    SIGNED_CONDITION(JSLE, a <= b)
    OP(JA) JUMP;
    OP(MAY_GOTO) if (may_goto == 0) JUMP; may_goto--; NEXT;

    LOAD(8) LOAD(16) LOAD_FIELD(32) LOAD_FIELD(64)
    LOAD_SIGNED(8) LOAD_SIGNED(16) LOAD_SIGNED(32)
    MEMORY(8) MEMORY(16) MEMORY(32) MEMORY(64)
    ATOMIC(ADD, atomic_fetch_add_explicit)
    ATOMIC(OR, atomic_fetch_or_explicit)
    ATOMIC(AND, atomic_fetch_and_explicit)
    ATOMIC(XOR, atomic_fetch_xor_explicit)
    EXCHANGE(32) EXCHANGE(64)

    OP(PACKET_ABS) OP(PACKET_IND) {
        int64_t offset = at->imm;
        if (at->op == AB_OP_PACKET_IND) offset = (int32_t)((uint32_t)offset + (uint32_t)SRC);
#ifdef AB_CHECKED
        if (!ab_checked_context(checked, r[6])) goto stop;
#endif
        if (ab_packet_load(ab_event_of(r[6]), offset, at->dst, &r[0]) == 0) NEXT;
        r[0] = 0;  /* outside the packet: the function exits with 0 */
        goto leave;
    }

    OP(CALL_LOCAL) {
        if (depth == AB_MAX_CALL_DEPTH - 1) {
#ifdef AB_CHECKED
            ab_checked_fault(checked, AB_FAULT_DEPTH, 0, 0, 0);
#endif
            goto stop;  /* verified programs never get here; trusted ones stop */
        }
        ab_frame *frame = &frames[depth++];
        frame->return_to = at + 1;
        memcpy(frame->saved, &r[6], sizeof frame->saved);
        frame->may_goto = may_goto;
        may_goto = AB_MAY_GOTO_LIMIT;
#ifdef AB_CHECKED
        written[depth] = (written[depth - 1] & AB_ARGUMENT_REGISTERS) | 1u << 10;
#endif
        if (!push_frame(program, slot, &r[10])) goto stop;
        JUMP;
    }

    OP(CALL_NUMBER) {
        helper = ab_program_helper(program, DST);
        if (helper != NULL && helper->returns != AB_RETURNS_TAIL_CALL) goto call;
#ifdef AB_CHECKED
        ab_checked_fault(checked, AB_FAULT_HELPER, 0, 0, (uint32_t)DST);
        goto stop;
#else
        r[0] = (uint64_t)-AB_EINVAL;
#endif
    } NEXT;

    OP(CALL_HELPER) {
        helper = &program->helpers[at->imm];
    call:;
        ab_helper_fn function = (ab_helper_fn)(uintptr_t)helper->function;
#ifdef AB_CHECKED
        if (!ab_checked_before_call(checked, helper, r, written[depth])) goto stop;
#endif
        r[0] = function(r[1], r[2], r[3], r[4], r[5], slot);
#ifdef AB_CHECKED
        if (!ab_checked_after_call(checked, program, at, helper, r)) goto stop;
        written[depth] &= ~AB_ARGUMENT_REGISTERS;
#endif
    } NEXT;

    OP(TAIL_CALL) {
#ifdef AB_CHECKED
        if (!ab_checked_before_call(checked, &program->helpers[at->imm], r, written[depth])) goto stop;
#endif
        uint64_t result;
        int ran = ab_tail_call(r[1], r[2], r[3], slot, &result);
        r[0] = result;
#ifdef AB_CHECKED
        if (!ab_checked_resume(checked, program, at)) goto stop;
        written[depth] &= ~AB_ARGUMENT_REGISTERS;
        if (ran) written[depth] |= 1;
#endif
        if (!ran) NEXT;
        goto leave;
    }

    OP(EXIT) {
#ifdef AB_CHECKED
        if (depth == 0 && !(written[0] & 1)) { /* a subprogram may return nothing, a program or callback may not */
            ab_checked_fault(checked, AB_FAULT_REGISTER, 0, 0, 0);
            return 0;
        }
#endif
    leave:
        if (depth == 0) {
            slot->stack_top = stack;
            return r[0];
        }
        ab_stack_pop(slot);
        const ab_frame *frame = &frames[--depth];
        memcpy(&r[6], frame->saved, sizeof frame->saved);
        may_goto = frame->may_goto;
#ifdef AB_CHECKED
        written[depth] = (written[depth] & ~(AB_ARGUMENT_REGISTERS | 1u)) | (written[depth + 1] & 1u);
#endif
        r[10] -= AB_STACK_SIZE;
        RESUME(frame->return_to);
    }

    OP(END)
#ifdef AB_CHECKED
        ab_checked_fault(checked, AB_FAULT_END, 0, 0, 0);
#endif
        goto stop;

#if !AB_THREADED
        default: goto stop;
        }
    }
#endif

stop:
    slot->stack_top = stack;
    return 0;
}
