"""IP packets for XDP programs: what sources whose packets have no Ethernet header share.

A header is put before each packet and taken away again: the packet's EtherType; as source the sender's link-layer
address where the source knows it, else zeros; as target zeros. When a program has changed a packet, what stands behind
the length that its IP header says is cut off, as receivers of frames do. The engine does that (``_engine/datagram.c``).
"""

from __future__ import annotations

from typing import Any, Self

from anybpf.runtime import AttachPoint
from anybpf.runtime.engine import ffi, lib
from anybpf.runtime.events import Event, layout_of

__all__ = ("DatagramPoint",)


class DatagramPoint:
    """An attach point of XDP programs, Linux's or Windows', as the engine's loops over IP packets want it.

    It has the buffer of one event, so one thread uses it at a time. A context manager.
    """

    def __init__(self, point: AttachPoint) -> None:
        kind = point.program_type
        self._point = point  # whose chain the structure refers to
        self._event = Event(layout_of(kind), lib.AB_DATAGRAM_FRAME)
        self.native: Any = ffi.new(
            "ab_datagram_point *",
            {
                "chain": point.handle,
                "event": self._event.handle,
                "passes": sum(1 << verdict for verdict in kind.passes),
                "interface_offset": kind.context.field_named("ingress_ifindex").offset,
            },
        )

    def close(self) -> None:
        """Free the buffer. Further calls do nothing."""
        self._event.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
