"""A map as the engine holds it: keys and values are bytes, each call is one crossing, errors are exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anybpf.errors import MapError
from anybpf.platforms import MapKind
from anybpf.runtime._engine import ffi, lib

__all__ = ("ANY", "EXIST", "F_LOCK", "NOEXIST", "NativeMap", "split_records")

#: Linux's update flags: create or replace; create only; replace only; under the value's spin lock.
ANY, NOEXIST, EXIST, F_LOCK = lib.AB_ANY, lib.AB_NOEXIST, lib.AB_EXIST, lib.AB_F_LOCK

_EPERM, _ENOENT, _E2BIG, _EBADF, _EEXIST, _EINVAL, _ENOSPC, _EOPNOTSUPP, _ENOTSUPP = 1, 2, 7, 9, 17, 22, 28, 95, 524

#: What each kind demands of a declaration, for the message when it is refused.
_DEMANDS = {
    MapKind.HASH: "a key, a value and at least 1 entry",
    MapKind.PERCPU_HASH: "a key, a value and at least 1 entry",
    MapKind.LRU_HASH: "a key, a value, at least 1 entry and no BPF_F_NO_PREALLOC",
    MapKind.LRU_PERCPU_HASH: "a key, a value, at least 1 entry and no BPF_F_NO_PREALLOC",
    MapKind.ARRAY: "a key of 4 bytes, a value and at least 1 entry",
    MapKind.PERCPU_ARRAY: "a key of 4 bytes, a value and at least 1 entry",
    MapKind.LPM_TRIE: "a key of 5 to 260 bytes (the 32-bit prefix length and the data), a value and BPF_F_NO_PREALLOC",
    MapKind.PROG_ARRAY: "a key and a value of 4 bytes",
    MapKind.ARRAY_OF_MAPS: "a key and a value of 4 bytes",
    MapKind.HASH_OF_MAPS: "a key and a value of 4 bytes",
    MapKind.QUEUE: "no key, and a value",
    MapKind.STACK: "no key, and a value",
    MapKind.BLOOM_FILTER: "no key, a value, and at most 15 hash functions in map_extra",
    MapKind.RINGBUF: "no key, no value, and max_entries a power of two of at least 4096 (bytes)",
    MapKind.PERF_EVENT_ARRAY: "a key and a value of 4 bytes",
    MapKind.DEVMAP: "a key of 4 bytes and a value of 4 or 8",
    MapKind.DEVMAP_HASH: "a key of 4 bytes and a value of 4 or 8",
    MapKind.CPUMAP: "a key of 4 bytes and a value of 4 or 8",
    MapKind.XSKMAP: "a key and a value of 4 bytes",
}

#: Why an operation is refused, by errno.
_REASONS = {
    _EPERM: "the map may not be accessed that way: it is read-only, write-only or frozen",
    _E2BIG: "the map is full, or the index lies beyond max_entries",
    _EEXIST: "the key exists already",
    _ENOENT: "there is no such entry",
    _EINVAL: "this kind of map does not allow it, or the key or the flags are not valid",
    _ENOSPC: "the map is full",
    _EOPNOTSUPP: "this kind of map does not allow it",
    _ENOTSUPP: "this kind of map does not allow it",
}


#: Bytes of keys and values that a walk over all entries reads at a time.
_BATCH_BYTES = 1 << 22
_RECORD_HEADER = 8  # bytes before each record in a ring


class _Owner:
    """Owns an ``ab_map`` and keeps the engine as long. Unlike ``ffi.gc``, a finalizer is safe in reference cycles."""

    def __init__(self, engine: Any, handle: Any) -> None:
        self._engine = engine
        self._handle = handle

    def __del__(self, _destroy: Any = lib.ab_map_destroy) -> None:
        _destroy(self._handle)

    def keep(self, address: Any) -> None:
        """Do nothing: as the destructor of an address, this method keeps the map alive as long as the address."""


class NativeMap:
    """Owns an ``ab_map``; destroys it, when no running program can hold a pointer into it, after it is no longer used.

    :param engine: the ``ab_engine *`` of a context. :param lock_offset: of the ``bpf_spin_lock`` in a value, or -1.
    :param extra: what ``map_extra`` means for the kind.
    :raises MapError: the engine cannot make such a map; the message says what the kind demands.
    """

    def __init__(
        self,
        engine: Any,
        name: str,
        kind: MapKind,
        key_size: int,
        value_size: int,
        max_entries: int,
        flags: int = 0,
        *,
        lock_offset: int = -1,
        extra: int = 0,
    ) -> None:
        self.name = name
        self.kind = kind
        self.key_size = key_size
        number = lib.ab_map_kind_named(kind.value.encode())
        if number < 0:
            raise MapError(_EOPNOTSUPP, f"map {name!r}: the engine has no maps of kind {kind.value}")
        shape = ffi.new("ab_map_shape *", (number, key_size, value_size, max_entries, flags, lock_offset, extra))
        error = ffi.new("int *")
        handle = lib.ab_map_create(engine, shape, error)
        if handle == ffi.NULL:
            declared = f"a key of {key_size} bytes, a value of {value_size}, {max_entries} entries, flags {flags:#x}"
            raise MapError(-error[0], f"map {name!r} ({kind.value}) needs {_DEMANDS[kind]}; declared are {declared}")
        self._keep: Any = _Owner(engine, handle).keep
        self._handle: Any = ffi.gc(handle, self._keep)
        self.id = int(lib.ab_map_id(handle))
        self.user_value_size = int(lib.ab_map_user_value_size(handle))

    @property
    def handle(self) -> Any:
        """The ``ab_map *``; who holds it (a program, a view of the memory) keeps the map in being, closed or not.

        :raises MapError: EBADF, the map is closed.
        """
        if self._handle is None:
            raise MapError(_EBADF, f"map {self.name!r} is closed")
        return self._handle

    def close(self) -> None:
        """Give the map up. It ends when nobody holds its :attr:`handle` any more."""
        self._handle = self._keep = None

    def _refused(self, result: int, operation: str) -> MapError:
        reason = _REASONS.get(-result, "no memory is left" if result == -12 else "the engine refuses it")
        return MapError(-result, f"{operation} map {self.name!r} ({self.kind.value}): {reason}")

    def read(self, key: bytes, flags: int = 0) -> bytes | None:
        """Return the value, or None when there is no such key."""
        value = ffi.new("char[]", self.user_value_size)
        result = lib.ab_map_read(self.handle, key, value, flags)
        if result == -_ENOENT:
            return None
        if result < 0:
            raise self._refused(result, "reading")
        return bytes(ffi.buffer(value))

    def write(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Store a value."""
        result = lib.ab_map_write(self.handle, key, value, flags)
        if result < 0:
            raise self._refused(result, "writing")

    def remove(self, key: bytes) -> bool:
        """Delete an entry; False when there was none."""
        result = lib.ab_map_remove(self.handle, key)
        if result < 0 and result != -_ENOENT:
            raise self._refused(result, "deleting from")
        return bool(result == 0)

    def take(self, key: bytes, flags: int = 0) -> bytes | None:
        """Return the value and delete the entry, in one step; None when there is no such key."""
        value = ffi.new("char[]", self.user_value_size)
        result = lib.ab_map_take(self.handle, key, value, flags)
        if result == -_ENOENT:
            return None
        if result < 0:
            raise self._refused(result, "taking from")
        return bytes(ffi.buffer(value))

    def next_key(self, key: bytes | None) -> bytes | None:
        """Return the key after ``key`` (None, or a key that is not there: the first), None after the last."""
        following = ffi.new("char[]", self.key_size)
        result = lib.ab_map_next_key(self.handle, ffi.NULL if key is None else key, following)
        if result == -_ENOENT:
            return None
        if result < 0:
            raise self._refused(result, "walking over")
        return bytes(ffi.buffer(following))

    def push(self, value: bytes, flags: int = 0) -> None:
        """Add a value to a queue, stack or bloom filter."""
        result = lib.ab_map_push(self.handle, value, flags)
        if result < 0:
            raise self._refused(result, "pushing to")

    def pop(self) -> bytes | None:
        """Take the next value out of a queue or stack; None when it is empty."""
        value = ffi.new("char[]", self.user_value_size)
        result = lib.ab_map_pop(self.handle, value)
        if result < 0 and result != -_ENOENT:
            raise self._refused(result, "popping from")
        return bytes(ffi.buffer(value)) if result == 0 else None

    def peek(self, value: bytes | None = None) -> bytes | None:
        """Return the next value of a queue or stack, or ``value`` if a bloom filter may hold it; else None."""
        buffer = ffi.new("char[]", self.user_value_size if value is None else value)
        result = lib.ab_map_peek(self.handle, buffer)
        if result < 0 and result != -_ENOENT:
            raise self._refused(result, "peeking into")
        return bytes(ffi.buffer(buffer, self.user_value_size)) if result == 0 else None

    def count(self) -> int:
        """Entries there are now."""
        result = int(lib.ab_map_count(self.handle))
        if result < 0:
            raise self._refused(result, "counting")
        return result

    def entries(self, *, take: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Yield all entries, read in large batches; ``take`` deletes what it reads, which hash kinds alone allow."""
        position, done = ffi.new("uint64_t *"), ffi.new("uint32_t *")
        entry_size = max(self.key_size + self.user_value_size, 1)
        capacity = min(self.count() + 16, max(_BATCH_BYTES // entry_size, 1))
        result = 0
        while result != -_ENOENT:
            keys = ffi.new("char[]", capacity * self.key_size)
            values = ffi.new("char[]", capacity * self.user_value_size)
            result = lib.ab_map_read_batch(self.handle, position, keys, values, capacity, take, done)
            if result == -_ENOSPC:  # entries that must be read together do not fit
                capacity *= 2
            elif result < 0 and result != -_ENOENT:
                raise self._refused(result, "reading")
            key_bytes = bytes(ffi.buffer(keys, done[0] * self.key_size))
            value_bytes = bytes(ffi.buffer(values, done[0] * self.user_value_size))
            yield from zip(_cut(key_bytes, self.key_size), _cut(value_bytes, self.user_value_size), strict=True)

    def read_batch(self, keys: list[bytes], flags: int = 0) -> list[bytes]:
        """Return the values of keys that all exist; KeyError has the first that does not."""
        values = ffi.new("char[]", max(len(keys), 1) * self.user_value_size)
        done = ffi.new("uint32_t *")
        result = lib.ab_map_lookup_batch(self.handle, b"".join(keys), values, len(keys), flags, done)
        if result == -_ENOENT:
            raise KeyError(keys[done[0]])
        if result < 0:
            raise self._refused(result, "reading")
        return list(_cut(bytes(ffi.buffer(values, len(keys) * self.user_value_size)), self.user_value_size))

    def write_batch(self, keys: list[bytes], values: list[bytes], flags: int = 0) -> None:
        """Store values; what comes before the first that is refused stays stored."""
        done = ffi.new("uint32_t *")
        result = lib.ab_map_write_batch(self.handle, b"".join(keys), b"".join(values), len(keys), flags, done)
        if result < 0:
            raise self._refused(result, f"after {done[0]} of {len(keys)} entries: writing")

    def remove_batch(self, keys: list[bytes]) -> None:
        """Delete entries; KeyError has the first that does not exist, and those before it are deleted."""
        done = ffi.new("uint32_t *")
        result = lib.ab_map_remove_batch(self.handle, b"".join(keys), len(keys), done)
        if result == -_ENOENT:
            raise KeyError(keys[done[0]])
        if result < 0:
            raise self._refused(result, f"after {done[0]} of {len(keys)} entries: deleting from")

    def clear(self) -> None:
        """Delete every entry."""
        result = lib.ab_map_clear(self.handle)
        if result < 0:
            raise self._refused(result, "clearing")

    def freeze(self) -> None:
        """Refuse writes from the user's side from now on, as Linux's BPF_MAP_FREEZE; programs are not affected."""
        lib.ab_map_freeze(self.handle)

    def memory(self) -> memoryview | None:
        """The values of an array as one piece of memory that programs see too; None for other kinds."""
        size = ffi.new("uint64_t *")
        address = lib.ab_map_memory(self.handle, size)
        return None if address == ffi.NULL else memoryview(ffi.buffer(ffi.gc(address, self._keep), size[0]))

    @property
    def rings(self) -> int:
        """How many rings of records the map has: 1 for a ring buffer, one a cpu slot for a perf event array, else 0."""
        return int(lib.ab_map_rings(self.handle))

    def lost(self, ring: int) -> int:
        """Records of a ring that found no room, since the map was made."""
        return int(lib.ab_map_ring_lost(self.handle, ring))

    def unread(self, ring: int) -> int:
        """Bytes in a ring that wait to be read, records' headers included."""
        return int(lib.ab_map_ring_bytes(self.handle, ring))

    def drain(self, ring: int) -> list[bytes]:
        """Take the records that wait in a ring, the oldest first."""
        waiting = self.unread(ring)
        limit = waiting // _RECORD_HEADER
        buffer, ends = ffi.new("char[]", waiting), ffi.new("uint32_t[]", limit)
        count = lib.ab_map_ring_drain(self.handle, ring, buffer, waiting, ends, limit)
        return split_records(buffer, ends, max(count, 0))  # negative: others took those, and the next is longer


def split_records(buffer: Any, ends: Any, count: int) -> list[bytes]:
    """Return records that stand one right behind the other in ``buffer``, given where each ends."""
    stops = ffi.unpack(ends, count)
    data = ffi.buffer(buffer, stops[-1] if stops else 0)[:]
    return [data[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))
