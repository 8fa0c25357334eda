"""Programs that note what they see of socket calls, and decide by the port; for tests of hooks and of a live kernel.

Each program notes its context in the element of the array map ``seen`` that has its number (:data:`NUMBERS`), as a
:class:`Seen`. Which port makes Linux's programs do what is in the source.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

#: Section → number of its program, which is also its function's name behind "p".
NUMBERS = {
    "cgroup/bind4": 0,
    "cgroup/bind6": 1,
    "cgroup/connect4": 2,
    "cgroup/connect6": 3,
    "cgroup/sendmsg4": 4,
    "cgroup/sendmsg6": 5,
    "cgroup/sock_create": 6,
    "cgroup/post_bind4": 7,
    "cgroup/post_bind6": 8,
    "cgroup/sock_release": 9,
}

LINUX = r"""
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct seen {
    __u32 calls, user_family, user_ip[4], user_port, family, type, protocol, source[4], state, queue, retval, src_port;
    __u64 pid_tgid, uid_gid, cookie;
    char comm[16];
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, struct seen);
} seen SEC(".maps");

#define NOTE(number)                                            \
    __u32 key = number;                                         \
    struct seen *s = bpf_map_lookup_elem(&seen, &key);          \
    if (!s) return 0;                                           \
    s->calls++;                                                 \
    s->family = ctx->family;                                    \
    s->type = ctx->type;                                        \
    s->protocol = ctx->protocol;                                \
    s->retval = bpf_get_retval();                               \
    s->pid_tgid = bpf_get_current_pid_tgid();                   \
    s->uid_gid = bpf_get_current_uid_gid();                     \
    s->cookie = bpf_get_socket_cookie(ctx);                     \
    bpf_get_current_comm(s->comm, sizeof s->comm);

#define COPY4(to, from) to[0] = from;
#define COPY6(to, from) to[0] = from[0]; to[1] = from[1]; to[2] = from[2]; to[3] = from[3];
#define MOVE4 ctx->user_ip4 = bpf_htonl(0x7f000002);
#define MOVE6 ctx->user_ip6[0] = ctx->user_ip6[1] = ctx->user_ip6[2] = 0; ctx->user_ip6[3] = bpf_htonl(1);

#define ADDRESS(section, number, version, noting, ...)          \
    SEC(section) int p##number(struct bpf_sock_addr *ctx) {     \
        NOTE(number)                                            \
        s->user_family = ctx->user_family;                      \
        COPY##version(s->user_ip, ctx->user_ip##version)        \
        s->user_port = ctx->user_port;                          \
        noting                                                  \
        switch (bpf_ntohs(ctx->user_port)) {                    \
        case 7001: return 0;                                    \
        case 7002: bpf_set_retval(-111); return 1;              \
        case 7003: ctx->user_port = bpf_htons(7004); MOVE##version return 1; \
        case 7005: bpf_set_retval(-13); return 0;               \
        __VA_ARGS__                                             \
        }                                                       \
        return 1;                                               \
    }
#define SOURCE(version) COPY##version(s->source, ctx->msg_src_ip##version)

ADDRESS("cgroup/bind4", 0, 4, , case 99: return 3; case 98: return 2;)
ADDRESS("cgroup/bind6", 1, 6, , case 99: return 3; case 98: return 2;)
ADDRESS("cgroup/connect4", 2, 4, ,
    case 7010: {
        struct sockaddr_in from = {.sin_family = 2, .sin_addr.s_addr = bpf_htonl(0x7f000003)};
        s->state = bpf_bind(ctx, (struct sockaddr *)&from, sizeof from);
        s->queue = bpf_bind(ctx, (struct sockaddr *)&from, 8);
        return 1;
    })
ADDRESS("cgroup/connect6", 3, 6, ,
    case 7010: {
        struct sockaddr_in6 from = {.sin6_family = 10, .sin6_addr.in6_u.u6_addr8[15] = 1};
        s->state = bpf_bind(ctx, (struct sockaddr *)&from, sizeof from);
        return 1;
    })
ADDRESS("cgroup/sendmsg4", 4, 4, SOURCE(4),
    case 7007: ctx->user_port = 0; return 1;
    case 7008: ctx->msg_src_ip4 = bpf_htonl(0x7f000003); return 1;)
ADDRESS("cgroup/sendmsg6", 5, 6, SOURCE(6),
    case 7007: ctx->user_port = 0; return 1;
    case 7009: ctx->user_ip6[0] = ctx->user_ip6[1] = 0; ctx->user_ip6[2] = bpf_htonl(0xffff); return 1;)

SEC("cgroup/sock_create") int p6(struct bpf_sock *ctx) {
    NOTE(6)
    s->state = ctx->state;
    s->queue = ctx->rx_queue_mapping;
    return ctx->protocol != 200;
}
#define POST_BIND(section, number, version)                     \
    SEC(section) int p##number(struct bpf_sock *ctx) {          \
        NOTE(number)                                            \
        COPY##version(s->source, ctx->src_ip##version)          \
        s->src_port = ctx->src_port;                            \
        s->state = ctx->state;                                  \
        s->queue = ctx->rx_queue_mapping;                       \
        if (ctx->src_port == 7022) { bpf_set_retval(-13); }     \
        return ctx->src_port != 7021;                           \
    }
POST_BIND("cgroup/post_bind4", 7, 4)
POST_BIND("cgroup/post_bind6", 8, 6)
SEC("cgroup/sock_release") int p9(struct bpf_sock *ctx) {
    NOTE(9)
    s->state = ctx->state;
    s->queue = ctx->rx_queue_mapping;
    s->user_port = ctx->dst_port;
    s->user_ip[0] = ctx->dst_ip4;
    return 1;
}

/* A second one behind connect4: sees what the first has made of the call, and may take a refusal back. */
SEC("cgroup/connect4") int second(struct bpf_sock_addr *ctx) {
    NOTE(10)
    s->user_ip[0] = ctx->user_ip4;
    s->user_port = ctx->user_port;
    if (ctx->user_port == bpf_htons(7001)) bpf_set_retval(0);
    return ctx->user_port != bpf_htons(7004);
}
char _license[] SEC("license") = "GPL";
"""

_SEEN = struct.Struct("=II16sI3I16s4I3Q16s")


@dataclass(frozen=True)
class Seen:
    """What a program has noted of the last call. Addresses and ports of contexts are the bytes that they hold.

    :param calls: how many it has met. :param retval: what ``bpf_get_retval`` said.
    """

    calls: int
    user_family: int
    user_ip: bytes
    user_port: bytes
    family: int
    type: int
    protocol: int
    source: bytes
    state: int
    queue: int
    retval: int
    src_port: int
    pid_tgid: int
    uid_gid: int
    cookie: int
    comm: bytes

    @staticmethod
    def parse(value: bytes) -> Seen:
        """Read a value of the map ``seen``."""
        numbers = list(_SEEN.unpack(value))
        numbers[3] = numbers[3].to_bytes(4, "little")
        return Seen(*numbers)


SIZE = _SEEN.size
