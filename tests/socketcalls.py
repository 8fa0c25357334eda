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

#: Attach types of ``sock_addr`` programs by section: number of the program that notes its calls.
WINDOWS_NUMBERS = {
    f"cgroup/{name}{version}": 2 * number + (version == 6)
    for number, name in enumerate(("connect", "connect_authorization", "recv_accept", "bind", "listen"))
    for version in (4, 6)
}

WINDOWS = r"""
#include "bpf_helpers.h"
#include "bpf_endian.h"

struct seen {
    uint64_t calls, interface_luid, pid_tgid, cookie;
    uint32_t family, source[4], user[4], protocol, compartment_id;
    uint16_t source_port, user_port;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 16);
    __type(key, uint32_t);
    __type(value, struct seen);
} seen SEC(".maps");

struct bound {
    uint64_t calls, process_id, pid_tgid, start_key, thread_time;
    int64_t admin;
    uint8_t address[16], length, operation, protocol, app_id[64];
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, struct bound);
} bound SEC(".maps");

SEC("bind") int bound_to(bind_md_t *ctx) {
    uint32_t key = 0;
    struct bound *b = bpf_map_lookup_elem(&bound, &key);
    if (!b) return BIND_DENY;
    b->calls++;
    b->process_id = ctx->process_id;
    b->pid_tgid = bpf_get_current_pid_tgid();
    b->start_key = bpf_get_current_process_start_key();
    b->thread_time = bpf_get_current_thread_create_time();
    b->admin = bpf_is_current_admin(ctx);
    __builtin_memcpy(b->address, ctx->socket_address, sizeof b->address);
    b->length = ctx->socket_address_length;
    b->operation = ctx->operation;
    b->protocol = ctx->protocol;
    __builtin_memset(b->app_id, 0, sizeof b->app_id);
    for (int i = 0; i < 64; i++) {
        if (ctx->app_id_start + i >= ctx->app_id_end) break;
        b->app_id[i] = ctx->app_id_start[i];
    }
    uint16_t port = *(uint16_t *)(ctx->socket_address + 2); /* host byte order */
    ctx->socket_address[2] = 1;
    switch (port) {
    case 7001: return BIND_DENY;
    case 7002: return BIND_REDIRECT;
    case 7003: return BIND_PERMIT_HARD;
    case 7004: return 77;
    }
    return BIND_PERMIT;
}

#define NOTE(section, number, version, move)                         \
    SEC(section) int p##number(bpf_sock_addr_t *ctx) {               \
        uint32_t key = number;                                       \
        struct seen *s = bpf_map_lookup_elem(&seen, &key);           \
        if (!s) return BPF_SOCK_ADDR_VERDICT_REJECT;                 \
        s->calls++;                                                  \
        s->interface_luid = ctx->interface_luid;                     \
        s->pid_tgid = bpf_sock_addr_get_current_pid_tgid(ctx);       \
        s->cookie = bpf_get_socket_cookie(ctx);                      \
        s->family = ctx->family;                                     \
        for (int i = 0; i < 4; i++) s->source[i] = ctx->msg_src_ip6[i]; \
        for (int i = 0; i < 4; i++) s->user[i] = ctx->user_ip6[i];   \
        s->protocol = ctx->protocol;                                 \
        s->compartment_id = ctx->compartment_id;                     \
        s->source_port = ctx->msg_src_port;                          \
        s->user_port = ctx->user_port;                               \
        switch (bpf_ntohs(ctx->user_port)) {                         \
        case 7001: return BPF_SOCK_ADDR_VERDICT_REJECT;              \
        case 7002: return BPF_SOCK_ADDR_VERDICT_PROCEED_HARD;        \
        case 7003: ctx->user_port = bpf_htons(7004); move            \
        case 7005: return 9;                                         \
        case 7006: bpf_sock_addr_set_redirect_context(ctx, &key, 4); \
        }                                                            \
        return BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT;                   \
    }
#define MOVE4 ctx->user_ip4 = bpf_htonl(0x7f000002); return BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT;
#define MOVE6 ctx->user_ip6[3] = bpf_htonl(2); return BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT;
NOTE("cgroup/connect4", 0, 4, MOVE4)
NOTE("cgroup/connect6", 1, 6, MOVE6)
NOTE("cgroup/connect_authorization4", 2, 4, MOVE4)
NOTE("cgroup/connect_authorization6", 3, 6, MOVE6)
NOTE("cgroup/recv_accept4", 4, 4, MOVE4)
NOTE("cgroup/recv_accept6", 5, 6, MOVE6)
NOTE("cgroup/bind4", 6, 4, MOVE4)
NOTE("cgroup/bind6", 7, 6, MOVE6)
NOTE("cgroup/listen4", 8, 4, MOVE4)
NOTE("cgroup/listen6", 9, 6, MOVE6)
"""

_WINDOWS_SEEN = struct.Struct("=QQQQI16s16sII2s2s")
_BOUND = struct.Struct("=QQQQQq16sBBB64s5x")


@dataclass(frozen=True)
class WindowsSeen:
    """What a ``sock_addr`` program has noted of the last call; addresses and ports as the bytes in the context."""

    calls: int
    interface_luid: int
    pid_tgid: int
    cookie: int
    family: int
    source: bytes
    user: bytes
    protocol: int
    compartment_id: int
    source_port: bytes
    user_port: bytes

    @staticmethod
    def parse(value: bytes) -> WindowsSeen:
        """Read a value of the map ``seen``."""
        return WindowsSeen(*_WINDOWS_SEEN.unpack(value))


@dataclass(frozen=True)
class Bound:
    """What the ``bind`` program has noted of the last call."""

    calls: int
    process_id: int
    pid_tgid: int
    start_key: int
    thread_time: int
    admin: int
    address: bytes
    length: int
    operation: int
    protocol: int
    app_id: bytes

    @staticmethod
    def parse(value: bytes) -> Bound:
        """Read a value of the map ``bound``."""
        return Bound(*_BOUND.unpack(value))
