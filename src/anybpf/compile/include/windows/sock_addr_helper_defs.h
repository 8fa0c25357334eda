/* sock_addr_helper_defs.h: the helpers by their numbers.
 * Made by anybpf.platforms.headers from the platform's tables: do not edit. */
#ifndef ANYBPF_SOCK_ADDR_HELPER_DEFS_H
#define ANYBPF_SOCK_ADDR_HELPER_DEFS_H

static uint64_t (*const bpf_sock_addr_get_current_pid_tgid)(const bpf_sock_addr_t *ctx) = (void *)65536;
static int (*const bpf_sock_addr_set_redirect_context)(bpf_sock_addr_t *ctx, void *data, uint32_t size) = (void *)65537;
static int (*const bpf_sock_addr_get_network_context)(bpf_sock_addr_t *ctx, void *out, uint32_t size) = (void *)65538;

#endif
