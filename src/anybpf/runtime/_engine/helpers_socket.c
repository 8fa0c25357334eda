/* helpers_socket.c: what the programs of a socket call, and of control groups' other hooks, say besides their verdict. */
#include <string.h>

#include "api_socket.h"
#include "helpers.h"

#define LINUX_AF_INET 2u
#define LINUX_AF_INET6 10u
#define SOCKADDR_IN_SIZE 16u
#define SOCKADDR_IN6_OLD_SIZE 24u /* without sin6_scope_id, which RFC 2133 did not have */

AB_HELPER(get_retval) { return ab_result(slot->retval); }

AB_HELPER(set_retval) {
    slot->retval = (int32_t)a1;
    return 0;
}

/* Remembered: whoever brought the call binds the socket before it connects it. */
AB_HELPER(bind) {
    const uint8_t *address = ab_pointer(a2);
    uint32_t length = (uint32_t)a3;
    uint16_t family;
    if (length < sizeof family) return ab_result(-AB_EINVAL);
    memcpy(&family, address, sizeof family);
    if (family != LINUX_AF_INET && family != LINUX_AF_INET6) return ab_result(-AB_EAFNOSUPPORT);
    if (length < (family == LINUX_AF_INET ? SOCKADDR_IN_SIZE : SOCKADDR_IN6_OLD_SIZE)) return ab_result(-AB_EINVAL);
    if (slot->socket == NULL) return ab_result(-AB_EOPNOTSUPP);
    ab_socket_call *call = slot->socket;
    memset(call->source, 0, sizeof call->source);
    call->source_length = family == LINUX_AF_INET ? SOCKADDR_IN_SIZE : AB_SOCKET_ADDRESS;
    memcpy(call->source, address, length < call->source_length ? length : call->source_length);
    return 0;
}

AB_HELPER(sock_addr_set_redirect_context) {
    uint32_t length = (uint32_t)a3;
    if (slot->socket == NULL || length == 0 || length > AB_REDIRECT_CONTEXT) return ab_result(-1);
    slot->socket->redirect_length = length;
    memcpy(slot->socket->redirect, ab_pointer(a2), length);
    return 0;
}
