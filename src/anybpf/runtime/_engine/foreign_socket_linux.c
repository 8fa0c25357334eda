/* foreign_socket_linux.c: calls on sockets that belong to others as well, so that nothing about them may be changed.
 *
 * Whether a socket waits is a flag that all its descriptors share. Where a call has no flag of its own for it, the socket's timeout
 * is cut down to one clock tick around the call. */
#if defined(__linux__)
#define _GNU_SOURCE /* accept4 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "api_foreign_socket.h"

static int result(int value) { return value < 0 ? -errno : value; }

/* Sets the timeout to a tick and returns what it was; `option` is SO_SNDTIMEO or SO_RCVTIMEO. */
static struct timeval hurry(int socket, int option) {
    struct timeval before = {0, 0}, tick = {0, 1};
    socklen_t size = sizeof before;
    getsockopt(socket, SOL_SOCKET, option, &before, &size);
    setsockopt(socket, SOL_SOCKET, option, &tick, sizeof tick);
    return before;
}

static void calm(int socket, int option, struct timeval before) {
    int error = errno;
    setsockopt(socket, SOL_SOCKET, option, &before, sizeof before);
    errno = error;
}

int ab_socket_bind(int socket, const uint8_t *address, uint32_t length) {
    return result(bind(socket, (const struct sockaddr *)(const void *)address, length));
}

int ab_socket_connect(int socket, const uint8_t *address, uint32_t length, int waits) {
    struct timeval before = {0, 0};
    if (waits) before = hurry(socket, SO_SNDTIMEO);
    int done = connect(socket, (const struct sockaddr *)(const void *)address, length);
    if (waits) calm(socket, SO_SNDTIMEO, before);
    return result(done);
}

int ab_socket_listen(int socket, int backlog) { return result(listen(socket, backlog)); }

int ab_socket_accept(int socket, int waits, int nonblocking, uint8_t *address, uint32_t *length) {
    struct timeval before = {0, 0};
    if (waits) {
        struct pollfd ready = {.fd = socket, .events = POLLIN};
        if (poll(&ready, 1, 0) == 0) return -EAGAIN;
        before = hurry(socket, SO_RCVTIMEO);
    }
    socklen_t size = *length;
    int accepted = accept4(socket, (struct sockaddr *)(void *)address, &size, SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0));
    if (waits) calm(socket, SO_RCVTIMEO, before);
    if (accepted >= 0) *length = size;
    return result(accepted);
}

int64_t ab_socket_send(int socket, const uint8_t *data, uint64_t size, const uint8_t *control, uint64_t control_size,
                       const uint8_t *address, uint32_t length, int flags) {
    struct iovec part = {(void *)(uintptr_t)data, (size_t)size};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_name = length != 0 ? (void *)(uintptr_t)address : NULL;
    message.msg_namelen = length;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control_size != 0 ? (void *)(uintptr_t)control : NULL;
    message.msg_controllen = (size_t)control_size;
    ssize_t sent = sendmsg(socket, &message, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

int ab_socket_name(int socket, uint8_t *address, uint32_t *length) {
    socklen_t size = *length;
    int done = getsockname(socket, (struct sockaddr *)(void *)address, &size);
    if (done == 0) *length = size;
    return result(done);
}

int ab_socket_reset(int socket) {
    struct linger none = {1, 0};
    return result(setsockopt(socket, SOL_SOCKET, SO_LINGER, &none, sizeof none));
}

int64_t ab_socket_patience(int socket, int receiving) {
    struct timeval limit = {0, 0};
    socklen_t size = sizeof limit;
    if (getsockopt(socket, SOL_SOCKET, receiving ? SO_RCVTIMEO : SO_SNDTIMEO, &limit, &size) != 0) return -errno;
    return (int64_t)limit.tv_sec * 1000000 + limit.tv_usec;
}
#else
#include "api_foreign_socket.h"
#include "engine.h"

int ab_socket_bind(int socket, const uint8_t *address, uint32_t length) {
    return (void)socket, (void)address, (void)length, -AB_EOPNOTSUPP;
}
int ab_socket_connect(int socket, const uint8_t *address, uint32_t length, int waits) {
    return (void)socket, (void)address, (void)length, (void)waits, -AB_EOPNOTSUPP;
}
int ab_socket_listen(int socket, int backlog) { return (void)socket, (void)backlog, -AB_EOPNOTSUPP; }
int ab_socket_accept(int socket, int waits, int nonblocking, uint8_t *address, uint32_t *length) {
    return (void)socket, (void)waits, (void)nonblocking, (void)address, (void)length, -AB_EOPNOTSUPP;
}
int64_t ab_socket_send(int socket, const uint8_t *data, uint64_t size, const uint8_t *control, uint64_t control_size,
                       const uint8_t *address, uint32_t length, int flags) {
    (void)socket, (void)data, (void)size, (void)control, (void)control_size, (void)address, (void)length, (void)flags;
    return -AB_EOPNOTSUPP;
}
int ab_socket_name(int socket, uint8_t *address, uint32_t *length) {
    return (void)socket, (void)address, (void)length, -AB_EOPNOTSUPP;
}
int ab_socket_reset(int socket) { return (void)socket, -AB_EOPNOTSUPP; }
int64_t ab_socket_patience(int socket, int receiving) { return (void)socket, (void)receiving, -AB_EOPNOTSUPP; }
#endif
