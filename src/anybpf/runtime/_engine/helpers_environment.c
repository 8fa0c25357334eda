/* helpers_environment.c: sockets, routes, control groups and tunnels. A packet here belongs to none of them, so each helper
 * answers what Linux answers for a packet without a socket, a route, a class or tunnel metadata. */
#include <string.h>

#include "api_chain.h"
#include "helpers.h"
#include "packet.h"

#define OVERFLOW_UID 65534u
#define FIRST_NAMESPACE 1u

#define FIB_PARAMETERS_SIZE 64 /* struct bpf_fib_lookup */
#define FIB_FLAGS 0x3fu
#define FIB_NOT_FORWARDED 4u   /* BPF_FIB_LKUP_RET_NOT_FWDED: the packet is not forwarded; pass it to the stack */
#define AF_INET_LINUX 2u
#define AF_INET6_LINUX 10u

/* Where nobody says, there is one network namespace. */
AB_HELPER(get_netns_cookie) {
    return slot->task != NULL && slot->task->netns_cookie != 0 ? slot->task->netns_cookie : FIRST_NAMESPACE;
}
AB_HELPER(get_socket_uid) { return OVERFLOW_UID; }
AB_HELPER(get_cgroup_classid) { return 0; }
AB_HELPER(get_route_realm) { return 0; }
AB_HELPER(skb_cgroup_id) { return 0; }

/* bpf_sk_lookup_tcp and its kin: no socket is ever found, so nothing is ever released or converted. */
AB_HELPER(sk_lookup) { return 0; }
AB_HELPER(sk_release) { return ab_result(-AB_EINVAL); }

AB_HELPER(fib_lookup) {
    const uint8_t *parameters = ab_pointer(a2);
    if ((int32_t)a3 < FIB_PARAMETERS_SIZE || ((uint32_t)a4 & ~FIB_FLAGS) != 0) return ab_result(-AB_EINVAL);
    if (parameters[0] != AF_INET_LINUX && parameters[0] != AF_INET6_LINUX) return ab_result(-AB_EAFNOSUPPORT);
    return FIB_NOT_FORWARDED;
}

AB_HELPER(skb_get_tunnel_key) {
    memset(ab_pointer(a2), 0, (uint32_t)a3);
    return ab_result(-AB_EINVAL);
}

AB_HELPER(skb_get_tunnel_opt) {
    memset(ab_pointer(a2), 0, (uint32_t)a3);
    return ab_result(-AB_ENOENT);
}

AB_HELPER(skb_get_xfrm_state) {
    memset(ab_pointer(a3), 0, (uint32_t)a4);
    return ab_result(-AB_EINVAL);
}
