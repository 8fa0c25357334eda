"""What an object file says, as frozen data: a pure function of the file, the same on every operating system.

Positions inside a program are *slots*: 8-byte units counted from the program's first instruction. A 64-bit immediate
load (``lddw``) takes two slots, as in RFC 9669 §4 and in every tool's listing.

References in program text use the ISA's own by-index forms (RFC 9669 §5.4), so that the bytes are complete in
themselves: ``lddw src=5, imm=m`` is a reference to ``ObjectSpec.maps[m]``; ``src=6`` to its first value plus
``next_imm`` bytes; ``src=4`` is the function at slot ``s + 1 + imm`` when the ``lddw`` starts at ``s`` (as Linux does,
see :func:`anybpf.isa.jump_target`); ``call src=1`` a linked subprogram; ``call src=2, imm=e`` calls the kernel function
``ObjectSpec.externs[e]``; ``lddw src=3, imm=e`` is the address of the kernel variable ``externs[e]``
(weak externs that nothing defines are already the constant 0).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = (
    "CoreRelocation",
    "ExternSpec",
    "FunctionSpec",
    "KconfigSpec",
    "LineSpec",
    "MapSpec",
    "ObjectSpec",
    "ProgramSpec",
    "SourceLine",
)


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of the programmer's source: file, 1-based line and column, and the text of the line."""

    file: str
    line: int
    column: int
    text: str


@dataclass(frozen=True, slots=True)
class LineSpec:
    """From ``slot`` on (up to the next entry), instructions come from ``source`` (BTF.ext line information)."""

    slot: int
    source: SourceLine


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function inside a program's text: the entry function, or a subprogram linked in.

    :param slot: where it starts.
    :param btf_type: id of its FUNC in the object's BTF, 0 when there is none.
    :param is_global: linkage is global, so it may be verified once, by its BTF prototype.
    """

    name: str
    slot: int
    btf_type: int = 0
    is_global: bool = False


@dataclass(frozen=True, slots=True)
class CoreRelocation:
    """A CO-RE relocation record (bpf_core_relo): what to look up in a target's types, and which slot to patch.

    :param kind: number of the relocation kind (enum bpf_core_relo_kind: 0 field byte offset … 12 type matches).
    :param type_id: root type in the object's own BTF.
    :param access: the access string, for example ``"0:1:2"``.
    """

    slot: int
    kind: int
    type_id: int
    access: str


@dataclass(frozen=True, slots=True)
class ExternSpec:
    """A function or variable that the object names and does not define: an extern of ``.ksyms``, or undefined outright.

    Whoever runs the program must supply it. Old objects call helpers by name (``bpf_map_lookup_elem``) in this way.

    :param btf_type: its type in the object's BTF (FUNC or VAR), 0 when unknown.
    """

    name: str
    is_function: bool
    weak: bool = False
    btf_type: int = 0


@dataclass(frozen=True, slots=True)
class KconfigSpec:
    """A variable of ``.kconfig``: where its value goes in that map.

    :param offset: byte offset in the map's value. :param size: bytes.
    """

    name: str
    offset: int
    size: int
    weak: bool = False
    btf_type: int = 0


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map as the object declares it.

    :param name: the symbol's name; for data sections the section's name (``.rodata``, ``.bss.counters``).
    :param type: the number in the file; which kind it is depends on the platform.
    :param key_size: bytes; :param value_size: bytes; :param max_entries: entries, or bytes for ring buffers.
    :param flags: ``map_flags`` as declared.
    :param pinning: 0 none, 1 by name (libbpf's LIBBPF_PIN_BY_NAME).
    :param key_type: BTF id of the key's type, 0 when unknown; :param value_type: the same of the value.
    :param inner: for maps of maps, the declared inner map.
    :param values: initial members of prog arrays and maps of maps: (index or key, name of the program or map).
    :param contents: initial bytes of a data section's single value, zero from their end to ``value_size``; None for
        ordinary maps.
    :param is_data: a global-data map (one array element that holds a whole section).
    :param read_only: programs may not write it (``.rodata``, ``.kconfig``).
    :param section: the section that declares it.
    :param kconfig: variables to fill in, for ``.kconfig`` only.
    """

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    pinning: int = 0
    key_type: int = 0
    value_type: int = 0
    inner: MapSpec | None = None
    values: tuple[tuple[int, str], ...] = ()
    contents: bytes | None = None
    is_data: bool = False
    read_only: bool = False
    section: str = ""
    map_extra: int = 0
    kconfig: tuple[KconfigSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program with every subprogram that it calls linked in behind it.

    :param code: instructions, 8 bytes a slot, little endian.
    :param functions: the entry function first (slot 0), then the subprograms by slot.
    :param lines: source lines by slot, ascending; empty without BTF.ext.
    :param core: CO-RE relocations not yet applied.
    :param context_type: BTF name of what the entry function's first parameter points to: of the typedef when C used one
        (``xdp_md_t``), else of the struct (``xdp_md``); "" when it points to neither.
    :param section: the ELF section.
    :param is_subprogram: the function is also called by other programs of the file, or sits in ``.text`` beside entry
        programs.
    """

    name: str
    section: str
    code: bytes = field(repr=False)
    functions: tuple[FunctionSpec, ...] = ()
    lines: tuple[LineSpec, ...] = field(default=(), repr=False)
    core: tuple[CoreRelocation, ...] = field(default=(), repr=False)
    context_type: str = ""
    is_subprogram: bool = False

    @property
    def slots(self) -> int:
        """Length of the text in 8-byte slots."""
        return len(self.code) // 8

    def source_at(self, slot: int) -> SourceLine | None:
        """Return the source line of the instruction at ``slot``, or None without line information."""
        found = bisect_right(self.lines, slot, key=lambda entry: entry.slot) - 1
        return self.lines[found].source if found >= 0 else None

    def function_at(self, slot: int) -> FunctionSpec | None:
        """Return the function whose text holds ``slot``, or None when the object names no functions."""
        found = bisect_right(self.functions, slot, key=lambda entry: entry.slot) - 1
        return self.functions[found] if found >= 0 else None


@dataclass(frozen=True, slots=True)
class ObjectSpec:
    """Everything that an object file holds.

    :param name: the file's name, for messages.
    :param btf: the raw .BTF section (decode with :func:`anybpf.btf.load`), or None.
    :param version: the ``version`` section's number (KERNEL_VERSION), 0 when absent.
    """

    name: str
    programs: tuple[ProgramSpec, ...] = ()
    maps: tuple[MapSpec, ...] = ()
    externs: tuple[ExternSpec, ...] = ()
    btf: bytes | None = field(default=None, repr=False)
    license: str = ""
    version: int = 0

    def __iter__(self) -> Iterator[ProgramSpec]:
        return iter(self.programs)

    @property
    def entries(self) -> tuple[ProgramSpec, ...]:
        """The programs that run by themselves: all but the subprograms; the latter when there is nothing else."""
        return tuple(program for program in self.programs if not program.is_subprogram) or self.programs

    def __getitem__(self, name: str) -> ProgramSpec:
        """Return the program called ``name``; KeyError lists the names there are."""
        for program in self.programs:
            if program.name == name:
                return program
        known = ", ".join(program.name for program in self.programs) or "none"
        raise KeyError(f"{self.name} has no program {name!r}; it has {known}")

    def map_index(self, name: str) -> int:
        """Return the index in :attr:`maps` of the map called ``name``; KeyError lists the names there are."""
        for index, declared in enumerate(self.maps):
            if declared.name == name:
                return index
        raise KeyError(f"{self.name} has no map {name!r}; it has {', '.join(m.name for m in self.maps) or 'none'}")
