"""What a map of each kind may look like: sizes, entries and flags.

Sizes are bytes, flags the bits of Linux's ``map_flags``. The Linux rules are those of Linux 6.18's map creation;
tests/test_platforms_kernel.py asks a live kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from anybpf.platforms.map_model import PAGE, MapKind, MapRules

__all__ = ("LINUX_MAP_RULES", "WINDOWS_MAP_RULES")

_NO_PREALLOC: Final = 1 << 0
_NO_COMMON_LRU: Final = 1 << 1
_NUMA_NODE: Final = 1 << 2
_RDONLY: Final = 1 << 3
_WRONLY: Final = 1 << 4
_ZERO_SEED: Final = 1 << 6
_RDONLY_PROG: Final = 1 << 7
_WRONLY_PROG: Final = 1 << 8
_CLONE: Final = 1 << 9
_MMAPABLE: Final = 1 << 10
_PRESERVE_ELEMS: Final = 1 << 11
_INNER_MAP: Final = 1 << 12
_SEGV_ON_FAULT: Final = 1 << 17
_NO_USER_CONV: Final = 1 << 18


_ACCESS: Final = _RDONLY | _WRONLY | _RDONLY_PROG | _WRONLY_PROG
_HASH_FLAGS: Final = _NO_PREALLOC | _NUMA_NODE | _ACCESS | _ZERO_SEED
_ARRAY_FLAGS: Final = _NUMA_NODE | _ACCESS
_DESCRIPTOR_FLAGS: Final = _NUMA_NODE | _RDONLY | _WRONLY
_WORD: Final = (4, 4)
_NONE: Final = (0, 0)
_DESCRIPTORS: Final = MapRules(_WORD, _WORD, flags=_DESCRIPTOR_FLAGS)
_STORAGE: Final = MapRules(
    _WORD, max_entries=_NONE, flags=_NO_PREALLOC | _CLONE, needs_flags=_NO_PREALLOC, value_size=(1, 0xFFFF)
)
_QUEUE: Final = MapRules(_NONE, flags=_NUMA_NODE | _ACCESS)
_RING: Final = MapRules(_NONE, _NONE, ring=True, sizes_given=True, max_entries=(PAGE, 1 << 31), flags=_NUMA_NODE)
_PERCPU_VALUE: Final = (1, 32768)

LINUX_MAP_RULES: Final[Mapping[MapKind, MapRules]] = {
    MapKind.HASH: MapRules(flags=_HASH_FLAGS),
    MapKind.PERCPU_HASH: MapRules(value_size=_PERCPU_VALUE, flags=_HASH_FLAGS),
    MapKind.LRU_HASH: MapRules(flags=_HASH_FLAGS & ~_NO_PREALLOC | _NO_COMMON_LRU),
    MapKind.LRU_PERCPU_HASH: MapRules(value_size=_PERCPU_VALUE, flags=_HASH_FLAGS & ~_NO_PREALLOC | _NO_COMMON_LRU),
    MapKind.HASH_OF_MAPS: MapRules(value_size=_WORD, flags=_HASH_FLAGS, nested=True),
    MapKind.ARRAY: MapRules(_WORD, flags=_ARRAY_FLAGS | _MMAPABLE | _INNER_MAP),
    MapKind.PERCPU_ARRAY: MapRules(_WORD, _PERCPU_VALUE, flags=_ARRAY_FLAGS & ~_NUMA_NODE),
    MapKind.ARRAY_OF_MAPS: MapRules(_WORD, _WORD, flags=_DESCRIPTOR_FLAGS, nested=True),
    MapKind.PROG_ARRAY: _DESCRIPTORS,
    MapKind.PERF_EVENT_ARRAY: MapRules(
        _WORD, _WORD, sizes_given=True, max_entries=(0, 0xFFFFFFFF), flags=_DESCRIPTOR_FLAGS | _PRESERVE_ELEMS
    ),
    MapKind.CGROUP_ARRAY: _DESCRIPTORS,
    MapKind.STACK_TRACE: MapRules(_WORD, (8, 127 * 8), 8, flags=_NUMA_NODE | _RDONLY | _WRONLY),
    MapKind.LPM_TRIE: MapRules((5, 260), flags=_NO_PREALLOC | _NUMA_NODE | _ACCESS, needs_flags=_NO_PREALLOC),
    MapKind.DEVMAP: MapRules(_WORD, (4, 8), 4, flags=_DESCRIPTOR_FLAGS),
    MapKind.DEVMAP_HASH: MapRules(_WORD, (4, 8), 4, flags=_DESCRIPTOR_FLAGS),
    MapKind.CPUMAP: MapRules(_WORD, (4, 8), 4, flags=_NUMA_NODE),
    MapKind.XSKMAP: _DESCRIPTORS,
    MapKind.SOCKMAP: MapRules(_WORD, (4, 8), 4, flags=_DESCRIPTOR_FLAGS),
    MapKind.SOCKHASH: MapRules((1, 512), (4, 8), 4, flags=_DESCRIPTOR_FLAGS),
    MapKind.REUSEPORT_SOCKARRAY: MapRules(_WORD, (4, 8), 4, flags=_NUMA_NODE | _ACCESS),
    MapKind.QUEUE: _QUEUE,
    MapKind.STACK: _QUEUE,
    MapKind.BLOOM_FILTER: MapRules(_NONE, flags=_NUMA_NODE | _ACCESS | _ZERO_SEED),
    MapKind.RINGBUF: _RING,
    MapKind.USER_RINGBUF: _RING,
    MapKind.CGROUP_STORAGE: MapRules((8, 16), (1, 0xFFFF), max_entries=_NONE, flags=_NUMA_NODE | _ACCESS),
    MapKind.PERCPU_CGROUP_STORAGE: MapRules((8, 16), _PERCPU_VALUE, max_entries=_NONE, flags=_NUMA_NODE | _ACCESS),
    MapKind.SK_STORAGE: _STORAGE,
    MapKind.INODE_STORAGE: _STORAGE,
    MapKind.TASK_STORAGE: _STORAGE,
    MapKind.CGRP_STORAGE: _STORAGE,
    MapKind.STRUCT_OPS: MapRules(_WORD, max_entries=(1, 1), flags=_NUMA_NODE | _RDONLY | _WRONLY),
    MapKind.ARENA: MapRules(_NONE, _NONE, flags=_MMAPABLE | _SEGV_ON_FAULT | _NO_USER_CONV, needs_flags=_MMAPABLE),
}

_ANY_KEY: Final = MapRules((1, 0xFFFF))
_INDEXED: Final = MapRules(_WORD)

#: eBPF for Windows knows no flags, and takes keys of any size.
WINDOWS_MAP_RULES: Final[Mapping[MapKind, MapRules]] = {
    MapKind.HASH: _ANY_KEY,
    MapKind.PERCPU_HASH: _ANY_KEY,
    MapKind.LRU_HASH: _ANY_KEY,
    MapKind.LRU_PERCPU_HASH: _ANY_KEY,
    MapKind.LPM_TRIE: MapRules((5, 260)),
    MapKind.ARRAY: _INDEXED,
    MapKind.PERCPU_ARRAY: _INDEXED,
    MapKind.PROG_ARRAY: MapRules(_WORD, _WORD),
    MapKind.ARRAY_OF_MAPS: MapRules(_WORD, _WORD, nested=True),
    MapKind.HASH_OF_MAPS: MapRules((1, 0xFFFF), _WORD, nested=True),
    MapKind.QUEUE: MapRules(_NONE),
    MapKind.STACK: MapRules(_NONE),
    MapKind.RINGBUF: MapRules(_NONE, _NONE, ring=True, sizes_given=True, max_entries=(PAGE, 1 << 31)),
    MapKind.PERF_EVENT_ARRAY: MapRules((0, 4), (0, 4), sizes_given=True),
    MapKind.XSKMAP: MapRules(_WORD, _WORD),
}
