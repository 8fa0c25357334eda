"""Events: what a program is given when it runs, laid out as the engine's ``struct ab_event``.

Reads: a program type's context. Gives: :class:`EventLayout`, which says what kind of event that is and makes the
initial bytes of its context; and :class:`Event`, the buffer itself.

Defaults are those of Linux's ``BPF_PROG_TEST_RUN`` on the loopback interface (interface index 1): a ``__sk_buff`` has
its length, protocol and packet type from the packet, everything else is zero. The data of an event whose context has
buffers are those buffers, one behind the other; the context says how long each is. As in Linux, programs on
``__sk_buff``
other than those of traffic control see packets from the network header on: the first 14 bytes, the Ethernet header,
are taken away before the run and are zeros in what comes back.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from anybpf.errors import EventError
from anybpf.platforms import Context, ContextField, FieldKind, ProgramType
from anybpf.runtime._engine import ffi, lib

__all__ = ("ETHERNET_HEADER", "Event", "EventLayout", "layout_of")

ETHERNET_HEADER = 14  # bytes
_LOOPBACK = 1  # interface index
_EINVAL = 22
_BOUNDS = struct.Struct("=QQ")  # of a buffer, in the context

#: Kinds of events by the context's BTF name; all others are plain.
_KINDS = {"xdp_md": lib.AB_EVENT_XDP, "__sk_buff": lib.AB_EVENT_SKB, "xdp_md_t": lib.AB_EVENT_XDP_WINDOWS}
#: Fields that are not zero unless the user says otherwise, by the context's BTF name.
_DEFAULTS = {
    "xdp_md": {"ingress_ifindex": _LOOPBACK},
    "__sk_buff": {"ifindex": _LOOPBACK},
    "xdp_md_t": {"ingress_ifindex": _LOOPBACK},
}
#: Programs on ``__sk_buff`` that see the link-layer header, wherever they run.
_LINK_LAYER = frozenset({"sched_cls", "sched_act"})
_SOCKET_FILTER = "socket_filter"
_BUFFER = (FieldKind.BUFFER, FieldKind.BUFFER_END)
_PACKET = (FieldKind.PACKET, FieldKind.PACKET_END, FieldKind.PACKET_META)
#: What a program may follow as a pointer without a check: never the user's to set.
_POINTERS = (FieldKind.SOCKET_OR_NULL, FieldKind.FLOW_KEYS, FieldKind.BUFFER)


@dataclass(frozen=True, slots=True)
class EventLayout:
    """How events of a program type are laid out.

    :param kind: ``lib.AB_EVENT_*``: which helpers understand the context.
    :param context: the context's fields.
    :param link_layer: programs see packets from the link-layer header on.
    """

    kind: int
    context: Context
    link_layer: bool = True

    @property
    def buffer_ends(self) -> tuple[ContextField, ...]:
        """The fields that say, in a context that is given, how many bytes of the data each buffer has, in order.

        :raises EventError: the context does not begin with its buffers' pointers, in pairs of 8 bytes.
        """
        pointers = [f for f in self.context.fields if f.kind in _BUFFER]
        starts, ends = pointers[::2], pointers[1::2]
        placed = [(f.kind, f.buffer, f.offset, f.size) for f in pointers]
        paired = [
            (kind, start.buffer, 16 * number + 8 * position, 8)
            for number, start in enumerate(starts)
            for position, kind in enumerate(_BUFFER)
        ]
        if placed != paired:
            raise EventError(f"{self.context.name} does not begin with the pointers of its buffers, in pairs")
        return tuple(ends)

    @property
    def packet_fields(self) -> tuple[ContextField, ...]:
        """The fields that hold packet pointers."""
        return tuple(f for f in self.context.fields if f.kind in _PACKET)

    def context_bytes(self, given: bytes | None = None) -> bytes:
        """Return the context's initial bytes: ``given``, filled up with zeros, and with defaults where it has zeros.

        :returns: nothing where none is given and the context has buffers: then all data are the first one's.
        :raises EventError: ``given`` is longer than the context, or sets a field that is a pointer.
        """
        if given is None and self.buffer_ends:
            return b""
        given = given or b""
        if len(given) > self.context.size:
            raise EventError(
                f"a context of {len(given)} bytes was given, but {self.context.name or 'this context'} "
                f"has {self.context.size}; give at most that many"
            )
        merged = bytearray(given.ljust(self.context.size, b"\0"))
        for field in self.context.fields:
            place = slice(field.offset, field.offset + field.size)
            if field.kind in _POINTERS and any(merged[place]):
                raise EventError(f"{self.context.name}.{field.name} is a pointer; leave it zero in a given context")
            if field.kind in _PACKET:
                merged[place] = bytes(field.size)
            elif not any(merged[place]):
                default = _DEFAULTS.get(self.context.name, {}).get(field.name, 0)
                merged[place] = default.to_bytes(field.size, sys.byteorder)
        return bytes(merged)

    def metadata_size(self, given: bytes | None, length: int) -> int:
        """Return how many of the first ``length`` bytes given are metadata: what a given ``xdp_md`` has in ``data``.

        :raises EventError: the packet fields of ``given`` do not describe ``length`` bytes of metadata and packet.
        """
        values = {f.kind: _number(given or b"", f) for f in self.packet_fields}
        start, end = values.get(FieldKind.PACKET, 0), values.get(FieldKind.PACKET_END, 0)
        if values.get(FieldKind.PACKET_META) or end not in (0, length) or start > length or (start and not end):
            raise EventError(
                f"the given context's data, data_end and data_meta are {start}, {end} and "
                f"{values.get(FieldKind.PACKET_META, 0)}; they must be the size of the metadata, {length} and 0, "
                "or all zero"
            )
        return start


def _number(context: bytes, field: ContextField) -> int:
    return int.from_bytes(context[field.offset : field.offset + field.size], sys.byteorder)


def layout_of(program_type: ProgramType, *, packet_socket: bool = False) -> EventLayout:
    """Return the layout of events for ``program_type``.

    :param packet_socket: socket filters see what a packet socket delivers, link-layer header and all, and not what
        Linux's test run shows them.
    """
    context = program_type.context
    kind = _KINDS.get(context.name, lib.AB_EVENT_PLAIN)
    link_layer = (
        kind != lib.AB_EVENT_SKB
        or program_type.name in _LINK_LAYER
        or (packet_socket and program_type.name == _SOCKET_FILTER)
    )
    return EventLayout(kind, context, link_layer)


class Event:
    """A buffer for one event at a time: head room, packet, tail room, and the context. Close it, or use it in ``with``.

    :param capacity: bytes of the largest packet expected; larger ones make the buffer grow.
    """

    def __init__(self, layout: EventLayout, capacity: int = 0) -> None:
        self.layout = layout
        self._event = lib.ab_event_create(layout.kind, layout.context.size, capacity)
        if self._event == ffi.NULL:
            raise EventError(f"no memory for an event of {capacity} bytes with a context of {layout.context.size}")
        if not layout.link_layer:
            lib.ab_event_hide_link_layer(self._event)
        lib.ab_event_set_buffers(self._event, len(layout.buffer_ends))

    @property
    def handle(self) -> Any:
        """The ``ab_event *`` for the engine's functions."""
        return self._event

    def load(self, data: bytes, context: bytes | None = None) -> None:
        """Put a packet and a context into the buffer.

        :param data: the packet, before it (when ``context`` says so in ``data``) its metadata.
        :param context: the given context, see :meth:`EventLayout.context_bytes`.
        :raises EventError: the context does not fit the layout or the data; the data are larger than 16 MiB, or shorter
            than the link-layer header that is to be hidden.
        """
        if not self.layout.link_layer and len(data) < ETHERNET_HEADER:
            raise EventError(
                f"a packet of {len(data)} bytes has no Ethernet header, behind which programs of this type see it; "
                f"give at least {ETHERNET_HEADER} bytes"
            )
        metadata = self.layout.metadata_size(context, len(data))
        error = lib.ab_event_load(self._event, data, len(data), self.layout.context_bytes(context) or ffi.NULL)
        if error == -_EINVAL:
            raise EventError(f"the buffers of the given context are longer together than the {len(data)} bytes of data")
        if error:
            raise EventError(f"a packet of {len(data)} bytes is too large for an event")
        if metadata and lib.ab_event_set_metadata(self._event, metadata):
            raise EventError(f"metadata of {metadata} bytes: must be a multiple of 4, at most 252")

    def data(self) -> bytes:
        """Return the packet as it stands, its metadata before it, zeros for a link-layer header that was hidden."""
        shown = lib.ab_event_data(self._event)
        size = lib.ab_event_length(self._event)
        metadata = lib.ab_event_metadata_size(self._event)
        packet = bytes(ffi.buffer(shown - metadata, metadata + size))
        return packet if self.layout.link_layer else bytes(ETHERNET_HEADER) + packet

    def context(self) -> bytes:
        """Return the context as it stands; packet fields are offsets in :meth:`data`, ``data_meta`` is 0.

        Buffers are as in a context that is given: 0 and their length.
        """
        result = bytearray(ffi.buffer(lib.ab_event_context(self._event), self.layout.context.size))
        start = lib.ab_event_metadata_size(self._event)
        places = {
            FieldKind.PACKET: start,
            FieldKind.PACKET_END: start + lib.ab_event_length(self._event),
            FieldKind.PACKET_META: 0,
        }
        for field in self.layout.packet_fields:
            result[field.offset : field.offset + field.size] = places[field.kind].to_bytes(field.size, sys.byteorder)
        for field in self.layout.buffer_ends:
            start, end = _BOUNDS.unpack_from(result, field.offset - 8)
            _BOUNDS.pack_into(result, field.offset - 8, 0, end - start)
        return bytes(result)

    def close(self) -> None:
        """Free the buffer."""
        lib.ab_event_destroy(self._event)
        self._event = ffi.NULL

    def __enter__(self) -> Event:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
