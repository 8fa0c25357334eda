"""Maps declared without BTF: a struct of 32-bit numbers in section ``maps``, or in a section ``maps/name`` of its own.

Every loader had its own struct; the size tells which one it is. All begin with type, key size, value size and entries:

======== ==================================================== =======================================================
bytes    the rest                                             used by
======== ==================================================== =======================================================
16–24    flags, inner map's index                             early libbpf, tests
28       flags, inner map's index, NUMA node                  Linux samples (``struct bpf_load_map_def``)
28       flags, id, pinning                                   iproute2 before 2017 (``struct bpf_elf_map``)
32       inner map's index, pinning, id, inner map's id       eBPF for Windows
36       flags, id, pinning, inner map's id, inner index      iproute2, Cilium
longer   flags, inner map's index, NUMA node, ignored         libbpf before 1.0 allowed any tail
======== ==================================================== =======================================================
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from itertools import zip_longest

from anybpf.btf import Btf
from anybpf.btf import types as t
from anybpf.elf.file import STT_FUNC, STT_SECTION, ElfFile, Section, Symbol
from anybpf.elf.functions import FunctionTable
from anybpf.elf.maps import PROG_ARRAY, PlacedMap
from anybpf.spec import MapSpec

_NUMA_NODE = 1 << 2  # the flag BPF_F_NUMA_NODE
_LINUX_MAPS_OF_MAPS = (12, 13)
_WINDOWS_MAPS_OF_MAPS = (6, 7)
_TAIL_CALL_SECTION = re.compile(r"(\d+)/(\d+|0x[0-9a-fA-F]+)")


@dataclass(frozen=True, slots=True)
class _Definition:
    """A map, and which other map it holds: by position among the legacy maps, or by the id that the loader gave."""

    spec: MapSpec
    section: int
    offset: int
    size: int
    id: int = 0
    inner_index: int | None = None
    inner_id: int = 0


def legacy_maps(file: ElfFile, btf: Btf, functions: FunctionTable) -> list[PlacedMap]:
    """Return the maps of the sections ``maps`` and ``maps/…``, in the order of their places.

    :raises ObjectError: a definition is too short, or names an inner map that does not exist.
    """
    sections = {s.index: s for s in file.sections if (s.name == "maps" or s.name.startswith("maps/")) and s.data}
    symbols: dict[int, dict[int, Symbol]] = {index: {} for index in sections}
    for symbol in file.symbols:
        if symbol.section in sections and symbol.type not in (STT_SECTION, STT_FUNC) and symbol.name:
            symbols[symbol.section].setdefault(symbol.value, symbol)
    definitions = []
    for index, section in sections.items():
        ordered = sorted(symbols[index].values(), key=lambda symbol: symbol.value)
        for symbol, following in zip_longest(ordered, ordered[1:]):
            end = following.value if following else section.size
            size = symbol.size or end - symbol.value
            if symbol.value + size > section.size or size < 16:
                raise file.error(f"map {symbol.name!r} is declared by {size} bytes; at least 16 are needed", section)
            definitions.append(_read(file, section, symbol, size, btf))
    by_id = {d.id: d for d in reversed(definitions) if d.id}
    tail_calls = _tail_calls(functions)
    placed = []
    for d in definitions:
        spec = d.spec
        inner = by_id.get(d.inner_id) if d.inner_id else None
        if inner is None and d.inner_index is not None:
            if d.inner_index >= len(definitions):
                section = sections[d.section]
                raise file.error(f"map {spec.name!r} holds map number {d.inner_index}, which does not exist", section)
            inner = definitions[d.inner_index]
        if inner is not None:
            spec = replace(spec, inner=inner.spec, value_size=spec.value_size or 4)
        if spec.type == PROG_ARRAY and d.id:
            spec = replace(spec, values=tuple(tail_calls.get(d.id, ())))
        placed.append(PlacedMap(spec, d.section, d.offset, d.size))
    return placed


def _read(file: ElfFile, section: Section, symbol: Symbol, size: int, btf: Btf) -> _Definition:
    words = struct.unpack_from(f"<{min(size, 36) // 4}I", section.data, symbol.value)
    words += (0,) * (9 - len(words))
    kind, key_size, value_size, max_entries, flags, *rest = words
    inner_index: int | None = None
    map_id = pinning = inner_id = 0
    if size == 36:
        map_id, pinning, inner_id, _ = rest
    elif size == 32:
        inner_index, flags = flags if kind in _WINDOWS_MAPS_OF_MAPS else None, 0
        pinning, map_id, inner_id, _ = rest
    elif kind in _LINUX_MAPS_OF_MAPS:
        inner_index = rest[0]
    elif size == 28 and not flags & _NUMA_NODE:
        map_id, pinning = rest[0], rest[1]
    key_type, value_type = _annotated(btf, symbol.name)
    spec = MapSpec(
        symbol.name, kind, key_size, value_size, max_entries, flags, pinning=min(pinning, 1),
        key_type=key_type, value_type=value_type, section=section.name,
    )  # fmt: skip
    return _Definition(spec, section.index, symbol.value, size, map_id, inner_index, inner_id)


def _annotated(btf: Btf, name: str) -> tuple[int, int]:
    """Return the BTF types of key and value that BPF_ANNOTATE_KV_PAIR leaves in ``struct ____btf_map_<name>``."""
    found = btf.type(btf.find(f"____btf_map_{name}", t.Struct) or 0)
    if not isinstance(found, t.Struct):
        return 0, 0
    key, value = found.member("key"), found.member("value")
    return (key.type, value.type) if key and value else (0, 0)


def _tail_calls(functions: FunctionTable) -> dict[int, list[tuple[int, str]]]:
    """Return (index, program) by map id for the sections ``<map id>/<index>``, by which iproute2 fills prog arrays."""
    found: dict[int, list[tuple[int, str]]] = {}
    for function in functions.all:
        match = _TAIL_CALL_SECTION.fullmatch(function.section.name)
        if match and function.start == 0:
            found.setdefault(int(match[1]), []).append((int(match[2], 0), function.name))
    return found
