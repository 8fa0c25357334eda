/* linux/ptrace.h: the registers at a probe, for the machine that -D__TARGET_ARCH_x86 (the default) or _arm64 names. */
#ifndef ANYBPF_LINUX_PTRACE_H
#define ANYBPF_LINUX_PTRACE_H

#if defined(__TARGET_ARCH_arm64)

struct user_pt_regs {
    unsigned long long regs[31];
    unsigned long long sp;
    unsigned long long pc;
    unsigned long long pstate;
};
struct pt_regs;

#else

struct pt_regs {
    unsigned long r15;
    unsigned long r14;
    unsigned long r13;
    unsigned long r12;
    unsigned long rbp;
    unsigned long rbx;
    unsigned long r11;
    unsigned long r10;
    unsigned long r9;
    unsigned long r8;
    unsigned long rax;
    unsigned long rcx;
    unsigned long rdx;
    unsigned long rsi;
    unsigned long rdi;
    unsigned long orig_rax;
    unsigned long rip;
    unsigned long cs;
    unsigned long eflags;
    unsigned long rsp;
    unsigned long ss;
};

#endif
#endif
