"""What a CO-RE relocation points at: a path through a type, and the same path found in another table of types.

A path is written as indices, ``"0:2:1"``: element 0 of an array of the root type, its member 2, of that member 1. In
the target only names count, so that members may move, and anonymous structs around them may come and go.
Rules: libbpf's relo_core.c (bpf_core_parse_spec, bpf_core_spec_match).
"""

from __future__ import annotations

from dataclasses import dataclass

from anybpf.btf import types as t
from anybpf.btf.compatibility import essential_name, fields_compatible
from anybpf.btf.table import Btf
from anybpf.errors import BtfError

MAX_LENGTH = 64  # indices of a path


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path.

    :param type: the struct whose member is taken; for array elements the element's type; for enums the enum.
    :param index: which member, element or enumerator. :param name: of the member or enumerator, None for elements.
    """

    type: int
    index: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """A path through a type of ``btf``.

    :param root: the type it begins at. :param bit_offset: where it leads, in bits from the start of the root.
    """

    btf: Btf
    root: int
    steps: tuple[Step, ...] = ()
    bit_offset: int = 0


def _indices(text: str) -> list[int]:
    parts = text.split(":")
    if len(parts) > MAX_LENGTH or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise BtfError(f"the path {text[:80]!r} is none")
    return [int(part) for part in parts]


def type_access(btf: Btf, root: int, text: str) -> Access:
    """Return the access of a relocation about a whole type; its path is always ``"0"``."""
    if text != "0":
        raise BtfError(f"the path {text[:80]!r} of a relocation about a type is not '0'")
    return Access(btf, root)


def enumerator_access(btf: Btf, root: int, text: str) -> Access:
    """Return the access of a relocation about an enumerator; its path is the enumerator's index."""
    (index, *rest) = _indices(text)
    enum_id = btf.strip(root)
    enum = btf.type(enum_id)
    if rest or not isinstance(enum, t.Enum) or index >= len(enum.values):
        raise BtfError(f"the path {text[:80]!r} leads to no enumerator of {enum.name!r}")
    return Access(btf, root, (Step(enum_id, index, enum.values[index].name),))


def field_access(btf: Btf, root: int, text: str) -> Access:
    """Return the access of a relocation about a field."""
    first, *rest = _indices(text)
    type_id = btf.strip(root)
    steps = [Step(type_id, first)]
    bits = 8 * first * btf.size_of(type_id)
    for index in rest:
        found = btf.resolve(type_id)
        if isinstance(found, t.Struct) and index < len(found.members):
            member = found.members[index]
            bits += member.bit_offset
            if member.name:
                steps.append(Step(btf.strip(type_id), index, member.name))
            type_id = member.type
        elif isinstance(found, t.Array) and (index < found.length or _is_flexible(btf, steps[-1], found)):
            type_id = btf.strip(found.type)
            steps.append(Step(type_id, index))
            bits += 8 * index * btf.size_of(type_id)
        else:
            raise BtfError(f"the path {text[:80]!r} leaves {found.name or 'its type'!r} at index {index}")
    return Access(btf, root, tuple(steps), bits)


def _is_flexible(btf: Btf, step: Step, array: t.Array) -> bool:
    """Whether an array reached by ``step`` is the last member of its struct and has no fixed length."""
    struct = btf.type(step.type)
    return (
        array.length == 0
        and step.name is not None
        and isinstance(struct, t.Struct)
        and step.index == len(struct.members) - 1
    )


def find_enumerator(local: Access, target: Btf, target_id: int) -> Access | None:
    """Return the access to the enumerator of the same name in the target's enum, None when it has none."""
    enum_id = target.strip(target_id)
    enum = target.type(enum_id)
    wanted = essential_name(local.steps[0].name or "")
    for index, value in enumerate(enum.values if isinstance(enum, t.Enum) else ()):
        if essential_name(value.name) == wanted:
            return Access(target, target_id, (Step(enum_id, index, value.name),))
    return None


def find_field(local: Access, target: Btf, target_id: int) -> Access | None:
    """Return the access to the same field in the target's type, None when it has none."""
    first, *rest = local.steps
    type_id = target.strip(target_id)
    steps = [Step(type_id, first.index)]
    bits = 8 * first.index * target.size_of(type_id)
    for step in rest:
        if step.name is not None:
            found = _find_member(local.btf, step, target, type_id, 0)
            if found is None:
                return None
            taken, bit_offset, type_id = found
            steps.append(taken)
            bits += bit_offset
        else:
            array = target.resolve(type_id)
            if not isinstance(array, t.Array):
                return None
            if step.index >= array.length and not _is_flexible(target, steps[-1], array):
                return None
            type_id = target.strip(array.type)
            steps.append(Step(type_id, step.index))
            bits += 8 * step.index * target.size_of(type_id)
    return Access(target, target_id, tuple(steps), bits)


def _find_member(local: Btf, wanted: Step, target: Btf, type_id: int, level: int) -> tuple[Step, int, int] | None:
    """Find the member named like ``wanted`` in a struct or in the anonymous ones inside it.

    :return: (the step, its bit offset in the struct, the member's type), or None.
    """
    if level > MAX_LENGTH:
        raise BtfError(f"anonymous structs nest deeper than {MAX_LENGTH}")
    struct_id = target.strip(type_id)
    struct = target.type(struct_id)
    for index, member in enumerate(struct.members if isinstance(struct, t.Struct) else ()):
        if not member.name:
            inner = _find_member(local, wanted, target, member.type, level + 1)
            if inner is not None:
                step, bits, found_type = inner
                return step, member.bit_offset + bits, found_type
        elif member.name == wanted.name:
            origin = local.type(wanted.type)
            if not isinstance(origin, t.Struct):
                return None
            if not fields_compatible(local, origin.members[wanted.index].type, target, member.type):
                return None
            return Step(struct_id, index, member.name), member.bit_offset, member.type
    return None
