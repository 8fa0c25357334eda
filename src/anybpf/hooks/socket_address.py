"""Socket addresses of the Internet families as Linux lays them out in memory: ``sockaddr_in`` and ``sockaddr_in6``."""

from __future__ import annotations

import struct
import sys
from typing import Final

from anybpf.hooks.socket_call import Address

__all__ = ("AF_INET", "AF_INET6", "AF_UNSPEC", "decode", "encode", "family_of")

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10

# Port and flow information are big-endian, family and scope in native byte order.
_FAMILY: Final = struct.Struct("=H")
_INET: Final = struct.Struct(">2sH4s8x")
_INET6: Final = struct.Struct(">2sHI16s4s")
_INET6_OLD_SIZE: Final = 24  # without the scope (RFC 2133), which Linux accepts too
_UNSPEC_BYTES, _INET_BYTES, _INET6_BYTES = (_FAMILY.pack(family) for family in (AF_UNSPEC, AF_INET, AF_INET6))


def family_of(raw: bytes) -> int | None:
    """Return the family that an address names, None when it is too short to name one."""
    return _FAMILY.unpack_from(raw)[0] if len(raw) >= _FAMILY.size else None


def decode(raw: bytes, *, unspecified: bool = False) -> Address | None:
    """Return the address in ``raw``; None when it is of no Internet family, or cut short.

    :param unspecified: take AF_UNSPEC for AF_INET.
    """
    family = raw[: _FAMILY.size]
    if len(raw) >= _INET.size and (family == _INET_BYTES or (unspecified and family == _UNSPEC_BYTES)):
        _, port, host = _INET.unpack_from(raw)
        return Address(host, port)
    if len(raw) >= _INET6_OLD_SIZE and family == _INET6_BYTES:
        _, port, flowinfo, host, scope = _INET6.unpack_from(raw.ljust(_INET6.size, b"\0"))
        return Address(host, port, flowinfo, int.from_bytes(scope, sys.byteorder))
    return None


def encode(address: Address) -> bytes:
    """Return ``address`` as the kernel takes it; its host's length says which family it is of."""
    if len(address.host) == 4:
        return _INET.pack(_INET_BYTES, address.port, address.host)
    scope = address.scope_id.to_bytes(4, sys.byteorder)
    return _INET6.pack(_INET6_BYTES, address.port, address.flowinfo, address.host, scope)
