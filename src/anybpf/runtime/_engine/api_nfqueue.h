/* api_nfqueue.h: packets out of a Linux netfilter queue, through the programs attached, and back. */
#ifndef ANYBPF_API_NFQUEUE_H
#define ANYBPF_API_NFQUEUE_H
#include "api_datagram.h"

typedef struct ab_nfqueue ab_nfqueue;

/* What a queue has counted. */
typedef struct ab_nfqueue_counts {
    uint64_t packets;
    uint64_t lost; /* packets that programs let pass and made unfit to (enum ab_datagram_fate) */
} ab_nfqueue_counts;

/* `socket` is an AF_NETLINK socket that queue `number` is bound to, and stays the caller's. NULL: *error says why;
 * -EOPNOTSUPP where there is no netfilter. */
ab_nfqueue *ab_nfqueue_create(int socket, uint32_t number, const ab_datagram_point *point, int *error);
void ab_nfqueue_destroy(ab_nfqueue *queue);
/* Serves the queue in this thread until ab_nfqueue_stop: 0, or a negative error when the socket fails. */
int ab_nfqueue_serve(ab_nfqueue *queue);
/* Serves what waits now, without waiting for more. Not while another thread serves. */
int ab_nfqueue_drain(ab_nfqueue *queue);
/* Makes ab_nfqueue_serve return, now or when it is next called. From any thread. */
void ab_nfqueue_stop(ab_nfqueue *queue);
void ab_nfqueue_count(const ab_nfqueue *queue, ab_nfqueue_counts *counts);
#endif
