/* bpf_helpers.h: how programs for eBPF for Windows declare sections and maps, and call helpers. */
#ifndef ANYBPF_WINDOWS_BPF_HELPERS_H
#define ANYBPF_WINDOWS_BPF_HELPERS_H

#include <stddef.h>
#include <stdint.h>

#include "ebpf_structs.h"

#ifndef NULL
#define NULL ((void *)0)
#endif

/* ---- map definitions: each is a struct whose members' types carry the numbers ---- */

#define __uint(name, value) int(*name)[value]
#define __type(name, of) __typeof__(of) *name
#define __array(name, of) __typeof__(of) *name[]

#define SEC(name) __attribute__((section(name), used))

#include "bpf_helper_defs.h"

/* ---- text: one helper for each number of arguments ---- */

#define ___ebpf_concat(a, b) ___ebpf_concat_expanded(a, b)
#define ___ebpf_concat_expanded(a, b) a##b
#define ___ebpf_nth(_2, _3, _4, _5, n, ...) n
#define ___ebpf_count(...) ___ebpf_nth(__VA_ARGS__, 5, 4, 3, 2)
#define bpf_trace_printk(text, size, ...) \
    ___ebpf_concat(bpf_trace_printk, ___ebpf_count(size, ##__VA_ARGS__))(text, size, ##__VA_ARGS__)
#define bpf_printk(text, ...)                                        \
    ({                                                               \
        char ____text[] = text;                                      \
        bpf_trace_printk(____text, sizeof(____text), ##__VA_ARGS__); \
    })

/* ---- the C library's names ---- */

#define memcpy_s(dst, dst_size, src, src_size) bpf_memcpy_s(dst, dst_size, src, src_size)
#define memmove_s(dst, dst_size, src, src_size) bpf_memmove_s(dst, dst_size, src, src_size)
#define memcmp_s(a, a_size, b, b_size) bpf_memcmp_s(a, a_size, b, b_size)
#define strncpy_s(dst, dst_size, src, count) bpf_strncpy_s(dst, dst_size, src, count)
#define strncat_s(dst, dst_size, src, count) bpf_strncat_s(dst, dst_size, src, count)
#define strnlen_s(str, size) bpf_strnlen_s(str, size)
#define bpf_memcpy(dst, dst_size, src, src_size) bpf_memcpy_s(dst, dst_size, src, src_size)
#define bpf_memmove(dst, dst_size, src, src_size) bpf_memmove_s(dst, dst_size, src, src_size)
#define bpf_memcmp(a, a_size, b, b_size) bpf_memcmp_s(a, a_size, b, b_size)
#define memcpy(dst, src, size) bpf_memcpy_s(dst, size, src, size)
#define memmove(dst, src, size) bpf_memmove_s(dst, size, src, size)
#define memcmp(a, b, size) bpf_memcmp_s(a, size, b, size)
#define memset(mem, value, size) bpf_memset(mem, size, value)

#include "ebpf_nethooks.h"

#endif
