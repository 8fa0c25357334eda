/* ebpf_netevent_hooks.h: the network event hook: drops and flows as the system reports them. */
#ifndef ANYBPF_WINDOWS_EBPF_NETEVENT_HOOKS_H
#define ANYBPF_WINDOWS_EBPF_NETEVENT_HOOKS_H

#include <stdint.h>

typedef struct _netevent_event_md {
    uint8_t *data_meta;
    uint8_t *data;
    uint8_t *data_end;
} netevent_event_md_t;

typedef int netevent_event_hook_t(netevent_event_md_t *context);

#include "netevent_helper_defs.h"

#endif
