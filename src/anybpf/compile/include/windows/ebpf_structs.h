/* ebpf_structs.h: map types, flags, and map definitions as eBPF for Windows has them. */
#ifndef ANYBPF_WINDOWS_EBPF_STRUCTS_H
#define ANYBPF_WINDOWS_EBPF_STRUCTS_H

#include <stdint.h>

#include "ebpf_numbers.h"

enum ebpf_pin_type { LIBBPF_PIN_NONE, LIBBPF_PIN_OBJECT_NAME, LIBBPF_PIN_BY_NAME = LIBBPF_PIN_OBJECT_NAME };

enum ebpf_map_option { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };

#define BPF_F_INDEX_MASK 0xffffffffULL
#define BPF_F_CURRENT_CPU BPF_F_INDEX_MASK
#define BPF_F_CTXLEN_SHIFT 32
#define BPF_F_CTXLEN_MASK (0xfffffULL << BPF_F_CTXLEN_SHIFT)

/* A map definition in a `maps` section, the form before BTF. */
struct _ebpf_map_definition_in_file {
    uint32_t type;
    uint32_t key_size;
    uint32_t value_size;
    uint32_t max_entries;
    uint32_t inner_map_idx;
    uint32_t pinning;
    uint32_t id;
    uint32_t inner_id;
};
typedef struct _ebpf_map_definition_in_file ebpf_map_definition_in_file_t;
#define bpf_map_def _ebpf_map_definition_in_file

#endif
