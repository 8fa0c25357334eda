"""Linux helpers that look at the running task, the kernel and user memory, and at performance counters.

Numbers and prototypes are Linux's ABI (include/uapi/linux/bpf.h); argument rules are those that the kernel's
verifier enforces, compared with a live kernel in tests/test_platforms_kernel.py.
"""

from __future__ import annotations

from typing import Final

from anybpf.platforms.declaration import (
    ANY,
    CALLBACK,
    CALLBACK_CONTEXT,
    CTX,
    KERNEL,
    KERNEL_OR_NULL,
    MEM,
    MEM_OR_NULL,
    OUT,
    OUT_OR_NULL,
    SIZE,
    SIZE_OR_ZERO,
    VALUE_OR_NULL,
    helper,
    map_of,
    memory_out,
)
from anybpf.platforms.model import Callback, Helper, MapKind, ReturnKind

__all__ = ("TRACING",)

_PERF_EVENTS = map_of(MapKind.PERF_EVENT_ARRAY)
_STACKS = map_of(MapKind.STACK_TRACE)
_CGROUPS = map_of(MapKind.CGROUP_ARRAY)
_TASK_STORAGE = map_of(MapKind.TASK_STORAGE)
_CGRP_STORAGE = map_of(MapKind.CGRP_STORAGE)
_INODE_STORAGE = map_of(MapKind.INODE_STORAGE)

TRACING: Final[tuple[Helper, ...]] = (
    # The current task
    helper(14, "__u64 bpf_get_current_pid_tgid(void)"),
    helper(15, "__u64 bpf_get_current_uid_gid(void)"),
    helper(16, "long bpf_get_current_comm(void *buf, __u32 size_of_buf)", OUT, SIZE),
    helper(35, "__u64 bpf_get_current_task(void)", gpl_only=True),
    helper(158, "struct task_struct *bpf_get_current_task_btf(void)", returns=ReturnKind.KERNEL, gpl_only=True),
    helper(175, "long bpf_task_pt_regs(struct task_struct *task)", KERNEL, returns=ReturnKind.KERNEL, gpl_only=True),
    helper(120, "long bpf_get_ns_current_pid_tgid(__u64 dev, __u64 ino, struct bpf_pidns_info *nsdata, __u32 size)",
           ANY, ANY, OUT, SIZE),
    helper(37, "long bpf_current_task_under_cgroup(void *map, __u32 index)", _CGROUPS, ANY),
    helper(80, "__u64 bpf_get_current_cgroup_id(void)"),
    helper(123, "__u64 bpf_get_current_ancestor_cgroup_id(int ancestor_level)", ANY),
    helper(109, "long bpf_send_signal(__u32 sig)", ANY),
    helper(117, "long bpf_send_signal_thread(__u32 sig)", ANY),
    helper(180, "long bpf_find_vma(struct task_struct *task, __u64 addr, void *callback_fn, void *callback_ctx, "
           "__u64 flags)", KERNEL, ANY, CALLBACK, CALLBACK_CONTEXT, ANY, callback=Callback.FIND_VMA),
    # Memory of the kernel and of processes
    helper(4, "long bpf_probe_read(void *dst, __u32 size, const void *unsafe_ptr)",
           OUT, SIZE_OR_ZERO, ANY, gpl_only=True),
    helper(45, "long bpf_probe_read_str(void *dst, __u32 size, const void *unsafe_ptr)",
           OUT, SIZE_OR_ZERO, ANY, gpl_only=True, returns_up_to="size"),
    helper(112, "long bpf_probe_read_user(void *dst, __u32 size, const void *unsafe_ptr)",
           OUT, SIZE_OR_ZERO, ANY, gpl_only=True),
    helper(113, "long bpf_probe_read_kernel(void *dst, __u32 size, const void *unsafe_ptr)",
           OUT, SIZE_OR_ZERO, ANY, gpl_only=True),
    helper(114, "long bpf_probe_read_user_str(void *dst, __u32 size, const void *unsafe_ptr)",
           OUT, SIZE_OR_ZERO, ANY, gpl_only=True, returns_up_to="size"),
    helper(115, "long bpf_probe_read_kernel_str(void *dst, __u32 size, const void *unsafe_ptr)",
           OUT, SIZE_OR_ZERO, ANY, gpl_only=True, returns_up_to="size"),
    helper(36, "long bpf_probe_write_user(void *dst, const void *src, __u32 len)", ANY, MEM, SIZE, gpl_only=True),
    helper(148, "long bpf_copy_from_user(void *dst, __u32 size, const void *user_ptr)", OUT, SIZE_OR_ZERO, ANY),
    helper(191, "long bpf_copy_from_user_task(void *dst, __u32 size, const void *user_ptr, "
           "struct task_struct *tsk, __u64 flags)",
           OUT, SIZE_OR_ZERO, ANY, KERNEL, ANY, gpl_only=True),
    # Stacks, registers and arguments of what is traced
    helper(27, "long bpf_get_stackid(void *ctx, void *map, __u64 flags)", CTX, _STACKS, ANY, gpl_only=True),
    helper(67, "long bpf_get_stack(void *ctx, void *buf, __u32 size, __u64 flags)",
           CTX, OUT, SIZE_OR_ZERO, ANY, gpl_only=True, returns_up_to="size"),
    helper(141, "long bpf_get_task_stack(struct task_struct *task, void *buf, __u32 size, __u64 flags)",
           KERNEL, OUT, SIZE_OR_ZERO, ANY, returns_up_to="size"),
    helper(58, "long bpf_override_return(struct pt_regs *regs, __u64 rc)", CTX, ANY, gpl_only=True),
    helper(173, "__u64 bpf_get_func_ip(void *ctx)", CTX, gpl_only=True),
    helper(174, "__u64 bpf_get_attach_cookie(void *ctx)", CTX),
    helper(183, "long bpf_get_func_arg(void *ctx, __u32 n, __u64 *value)", CTX, ANY, memory_out(8)),
    helper(184, "long bpf_get_func_ret(void *ctx, __u64 *value)", CTX, memory_out(8)),
    helper(185, "long bpf_get_func_arg_cnt(void *ctx)", CTX),
    # Performance counters
    helper(22, "__u64 bpf_perf_event_read(void *map, __u64 flags)", _PERF_EVENTS, ANY, gpl_only=True),
    helper(55, "long bpf_perf_event_read_value(void *map, __u64 flags, struct bpf_perf_event_value *buf, __u32 len)",
           _PERF_EVENTS, ANY, OUT, SIZE, gpl_only=True),
    helper(56, "long bpf_perf_prog_read_value(void *ctx, struct bpf_perf_event_value *buf, __u32 len)",
           CTX, OUT, SIZE, gpl_only=True),
    helper(119, "long bpf_read_branch_records(struct bpf_perf_event_data *ctx, void *buf, __u32 size, __u64 flags)",
           CTX, OUT_OR_NULL, SIZE_OR_ZERO, ANY, gpl_only=True),
    helper(176, "long bpf_get_branch_snapshot(void *entries, __u32 size, __u64 flags)",
           OUT, SIZE_OR_ZERO, ANY, gpl_only=True),
    helper(111, "long bpf_skb_output(void *ctx, void *map, __u64 flags, void *data, __u64 size)",
           KERNEL, _PERF_EVENTS, ANY, MEM, SIZE_OR_ZERO, gpl_only=True),
    helper(121, "long bpf_xdp_output(void *ctx, void *map, __u64 flags, void *data, __u64 size)",
           KERNEL, _PERF_EVENTS, ANY, MEM, SIZE_OR_ZERO, gpl_only=True),
    # Storage that belongs to tasks, control groups and inodes
    helper(156, "void *bpf_task_storage_get(void *map, struct task_struct *task, void *value, __u64 flags)",
           _TASK_STORAGE, KERNEL_OR_NULL, VALUE_OR_NULL, ANY, returns=ReturnKind.MAP_VALUE_OR_NULL),
    helper(157, "long bpf_task_storage_delete(void *map, struct task_struct *task)", _TASK_STORAGE, KERNEL_OR_NULL),
    helper(210, "void *bpf_cgrp_storage_get(void *map, struct cgroup *cgroup, void *value, __u64 flags)",
           _CGRP_STORAGE, KERNEL_OR_NULL, VALUE_OR_NULL, ANY, returns=ReturnKind.MAP_VALUE_OR_NULL),
    helper(211, "long bpf_cgrp_storage_delete(void *map, struct cgroup *cgroup)", _CGRP_STORAGE, KERNEL_OR_NULL),
    helper(145, "void *bpf_inode_storage_get(void *map, void *inode, void *value, __u64 flags)",
           _INODE_STORAGE, KERNEL_OR_NULL, VALUE_OR_NULL, ANY, returns=ReturnKind.MAP_VALUE_OR_NULL),
    helper(146, "int bpf_inode_storage_delete(void *map, void *inode)", _INODE_STORAGE, KERNEL_OR_NULL),
    # Iterators
    helper(126, "long bpf_seq_printf(struct seq_file *m, const char *fmt, __u32 fmt_size, const void *data, __u32 len)",
           KERNEL, MEM, SIZE, MEM_OR_NULL, SIZE_OR_ZERO, gpl_only=True),
    helper(127, "long bpf_seq_write(struct seq_file *m, const void *data, __u32 len)",
           KERNEL, MEM, SIZE_OR_ZERO, gpl_only=True),
    helper(150, "long bpf_seq_printf_btf(struct seq_file *m, struct btf_ptr *ptr, __u32 ptr_size, __u64 flags)",
           KERNEL, MEM, SIZE_OR_ZERO, ANY, gpl_only=True),
    # Files and security modules
    helper(147, "long bpf_d_path(struct path *path, char *buf, __u32 sz)", KERNEL, OUT, SIZE_OR_ZERO),
    helper(159, "long bpf_bprm_opts_set(struct linux_binprm *bprm, __u64 flags)", KERNEL, ANY),
    helper(161, "long bpf_ima_inode_hash(struct inode *inode, void *dst, __u32 size)", KERNEL, OUT, SIZE),
    helper(193, "long bpf_ima_file_hash(struct file *file, void *dst, __u32 size)", KERNEL, OUT, SIZE),
    helper(162, "struct socket *bpf_sock_from_file(struct file *file)", KERNEL, returns=ReturnKind.KERNEL_OR_NULL),
    # Programs that load programs
    helper(166, "long bpf_sys_bpf(__u32 cmd, void *attr, __u32 attr_size)", ANY, MEM, SIZE),
    helper(168, "long bpf_sys_close(__u32 fd)", ANY),
    helper(167, "long bpf_btf_find_by_name_kind(char *name, int name_sz, __u32 kind, int flags)", MEM, SIZE, ANY, ANY),
    helper(179, "long bpf_kallsyms_lookup_name(const char *name, int name_sz, int flags, __u64 *res)",
           MEM, SIZE_OR_ZERO, ANY, memory_out(8)),
)  # fmt: skip
"""In the order of their subjects; gather with :func:`anybpf.platforms.declaration.table`."""
