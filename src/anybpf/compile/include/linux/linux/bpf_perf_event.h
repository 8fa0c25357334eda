/* linux/bpf_perf_event.h: the context of perf_event programs. */
#ifndef ANYBPF_LINUX_BPF_PERF_EVENT_H
#define ANYBPF_LINUX_BPF_PERF_EVENT_H

#include <linux/ptrace.h>
#include <linux/types.h>

#if defined(__TARGET_ARCH_arm64)
typedef struct user_pt_regs bpf_user_pt_regs_t;
#else
typedef struct pt_regs bpf_user_pt_regs_t;
#endif

struct bpf_perf_event_data {
    bpf_user_pt_regs_t regs;
    __u64 sample_period;
    __u64 addr;
};

#endif
