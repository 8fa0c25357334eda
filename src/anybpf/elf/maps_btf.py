"""Maps declared by BTF: variables of section ``.maps`` whose struct type says what the map is.

``__uint(max_entries, 8)`` is a pointer to an array of 8 elements; ``__type(key, T)`` a pointer to T;
``__ulong(map_extra, n)`` an enum with the value n; ``__array(values, …)`` an array of pointers to maps or programs
(Linux tools/lib/bpf/bpf_helpers.h). Initial values are relocations into that last member.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from anybpf.btf import Btf
from anybpf.btf import types as t
from anybpf.elf.file import STT_SECTION, ElfFile, Section
from anybpf.elf.maps import PlacedMap
from anybpf.errors import BtfError, ObjectError
from anybpf.spec import MapSpec

SECTION = ".maps"
_NUMBERS = {
    "type": "type", "max_entries": "max_entries", "map_flags": "flags", "pinning": "pinning", "key_size": "key_size",
    "value_size": "value_size", "map_extra": "map_extra",
}  # fmt: skip
_LIMIT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Definition:
    spec: MapSpec
    values_offset: int | None


def btf_maps(file: ElfFile, btf: Btf) -> list[PlacedMap]:
    """Return the maps of section ``.maps``, in the order of their places.

    :raises ObjectError: a declaration is not understood, or the object has no BTF.
    """
    section = file.section(SECTION)
    if section is None or section.size == 0:
        return []
    declared = btf.type(btf.find(SECTION, t.DataSection) or 0)
    if not isinstance(declared, t.DataSection):
        raise file.error("no type information (BTF) describes these maps; compile the source with clang -g", section)
    symbols = {s.name: s for s in file.symbols if s.section == section.index and s.type != STT_SECTION and s.name}
    placed = []
    for held in declared.variables:
        variable = btf.type(held.type)
        symbol = symbols.get(variable.name)
        if not isinstance(variable, t.Variable) or symbol is None:
            raise file.error(f"map {variable.name!r} has no symbol in this section", section)
        try:
            definition = _definition(btf, variable.name, variable.type, section)
        except ObjectError as error:
            raise file.error(f"map {variable.name!r}: {error.reason}", section) from None
        size = symbol.size or held.size
        placed.append(PlacedMap(definition.spec, section.index, symbol.value, size, definition.values_offset))
    placed.sort(key=lambda p: p.offset)
    return placed


def _definition(btf: Btf, name: str, type_id: int, section: Section, *, is_inner: bool = False) -> _Definition:
    """Return what the struct ``type_id`` declares."""
    struct = btf.resolve(type_id)
    if not isinstance(struct, t.Struct) or struct.is_union:
        raise ObjectError("its type is no struct")
    spec = MapSpec(name, 0, 0, 0, 0, section=section.name)
    values_offset = None
    for member in struct.members:
        if member.name in _NUMBERS:
            spec = _with_number(spec, _NUMBERS[member.name], _number(btf, member))
        elif member.name in ("key", "value"):
            target = btf.resolve(member.type)
            if not isinstance(target, t.Pointer):
                raise ObjectError(f"`{member.name}` is no pointer to a type; write __type({member.name}, …)")
            try:
                size = btf.size_of(target.type)
            except BtfError as error:
                raise ObjectError(f"`{member.name}`: {error.reason}") from None
            spec = _with_number(spec, f"{member.name}_size", size)
            spec = replace(spec, **{f"{member.name}_type": target.type})  # type: ignore[arg-type]
        elif member.name == "values":
            if is_inner:
                raise ObjectError("an inner map cannot hold maps or programs")
            inner = _inner(btf, name, member, section)
            values_offset = member.offset
            if inner is not None:
                spec = replace(spec, inner=inner)
            if spec.key_size == 0 or spec.value_size == 0:
                spec = replace(spec, key_size=spec.key_size or 4, value_size=spec.value_size or 4)
    if not is_inner and spec.type == 0:
        raise ObjectError("it declares no type; write __uint(type, BPF_MAP_TYPE_…)")
    return _Definition(spec, values_offset)


def _with_number(spec: MapSpec, field: str, value: int) -> MapSpec:
    if field.endswith("_size"):
        known = getattr(spec, field)
        if known and known != value:
            raise ObjectError(f"`{field}` is declared twice, as {known} and as {value}")
    if not 0 <= value <= (_LIMIT if field != "map_extra" else (1 << 64) - 1):
        raise ObjectError(f"`{field}` is {value}, beyond 32 bits")
    return replace(spec, **{field: value})  # type: ignore[arg-type]


def _number(btf: Btf, member: t.Member) -> int:
    """Return the number that ``__uint`` or ``__ulong`` hides in the type of a member."""
    found = btf.resolve(member.type)
    if isinstance(found, t.Pointer):
        array = btf.resolve(found.type)
        if isinstance(array, t.Array):
            return array.length
    if isinstance(found, t.Enum) and found.values:
        return found.values[0].value
    raise ObjectError(f"`{member.name}` holds no number; write __uint({member.name}, …)")


def _inner(btf: Btf, name: str, member: t.Member, section: Section) -> MapSpec | None:
    """Return the inner map that ``values`` declares, or None when it holds programs."""
    array = btf.resolve(member.type)
    pointer = btf.resolve(array.type) if isinstance(array, t.Array) else None
    if not isinstance(pointer, t.Pointer):
        raise ObjectError("`values` is no array of pointers; write __array(values, …)")
    if isinstance(btf.resolve(pointer.type), t.Prototype):
        return None
    try:
        return _definition(btf, f"{name}.inner", pointer.type, section, is_inner=True).spec
    except ObjectError as error:
        raise ObjectError(f"its inner map: {error.reason}") from None
