/* xdp/ebpfhook.h: the XDP hook of XDP for Windows. The data begins at the Ethernet header. */
#ifndef ANYBPF_WINDOWS_XDP_EBPFHOOK_H
#define ANYBPF_WINDOWS_XDP_EBPFHOOK_H

#include <stdint.h>

typedef struct xdp_md {
    void *data;
    void *data_end;
    uint64_t data_meta;
    uint32_t ingress_ifindex;
} xdp_md_t;

typedef enum _xdp_action { XDP_PASS = 1, XDP_DROP, XDP_TX, XDP_REDIRECT } xdp_action_t;

typedef xdp_action_t xdp_hook_t(xdp_md_t *context);

#include "xdp_helper_defs.h"

#endif
