/* nfqueue_linux.c: serves a netfilter queue (include/uapi/linux/netfilter/nfnetlink_queue.h): packets come as netlink messages, a
 * whole batch of them runs under one turn of the thread, and the verdicts go back in few system calls. Messages are made by the
 * kernel, as the sender's address says; their sizes are checked nevertheless. */
#if defined(__linux__)
#define _GNU_SOURCE /* recvmmsg */
#endif
#include "api_nfqueue.h"
#include "datagram.h"

#if defined(__linux__)
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64u                 /* messages a system call */
#define MESSAGE_SIZE (AB_DATAGRAM_MAX + 4096u)
#define VERDICT_SIZE 64u          /* of a verdict's message, without a packet */
#define SEND_AT 65536u            /* bytes of verdicts that are sent at once; with one more packet, below net.core.wmem_default */
#define PAYLOAD_MAX (65535u - NLA_HDRLEN) /* that an attribute holds */
#define SEND_ATTEMPTS 1000        /* a millisecond apart */
#define PACKET_MESSAGE (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET)
#define ACCEPT 1u                 /* NF_ACCEPT, NF_DROP: linux/netfilter.h needs headers that clash with the C library's */
#define DROP 0u

struct ab_nfqueue {
    int socket;
    int wake;                     /* eventfd: tells a waiting thread to look at `stopping` */
    uint32_t number;
    uint32_t verdict;             /* of the messages up to `last`, not yet written down; they are none when last_count is 0 */
    uint32_t last;
    uint32_t last_count;
    uint32_t used;                /* bytes of `verdicts` */
    atomic_int stopping;
    _Atomic uint64_t packets, lost;
    ab_datagram_point point;
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_nl senders[BATCH];
    uint8_t verdicts[SEND_AT + VERDICT_SIZE + MESSAGE_SIZE];
    uint8_t messages[BATCH][MESSAGE_SIZE];
};

typedef struct queued {
    uint32_t id;
    ab_datagram datagram;
} queued;

ab_nfqueue *ab_nfqueue_create(int socket, uint32_t number, const ab_datagram_point *point, int *error) {
    ab_nfqueue *queue = calloc(1, sizeof *queue); /* memory that no packet reaches is never touched */
    *error = -AB_ENOMEM;
    if (queue == NULL) return NULL;
    queue->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (queue->wake < 0) {
        *error = -errno;
        free(queue);
        return NULL;
    }
    queue->socket = socket;
    queue->number = number;
    queue->point = *point;
    atomic_init(&queue->stopping, 0);
    for (uint32_t i = 0; i < BATCH; i++) {
        queue->vectors[i] = (struct iovec){queue->messages[i], MESSAGE_SIZE};
        queue->headers[i].msg_hdr.msg_iov = &queue->vectors[i];
        queue->headers[i].msg_hdr.msg_iovlen = 1;
        queue->headers[i].msg_hdr.msg_name = &queue->senders[i];
    }
    *error = 0;
    return queue;
}

void ab_nfqueue_destroy(ab_nfqueue *queue) {
    if (queue == NULL) return;
    close(queue->wake);
    free(queue);
}

void ab_nfqueue_stop(ab_nfqueue *queue) {
    uint64_t one = 1;
    atomic_store(&queue->stopping, 1);
    if (write(queue->wake, &one, sizeof one) < 0) return; /* it is full, so it wakes already */
}

void ab_nfqueue_count(const ab_nfqueue *queue, ab_nfqueue_counts *counts) {
    counts->packets = atomic_load_explicit(&queue->packets, memory_order_relaxed);
    counts->lost = atomic_load_explicit(&queue->lost, memory_order_relaxed);
}

static uint32_t be32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_be32(uint8_t *at, uint32_t number) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(number >> (24 - 8 * i));
}

static void read_attribute(uint32_t type, const uint8_t *data, uint32_t size, queued *packet) {
    switch (type) {
    case NFQA_PACKET_HDR:
        if (size < sizeof(struct nfqnl_msg_packet_hdr)) return;
        packet->id = be32(data);
        memcpy(packet->datagram.protocol, data + 4, 2);
        return;
    case NFQA_IFINDEX_INDEV:
        if (size >= 4) packet->datagram.interface = be32(data);
        return;
    case NFQA_HWADDR:
        if (size >= 4 + 6 && data[0] == 0 && data[1] == 6) memcpy(packet->datagram.source, data + 4, 6);
        return;
    case NFQA_CAP_LEN:
        packet->datagram.truncated = 1;
        return;
    case NFQA_PAYLOAD:
        packet->datagram.data = data;
        packet->datagram.length = size;
        return;
    }
}

/* Whether the message is a queued packet. */
static int read_message(const uint8_t *message, uint32_t size, queued *packet) {
    struct nlmsghdr head;
    struct nlattr attribute;
    uint32_t at = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg));
    if (size < at) return 0;
    memcpy(&head, message, sizeof head);
    if (head.nlmsg_type != PACKET_MESSAGE || head.nlmsg_len > size) return 0;
    *packet = (queued){0};
    packet->datagram.data = message;
    while (at + NLA_HDRLEN <= head.nlmsg_len) {
        memcpy(&attribute, message + at, sizeof attribute);
        if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > head.nlmsg_len - at) return 0;
        read_attribute(attribute.nla_type & NLA_TYPE_MASK, message + at + NLA_HDRLEN, attribute.nla_len - NLA_HDRLEN, packet);
        at += NLA_ALIGN(attribute.nla_len);
    }
    return packet->id != 0;
}

static int send_verdicts(ab_nfqueue *queue) {
    for (int attempt = 0; queue->used != 0; attempt++) {
        if (send(queue->socket, queue->verdicts, queue->used, 0) >= 0) queue->used = 0;
        else if ((errno == ENOBUFS || errno == ENOMEM) && attempt < SEND_ATTEMPTS) usleep(1000); /* it is short of memory */
        else if (errno != EINTR) return -errno;
    }
    return 0;
}

static int write_verdict(ab_nfqueue *queue, uint32_t kind, uint32_t verdict, uint32_t id, const ab_datagram *payload) {
    uint32_t attribute_size = NLA_HDRLEN + sizeof(struct nfqnl_msg_verdict_hdr);
    uint32_t payload_size = payload != NULL ? NLA_HDRLEN + payload->length : 0;
    uint32_t size = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg)) + attribute_size + NLA_ALIGN(payload_size);
    uint8_t *at = queue->verdicts + queue->used;
    struct nlmsghdr head = {size, (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | kind), NLM_F_REQUEST, 0, 0};
    struct nlattr attribute = {(uint16_t)attribute_size, NFQA_VERDICT_HDR};
    memset(at, 0, size - NLA_ALIGN(payload_size));
    memcpy(at, &head, sizeof head);
    at[NLMSG_HDRLEN + 2] = (uint8_t)(queue->number >> 8); /* nfgenmsg.res_id */
    at[NLMSG_HDRLEN + 3] = (uint8_t)queue->number;
    at += NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg));
    memcpy(at, &attribute, sizeof attribute);
    put_be32(at + NLA_HDRLEN, verdict);
    put_be32(at + NLA_HDRLEN + 4, id);
    if (payload != NULL) {
        attribute = (struct nlattr){(uint16_t)payload_size, NFQA_PAYLOAD};
        at += attribute_size;
        memcpy(at, &attribute, sizeof attribute);
        memcpy(at + NLA_HDRLEN, payload->data, payload->length);
        memset(at + payload_size, 0, NLA_ALIGN(payload_size) - payload_size);
    }
    queue->used += size;
    return queue->used < SEND_AT ? 0 : send_verdicts(queue);
}

/* Writes down the verdict of the run of equal ones: for all packets that are still queued and not behind the last of them. */
static int write_run(ab_nfqueue *queue) {
    if (queue->last_count == 0) return 0;
    uint32_t kind = queue->last_count == 1 ? NFQNL_MSG_VERDICT : NFQNL_MSG_VERDICT_BATCH;
    queue->last_count = 0;
    return write_verdict(queue, kind, queue->verdict, queue->last, NULL);
}

static int serve_packet(ab_nfqueue *queue, ab_session *session, const queued *packet) {
    ab_datagram changed;
    enum ab_datagram_fate fate = ab_datagram_run(&queue->point, session, &packet->datagram, &changed);
    if (fate == AB_DATAGRAM_CHANGED && changed.length > PAYLOAD_MAX) fate = AB_DATAGRAM_LOST;
    uint32_t verdict = fate == AB_DATAGRAM_PASSES || fate == AB_DATAGRAM_CHANGED ? ACCEPT : DROP;
    int error = 0;
    ab_slot_quiesce(session->slot);
    atomic_fetch_add_explicit(&queue->packets, 1, memory_order_relaxed);
    if (fate == AB_DATAGRAM_LOST) atomic_fetch_add_explicit(&queue->lost, 1, memory_order_relaxed);
    if (queue->last_count != 0 && (verdict != queue->verdict || fate == AB_DATAGRAM_CHANGED)) error = write_run(queue);
    if (error) return error;
    if (fate == AB_DATAGRAM_CHANGED) return write_verdict(queue, NFQNL_MSG_VERDICT, ACCEPT, packet->id, &changed);
    queue->verdict = verdict;
    queue->last = packet->id;
    queue->last_count++;
    return 0;
}

/* Serves a batch: how many messages there were, or a negative error; 0 when none waits. */
static int serve_batch(ab_nfqueue *queue) {
    for (uint32_t i = 0; i < BATCH; i++) queue->headers[i].msg_hdr.msg_namelen = sizeof queue->senders[i];
    int count = recvmmsg(queue->socket, queue->headers, BATCH, MSG_DONTWAIT, NULL), error = 0;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
    /* ENOBUFS: messages found no room in the socket. The kernel counts them, and has decided on those packets itself. */
    if (count < 0) return errno == EINTR || errno == ENOBUFS ? 1 : -errno;
    ab_session session;
    ab_session_open(&session, ab_chain_engine(queue->point.chain), queue->point.event);
    for (int i = 0; i < count && !error; i++) {
        queued packet;
        if (queue->senders[i].nl_pid == 0 && read_message(queue->messages[i], queue->headers[i].msg_len, &packet))
            error = serve_packet(queue, &session, &packet);
    }
    ab_session_finish(&session);
    if (!error) error = write_run(queue);
    if (!error) error = send_verdicts(queue);
    return error ? error : count;
}

int ab_nfqueue_drain(ab_nfqueue *queue) {
    int served;
    while ((served = serve_batch(queue)) > 0) {}
    return served;
}

int ab_nfqueue_serve(ab_nfqueue *queue) {
    struct pollfd waits[2] = {{queue->socket, POLLIN, 0}, {queue->wake, POLLIN, 0}};
    while (!atomic_load(&queue->stopping)) {
        int served = serve_batch(queue);
        if (served < 0) return served;
        if (served == 0 && poll(waits, 2, -1) < 0 && errno != EINTR) return -errno;
    }
    return 0;
}

#else

ab_nfqueue *ab_nfqueue_create(int socket, uint32_t number, const ab_datagram_point *point, int *error) {
    (void)socket, (void)number, (void)point;
    *error = -AB_EOPNOTSUPP;
    return NULL;
}
void ab_nfqueue_destroy(ab_nfqueue *queue) { (void)queue; }
int ab_nfqueue_serve(ab_nfqueue *queue) { return (void)queue, -AB_EOPNOTSUPP; }
int ab_nfqueue_drain(ab_nfqueue *queue) { return (void)queue, -AB_EOPNOTSUPP; }
void ab_nfqueue_stop(ab_nfqueue *queue) { (void)queue; }
void ab_nfqueue_count(const ab_nfqueue *queue, ab_nfqueue_counts *counts) {
    (void)queue;
    *counts = (ab_nfqueue_counts){0, 0};
}

#endif
