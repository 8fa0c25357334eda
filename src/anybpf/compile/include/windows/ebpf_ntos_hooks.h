/* ebpf_ntos_hooks.h: the process hook: processes are created and end. */
#ifndef ANYBPF_WINDOWS_EBPF_NTOS_HOOKS_H
#define ANYBPF_WINDOWS_EBPF_NTOS_HOOKS_H

#include <stdint.h>

typedef enum _process_operation { PROCESS_OPERATION_CREATE, PROCESS_OPERATION_DELETE } process_operation_t;

typedef struct _process_md {
    uint8_t *command_start;
    uint8_t *command_end;
    uint64_t process_id;
    uint64_t parent_process_id;
    uint64_t creating_process_id;
    uint64_t creating_thread_id;
    process_operation_t operation;
} process_md_t;

typedef int process_hook_t(process_md_t *context);

#include "process_helper_defs.h"

#endif
