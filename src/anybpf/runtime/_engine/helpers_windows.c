/* helpers_windows.c: helpers of single program types of eBPF for Windows. What only its network stack could know is answered as
 * it answers where it does not know: -1, and zeros. */
#include <string.h>

#include "hash.h"
#include "helpers.h"

/* Byte offsets in bpf_sock_ops_t (include/ebpf_nethooks.h): what makes a flow, from the address family to the protocol. */
#define SOCK_OPS_FAMILY 4
#define SOCK_OPS_PROTOCOL 48
#define SOCK_OPS_COMPARTMENT 52

/* A number that the events of one flow share: of its addresses, ports, protocol and compartment. */
AB_HELPER(sock_ops_get_flow_id) {
    const uint8_t *context = ab_pointer(a1);
    uint32_t compartment;
    memcpy(&compartment, context + SOCK_OPS_COMPARTMENT, sizeof compartment);
    uint64_t id = ab_hash_bytes(context + SOCK_OPS_FAMILY, SOCK_OPS_PROTOCOL + 1 - SOCK_OPS_FAMILY, compartment);
    return id == 0 ? 1 : id;
}

/* bpf_sock_addr_set_redirect_context(context, data, size): there is no connection that could carry the data. */
AB_HELPER(sock_addr_set_redirect_context) { return ab_result(-1); }

/* bpf_sock_addr_get_network_context(context, out, size), bpf_process_get_image_path(context, path, size) */
AB_HELPER(unknown_bytes) {
    memset(ab_pointer(a2), 0, (uint32_t)a3);
    return ab_result(-1);
}
