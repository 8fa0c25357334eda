"""Which functions an object holds: its function symbols, or whole sections where there are none."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from anybpf.elf.file import (
    SHN_LORESERVE,
    STB_LOCAL,
    STT_FUNC,
    STT_NOTYPE,
    STV_HIDDEN,
    ElfFile,
    Section,
    Symbol,
)


@dataclass(frozen=True, slots=True)
class Function:
    """A run of instructions that is linked as one piece: bytes ``start`` to ``end`` of ``section``."""

    name: str
    section: Section
    start: int
    end: int
    is_global: bool


class FunctionTable:
    """The functions of an object, in the file's order, findable by place.

    Names are unique: where two functions share one, the second becomes ``name@section`` (and ``name@section#2`` …).
    A section without function symbols (as clang before version 6 wrote) is one function named like the section.
    """

    def __init__(self, file: ElfFile) -> None:
        self._file = file
        symbols: dict[int, list[Symbol]] = {}
        labels: dict[tuple[int, int], str] = {}
        for symbol in file.symbols:
            if symbol.type == STT_FUNC and 0 < symbol.section < SHN_LORESERVE:
                symbols.setdefault(symbol.section, []).append(symbol)
            elif symbol.type == STT_NOTYPE and symbol.binding != STB_LOCAL and symbol.name:
                labels.setdefault((symbol.section, symbol.value), symbol.name)
        self._labels = labels
        taken: dict[str, int] = {}
        self._by_section: dict[int, list[Function]] = {}
        for section in file.sections:
            if section.is_code:
                if section.size % 8:
                    raise file.error(f"{section.size} bytes of code are no whole number of instructions", section)
                self._by_section[section.index] = self._functions_of(section, symbols.get(section.index, []), taken)
        self._starts = {index: [f.start for f in found] for index, found in self._by_section.items()}

    def _functions_of(self, section: Section, symbols: list[Symbol], taken: dict[str, int]) -> list[Function]:
        if not symbols:
            return [Function(_unique(section.name, section, taken), section, 0, section.size, True)]
        symbols.sort(key=lambda symbol: symbol.value)
        functions = []
        for index, symbol in enumerate(symbols):
            following = next((s.value for s in symbols[index + 1 : index + 2] if s.value > symbol.value), section.size)
            end = symbol.value + symbol.size if symbol.size else following
            if symbol.value % 8 or end % 8 or not symbol.value < end <= section.size:
                raise self._file.error(f"function {symbol.name!r} lies at {symbol.value:#x} to {end:#x}", section)
            name = _unique(symbol.name or section.name, section, taken)
            is_global = symbol.binding != STB_LOCAL and symbol.visibility != STV_HIDDEN
            functions.append(Function(name, section, symbol.value, end, is_global))
        return functions

    @property
    def all(self) -> list[Function]:
        """Every function, section by section."""
        return [function for found in self._by_section.values() for function in found]

    def at(self, section: int, offset: int) -> Function | None:
        """Return the function that holds byte ``offset`` of section ``section``, first of all one that starts there."""
        starts = self._starts.get(section)
        if not starts or offset % 8:
            return None
        found = self._by_section[section][bisect_right(starts, offset) - 1]
        return found if found.start <= offset < found.end else None

    def label(self, section: Section, offset: int) -> str:
        """Return a name for a function that begins in the middle of another one."""
        return self._labels.get((section.index, offset), f"{section.name}+{offset // 8}")


def _unique(name: str, section: Section, taken: dict[str, int]) -> str:
    """Return ``name``, or what it is called because it is taken; ``taken`` counts how often each name was asked for."""
    candidate = name
    if candidate in taken:
        candidate = base = f"{name}@{section.name}"
        while candidate in taken:
            taken[base] += 1
            candidate = f"{base}#{taken[base]}"
    taken[candidate] = 1
    return candidate
