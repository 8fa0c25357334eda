/* sample_ext_helpers.h: the sample extension's hook, made for tests. */
#ifndef ANYBPF_WINDOWS_SAMPLE_EXT_HELPERS_H
#define ANYBPF_WINDOWS_SAMPLE_EXT_HELPERS_H

#include <stdint.h>

typedef struct _sample_program_context {
    uint8_t *data_start;
    uint8_t *data_end;
    uint32_t uint32_data;
    uint16_t uint16_data;
    uint32_t helper_data_1;
    uint32_t helper_data_2;
} sample_program_context_t;

#include "sample_helper_defs.h"

#endif
