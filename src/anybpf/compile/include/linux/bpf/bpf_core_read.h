/* bpf/bpf_core_read.h: reads of kernel structures whose layout is settled when the program is loaded (CO-RE). */
#ifndef ANYBPF_BPF_CORE_READ_H
#define ANYBPF_BPF_CORE_READ_H

#include <bpf/bpf_helpers.h>

/* ---- what clang records about fields, types and enumerators; the numbers are LLVM's ---- */

enum bpf_field_info_kind {
    BPF_FIELD_BYTE_OFFSET = 0,
    BPF_FIELD_BYTE_SIZE = 1,
    BPF_FIELD_EXISTS = 2,
    BPF_FIELD_SIGNED = 3,
    BPF_FIELD_LSHIFT_U64 = 4,
    BPF_FIELD_RSHIFT_U64 = 5,
};
enum bpf_type_id_kind { BPF_TYPE_ID_LOCAL = 0, BPF_TYPE_ID_TARGET = 1 };
enum bpf_type_info_kind { BPF_TYPE_EXISTS = 0, BPF_TYPE_SIZE = 1, BPF_TYPE_MATCHES = 2 };
enum bpf_enum_value_kind { BPF_ENUMVAL_EXISTS = 0, BPF_ENUMVAL_VALUE = 1 };

/* A field, given as an expression (task->pid) or as a type and a member. */
#define ___bpf_field_1(expression) (expression)
#define ___bpf_field_2(type, member) (((__typeof__(type) *)0)->member)
#define ___bpf_field(...) ___bpf_concat(___bpf_field_, ___bpf_count(__VA_ARGS__))(__VA_ARGS__)

#define ___bpf_field_info(kind, ...) __builtin_preserve_field_info(___bpf_field(__VA_ARGS__), kind)
#define bpf_core_field_exists(...) ___bpf_field_info(BPF_FIELD_EXISTS, __VA_ARGS__)
#define bpf_core_field_size(...) ___bpf_field_info(BPF_FIELD_BYTE_SIZE, __VA_ARGS__)
#define bpf_core_field_offset(...) ___bpf_field_info(BPF_FIELD_BYTE_OFFSET, __VA_ARGS__)

#define bpf_core_type_id_local(type) __builtin_btf_type_id(*(__typeof__(type) *)0, BPF_TYPE_ID_LOCAL)
#define bpf_core_type_id_kernel(type) __builtin_btf_type_id(*(__typeof__(type) *)0, BPF_TYPE_ID_TARGET)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, BPF_TYPE_EXISTS)
#define bpf_core_type_size(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, BPF_TYPE_SIZE)
#define bpf_core_type_matches(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, BPF_TYPE_MATCHES)
#define bpf_core_enum_value_exists(type, value) \
    __builtin_preserve_enum_value(*(__typeof__(type) *)value, BPF_ENUMVAL_EXISTS)
#define bpf_core_enum_value(type, value) __builtin_preserve_enum_value(*(__typeof__(type) *)value, BPF_ENUMVAL_VALUE)

/* ---- reads of one address ---- */

#define bpf_core_read(dst, size, src) bpf_probe_read_kernel(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user(dst, size, src) bpf_probe_read_user(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_str(dst, size, src) \
    bpf_probe_read_kernel_str(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user_str(dst, size, src) \
    bpf_probe_read_user_str(dst, size, (const void *)__builtin_preserve_access_index(src))

/* ---- reads along a chain of pointers: BPF_CORE_READ(task, mm, owner, pid) is task->mm->owner->pid ---- */

/* The type of an expression's value, without the qualifiers of where it is stored. */
#define ___bpf_value_type(expression) __typeof__(((void)0, (expression)))

/* ___bpf_chase_N(link, last, dst, size, from, fields): fetch each pointer with `link`, the end with `last`. */
#define ___bpf_chase_1(link, last, dst, size, from, a) last(dst, size, &(from)->a)
#define ___bpf_chase_2(link, last, dst, size, from, a, ...) \
    ___bpf_hop(__hop2, link, from, a, ___bpf_chase_1(link, last, dst, size, __hop2, __VA_ARGS__))
#define ___bpf_chase_3(link, last, dst, size, from, a, ...) \
    ___bpf_hop(__hop3, link, from, a, ___bpf_chase_2(link, last, dst, size, __hop3, __VA_ARGS__))
#define ___bpf_chase_4(link, last, dst, size, from, a, ...) \
    ___bpf_hop(__hop4, link, from, a, ___bpf_chase_3(link, last, dst, size, __hop4, __VA_ARGS__))
#define ___bpf_chase_5(link, last, dst, size, from, a, ...) \
    ___bpf_hop(__hop5, link, from, a, ___bpf_chase_4(link, last, dst, size, __hop5, __VA_ARGS__))
#define ___bpf_chase_6(link, last, dst, size, from, a, ...) \
    ___bpf_hop(__hop6, link, from, a, ___bpf_chase_5(link, last, dst, size, __hop6, __VA_ARGS__))
#define ___bpf_chase_7(link, last, dst, size, from, a, ...) \
    ___bpf_hop(__hop7, link, from, a, ___bpf_chase_6(link, last, dst, size, __hop7, __VA_ARGS__))
#define ___bpf_chase_8(link, last, dst, size, from, a, ...) \
    ___bpf_hop(__hop8, link, from, a, ___bpf_chase_7(link, last, dst, size, __hop8, __VA_ARGS__))
#define ___bpf_chase_9(link, last, dst, size, from, a, ...) \
    ___bpf_hop(__hop9, link, from, a, ___bpf_chase_8(link, last, dst, size, __hop9, __VA_ARGS__))

#define ___bpf_hop(pointer, link, from, field, rest)    \
    ({                                                  \
        ___bpf_value_type((from)->field) pointer;       \
        link(&pointer, sizeof(pointer), &(from)->field); \
        rest;                                           \
    })
/* Where the chain begins is computed once, outside what is relocated. */
#define ___bpf_chase(link, last, dst, size, from, ...)                                                    \
    ({                                                                                                    \
        ___bpf_value_type(from) __start = (from);                                                         \
        ___bpf_concat(___bpf_chase_, ___bpf_count(__VA_ARGS__))(link, last, dst, size, __start, __VA_ARGS__); \
    })

/* The expression that a chain means, for its type alone. */
#define ___bpf_path_1(from, a) (from)->a
#define ___bpf_path_2(from, a, ...) ___bpf_path_1((from)->a, __VA_ARGS__)
#define ___bpf_path_3(from, a, ...) ___bpf_path_2((from)->a, __VA_ARGS__)
#define ___bpf_path_4(from, a, ...) ___bpf_path_3((from)->a, __VA_ARGS__)
#define ___bpf_path_5(from, a, ...) ___bpf_path_4((from)->a, __VA_ARGS__)
#define ___bpf_path_6(from, a, ...) ___bpf_path_5((from)->a, __VA_ARGS__)
#define ___bpf_path_7(from, a, ...) ___bpf_path_6((from)->a, __VA_ARGS__)
#define ___bpf_path_8(from, a, ...) ___bpf_path_7((from)->a, __VA_ARGS__)
#define ___bpf_path_9(from, a, ...) ___bpf_path_8((from)->a, __VA_ARGS__)
#define ___bpf_path(from, ...) ___bpf_concat(___bpf_path_, ___bpf_count(__VA_ARGS__))(from, __VA_ARGS__)

#define ___bpf_read_value(read, from, ...)                                       \
    ({                                                                           \
        ___bpf_value_type(___bpf_path(from, __VA_ARGS__)) __value;               \
        ___bpf_chase(read, read, &__value, sizeof(__value), from, __VA_ARGS__);  \
        __value;                                                                 \
    })

#define BPF_CORE_READ(src, ...) ___bpf_read_value(bpf_core_read, src, __VA_ARGS__)
#define BPF_CORE_READ_USER(src, ...) ___bpf_read_value(bpf_core_read_user, src, __VA_ARGS__)
#define BPF_PROBE_READ(src, ...) ___bpf_read_value(bpf_probe_read_kernel, src, __VA_ARGS__)
#define BPF_PROBE_READ_USER(src, ...) ___bpf_read_value(bpf_probe_read_user, src, __VA_ARGS__)

#define BPF_CORE_READ_INTO(dst, src, ...) \
    ___bpf_chase(bpf_core_read, bpf_core_read, dst, sizeof(*(dst)), src, __VA_ARGS__)
#define BPF_CORE_READ_USER_INTO(dst, src, ...) \
    ___bpf_chase(bpf_core_read_user, bpf_core_read_user, dst, sizeof(*(dst)), src, __VA_ARGS__)
#define BPF_PROBE_READ_INTO(dst, src, ...) \
    ___bpf_chase(bpf_probe_read_kernel, bpf_probe_read_kernel, dst, sizeof(*(dst)), src, __VA_ARGS__)
#define BPF_CORE_READ_STR_INTO(dst, src, ...) \
    ___bpf_chase(bpf_core_read, bpf_core_read_str, dst, sizeof(*(dst)), src, __VA_ARGS__)
#define BPF_CORE_READ_USER_STR_INTO(dst, src, ...) \
    ___bpf_chase(bpf_core_read_user, bpf_core_read_user_str, dst, sizeof(*(dst)), src, __VA_ARGS__)
#define BPF_PROBE_READ_STR_INTO(dst, src, ...) \
    ___bpf_chase(bpf_probe_read_kernel, bpf_probe_read_kernel_str, dst, sizeof(*(dst)), src, __VA_ARGS__)

/* ---- bit fields: read the word that holds the field, then shift its neighbours away ---- */

#define ___bpf_extract_bits(word, src, field)                                             \
    (__builtin_preserve_field_info((src)->field, BPF_FIELD_SIGNED)                        \
         ? (unsigned long long)((long long)((word) << __builtin_preserve_field_info((src)->field, BPF_FIELD_LSHIFT_U64)) >> \
                                __builtin_preserve_field_info((src)->field, BPF_FIELD_RSHIFT_U64)) \
         : ((word) << __builtin_preserve_field_info((src)->field, BPF_FIELD_LSHIFT_U64)) >>  \
               __builtin_preserve_field_info((src)->field, BPF_FIELD_RSHIFT_U64))

#define BPF_CORE_READ_BITFIELD_PROBED(src, field)                                         \
    ({                                                                                    \
        unsigned long long __word = 0;                                                    \
        bpf_probe_read_kernel(&__word, __builtin_preserve_field_info((src)->field, BPF_FIELD_BYTE_SIZE), \
                              (const char *)(src) + __builtin_preserve_field_info((src)->field, BPF_FIELD_BYTE_OFFSET)); \
        ___bpf_extract_bits(__word, src, field);                                          \
    })

#define BPF_CORE_READ_BITFIELD(src, field)                                                \
    ({                                                                                    \
        const char *__at = (const char *)(src) + __builtin_preserve_field_info((src)->field, BPF_FIELD_BYTE_OFFSET); \
        unsigned long long __word = 0;                                                    \
        barrier_var(__at);                                                                \
        switch (__builtin_preserve_field_info((src)->field, BPF_FIELD_BYTE_SIZE)) {       \
        case 1:                                                                           \
            __word = *(const unsigned char *)__at;                                        \
            break;                                                                        \
        case 2:                                                                           \
            __word = *(const unsigned short *)__at;                                       \
            break;                                                                        \
        case 4:                                                                           \
            __word = *(const unsigned int *)__at;                                         \
            break;                                                                        \
        case 8:                                                                           \
            __word = *(const unsigned long long *)__at;                                   \
            break;                                                                        \
        }                                                                                 \
        ___bpf_extract_bits(__word, src, field);                                          \
    })

#endif
