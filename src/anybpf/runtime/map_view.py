"""A map as a Python mapping: what :class:`anybpf.runtime.maps.Map` and its ``raw`` have in common.

Both show the same entries; they differ in how keys and values look, which two codecs decide.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Protocol, overload

from anybpf.errors import MapError
from anybpf.runtime.native_map import ANY, NativeMap

__all__ = ("EntryCodec", "MapView")

_EINVAL = 22
_MISSING: Any = object()


class EntryCodec(Protocol):
    """How entries look: encode raises ValueError when what it gets cannot be stored."""

    def encode_key(self, key: Any) -> bytes:
        """Return a key's bytes."""

    def decode_key(self, data: bytes) -> Any:
        """Return a key from its bytes."""

    def encode_value(self, value: Any) -> bytes:
        """Return a value's bytes (of per-CPU kinds: all cpus')."""

    def decode_value(self, data: bytes) -> Any:
        """Return a value from its bytes."""


class MapView(MutableMapping[Any, Any]):
    """A map's entries as a mapping. Every call is one crossing into the engine.

    Iterating shows entries as they were when the batch that holds them was read; entries that programs add or delete
    meanwhile may or may not appear. ``clear``, ``items``, ``update`` with a mapping, and the batch methods cost one
    crossing for many entries.

    :raises KeyError: (subscripts, ``del``, ``pop``) there is no such entry.
    :raises MapError: the map refuses; ``code`` is the Linux errno. EINVAL also for keys and values that do not fit.
    """

    def __init__(self, native: NativeMap, codec: EntryCodec) -> None:
        self._native = native
        self._codec = codec

    @property
    def native(self) -> NativeMap:
        """The map in the engine."""
        return self._native

    # Entries by key.

    def lookup(self, key: Any, flags: int = 0) -> Any:
        """Return the value of ``key``; ``flags`` may be ``F_LOCK``, to read while no program holds the value's lock."""
        value = self._native.read(self._key(key), flags)
        if value is None:
            raise KeyError(key)
        return self._codec.decode_value(value)

    def __getitem__(self, key: Any) -> Any:
        return self.lookup(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._native.write(self._key(key), self._value(value), ANY)

    def __delitem__(self, key: Any) -> None:
        if not self._native.remove(self._key(key)):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return self._native.read(self._key(key)) is not None

    def __iter__(self) -> Iterator[Any]:
        return (self._codec.decode_key(key) for key, _ in self._native.entries())

    def __len__(self) -> int:
        return self._native.count()

    def items(self) -> ItemsView[Any, Any]:
        """The entries, read in large batches."""
        return _Items(self)

    @overload  # type: ignore[override]  # as dict.update, and besides as the operation of maps with its flags
    def update(self, entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]], /) -> None: ...
    @overload
    def update(self, key: Any, value: Any, flags: int = ANY) -> None: ...
    def update(self, key: Any, value: Any = _MISSING, flags: int = ANY) -> None:
        """Store a value under ``flags`` (``ANY``, ``NOEXIST``, ``EXIST``, ``F_LOCK``), or all entries of a mapping."""
        if value is _MISSING:
            self.update_batch(key)
        else:
            self._native.write(self._key(key), self._value(value), flags)

    def take(self, key: Any) -> Any:
        """Return the value and delete the entry, in one step that no program can come between (hash kinds)."""
        value = self._native.take(self._key(key))
        if value is None:
            raise KeyError(key)
        return self._codec.decode_value(value)

    def next_key(self, key: Any = None) -> Any:
        """Return the key that follows ``key`` in the map's own order, the first for None; None after the last."""
        following = self._native.next_key(None if key is None else self._key(key))
        return None if following is None else self._codec.decode_key(following)

    def clear(self) -> None:
        """Delete every entry."""
        self._native.clear()

    # Many entries in one crossing.

    def lookup_batch(self, keys: Iterable[Any], flags: int = 0) -> list[Any]:
        """Return the values of ``keys``; KeyError when one does not exist."""
        encoded = [self._key(key) for key in keys]
        try:
            values = self._native.read_batch(encoded, flags)
        except KeyError as missing:
            raise KeyError(self._codec.decode_key(missing.args[0])) from None
        return [self._codec.decode_value(value) for value in values]

    def update_batch(self, entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]], flags: int = ANY) -> None:
        """Store entries; when one is refused, those before it stay stored."""
        pairs = list(entries.items() if isinstance(entries, Mapping) else entries)
        self._native.write_batch(
            [self._key(key) for key, _ in pairs], [self._value(value) for _, value in pairs], flags
        )

    def delete_batch(self, keys: Iterable[Any]) -> None:
        """Delete entries; KeyError at the first that does not exist, and those before it are deleted."""
        encoded = [self._key(key) for key in keys]
        try:
            self._native.remove_batch(encoded)
        except KeyError as missing:
            raise KeyError(self._codec.decode_key(missing.args[0])) from None

    # Queues, stacks, bloom filters.

    def push(self, value: Any, flags: int = ANY) -> None:
        """Add a value to a queue, stack or bloom filter; ``EXIST`` makes a full queue or stack drop its oldest."""
        self._native.push(self._value(value), flags)

    def pop(self, key: Any = _MISSING, default: Any = _MISSING) -> Any:
        """Queue or stack, without a key: take the next value; KeyError when it is empty. Else as ``dict.pop``."""
        if key is _MISSING:
            value = self._native.pop()
            if value is None:
                raise KeyError(f"map {self._native.name!r} is empty")
            return self._codec.decode_value(value)
        try:
            return self.take(key)
        except KeyError:
            if default is _MISSING:
                raise
            return default

    def peek(self) -> Any:
        """Return the next value of a queue or stack and leave it there; KeyError when it is empty."""
        value = self._native.peek()
        if value is None:
            raise KeyError(f"map {self._native.name!r} is empty")
        return self._codec.decode_value(value)

    def may_contain(self, value: Any) -> bool:
        """Whether a bloom filter may hold ``value``; False is certain."""
        return self._native.peek(self._value(value)) is not None

    def _key(self, key: Any) -> bytes:
        return self._encode(self._codec.encode_key, key, "key")

    def _value(self, value: Any) -> bytes:
        return self._encode(self._codec.encode_value, value, "value")

    def _encode(self, encode: Callable[[Any], bytes], what: Any, role: str) -> bytes:
        try:
            return encode(what)
        except ValueError as error:
            raise MapError(_EINVAL, f"map {self._native.name!r}: the {role} {error}") from None

    def _entries(self) -> Iterator[tuple[Any, Any]]:
        codec = self._codec
        return ((codec.decode_key(key), codec.decode_value(value)) for key, value in self._native.entries())


class _Items(ItemsView[Any, Any]):
    """Entries without a crossing for each."""

    _mapping: MapView

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._entries()
