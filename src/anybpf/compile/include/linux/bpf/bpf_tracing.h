/* bpf/bpf_tracing.h: arguments and results of traced functions, by their names. */
#ifndef ANYBPF_BPF_TRACING_H
#define ANYBPF_BPF_TRACING_H

#include <bpf/bpf_helpers.h>

/* ---- where a machine keeps arguments: -D__TARGET_ARCH_x86 (the default here) or -D__TARGET_ARCH_arm64 ---- */

#if defined(__TARGET_ARCH_arm64)

#define __PT_REGS_CAST(x) ((const struct user_pt_regs *)(x))
#define __PT_PARM1_REG regs[0]
#define __PT_PARM2_REG regs[1]
#define __PT_PARM3_REG regs[2]
#define __PT_PARM4_REG regs[3]
#define __PT_PARM5_REG regs[4]
#define __PT_PARM6_REG regs[5]
#define __PT_PARM4_SYSCALL_REG __PT_PARM4_REG
#define __PT_RET_REG regs[30]
#define __PT_FP_REG regs[29]
#define __PT_RC_REG regs[0]
#define __PT_SP_REG sp
#define __PT_IP_REG pc

#else

#define __PT_REGS_CAST(x) (x)
#if defined(__KERNEL__) || defined(__VMLINUX_H__)
/* The kernel's own names of the registers */
#define __PT_PARM1_REG di
#define __PT_PARM2_REG si
#define __PT_PARM3_REG dx
#define __PT_PARM4_REG cx
#define __PT_RET_REG sp
#define __PT_FP_REG bp
#define __PT_RC_REG ax
#define __PT_SP_REG sp
#define __PT_IP_REG ip
#else
/* The names that linux/ptrace.h gives to programs */
#define __PT_PARM1_REG rdi
#define __PT_PARM2_REG rsi
#define __PT_PARM3_REG rdx
#define __PT_PARM4_REG rcx
#define __PT_RET_REG rsp
#define __PT_FP_REG rbp
#define __PT_RC_REG rax
#define __PT_SP_REG rsp
#define __PT_IP_REG rip
#endif
#define __PT_PARM5_REG r8
#define __PT_PARM6_REG r9
#define __PT_PARM4_SYSCALL_REG r10

#endif

#define PT_REGS_PARM1(x) (__PT_REGS_CAST(x)->__PT_PARM1_REG)
#define PT_REGS_PARM2(x) (__PT_REGS_CAST(x)->__PT_PARM2_REG)
#define PT_REGS_PARM3(x) (__PT_REGS_CAST(x)->__PT_PARM3_REG)
#define PT_REGS_PARM4(x) (__PT_REGS_CAST(x)->__PT_PARM4_REG)
#define PT_REGS_PARM5(x) (__PT_REGS_CAST(x)->__PT_PARM5_REG)
#define PT_REGS_PARM6(x) (__PT_REGS_CAST(x)->__PT_PARM6_REG)
#define PT_REGS_RET(x) (__PT_REGS_CAST(x)->__PT_RET_REG)
#define PT_REGS_FP(x) (__PT_REGS_CAST(x)->__PT_FP_REG)
#define PT_REGS_RC(x) (__PT_REGS_CAST(x)->__PT_RC_REG)
#define PT_REGS_SP(x) (__PT_REGS_CAST(x)->__PT_SP_REG)
#define PT_REGS_IP(x) (__PT_REGS_CAST(x)->__PT_IP_REG)

#define PT_REGS_PARM1_SYSCALL(x) PT_REGS_PARM1(x)
#define PT_REGS_PARM2_SYSCALL(x) PT_REGS_PARM2(x)
#define PT_REGS_PARM3_SYSCALL(x) PT_REGS_PARM3(x)
#define PT_REGS_PARM4_SYSCALL(x) (__PT_REGS_CAST(x)->__PT_PARM4_SYSCALL_REG)
#define PT_REGS_PARM5_SYSCALL(x) PT_REGS_PARM5(x)
#define PT_REGS_PARM6_SYSCALL(x) PT_REGS_PARM6(x)

/* The same, by a read that CO-RE relocates; bpf/bpf_core_read.h must be included too. */
#define PT_REGS_PARM1_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_PARM1_REG)
#define PT_REGS_PARM2_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_PARM2_REG)
#define PT_REGS_PARM3_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_PARM3_REG)
#define PT_REGS_PARM4_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_PARM4_REG)
#define PT_REGS_PARM5_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_PARM5_REG)
#define PT_REGS_RC_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_RC_REG)
#define PT_REGS_SP_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_SP_REG)
#define PT_REGS_IP_CORE(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_IP_REG)

/* ---- programs with named arguments ----
 *
 * BPF_PROG(on_open, const char *path, int flags) { … } defines a program that takes a context, and an inner function
 * that takes the arguments. Conversions from the context's words to the arguments' types are meant. */

#define ___bpf_typed_program(name, context, values, ...)                                    \
    name(context);                                                                          \
    static __attribute__((always_inline)) __typeof__(name(0)) ____##name(context, ##__VA_ARGS__); \
    __typeof__(name(0)) name(context)                                                       \
    {                                                                                       \
        _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wint-conversion\"") \
        return ____##name(values);                                                          \
        _Pragma("GCC diagnostic pop")                                                       \
    }                                                                                       \
    static __attribute__((always_inline)) __typeof__(name(0)) ____##name(context, ##__VA_ARGS__)

#define ___bpf_words_of_0() ctx
#define ___bpf_words_of_1() ___bpf_words_of_0(), (void *)ctx[0]
#define ___bpf_words_of_2() ___bpf_words_of_1(), (void *)ctx[1]
#define ___bpf_words_of_3() ___bpf_words_of_2(), (void *)ctx[2]
#define ___bpf_words_of_4() ___bpf_words_of_3(), (void *)ctx[3]
#define ___bpf_words_of_5() ___bpf_words_of_4(), (void *)ctx[4]
#define ___bpf_words_of_6() ___bpf_words_of_5(), (void *)ctx[5]
#define ___bpf_words_of_7() ___bpf_words_of_6(), (void *)ctx[6]
#define ___bpf_words_of_8() ___bpf_words_of_7(), (void *)ctx[7]
#define ___bpf_words_of_9() ___bpf_words_of_8(), (void *)ctx[8]
#define ___bpf_words_of_10() ___bpf_words_of_9(), (void *)ctx[9]
#define ___bpf_words_of_11() ___bpf_words_of_10(), (void *)ctx[10]
#define ___bpf_words_of_12() ___bpf_words_of_11(), (void *)ctx[11]

#define BPF_PROG(name, ...)                                                                 \
    ___bpf_typed_program(name, unsigned long long *ctx __attribute__((unused)),                                   \
                         ___bpf_concat(___bpf_words_of_, ___bpf_count(__VA_ARGS__))(), ##__VA_ARGS__)

#define ___bpf_parms_of_0() ctx
#define ___bpf_parms_of_1() ___bpf_parms_of_0(), (void *)PT_REGS_PARM1(ctx)
#define ___bpf_parms_of_2() ___bpf_parms_of_1(), (void *)PT_REGS_PARM2(ctx)
#define ___bpf_parms_of_3() ___bpf_parms_of_2(), (void *)PT_REGS_PARM3(ctx)
#define ___bpf_parms_of_4() ___bpf_parms_of_3(), (void *)PT_REGS_PARM4(ctx)
#define ___bpf_parms_of_5() ___bpf_parms_of_4(), (void *)PT_REGS_PARM5(ctx)
#define ___bpf_parms_of_6() ___bpf_parms_of_5(), (void *)PT_REGS_PARM6(ctx)

struct pt_regs;

#define BPF_KPROBE(name, ...)                                                               \
    ___bpf_typed_program(name, struct pt_regs *ctx __attribute__((unused)),                                       \
                         ___bpf_concat(___bpf_parms_of_, ___bpf_count(__VA_ARGS__))(), ##__VA_ARGS__)
#define BPF_UPROBE(name, ...) BPF_KPROBE(name, ##__VA_ARGS__)

/* ---- system calls: their wrapper's one argument points to the registers that hold the caller's arguments ---- */

#define PT_REGS_SYSCALL_REGS(ctx) ((struct pt_regs *)PT_REGS_PARM1(ctx))
#define PT_REGS_PARM1_CORE_SYSCALL(x) PT_REGS_PARM1_CORE(x)
#define PT_REGS_PARM2_CORE_SYSCALL(x) PT_REGS_PARM2_CORE(x)
#define PT_REGS_PARM3_CORE_SYSCALL(x) PT_REGS_PARM3_CORE(x)
#define PT_REGS_PARM4_CORE_SYSCALL(x) BPF_CORE_READ(__PT_REGS_CAST(x), __PT_PARM4_SYSCALL_REG)
#define PT_REGS_PARM5_CORE_SYSCALL(x) PT_REGS_PARM5_CORE(x)

#define ___bpf_call_of_0() ctx
#define ___bpf_call_of_1() ___bpf_call_of_0(), (void *)PT_REGS_PARM1_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define ___bpf_call_of_2() ___bpf_call_of_1(), (void *)PT_REGS_PARM2_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define ___bpf_call_of_3() ___bpf_call_of_2(), (void *)PT_REGS_PARM3_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define ___bpf_call_of_4() ___bpf_call_of_3(), (void *)PT_REGS_PARM4_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define ___bpf_call_of_5() ___bpf_call_of_4(), (void *)PT_REGS_PARM5_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))

/* Needs bpf/bpf_core_read.h too. */
#define BPF_KSYSCALL(name, ...)                                                             \
    ___bpf_typed_program(name, struct pt_regs *ctx __attribute__((unused)),                 \
                         ___bpf_concat(___bpf_call_of_, ___bpf_count(__VA_ARGS__))(), ##__VA_ARGS__)

#define ___bpf_result_of_0() ctx
#define ___bpf_result_of_1() ctx, (void *)PT_REGS_RC(ctx)

#define BPF_KRETPROBE(name, ...)                                                            \
    ___bpf_typed_program(name, struct pt_regs *ctx __attribute__((unused)),                                       \
                         ___bpf_concat(___bpf_result_of_, ___bpf_count(__VA_ARGS__))(), ##__VA_ARGS__)
#define BPF_URETPROBE(name, ...) BPF_KRETPROBE(name, ##__VA_ARGS__)

#endif
