"""The hook ``http_request``: what a policy sees of a request, what it may answer, and what an upload may take."""

from __future__ import annotations

from typing import Final

from anybpf.hooks import Limits, Service
from anybpf.hooks.service_fields import U32, U64, Buffer, Bytes
from anybpf.runtime import Context

__all__ = ("ALLOW", "DENY", "LIMIT", "LIMITS", "declare")

ALLOW, DENY, LIMIT = 0, 1, 2

#: Verifying a program takes less than half a second, and running it less than a millisecond.
LIMITS: Final = Limits(object_bytes=256 << 10, programs=4, instructions=4096, visits=20_000, maps=8, map_bytes=8 << 20)


def declare(context: Context | None = None) -> Service:
    """Return the hook. A program that faults, or none at all, lets requests pass.

    Fields: the client's address (16 bytes in network order, IPv4 as ``::ffff:a.b.c.d``, zeros when there is none), the
    method's name, the length that the request announces, and, as buffers, the decoded path, the query as it was sent
    and the user agent. A policy may write a tag, which the application and the response get, and how many seconds a
    client is to wait that is told to try later.
    """
    return Service(
        "http_request",
        fields=[
            Bytes("client", 16),
            Bytes("method", 8),
            U64("content_length"),
            Buffer("path"),
            Buffer("query"),
            Buffer("user_agent"),
            U32("tag", writable=True),
            U32("retry_after", writable=True),
        ],
        returns={"ALLOW": ALLOW, "DENY": DENY, "LIMIT": LIMIT},
        fallback="ALLOW",
        context=context,
    )
