"""Linux helpers on sockets: lookup, options, redirection between sockets, control-group hooks.

Numbers and prototypes are Linux's ABI (include/uapi/linux/bpf.h); argument rules are those that the kernel's
verifier enforces, compared with a live kernel in tests/test_platforms_kernel.py.
"""

from __future__ import annotations

from typing import Final

from anybpf.platforms.declaration import (
    ANY,
    CTX,
    KERNEL,
    KEY,
    MEM,
    MEM_INOUT,
    OUT,
    SIZE,
    SIZE_OR_ZERO,
    SOCKET,
    SOCKET_OR_NULL,
    SOCKET_RELEASED,
    VALUE_OR_NULL,
    helper,
    map_of,
    memory,
)
from anybpf.platforms.model import Helper, MapKind, ReturnKind

__all__ = (
    "COOKIE_OF_SOCK",
    "COOKIE_OF_SOCKET",
    "COOKIE_OF_SOCK_ADDR",
    "COOKIE_OF_SOCK_OPS",
    "SOCKET_HELPERS",
    "SOCKET_OPTIONS_OF_SOCKET",
    "STORAGE_OF_CONTEXT",
)

_SOCKMAP = map_of(MapKind.SOCKMAP)
_SOCKHASH = map_of(MapKind.SOCKHASH)
_SK_STORAGE = map_of(MapKind.SK_STORAGE)
_CGROUP_STORAGE = map_of(MapKind.CGROUP_STORAGE, MapKind.PERCPU_CGROUP_STORAGE)
_SELECTABLE = map_of(MapKind.REUSEPORT_SOCKARRAY, MapKind.SOCKMAP, MapKind.SOCKHASH)

_GET_COOKIE = "__u64 bpf_get_socket_cookie(void *ctx)"
_SETSOCKOPT = "long bpf_setsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen)"
_GETSOCKOPT = "long bpf_getsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen)"
_STORAGE_GET = "void *bpf_sk_storage_get(void *map, void *sk, void *value, __u64 flags)"
_SK_ASSIGN = "long bpf_sk_assign(void *ctx, void *sk, __u64 flags)"

SOCKET_HELPERS: Final[tuple[Helper, ...]] = (
    # Lookup: what these return must be released
    helper(84, "struct bpf_sock *bpf_sk_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size, "
           "__u64 netns, __u64 flags)",
           CTX, MEM, SIZE, ANY, ANY, returns=ReturnKind.SOCKET_OR_NULL, structure="bpf_sock",
           acquires=True, packet_access=True),
    helper(85, "struct bpf_sock *bpf_sk_lookup_udp(void *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size, "
           "__u64 netns, __u64 flags)",
           CTX, MEM, SIZE, ANY, ANY, returns=ReturnKind.SOCKET_OR_NULL, structure="bpf_sock",
           acquires=True, packet_access=True),
    helper(99, "struct bpf_sock *bpf_skc_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size, "
           "__u64 netns, __u64 flags)",
           CTX, MEM, SIZE, ANY, ANY, returns=ReturnKind.SOCKET_OR_NULL, structure="bpf_sock_common",
           acquires=True, packet_access=True),
    helper(86, "long bpf_sk_release(void *sock)", SOCKET_RELEASED),
    helper(124, _SK_ASSIGN, CTX, SOCKET_OR_NULL, ANY),
    # Other views of a socket
    helper(95, "struct bpf_sock *bpf_sk_fullsock(struct bpf_sock *sk)", SOCKET,
           returns=ReturnKind.SOCKET_OR_NULL, structure="bpf_sock"),
    helper(96, "struct bpf_tcp_sock *bpf_tcp_sock(struct bpf_sock *sk)", SOCKET,
           returns=ReturnKind.SOCKET_OR_NULL, structure="bpf_tcp_sock"),
    helper(98, "struct bpf_sock *bpf_get_listener_sock(struct bpf_sock *sk)", SOCKET,
           returns=ReturnKind.SOCKET_OR_NULL, structure="bpf_sock"),
    helper(136, "struct tcp6_sock *bpf_skc_to_tcp6_sock(void *sk)", SOCKET, returns=ReturnKind.KERNEL_OR_NULL),
    helper(137, "struct tcp_sock *bpf_skc_to_tcp_sock(void *sk)", SOCKET, returns=ReturnKind.KERNEL_OR_NULL),
    helper(138, "struct tcp_timewait_sock *bpf_skc_to_tcp_timewait_sock(void *sk)",
           SOCKET, returns=ReturnKind.KERNEL_OR_NULL),
    helper(139, "struct tcp_request_sock *bpf_skc_to_tcp_request_sock(void *sk)",
           SOCKET, returns=ReturnKind.KERNEL_OR_NULL),
    helper(140, "struct udp6_sock *bpf_skc_to_udp6_sock(void *sk)", SOCKET, returns=ReturnKind.KERNEL_OR_NULL),
    helper(178, "struct unix_sock *bpf_skc_to_unix_sock(void *sk)", SOCKET, returns=ReturnKind.KERNEL_OR_NULL),
    helper(196, "struct mptcp_sock *bpf_skc_to_mptcp_sock(void *sk)", SOCKET, returns=ReturnKind.KERNEL_OR_NULL),
    # Names and storage of sockets
    helper(46, _GET_COOKIE, CTX),
    helper(122, "__u64 bpf_get_netns_cookie(void *ctx)", CTX),
    helper(128, "__u64 bpf_sk_cgroup_id(void *sk)", SOCKET),
    helper(129, "__u64 bpf_sk_ancestor_cgroup_id(void *sk, int ancestor_level)", SOCKET, ANY),
    helper(107, _STORAGE_GET, _SK_STORAGE, SOCKET_OR_NULL, VALUE_OR_NULL, ANY, returns=ReturnKind.MAP_VALUE_OR_NULL),
    helper(108, "long bpf_sk_storage_delete(void *map, void *sk)", _SK_STORAGE, SOCKET_OR_NULL),
    helper(81, "void *bpf_get_local_storage(void *map, __u64 flags)",
           _CGROUP_STORAGE, ANY, returns=ReturnKind.MAP_VALUE),
    # Options and addresses
    helper(49, _SETSOCKOPT, CTX, ANY, ANY, MEM, SIZE),
    helper(57, _GETSOCKOPT, CTX, ANY, ANY, OUT, SIZE),
    helper(64, "long bpf_bind(struct bpf_sock_addr *ctx, struct sockaddr *addr, int addr_len)", CTX, MEM, SIZE),
    helper(186, "int bpf_get_retval(void)"),
    helper(187, "int bpf_set_retval(int retval)", ANY),
    # TCP
    helper(59, "long bpf_sock_ops_cb_flags_set(struct bpf_sock_ops *bpf_sock, int argval)", CTX, ANY),
    helper(142, "long bpf_load_hdr_opt(struct bpf_sock_ops *skops, void *searchby_res, __u32 len, __u64 flags)",
           CTX, MEM_INOUT, SIZE, ANY),
    helper(143, "long bpf_store_hdr_opt(struct bpf_sock_ops *skops, const void *from, __u32 len, __u64 flags)",
           CTX, MEM, SIZE, ANY),
    helper(144, "long bpf_reserve_hdr_opt(struct bpf_sock_ops *skops, __u32 len, __u64 flags)", CTX, ANY, ANY),
    helper(100, "long bpf_tcp_check_syncookie(void *sk, void *iph, __u32 iph_len, struct tcphdr *th, __u32 th_len)",
           SOCKET, MEM, SIZE, MEM, SIZE, packet_access=True),
    helper(110, "__s64 bpf_tcp_gen_syncookie(void *sk, void *iph, __u32 iph_len, struct tcphdr *th, __u32 th_len)",
           SOCKET, MEM, SIZE, MEM, SIZE, packet_access=True),
    helper(204, "__s64 bpf_tcp_raw_gen_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th, __u32 th_len)",
           memory(20), MEM, SIZE_OR_ZERO, packet_access=True, gpl_only=True),
    helper(205, "__s64 bpf_tcp_raw_gen_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th, __u32 th_len)",
           memory(40), MEM, SIZE_OR_ZERO, packet_access=True, gpl_only=True),
    helper(206, "long bpf_tcp_raw_check_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th)", memory(20), memory(20),
           packet_access=True, gpl_only=True),
    helper(207, "long bpf_tcp_raw_check_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th)", memory(40), memory(20),
           packet_access=True, gpl_only=True),
    helper(116, "long bpf_tcp_send_ack(void *tp, __u32 rcv_nxt)", KERNEL, ANY),
    # Redirection between sockets
    helper(53, "long bpf_sock_map_update(struct bpf_sock_ops *skops, void *map, void *key, __u64 flags)",
           CTX, _SOCKMAP, KEY, ANY,
           packet_access=True),
    helper(70, "long bpf_sock_hash_update(struct bpf_sock_ops *skops, void *map, void *key, __u64 flags)",
           CTX, _SOCKHASH, KEY, ANY,
           packet_access=True),
    helper(52, "long bpf_sk_redirect_map(struct __sk_buff *skb, void *map, __u32 key, __u64 flags)",
           CTX, _SOCKMAP, ANY, ANY),
    helper(72, "long bpf_sk_redirect_hash(struct __sk_buff *skb, void *map, void *key, __u64 flags)",
           CTX, _SOCKHASH, KEY, ANY),
    helper(60, "long bpf_msg_redirect_map(struct sk_msg_md *msg, void *map, __u32 key, __u64 flags)",
           CTX, _SOCKMAP, ANY, ANY),
    helper(71, "long bpf_msg_redirect_hash(struct sk_msg_md *msg, void *map, void *key, __u64 flags)",
           CTX, _SOCKHASH, KEY, ANY),
    helper(61, "long bpf_msg_apply_bytes(struct sk_msg_md *msg, __u32 bytes)", CTX, ANY),
    helper(62, "long bpf_msg_cork_bytes(struct sk_msg_md *msg, __u32 bytes)", CTX, ANY),
    helper(63, "long bpf_msg_pull_data(struct sk_msg_md *msg, __u32 start, __u32 end, __u64 flags)", CTX, ANY, ANY, ANY,
           changes_packet=True),
    helper(90, "long bpf_msg_push_data(struct sk_msg_md *msg, __u32 start, __u32 len, __u64 flags)", CTX, ANY, ANY, ANY,
           changes_packet=True),
    helper(91, "long bpf_msg_pop_data(struct sk_msg_md *msg, __u32 start, __u32 len, __u64 flags)", CTX, ANY, ANY, ANY,
           changes_packet=True),
    helper(82, "long bpf_sk_select_reuseport(struct sk_reuseport_md *reuse, void *map, void *key, __u64 flags)",
           CTX, _SELECTABLE, KEY, ANY),
    # Kernel parameters (sysctl)
    helper(101, "long bpf_sysctl_get_name(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len, __u64 flags)",
           CTX, MEM_INOUT, SIZE, ANY),
    helper(102, "long bpf_sysctl_get_current_value(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len)",
           CTX, OUT, SIZE),
    helper(103, "long bpf_sysctl_get_new_value(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len)",
           CTX, OUT, SIZE),
    helper(104, "long bpf_sysctl_set_new_value(struct bpf_sysctl *ctx, const char *buf, unsigned long buf_len)",
           CTX, MEM, SIZE),
)  # fmt: skip
"""In the order of their subjects; gather with :func:`anybpf.platforms.declaration.table`."""

#: Where the argument is the socket itself rather than the program's context.
SOCKET_OPTIONS_OF_SOCKET: Final = (
    helper(49, _SETSOCKOPT, SOCKET, ANY, ANY, MEM, SIZE),
    helper(57, _GETSOCKOPT, SOCKET, ANY, ANY, OUT, SIZE),
)
COOKIE_OF_SOCKET: Final = helper(46, _GET_COOKIE, SOCKET_OR_NULL, implementation="cookie_of_socket")
#: What other contexts than ``__sk_buff`` say of a socket lies elsewhere.
COOKIE_OF_SOCK: Final = helper(46, _GET_COOKIE, CTX, implementation="cookie_of_sock")
COOKIE_OF_SOCK_ADDR: Final = helper(46, _GET_COOKIE, CTX, implementation="cookie_of_sock_addr")
COOKIE_OF_SOCK_OPS: Final = helper(46, _GET_COOKIE, CTX, implementation="cookie_of_sock_ops")

#: Where the context is the socket (control-group programs on a new socket).
STORAGE_OF_CONTEXT: Final = helper(
    107, _STORAGE_GET, _SK_STORAGE, CTX, VALUE_OR_NULL, ANY, returns=ReturnKind.MAP_VALUE_OR_NULL
)
