"""The context and other structures with fields: which may be accessed how, and what a load of one gives."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from anybpf.platforms import Context, ContextField, FieldKind
from anybpf.verifier.failure import Rejection
from anybpf.verifier.scalar import of_size
from anybpf.verifier.subject import Subject
from anybpf.verifier.values import Pointer, Region, Value

__all__ = ("load_field", "note_memory", "store_field")

_PACKET: Final = Pointer(Region.PACKET)
_PACKET_END: Final = Pointer(Region.PACKET_END)
_PACKET_META: Final = Pointer(Region.PACKET_META)


def load_field(subject: Subject, slot: int, pointer: Pointer, offset: int, size: int) -> Value:
    """Load a field of the context or of a socket."""
    context = subject.program_type.context if pointer.region is Region.CONTEXT else pointer.structure
    assert context is not None
    name = context.name or "the context"
    if pointer.variable is not None:
        raise Rejection("context-access", what=f"{name} is accessed at an offset that is not constant")
    place = pointer.offset + offset
    field = _require_field(context, name, place, size, False)
    matters = field.kind is not FieldKind.SCALAR
    if matters and (size != field.element or (place - field.offset) % size):
        raise Rejection("context-access", what=f"field {field.name} of {name} can only be read whole")
    _note_context(subject, slot, place, matters, pointer)
    return _field_value(subject, field, size)


def _require_field(context: Context, name: str, place: int, size: int, write: bool) -> ContextField:
    """The field that an access reaches; rejects what the context does not allow."""
    allowed = context.access(place, size, write=write)
    if allowed is not None:
        return allowed
    field = context.field_at(place, size)
    if field is None:
        raise Rejection("context-access", what=f"{name} has no field that holds {size} bytes at offset {place}")
    if write and not field.writable:
        raise Rejection("read-only", what=f"field {field.name} of {name}")
    verb = "written" if write else "read"
    how = f" in {size} bytes at offset {place}" if write or field.readable else ""
    raise Rejection(
        "context-access", what=f"field {field.name} of {name} ({field.element} bytes each) cannot be {verb}{how}"
    )


def note_memory(subject: Subject, slot: int) -> None:
    """Note that the instruction at ``slot`` accesses memory other than the context on some path."""
    if subject.loaded.setdefault(slot, -1) >= 0:
        _mixed(subject, slot)


def _note_context(subject: Subject, slot: int, place: int, matters: bool, pointer: Pointer) -> None:
    if pointer.region is not Region.CONTEXT:
        place = -1
    before = subject.loaded.setdefault(slot, place)
    if matters:
        subject.lowered.add(slot)
    if before != place:
        _mixed(subject, slot)


def _mixed(subject: Subject, slot: int) -> None:
    """Two paths load from different places at one instruction; only loads that become something else must not."""
    if slot in subject.lowered:
        context = subject.program_type.context
        field = context.field_at(max(subject.loaded[slot], 0), 1)
        raise Rejection("mixed-access", field=field.name if field is not None else "")
    subject.mixed.add(slot)


def _field_value(subject: Subject, field: ContextField, size: int) -> Value:
    kind = field.kind
    if kind is FieldKind.PACKET:
        return _PACKET
    if kind is FieldKind.PACKET_END:
        return _PACKET_END
    if kind is FieldKind.PACKET_META:
        return _PACKET_META
    if kind in (FieldKind.BUFFER, FieldKind.BUFFER_END):
        return _buffer(field)
    if kind in (FieldKind.SOCKET, FieldKind.SOCKET_OR_NULL, FieldKind.FLOW_KEYS):
        return Pointer(
            Region.SOCKET,
            structure=subject.platform.structures.get(field.structure),
            identity=subject.new_identity(),
            nullable=kind is FieldKind.SOCKET_OR_NULL,
        )
    return of_size(size)


@lru_cache(maxsize=256)
def _buffer(field: ContextField) -> Pointer:
    """A pointer to a buffer or its end: always the same object, so that comparing is cheap."""
    region = Region.PACKET if field.kind is FieldKind.BUFFER else Region.PACKET_END
    return Pointer(region, buffer=field.buffer, writable=field.buffer_writable)


def store_field(subject: Subject, pointer: Pointer, offset: int, size: int) -> None:
    """Check a store to the context."""
    context = subject.program_type.context
    name = context.name or "the context"
    if pointer.variable is not None:
        raise Rejection("context-access", what=f"{name} is accessed at an offset that is not constant")
    _require_field(context, name, pointer.offset + offset, size, True)
