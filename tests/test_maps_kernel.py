"""The engine's maps against the running kernel's: the same operations give the same results and error numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anybpf.runtime._engine import ffi, lib
from kernelmaps import TYPES, KernelMap, possible_cpus, require_kernel_maps

pytestmark = pytest.mark.linux_only

_FLAGS = (0, 0, 0, 1, 2, 3, 4, 5, 8, 1 << 33)  # ANY most often; F_LOCK without a lock; numbers that mean nothing
_INTERFACE = 1  # the loopback interface, which every network namespace has


@pytest.fixture(scope="module")
def engine() -> Any:
    """An engine with as many cpu slots as the kernel has processors, so that per-CPU values are of one size."""
    require_kernel_maps()
    return ffi.gc(lib.ab_engine_create(possible_cpus()), lib.ab_engine_destroy)


class EngineMap:
    """An engine's map with the methods of :class:`kernelmaps.KernelMap`."""

    def __init__(self, engine: Any, kind: str, key_size: int, value_size: int, entries: int, flags: int = 0) -> None:
        shape = ffi.new("ab_map_shape *")
        shape.kind = lib.ab_map_kind_named(kind.encode())
        shape.key_size, shape.value_size, shape.max_entries = key_size, value_size, entries
        shape.flags, shape.lock_offset = flags, -1
        error = ffi.new("int *")
        self.map = lib.ab_map_create(engine, shape, error)
        self.error = error[0]
        self.keyless = not key_size
        if not self.error:
            self.key = ffi.new("char[]", max(key_size, 1))
            self.value = ffi.new("char[]", max(lib.ab_map_user_value_size(self.map), 1))

    def close(self) -> None:
        """Give the map back."""
        lib.ab_map_destroy(self.map)

    def _with_value(self, result: int) -> tuple[int, bytes]:
        return result, bytes(ffi.buffer(self.value))

    def lookup(self, key: bytes | None, value: bytes | None = None, flags: int = 0) -> tuple[int, bytes]:
        """Look up; what has no keys is peeked at."""
        if not self.keyless:
            return self._with_value(lib.ab_map_read(self.map, key, self.value, flags))
        if value is not None:
            ffi.memmove(self.value, value, len(value))
        return self._with_value(lib.ab_map_peek(self.map, self.value))

    def update(self, key: bytes | None, value: bytes, flags: int = 0) -> int:
        """Update; what has no keys is pushed to."""
        return int(
            lib.ab_map_push(self.map, value, flags) if self.keyless else lib.ab_map_write(self.map, key, value, flags)
        )

    def delete(self, key: bytes) -> int:
        """Delete."""
        return int(lib.ab_map_remove(self.map, key))

    def take(self, key: bytes | None, flags: int = 0) -> tuple[int, bytes]:
        """Look up and delete; what has no keys is popped from."""
        if self.keyless:
            return self._with_value(lib.ab_map_pop(self.map, self.value))
        return self._with_value(lib.ab_map_take(self.map, key, self.value, flags))

    def next_key(self, key: bytes | None) -> tuple[int, bytes]:
        """The key after ``key``."""
        result = lib.ab_map_next_key(self.map, ffi.NULL if key is None else key, self.key)
        return result, bytes(ffi.buffer(self.key))


def small(size: int, top: int) -> st.SearchStrategy[bytes]:
    """Keys of ``size`` bytes with few different numbers, so that operations meet the same entry."""
    return st.integers(0, top).map(lambda number: number.to_bytes(size, "little"))


def prefixes(size: int) -> st.SearchStrategy[bytes]:
    """LPM keys of ``size`` data bytes: a prefix length, sometimes too long, and an address near others."""
    address = st.lists(st.sampled_from([0, 1, 128, 192, 255]), min_size=size, max_size=size).map(bytes)
    return st.tuples(st.integers(0, size * 8 + 2), address).map(lambda key: struct.pack("=I", key[0]) + key[1])


#: kind, value size, entries, flags, keys (None: no keys), whether keys come in the kernel's own order.
MAPS: dict[str, tuple[str, int, int, int, st.SearchStrategy[bytes] | None, bool]] = {
    "hash": ("hash", 8, 5, 0, small(4, 8), False),
    "hash without preallocation": ("hash", 3, 5, 1, small(8, 8), False),
    "hash with long keys": ("hash", 20, 5, 0, small(16, 8), False),
    "hash with odd keys": ("hash", 1, 5, 0, small(13, 8), False),
    "array": ("array", 7, 5, 0, small(4, 8), True),
    "array of one": ("array", 8, 1, 0x400, small(4, 2), True),
    "per-CPU hash": ("percpu_hash", 8, 5, 0, small(4, 8), False),
    "per-CPU hash without preallocation": ("percpu_hash", 13, 5, 1, small(5, 8), False),
    "per-CPU array": ("percpu_array", 6, 5, 0, small(4, 8), True),
    "LRU hash below its size": ("lru_hash", 8, 1000, 0, small(4, 8), False),
    "per-CPU LRU hash below its size": ("lru_percpu_hash", 8, 1000, 0, small(4, 8), False),
    "LPM trie of bytes": ("lpm_trie", 4, 8, 1, prefixes(1), True),
    "LPM trie of IPv4 addresses": ("lpm_trie", 4, 12, 1, prefixes(4), True),
    "LPM trie of IPv6 addresses": ("lpm_trie", 9, 500, 1, prefixes(16), True),
    "queue": ("queue", 4, 3, 0, None, True),
    "stack": ("stack", 4, 3, 0, None, True),
    "cpumap": ("cpumap", 4, 2, 0, small(4, 3), True),
    "devmap": ("devmap", 4, 5, 0, small(4, 8), True),
    "devmap hash": ("devmap_hash", 4, 5, 0, small(4, 8), False),
}


def values(kind: str, size: int) -> st.SearchStrategy[bytes]:
    """Values that the kernel may accept: any bytes, interface indexes, queue sizes."""
    if kind.startswith("devmap"):
        return st.sampled_from([0, _INTERFACE]).map(lambda index: struct.pack("=I", index))
    if kind == "cpumap":
        return st.sampled_from([0, 1, 64, 16384, 16385]).map(lambda queue: struct.pack("=I", queue))
    return st.binary(min_size=size, max_size=size)


def comparable(kind: str, value_size: int, result: Any) -> Any:
    """What must agree: the error number, and on success the value without the padding of per-CPU kinds."""
    if isinstance(result, int):
        return result
    number, data = result
    if number:
        return number
    stride = (value_size + 7) // 8 * 8
    if "percpu" in kind:
        return [data[at : at + value_size] for at in range(0, len(data), stride)]
    return data


def walk(opened: KernelMap | EngineMap) -> list[bytes]:
    """All keys, by asking for one after the other."""
    keys: list[bytes] = []
    result, key = opened.next_key(None)
    while result == 0 and len(keys) < 1000:
        keys.append(key)
        result, key = opened.next_key(key)
    return keys


@pytest.mark.parametrize("name", MAPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_operations_agree(engine: Any, name: str, data: st.DataObject) -> None:
    """Any sequence of lookups, updates, deletes, takes and walks gives the kernel's results."""
    kind, value_size, entries, flags, keys, ordered = MAPS[name]
    drawn = data.draw(st.just(b"") if keys is None else keys)
    theirs = KernelMap(kind, len(drawn), value_size, entries, flags)
    ours = EngineMap(engine, kind, len(drawn), value_size, entries, flags)
    assert theirs.fd >= 0
    try:
        operations: dict[str, Callable[[KernelMap | EngineMap, bytes | None, bytes, int], Any]] = {
            "lookup": lambda m, key, value, flags: m.lookup(key, flags=0 if key is None else flags),
            "update": lambda m, key, value, flags: m.update(key, value, flags),
            "update again": lambda m, key, value, flags: m.update(key, value, 0),
            "take": lambda m, key, value, flags: m.take(key, 0 if key is None else flags),
        }
        if keys is not None:
            operations["delete"] = lambda m, key, value, flags: m.delete(key or b"")
            operations["walk"] = lambda m, key, value, flags: walk(m) if ordered else sorted(walk(m))
            if ordered:
                operations["next key"] = lambda m, key, value, flags: m.next_key(key)
        size = len(EngineMap._with_value(ours, 0)[1])
        steps = st.tuples(
            st.sampled_from(sorted(operations)),
            st.none() if keys is None else keys,
            values(kind, size),
            st.sampled_from(_FLAGS),
        )
        for operation, key, value, update_flags in data.draw(st.lists(steps, max_size=40)):
            expected, got = (operations[operation](m, key, value, update_flags) for m in (theirs, ours))
            if operation != "walk":
                expected, got = comparable(kind, value_size, expected), comparable(kind, value_size, got)
            assert got == expected, (operation, key, value, update_flags)
    finally:
        theirs.close()
        ours.close()


#: Kinds whose declarations are checked alike; maps of maps need an inner map's descriptor in the kernel.
DECLARED = sorted(set(TYPES) - {"array_of_maps", "hash_of_maps"})


@pytest.mark.parametrize("kind", DECLARED)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key_size=st.sampled_from([0, 1, 4, 4, 4, 5, 8, 12, 260, 261, 512, 513]),
    value_size=st.sampled_from([0, 1, 4, 4, 8, 8, 9]),
    entries=st.sampled_from([0, 1, 2, 4096, 5000]),
    flags=st.sampled_from([0, 0, 1, 2, 8, 16, 24, 0x80, 0x100, 0x180, 0x400, 0x800, 0x1000, 0x8000]),
)
def test_declarations_agree(engine: Any, kind: str, key_size: int, value_size: int, entries: int, flags: int) -> None:
    """A map that the kernel refuses to make is refused here, with the same error number, and no other."""
    if kind == "cpumap" and entries > 2:
        return  # the kernel's bound is its own number of processors
    theirs = KernelMap(kind, key_size, value_size, entries, flags)
    theirs.close()
    ours = EngineMap(engine, kind, key_size, value_size, entries, flags)
    if not ours.error:
        ours.close()
    assert ours.error == min(theirs.fd, 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(added=st.sets(st.binary(min_size=4, max_size=4), max_size=20), flags=st.sampled_from([0, 1, 2, 4]))
def test_bloom_filters_agree_on_what_they_hold(engine: Any, added: set[bytes], flags: int) -> None:
    """What was added is found in both; other results of both are error numbers that agree."""
    theirs, ours = (KernelMap("bloom_filter", 0, 4, 20), EngineMap(engine, "bloom_filter", 0, 4, 20))
    try:
        for value in added:
            assert ours.update(None, value, flags) == theirs.update(None, value, flags)
            if not flags:
                assert ours.lookup(None, value)[0] == theirs.lookup(None, value)[0] == 0
        assert ours.take(None)[0] == theirs.take(None)[0]
    finally:
        theirs.close()
        ours.close()
