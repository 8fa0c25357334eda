/* What Python may call of behalf_linux.c. Plain declarations only: the build hands this file to cffi.
 * Errors are negative Linux error numbers; elsewhere than on Linux always -EOPNOTSUPP. */
#ifndef ANYBPF_API_BEHALF_H
#define ANYBPF_API_BEHALF_H
#include <stdint.h>

/* Whose rights and places a call is made with. */
typedef struct ab_behalf {
    int32_t change;            /* 1: the five that follow differ from our own */
    uint32_t user, effective_user, group, effective_group;
    uint32_t group_count;
    uint32_t groups[1024];
    uint64_t capabilities;     /* effective ones, as far as this process is permitted them */
    int32_t directory;         /* where relative paths begin, a descriptor; -1: there are none */
    int32_t mask;              /* its umask */
} ab_behalf;

enum ab_behalf_operation { AB_BEHALF_BIND, AB_BEHALF_CONNECT, AB_BEHALF_LISTEN, AB_BEHALF_SEND };

/* A call on one of our descriptors, as in api_foreign_socket.h. */
typedef struct ab_behalf_call {
    int32_t operation;         /* AB_BEHALF_* */
    int32_t socket;
    int32_t number;            /* waits, backlog or flags */
    uint32_t length;           /* of the address */
    uint64_t size, control_size;
    const uint8_t *address, *data, *control;
} ab_behalf_call;

/* Makes the call in a thread of its own, which takes on what `who` says and ends with the call. */
int64_t ab_behalf_make(const ab_behalf *who, const ab_behalf_call *call);
/* Our own copy of a descriptor of `thread`, which waits in call `id` of `listener`. */
int ab_behalf_fetch(int listener, uint64_t id, int thread, int descriptor);
#endif
