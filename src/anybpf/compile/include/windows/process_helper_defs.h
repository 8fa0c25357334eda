/* process_helper_defs.h: the helpers by their numbers.
 * Made by anybpf.platforms.headers from the platform's tables: do not edit. */
#ifndef ANYBPF_PROCESS_HELPER_DEFS_H
#define ANYBPF_PROCESS_HELPER_DEFS_H

static int (*const bpf_process_get_image_path)(process_md_t *ctx, uint8_t *path, uint32_t len) = (void *)65536;

#endif
