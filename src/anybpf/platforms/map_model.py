"""Kinds of maps, and the form of the rules for declaring them."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from anybpf.spec import MapSpec

__all__ = ("PAGE", "MapKind", "MapRules")

#: Bytes of a memory page, in whole numbers of which ring buffers are made.
PAGE: Final = 4096


class MapKind(enum.Enum):
    """What a map is, independent of any platform's numbering. The value is the name that people see."""

    HASH = "hash"
    ARRAY = "array"
    PROG_ARRAY = "prog_array"
    PERF_EVENT_ARRAY = "perf_event_array"
    PERCPU_HASH = "percpu_hash"
    PERCPU_ARRAY = "percpu_array"
    STACK_TRACE = "stack_trace"
    CGROUP_ARRAY = "cgroup_array"
    LRU_HASH = "lru_hash"
    LRU_PERCPU_HASH = "lru_percpu_hash"
    LPM_TRIE = "lpm_trie"
    ARRAY_OF_MAPS = "array_of_maps"
    HASH_OF_MAPS = "hash_of_maps"
    DEVMAP = "devmap"
    SOCKMAP = "sockmap"
    CPUMAP = "cpumap"
    XSKMAP = "xskmap"
    SOCKHASH = "sockhash"
    CGROUP_STORAGE = "cgroup_storage"
    REUSEPORT_SOCKARRAY = "reuseport_sockarray"
    PERCPU_CGROUP_STORAGE = "percpu_cgroup_storage"
    QUEUE = "queue"
    STACK = "stack"
    SK_STORAGE = "sk_storage"
    DEVMAP_HASH = "devmap_hash"
    STRUCT_OPS = "struct_ops"
    RINGBUF = "ringbuf"
    INODE_STORAGE = "inode_storage"
    TASK_STORAGE = "task_storage"
    BLOOM_FILTER = "bloom_filter"
    USER_RINGBUF = "user_ringbuf"
    CGRP_STORAGE = "cgrp_storage"
    ARENA = "arena"


#: Bits of ``map_flags`` that some kind must have.
_FLAG_NAMES: Final = {1 << 0: "BPF_F_NO_PREALLOC", 1 << 10: "BPF_F_MMAPABLE"}


@dataclass(frozen=True, slots=True)
class MapRules:
    """Rules for the maps of one kind. Bounds are inclusive.

    :param key_size: bytes. :param value_size: bytes, in multiples of ``value_multiple``.
    :param max_entries: how many entries, or bytes for ring buffers.
    :param ring: entries are bytes: a power of two, and whole pages.
    :param flags: bits that may be set. :param needs_flags: bits that must be.
    :param sizes_given: loaders set both sizes themselves; what an object declares names the records' type only.
    :param nested: its values are maps, of the declared inner kind.
    """

    key_size: tuple[int, int] = (1, 1 << 20)
    value_size: tuple[int, int] = (1, (1 << 31) - 1)
    value_multiple: int = 1
    max_entries: tuple[int, int] = (1, 0xFFFFFFFF)
    ring: bool = False
    flags: int = 0
    needs_flags: int = 0
    nested: bool = False
    sizes_given: bool = False

    def problem(self, spec: MapSpec) -> str | None:
        """Return what is wrong with ``spec`` and what would be right, in one sentence; None when nothing is."""
        return next(self._problems(spec), None)

    def _problems(self, spec: MapSpec) -> Iterator[str]:
        if not self.sizes_given:
            yield from _outside("key_size", spec.key_size, self.key_size, "bytes")
            yield from _outside("value_size", spec.value_size, self.value_size, "bytes")
        if not self.sizes_given and spec.value_size % self.value_multiple:
            yield f"value_size is {spec.value_size} bytes; it must be a multiple of {self.value_multiple}"
        yield from _outside("max_entries", spec.max_entries, self.max_entries, "bytes" if self.ring else "entries")
        if self.ring and (spec.max_entries % PAGE or spec.max_entries & (spec.max_entries - 1)):
            yield f"max_entries is {spec.max_entries} bytes; it must be a power of two and a multiple of {PAGE}"
        if spec.flags & ~self.flags:
            yield f"map_flags has bits {spec.flags & ~self.flags:#x} that this kind of map does not know"
        if self.needs_flags & ~spec.flags:
            yield f"map_flags must have the bits {self.needs_flags:#x} ({_FLAG_NAMES[self.needs_flags]})"
        if self.nested and spec.inner is None:
            yield "it holds maps, but declares no inner map: add __array(values, struct …)"


def _outside(name: str, value: int, bounds: tuple[int, int], unit: str) -> Iterator[str]:
    low, high = bounds
    if low <= value <= high:
        return
    if low == high:
        yield f"{name} is {value}; it must be {low} {unit}"
    else:
        yield f"{name} is {value}; it must be {low} to {high} {unit}"
