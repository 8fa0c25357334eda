/* api_socket.h: a socket call as an event: what its programs say besides their verdict and the context. */
#ifndef ANYBPF_API_SOCKET_H
#define ANYBPF_API_SOCKET_H
#include "api_chain.h"

enum { AB_SOCKET_ADDRESS = 28, AB_REDIRECT_CONTEXT = 512 }; /* bytes of a struct sockaddr_in6; the most that is kept */

/* Filled while the programs run. */
typedef struct ab_socket_call {
    int32_t retval;          /* 0, or the negative error to fail with: of bpf_set_retval, of ab_chain_rule.denied */
    uint32_t source_length;  /* 0: no program called bpf_bind */
    uint8_t source[28];      /* Linux's struct sockaddr_in or sockaddr_in6 that the last one gave to bpf_bind */
    uint32_t redirect_length;
    uint8_t redirect[512];   /* what the last one gave to bpf_sock_addr_set_redirect_context */
} ab_socket_call;

/* ab_chain_fire for socket calls: fills `call` as well. */
int64_t ab_socket_fire(ab_chain *chain, ab_event *event, const uint8_t *data, uint32_t length, const uint8_t *context,
                       const ab_task *task, ab_socket_call *call);
#endif
