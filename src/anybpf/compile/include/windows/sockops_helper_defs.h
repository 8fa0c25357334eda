/* sockops_helper_defs.h: the helpers by their numbers.
 * Made by anybpf.platforms.headers from the platform's tables: do not edit. */
#ifndef ANYBPF_SOCKOPS_HELPER_DEFS_H
#define ANYBPF_SOCKOPS_HELPER_DEFS_H

static uint64_t (*const bpf_sock_ops_get_flow_id)(bpf_sock_ops_t *ctx) = (void *)65536;

#endif
