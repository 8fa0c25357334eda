"""What Linux programs get as their first argument: layouts and access rules.

Offsets are Linux's ABI (include/uapi/linux/bpf.h). Which fields may be read or written, and at what widths, follows the
kernel's ``*_is_valid_access`` functions; tests/test_platforms_kernel.py compares every field with a live kernel.
"""

from __future__ import annotations

from typing import Final

from anybpf.platforms.model import Context, ContextField, FieldKind

__all__ = ("SK_BUFF", "XDP_MD")


def _word(
    name: str,
    offset: int,
    *,
    kind: FieldKind = FieldKind.SCALAR,
    readable: bool = True,
    writable: bool = False,
    narrow: bool = True,
    attach_types: tuple[str, ...] = (),
) -> ContextField:
    """Return a 4-byte field."""
    return ContextField(
        name,
        offset,
        4,
        kind=kind,
        readable=readable,
        writable=writable,
        narrow=narrow,
        attach_types=frozenset(attach_types),
    )


#: XDP: every field takes whole 4-byte loads only.
XDP_MD: Final = Context(
    "xdp_md",
    24,
    (
        _word("data", 0, kind=FieldKind.PACKET, narrow=False),
        _word("data_end", 4, kind=FieldKind.PACKET_END, narrow=False),
        _word("data_meta", 8, kind=FieldKind.PACKET_META, narrow=False),
        _word("ingress_ifindex", 12, narrow=False),
        _word("rx_queue_index", 16, narrow=False),
        _word("egress_ifindex", 20, narrow=False, attach_types=("xdp_devmap",)),
    ),
)

#: Socket buffers as tc programs see them; other program types see fewer fields (see :func:`sk_buff`).
SK_BUFF: Final = Context(
    "__sk_buff",
    192,
    (
        _word("len", 0),
        _word("pkt_type", 4),
        _word("mark", 8, writable=True),
        _word("queue_mapping", 12, writable=True),
        _word("protocol", 16),
        _word("vlan_present", 20),
        _word("vlan_tci", 24),
        _word("vlan_proto", 28),
        _word("priority", 32, writable=True),
        _word("ingress_ifindex", 36),
        _word("ifindex", 40),
        _word("tc_index", 44, writable=True),
        ContextField("cb", 48, 20, element=4, writable=True, wide=True),
        _word("hash", 68),
        _word("tc_classid", 72, writable=True),
        _word("data", 76, kind=FieldKind.PACKET, narrow=False),
        _word("data_end", 80, kind=FieldKind.PACKET_END, narrow=False),
        _word("napi_id", 84),
        _word("family", 88),
        _word("remote_ip4", 92),
        _word("local_ip4", 96),
        ContextField("remote_ip6", 100, 16, element=4),
        ContextField("local_ip6", 116, 16, element=4),
        _word("remote_port", 132),
        _word("local_port", 136),
        _word("data_meta", 140, kind=FieldKind.PACKET_META, narrow=False),
        ContextField("tstamp", 152, 8, writable=True, narrow=False),
        _word("wire_len", 160),
        _word("gso_segs", 164),
        ContextField("sk", 168, 8, kind=FieldKind.SOCKET_OR_NULL, narrow=False),
        _word("gso_size", 176),
        ContextField("tstamp_type", 180, 1),
        ContextField("hwtstamp", 184, 8, narrow=False),
    ),
)
