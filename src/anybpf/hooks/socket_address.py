"""Socket addresses of the Internet families as Linux lays them out in memory: ``sockaddr_in`` and ``sockaddr_in6``."""

from __future__ import annotations

import struct
from typing import Final

from anybpf.hooks.socket_call import Address

__all__ = ("AF_INET", "AF_INET6", "AF_UNSPEC", "decode", "encode", "family_of")

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 10

# Family and scope are in native byte order, the rest is big-endian; the native order of all that we support is little.
_FAMILY: Final = struct.Struct("=H")
_PORT: Final = struct.Struct(">H")
_INET: Final = struct.Struct("=H2s4s8x")
_INET6: Final = struct.Struct("=H2s4s16sI")
_INET6_OLD_SIZE: Final = 24  # without the scope (RFC 2133), which Linux accepts too


def family_of(raw: bytes) -> int | None:
    """Return the family that an address names, None when it is too short to name one."""
    return _FAMILY.unpack_from(raw)[0] if len(raw) >= _FAMILY.size else None


def decode(raw: bytes, *, unspecified: bool = False) -> Address | None:
    """Return the address in ``raw``; None when it is of no Internet family, or cut short.

    :param unspecified: take AF_UNSPEC for AF_INET.
    """
    family = family_of(raw)
    if (family == AF_INET or (unspecified and family == AF_UNSPEC)) and len(raw) >= _INET.size:
        _, port, host = _INET.unpack_from(raw)
        return Address(host, _PORT.unpack(port)[0])
    if family == AF_INET6 and len(raw) >= _INET6_OLD_SIZE:
        _, port, flowinfo, host, scope = _INET6.unpack_from(raw.ljust(_INET6.size, b"\0"))
        return Address(host, _PORT.unpack(port)[0], int.from_bytes(flowinfo, "big"), scope)
    return None


def encode(address: Address) -> bytes:
    """Return ``address`` as the kernel takes it; its host's length says which family it is of."""
    port = _PORT.pack(address.port)
    if len(address.host) == 4:
        return _INET.pack(AF_INET, port, address.host)
    return _INET6.pack(AF_INET6, port, address.flowinfo.to_bytes(4, "big"), address.host, address.scope_id)
