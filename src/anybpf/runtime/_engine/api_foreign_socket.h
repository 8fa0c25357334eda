/* What Python may call of foreign_socket_linux.c. Plain declarations only: the build hands this file to cffi.
 * Socket addresses are as the kernel has them. Errors are negative Linux error numbers; elsewhere than on Linux always -EOPNOTSUPP. */
#ifndef ANYBPF_API_FOREIGN_SOCKET_H
#define ANYBPF_API_FOREIGN_SOCKET_H
#include <stdint.h>

/* None of these waits for longer than a clock tick. `waits` says that the socket does, because O_NONBLOCK is not set: then what
 * would wait is -EAGAIN, -EINPROGRESS for a connect that has begun, -EALREADY for one that had begun before. */
int ab_socket_bind(int socket, const uint8_t *address, uint32_t length);
int ab_socket_connect(int socket, const uint8_t *address, uint32_t length, int waits);
int ab_socket_listen(int socket, int backlog);
int ab_socket_accept(int socket, int waits, int nonblocking, uint8_t *address, uint32_t *length); /* the new descriptor */
int64_t ab_socket_send(int socket, const uint8_t *data, uint64_t size, const uint8_t *control, uint64_t control_size,
                       const uint8_t *address, uint32_t length, int flags); /* length 0: to the socket's peer; bytes sent */
int ab_socket_name(int socket, uint8_t *address, uint32_t *length); /* length: room, then how much there is */
int ab_socket_reset(int socket); /* closing it resets its connection, from now on */
int64_t ab_socket_patience(int socket, int receiving); /* how long it waits in microseconds (SO_RCVTIMEO, SO_SNDTIMEO); 0: for ever */
#endif
