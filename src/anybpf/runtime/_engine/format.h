/* format.h: the conversions of bpf_trace_printk and bpf_snprintf, which are those of Linux's printf that programs may use. */
#ifndef ANYBPF_FORMAT_H
#define ANYBPF_FORMAT_H

#include "engine.h"

/* Writes at most `size` bytes, NUL included, and always a NUL when size > 0. `format` must hold a NUL within `format_size`
 * bytes. Strings (%s, %pks, %pus) and addresses (%pI4 …) are followed into the program's own memory; what is not there prints
 * as nothing or zeros. *used is how many of the `count` arguments were converted. Returns the length of the whole text,
 * also when it did not fit, or -AB_EINVAL for a conversion that Linux refuses. */
int64_t ab_format(
    char *out, uint64_t size, const char *format, uint64_t format_size, const uint64_t *arguments, uint32_t count, uint32_t *used,
    ab_slot *slot);

#endif
