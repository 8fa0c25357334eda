"""Linux helpers for programs on packets: XDP, traffic control, sockets' buffers, lightweight tunnels.

Numbers and prototypes are Linux's ABI (include/uapi/linux/bpf.h); argument rules are those that the kernel's
verifier enforces, compared with a live kernel in tests/test_platforms_kernel.py.
"""

from __future__ import annotations

from typing import Final

from anybpf.platforms.declaration import (
    ANY,
    CTX,
    MEM,
    MEM_INOUT,
    MEM_OR_NULL,
    OUT,
    SIZE,
    SIZE_OR_ZERO,
    helper,
    map_of,
    memory_inout,
)
from anybpf.platforms.model import Helper, MapKind

__all__ = ("CGROUP_CLASS_OF_PACKET", "NETWORK")

_CGROUPS = map_of(MapKind.CGROUP_ARRAY)
_REDIRECT_TARGETS = map_of(MapKind.DEVMAP, MapKind.DEVMAP_HASH, MapKind.CPUMAP, MapKind.XSKMAP)

_CGROUP_CLASS = "__u32 bpf_get_cgroup_classid(void *ctx)"

NETWORK: Final[tuple[Helper, ...]] = (
    # XDP
    helper(44, "long bpf_xdp_adjust_head(struct xdp_md *xdp_md, int delta)", CTX, ANY, changes_packet=True),
    helper(54, "long bpf_xdp_adjust_meta(struct xdp_md *xdp_md, int delta)", CTX, ANY, changes_packet=True),
    helper(65, "long bpf_xdp_adjust_tail(struct xdp_md *xdp_md, int delta)", CTX, ANY, changes_packet=True),
    helper(51, "long bpf_redirect_map(void *map, __u64 key, __u64 flags)", _REDIRECT_TARGETS, ANY, ANY),
    helper(188, "__u64 bpf_xdp_get_buff_len(struct xdp_md *xdp_md)", CTX),
    helper(189, "long bpf_xdp_load_bytes(struct xdp_md *xdp_md, __u32 offset, void *buf, __u32 len)",
           CTX, ANY, OUT, SIZE),
    helper(190, "long bpf_xdp_store_bytes(struct xdp_md *xdp_md, __u32 offset, void *buf, __u32 len)",
           CTX, ANY, MEM, SIZE),
    # Bytes of a socket buffer
    helper(9, "long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len, __u64 flags)",
           CTX, ANY, MEM, SIZE, ANY, changes_packet=True),
    helper(26, "long bpf_skb_load_bytes(const void *skb, __u32 offset, void *to, __u32 len)", CTX, ANY, OUT, SIZE),
    helper(68, "long bpf_skb_load_bytes_relative(const void *skb, __u32 offset, void *to, __u32 len, __u32 start)",
           CTX, ANY, OUT, SIZE, ANY),
    helper(39, "long bpf_skb_pull_data(struct __sk_buff *skb, __u32 len)", CTX, ANY, changes_packet=True),
    helper(43, "long bpf_skb_change_head(struct __sk_buff *skb, __u32 len, __u64 flags)",
           CTX, ANY, ANY, changes_packet=True),
    helper(38, "long bpf_skb_change_tail(struct __sk_buff *skb, __u32 len, __u64 flags)",
           CTX, ANY, ANY, changes_packet=True),
    helper(50, "long bpf_skb_adjust_room(struct __sk_buff *skb, __s32 len_diff, __u32 mode, __u64 flags)",
           CTX, ANY, ANY, ANY, changes_packet=True),
    helper(31, "long bpf_skb_change_proto(struct __sk_buff *skb, __be16 proto, __u64 flags)",
           CTX, ANY, ANY, changes_packet=True),
    helper(32, "long bpf_skb_change_type(struct __sk_buff *skb, __u32 type)", CTX, ANY),
    helper(18, "long bpf_skb_vlan_push(struct __sk_buff *skb, __be16 vlan_proto, __u16 vlan_tci)",
           CTX, ANY, ANY, changes_packet=True),
    helper(19, "long bpf_skb_vlan_pop(struct __sk_buff *skb)", CTX, changes_packet=True),
    # Checksums and hashes
    helper(10, "long bpf_l3_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 size)",
           CTX, ANY, ANY, ANY, ANY, changes_packet=True),
    helper(11, "long bpf_l4_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 flags)",
           CTX, ANY, ANY, ANY, ANY, changes_packet=True),
    helper(28, "__s64 bpf_csum_diff(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size, __wsum seed)",
           MEM_OR_NULL, SIZE_OR_ZERO, MEM_OR_NULL, SIZE_OR_ZERO, ANY, packet_access=True),
    helper(40, "__s64 bpf_csum_update(struct __sk_buff *skb, __wsum csum)", CTX, ANY),
    helper(135, "long bpf_csum_level(struct __sk_buff *skb, __u64 level)", CTX, ANY),
    helper(34, "__u32 bpf_get_hash_recalc(struct __sk_buff *skb)", CTX),
    helper(41, "void bpf_set_hash_invalid(struct __sk_buff *skb)", CTX),
    helper(48, "long bpf_set_hash(struct __sk_buff *skb, __u32 hash)", CTX, ANY),
    # Where a packet goes
    helper(13, "long bpf_clone_redirect(struct __sk_buff *skb, __u32 ifindex, __u64 flags)",
           CTX, ANY, ANY, changes_packet=True),
    helper(23, "long bpf_redirect(__u32 ifindex, __u64 flags)", ANY, ANY),
    helper(152, "long bpf_redirect_neigh(__u32 ifindex, struct bpf_redir_neigh *params, int plen, __u64 flags)",
           ANY, MEM_OR_NULL, SIZE_OR_ZERO, ANY),
    helper(155, "long bpf_redirect_peer(__u32 ifindex, __u64 flags)", ANY, ANY),
    helper(69, "long bpf_fib_lookup(void *ctx, struct bpf_fib_lookup *params, int plen, __u32 flags)",
           CTX, MEM_INOUT, SIZE, ANY,
           gpl_only=True),
    helper(163, "long bpf_check_mtu(void *ctx, __u32 ifindex, __u32 *mtu_len, __s32 len_diff, __u64 flags)",
           CTX, ANY, memory_inout(4), ANY, ANY, gpl_only=True),
    # What a packet belongs to
    helper(17, _CGROUP_CLASS, ANY),  # of the current task
    helper(24, "__u32 bpf_get_route_realm(struct __sk_buff *skb)", CTX),
    helper(33, "long bpf_skb_under_cgroup(struct __sk_buff *skb, void *map, __u32 index)", CTX, _CGROUPS, ANY),
    helper(79, "__u64 bpf_skb_cgroup_id(struct __sk_buff *skb)", CTX),
    helper(83, "__u64 bpf_skb_ancestor_cgroup_id(struct __sk_buff *skb, int ancestor_level)", CTX, ANY),
    helper(151, "__u64 bpf_skb_cgroup_classid(struct __sk_buff *skb)", CTX),
    helper(97, "long bpf_skb_ecn_set_ce(struct __sk_buff *skb)", CTX),
    helper(192, "long bpf_skb_set_tstamp(struct __sk_buff *skb, __u64 tstamp, __u32 tstamp_type)", CTX, ANY, ANY),
    helper(47, "__u32 bpf_get_socket_uid(struct __sk_buff *skb)", CTX),
    # Tunnels
    helper(20, "long bpf_skb_get_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 len, __u64 flags)",
           CTX, OUT, SIZE, ANY),
    helper(21, "long bpf_skb_set_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 len, __u64 flags)",
           CTX, MEM, SIZE, ANY),
    helper(29, "long bpf_skb_get_tunnel_opt(struct __sk_buff *skb, void *opt, __u32 size)", CTX, OUT, SIZE),
    helper(30, "long bpf_skb_set_tunnel_opt(struct __sk_buff *skb, void *opt, __u32 size)", CTX, MEM, SIZE),
    helper(66, "long bpf_skb_get_xfrm_state(struct __sk_buff *skb, __u32 index, void *state, __u32 size, __u64 flags)",
           CTX, ANY, OUT, SIZE, ANY),
    helper(73, "long bpf_lwt_push_encap(struct __sk_buff *skb, __u32 type, void *hdr, __u32 len)", CTX, ANY, MEM, SIZE,
           changes_packet=True),
    helper(74, "long bpf_lwt_seg6_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len)",
           CTX, ANY, MEM, SIZE, changes_packet=True),
    helper(75, "long bpf_lwt_seg6_adjust_srh(struct __sk_buff *skb, __u32 offset, __s32 delta)", CTX, ANY, ANY,
           changes_packet=True),
    helper(76, "long bpf_lwt_seg6_action(struct __sk_buff *skb, __u32 action, void *param, __u32 param_len)",
           CTX, ANY, MEM, SIZE, changes_packet=True),
    # Infrared receivers
    helper(77, "long bpf_rc_repeat(void *ctx)", CTX, gpl_only=True),
    helper(78, "long bpf_rc_keydown(void *ctx, __u32 protocol, __u64 scancode, __u32 toggle)", CTX, ANY, ANY, ANY,
           gpl_only=True),
    helper(92, "long bpf_rc_pointer_rel(void *ctx, __s32 rel_x, __s32 rel_y)", CTX, ANY, ANY, gpl_only=True),
)  # fmt: skip
"""In the order of their subjects; gather with :func:`anybpf.platforms.declaration.table`."""

#: Where there is a packet, the class is that of its socket.
CGROUP_CLASS_OF_PACKET: Final = helper(17, _CGROUP_CLASS, CTX)
