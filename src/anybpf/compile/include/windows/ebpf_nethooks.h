/* ebpf_nethooks.h: the network hooks of eBPF for Windows: bind, socket addresses, socket operations, and XDP. */
#ifndef ANYBPF_WINDOWS_EBPF_NETHOOKS_H
#define ANYBPF_WINDOWS_EBPF_NETHOOKS_H

#include <stdint.h>

#include "xdp/ebpfhook.h"

/* ---- bind: an application takes or gives back a port ---- */

typedef enum _bind_operation { BIND_OPERATION_BIND, BIND_OPERATION_POST_BIND, BIND_OPERATION_UNBIND } bind_operation_t;

typedef struct _bind_md {
    uint8_t *app_id_start;          /* the executable's name, UTF-16 */
    uint8_t *app_id_end;
    uint64_t process_id;
    uint8_t socket_address[16];
    uint8_t socket_address_length;
    bind_operation_t operation;
    uint8_t protocol;
} bind_md_t;

typedef enum _bind_action {
    BIND_PERMIT_SOFT = 0,
    BIND_DENY = 1,
    BIND_REDIRECT = 2,
    BIND_PERMIT_HARD = 3,
    BIND_PERMIT = BIND_PERMIT_SOFT,
} bind_action_t;

typedef bind_action_t bind_hook_t(bind_md_t *context);

/* ---- socket addresses: connect, accept, bind, listen; addresses and ports in network byte order ---- */

typedef struct bpf_sock_addr {
    uint32_t family;
    struct {
        union {
            uint32_t msg_src_ip4;
            uint32_t msg_src_ip6[4];
        };
        uint16_t msg_src_port;
    };
    struct {
        union {
            uint32_t user_ip4;
            uint32_t user_ip6[4];
        };
        uint16_t user_port;
    };
    uint32_t protocol;
    uint32_t compartment_id;
    uint64_t interface_luid;
} bpf_sock_addr_t;

typedef enum _sock_addr_verdict {
    BPF_SOCK_ADDR_VERDICT_REJECT = 0,
    BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT = 1,
    BPF_SOCK_ADDR_VERDICT_PROCEED_HARD = 2,
    BPF_SOCK_ADDR_VERDICT_PROCEED = BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT,
} sock_addr_verdict_t;

typedef struct _bpf_sock_addr_network_context {
    uint32_t version;
    uint32_t interface_type;
    uint32_t tunnel_type;
    uint64_t next_hop_interface_luid;
    uint32_t sub_interface_index;
} bpf_sock_addr_network_context_t;

typedef sock_addr_verdict_t sock_addr_hook_t(bpf_sock_addr_t *context);

#include "sock_addr_helper_defs.h"

/* ---- socket operations: flows begin and end ---- */

typedef enum _bpf_sock_op_type {
    BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB,
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
    BPF_SOCK_OPS_CONNECTION_DELETED_CB,
} bpf_sock_op_type_t;

typedef struct _bpf_sock_ops {
    bpf_sock_op_type_t op;
    uint32_t family;
    struct {
        union {
            uint32_t local_ip4;
            uint32_t local_ip6[4];
        };
        uint32_t local_port;
    };
    struct {
        union {
            uint32_t remote_ip4;
            uint32_t remote_ip6[4];
        };
        uint32_t remote_port;
    };
    uint8_t protocol;
    uint32_t compartment_id;
    uint64_t interface_luid;
} bpf_sock_ops_t;

typedef int sock_ops_hook_t(bpf_sock_ops_t *context);

#include "sockops_helper_defs.h"

#endif
