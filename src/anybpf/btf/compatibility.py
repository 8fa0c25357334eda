"""When a type in one table of types may stand for a type in another: the three comparisons that CO-RE uses.

The rules are libbpf's (tools/lib/bpf/relo_core.c), so that a program means the same here as on a kernel:

- :func:`fields_compatible`: may a field of one type be read as a field of the other?
- :func:`types_compatible`: does "the same" type exist (``bpf_core_type_exists``)?
- :func:`types_match`: does it exist with the members that the program names (``bpf_core_type_matches``)?
"""

from __future__ import annotations

import re
from collections.abc import Callable

from anybpf.btf import types as t
from anybpf.btf.table import MAX_DEPTH, Btf
from anybpf.errors import BtfError

_FLAVOR = re.compile(r"(?s)(.*[^_])___[^_].*")


def essential_name(name: str) -> str:
    """Return a type's name without its flavor: ``task_struct`` for ``task_struct___old``."""
    match = _FLAVOR.fullmatch(name)
    return match[1] if match else name


def same_kind(one: t.Type, other: t.Type) -> bool:
    """Whether two types are of the same kind; struct and union differ, enums of 32 and 64 bits do not."""
    if isinstance(one, t.Struct) and isinstance(other, t.Struct):
        return one.is_union == other.is_union
    if isinstance(one, t.Modifier) and isinstance(other, t.Modifier):
        return one.keyword == other.keyword
    return type(one) is type(other)


def fields_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Whether a field of the target's type may be accessed as one of the local type."""
    for _ in range(MAX_DEPTH):
        one, other = local.resolve(local_id), target.resolve(target_id)
        if isinstance(one, t.Struct) and isinstance(other, t.Struct):
            return True
        if not same_kind(one, other):
            return False
        match one:
            case t.Pointer() | t.Float():
                return True
            case t.Forward() | t.Enum():
                names = essential_name(one.name), essential_name(other.name)
                return not all(names) or names[0] == names[1]
            case t.Integer() if isinstance(other, t.Integer):
                return one.bit_offset == other.bit_offset == 0
            case t.Array() if isinstance(other, t.Array):
                local_id, target_id = one.type, other.type
            case _:
                return False
    raise BtfError(f"arrays nest deeper than {MAX_DEPTH}")


def types_compatible(local: Btf, local_id: int, target: Btf, target_id: int, level: int = MAX_DEPTH) -> bool:
    """Whether the target's type counts as the local type; structs do by name and kind alone."""
    if not same_kind(local.type(local_id), target.type(target_id)):
        return False
    return _same_shape(local, local_id, target, target_id, level)


def _same_shape(local: Btf, local_id: int, target: Btf, target_id: int, level: int) -> bool:
    if level == 0:
        raise BtfError(f"types nest deeper than {MAX_DEPTH}")
    one, other = local.resolve(local_id), target.resolve(target_id)
    if not same_kind(one, other):
        return False
    match one:
        case t.Void() | t.Struct() | t.Enum() | t.Forward():
            return True
        case t.Integer() if isinstance(other, t.Integer):
            return one.bit_offset == other.bit_offset == 0
        case t.Pointer() if isinstance(other, t.Pointer):
            return _same_shape(local, one.type, target, other.type, level - 1)
        case t.Array() if isinstance(other, t.Array):
            return _same_shape(local, one.type, target, other.type, level - 1)
        case t.Prototype() if isinstance(other, t.Prototype):
            pairs = _signature_pairs(one, other)
            return pairs is not None and all(_same_shape(local, a, target, b, level - 1) for a, b in pairs)
        case _:
            return False


def _signature_pairs(one: t.Prototype, other: t.Prototype) -> list[tuple[int, int]] | None:
    """Return the types to compare for two signatures to agree, None when the numbers of parameters differ."""
    if len(one.parameters) != len(other.parameters):
        return None
    pairs = [(a.type, b.type) for a, b in zip(one.parameters, other.parameters, strict=True)]
    return [*pairs, (one.return_type, other.return_type)]


def types_match(
    local: Btf, local_id: int, target: Btf, target_id: int, *, behind_pointer: bool = False, level: int = MAX_DEPTH
) -> bool:
    """Whether the target's type has all that the local one declares: members, enumerators, sizes and signs."""
    if level == 0:
        raise BtfError(f"types nest deeper than {MAX_DEPTH}")
    one, other = local.resolve(local_id), target.resolve(target_id)
    if essential_name(one.name) != essential_name(other.name):
        return False

    def deeper(local_type: int, target_type: int, behind: bool = behind_pointer) -> bool:
        return types_match(local, local_type, target, target_type, behind_pointer=behind, level=level - 1)

    match one:
        case t.Void():
            return isinstance(other, t.Void)
        case t.Forward() | t.Struct() if behind_pointer:
            return isinstance(other, t.Forward | t.Struct) and one.is_union == other.is_union
        case t.Forward():
            return isinstance(other, t.Forward) and one.is_union == other.is_union
        case t.Struct():
            return same_kind(one, other) and isinstance(other, t.Struct) and _members_match(one, other, deeper)
        case t.Enum() if isinstance(other, t.Enum):
            names = {essential_name(value.name) for value in other.values}
            return one.size == other.size and all(essential_name(value.name) in names for value in one.values)
        case t.Integer() if isinstance(other, t.Integer):
            return one.size == other.size and one.is_signed == other.is_signed
        case t.Pointer() if isinstance(other, t.Pointer):
            return deeper(one.type, other.type, True)
        case t.Array() if isinstance(other, t.Array):
            return one.length == other.length and deeper(one.type, other.type)
        case t.Prototype() if isinstance(other, t.Prototype):
            pairs = _signature_pairs(one, other)
            return pairs is not None and all(deeper(a, b) for a, b in pairs)
        case _:
            return False


def _members_match(one: t.Struct, other: t.Struct, matches: Callable[[int, int], bool]) -> bool:
    """Whether each member of ``one`` has a counterpart of the same name and a matching type in ``other``."""
    by_name: dict[str, list[int]] = {}
    for member in other.members:
        by_name.setdefault(essential_name(member.name), []).append(member.type)
    return all(
        any(matches(member.type, candidate) for candidate in by_name.get(essential_name(member.name), ()))
        for member in one.members
    )
