/* string.h: the C library's names of what the compiler turns into loads and stores. Sizes must be constants. */
#ifndef ANYBPF_STRING_H
#define ANYBPF_STRING_H

#include <stddef.h>

#define memcpy(dst, src, size) __builtin_memcpy(dst, src, size)
#define memmove(dst, src, size) __builtin_memmove(dst, src, size)
#define memset(dst, value, size) __builtin_memset(dst, value, size)
#define memcmp(a, b, size) __builtin_memcmp(a, b, size)

#endif
