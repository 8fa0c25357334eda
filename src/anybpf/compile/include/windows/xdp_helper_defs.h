/* xdp_helper_defs.h: the helpers by their numbers.
 * Made by anybpf.platforms.headers from the platform's tables: do not edit. */
#ifndef ANYBPF_XDP_HELPER_DEFS_H
#define ANYBPF_XDP_HELPER_DEFS_H

static int (*const bpf_xdp_adjust_head)(xdp_md_t *ctx, int delta) = (void *)65536;

#endif
