/* bpf/bpf_helpers.h: how BPF programs declare sections and maps, and call helpers. */
#ifndef ANYBPF_BPF_HELPERS_H
#define ANYBPF_BPF_HELPERS_H

#include <bpf/bpf_helper_defs.h>

/* ---- map definitions: each is a struct whose members' types carry the numbers ---- */

#define __uint(name, value) int(*name)[value]
#define __type(name, of) __typeof__(of) *name
#define __array(name, of) __typeof__(of) *name[]
#define __ulong(name, value) enum { ___bpf_concat(__unique_value, __COUNTER__) = value } name

#define ___bpf_concat(a, b) ___bpf_concat_expanded(a, b)
#define ___bpf_concat_expanded(a, b) a##b

enum libbpf_pin_type { LIBBPF_PIN_NONE, LIBBPF_PIN_BY_NAME };
enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };

/* ---- sections and attributes ---- */

#define SEC(name) __attribute__((section(name), used))

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#ifndef __hidden
#define __hidden __attribute__((visibility("hidden")))
#endif

#define __kconfig __attribute__((section(".kconfig")))
#define __ksym __attribute__((section(".ksyms")))
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
#define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))
#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
#define __arg_nonnull __attribute__((btf_decl_tag("arg:nonnull")))
#define __arg_nullable __attribute__((btf_decl_tag("arg:nullable")))

#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef container_of
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#endif
#ifndef KERNEL_VERSION
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#endif

/* Keep the compiler from reordering, and from remembering what it knew of a variable. */
#ifndef barrier
#define barrier() __asm__ volatile("" ::: "memory")
#endif
#ifndef barrier_var
#define barrier_var(var) __asm__ volatile("" : "+r"(var))
#endif

#define __bpf_unreachable() __builtin_trap()
#define bpf_ksym_exists(sym) (!!(&(sym)))

/* ---- calls ---- */

/* A tail call whose index is a constant, through a map known at compile time. */
#define bpf_tail_call_static(ctx, map, slot) bpf_tail_call(ctx, (void *)(map), slot)

/* ---- text ---- */

#define ___bpf_nth(_0, _1, _2, _3, _4, _5, _6, _7, _8, _9, _a, _b, _c, n, ...) n
#define ___bpf_count(...) ___bpf_nth(0, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)

/* The arguments as 64-bit words, for helpers that take an array of them. */
#define ___bpf_words_0()
#define ___bpf_words_1(a) (unsigned long long)(a)
#define ___bpf_words_2(a, ...) ___bpf_words_1(a), ___bpf_words_1(__VA_ARGS__)
#define ___bpf_words_3(a, ...) ___bpf_words_1(a), ___bpf_words_2(__VA_ARGS__)
#define ___bpf_words_4(a, ...) ___bpf_words_1(a), ___bpf_words_3(__VA_ARGS__)
#define ___bpf_words_5(a, ...) ___bpf_words_1(a), ___bpf_words_4(__VA_ARGS__)
#define ___bpf_words_6(a, ...) ___bpf_words_1(a), ___bpf_words_5(__VA_ARGS__)
#define ___bpf_words_7(a, ...) ___bpf_words_1(a), ___bpf_words_6(__VA_ARGS__)
#define ___bpf_words_8(a, ...) ___bpf_words_1(a), ___bpf_words_7(__VA_ARGS__)
#define ___bpf_words_9(a, ...) ___bpf_words_1(a), ___bpf_words_8(__VA_ARGS__)
#define ___bpf_words_10(a, ...) ___bpf_words_1(a), ___bpf_words_9(__VA_ARGS__)
#define ___bpf_words_11(a, ...) ___bpf_words_1(a), ___bpf_words_10(__VA_ARGS__)
#define ___bpf_words_12(a, ...) ___bpf_words_1(a), ___bpf_words_11(__VA_ARGS__)
#define ___bpf_words(...) ___bpf_concat(___bpf_words_, ___bpf_count(__VA_ARGS__))(__VA_ARGS__)

#define ___bpf_print_few(text, ...)                             \
    ({                                                          \
        static const char ____text[] = text;                    \
        bpf_trace_printk(____text, sizeof(____text), ##__VA_ARGS__); \
    })
#define ___bpf_print_many(text, ...)                            \
    ({                                                          \
        static const char ____text[] = text;                    \
        unsigned long long ____words[] = {___bpf_words(__VA_ARGS__)}; \
        bpf_trace_vprintk(____text, sizeof(____text), ____words, sizeof(____words)); \
    })
#define ___bpf_print_0(text, ...) ___bpf_print_few(text)
#define ___bpf_print_1 ___bpf_print_few
#define ___bpf_print_2 ___bpf_print_few
#define ___bpf_print_3 ___bpf_print_few
#define ___bpf_print_4 ___bpf_print_many
#define ___bpf_print_5 ___bpf_print_many
#define ___bpf_print_6 ___bpf_print_many
#define ___bpf_print_7 ___bpf_print_many
#define ___bpf_print_8 ___bpf_print_many
#define ___bpf_print_9 ___bpf_print_many
#define ___bpf_print_10 ___bpf_print_many
#define ___bpf_print_11 ___bpf_print_many
#define ___bpf_print_12 ___bpf_print_many

/* Print a line of text to the trace; up to three arguments go in registers, more in an array. */
#define bpf_printk(text, ...) ___bpf_concat(___bpf_print_, ___bpf_count(__VA_ARGS__))(text, ##__VA_ARGS__)

#define BPF_SNPRINTF(out, out_size, text, ...)                  \
    ({                                                          \
        static const char ____text[] = text;                    \
        unsigned long long ____words[] = {___bpf_words(__VA_ARGS__)}; \
        bpf_snprintf(out, out_size, ____text, ____words, sizeof(____words)); \
    })

#define BPF_SEQ_PRINTF(seq, text, ...)                          \
    ({                                                          \
        static const char ____text[] = text;                    \
        unsigned long long ____words[] = {___bpf_words(__VA_ARGS__)}; \
        bpf_seq_printf(seq, ____text, sizeof(____text), ____words, sizeof(____words)); \
    })

#endif
