/* sample_helper_defs.h: the helpers by their numbers.
 * Made by anybpf.platforms.headers from the platform's tables: do not edit. */
#ifndef ANYBPF_SAMPLE_HELPER_DEFS_H
#define ANYBPF_SAMPLE_HELPER_DEFS_H

static int64_t (*const sample_ebpf_extension_helper_function1)(sample_program_context_t *ctx) = (void *)65536;
static int64_t (*const sample_ebpf_extension_find)(void *buf, uint32_t size, void *find, uint32_t len) = (void *)65537;
static int64_t (*const sample_ebpf_extension_replace)(void *buf, uint32_t size, int64_t position, void *replace, uint32_t replace_size) = (void *)65538;
static int64_t (*const sample_ebpf_extension_helper_implicit_1)(void) = (void *)65539;
static int64_t (*const sample_ebpf_extension_helper_implicit_2)(uint32_t arg) = (void *)65540;
static void *(*const sample_ext_helper_map_lookup_element)(void *map, const void *key) = (void *)65541;
static int64_t (*const sample_ext_helper_map_get_value)(void *map, const void *key, uint8_t *value, uint64_t size) = (void *)65542;

#endif
