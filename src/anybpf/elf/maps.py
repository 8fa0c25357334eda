"""The maps of an object and where each stands in the file, so that references to a place become references to a map.

Three ways of declaring a map have a module each: BTF (:mod:`~anybpf.elf.maps_btf`), a struct in a ``maps`` section
(:mod:`~anybpf.elf.maps_legacy`), and plain global variables (:mod:`~anybpf.elf.maps_data`).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

from anybpf.elf.file import ElfFile, Section
from anybpf.spec import MapSpec

#: Map type numbers that mean the same in every object file that has them (Linux's; the array also on Windows).
ARRAY = 2
PROG_ARRAY = 3


@dataclass(frozen=True, slots=True)
class PlacedMap:
    """A map, and the bytes of the file's section that declare it.

    :param values_offset: for initial members (``values``): where in those bytes they begin, one 8-byte field each.
    """

    spec: MapSpec
    section: int
    offset: int
    size: int
    values_offset: int | None = None


class MapTable:
    """The maps of an object by index, findable by place. :param placed: in the order in which programs number them."""

    def __init__(self, placed: list[PlacedMap]) -> None:
        self.placed = placed
        self._exact = {(p.section, p.offset): index for index, p in enumerate(placed) if not p.spec.is_data}
        self._data = {p.section: index for index, p in enumerate(placed) if p.spec.is_data}

    @property
    def specs(self) -> tuple[MapSpec, ...]:
        """The maps by index."""
        return tuple(p.spec for p in self.placed)

    def at(self, section: int, offset: int) -> int | None:
        """Return the index of the map declared at exactly this place, or None."""
        return self._exact.get((section, offset))

    def data(self, section: int) -> int | None:
        """Return the index of the map that a data section becomes, or None."""
        return self._data.get(section)

    def with_values(self, members: dict[int, list[tuple[int, str]]]) -> MapTable:
        """Return the table with initial members added, by map index."""
        placed = list(self.placed)
        for index, values in members.items():
            spec = placed[index].spec
            placed[index] = replace(placed[index], spec=replace(spec, values=spec.values + tuple(values)))
        return MapTable(placed)


def initial_members(
    file: ElfFile, maps: MapTable, names: dict[tuple[int, int], str]
) -> dict[int, list[tuple[int, str]]]:
    """Return (slot, name of the program or map) by map index, as the relocations of map declarations tell.

    :param names: the name of whatever starts at (section, offset): functions and maps.
    :raises ObjectError: a relocation of a map declaration refers to something else.
    """
    by_section: dict[int, list[int]] = {}
    for index, placed in enumerate(maps.placed):
        if placed.values_offset is not None:
            by_section.setdefault(placed.section, []).append(index)
    members: dict[int, list[tuple[int, str]]] = {}
    for section_index, indices in by_section.items():
        section: Section = file.sections[section_index]
        indices.sort(key=lambda index: maps.placed[index].offset)
        starts = [maps.placed[index].offset for index in indices]
        for relocation in file.relocations(section):
            at = bisect_right(starts, relocation.offset) - 1
            index = indices[at]
            first = maps.placed[index].offset + (maps.placed[index].values_offset or 0)
            slot, rest = divmod(relocation.offset - first, 8)
            symbol = file.symbols[relocation.symbol]
            name = names.get((symbol.section, symbol.value + file.addend(section, relocation, 8)))
            if at < 0 or slot < 0 or rest or relocation.offset >= maps.placed[index].offset + maps.placed[index].size:
                raise file.error(f"the relocation at byte {relocation.offset} belongs to no `values` of a map", section)
            if name is None:
                raise file.error(
                    f"value {slot} of map {maps.placed[index].spec.name!r} is {symbol.name!r}, which is no program and "
                    "no map of this file",
                    section,
                )
            members.setdefault(index, []).append((slot, name))
    return members
