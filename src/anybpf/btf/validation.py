"""Checks a whole table of types, so that whoever uses it later need not expect damage.

After :func:`check`, every reference leads to a type, every value type has a size, members lie inside their struct, and
following types by value ends after at most :data:`~anybpf.btf.table.MAX_DEPTH` structs.
"""

from __future__ import annotations

from anybpf.btf import types as t
from anybpf.btf.table import MAX_DEPTH, Btf
from anybpf.errors import BtfError

#: Most members that a type may have when every struct inside it is counted out.
MAX_MEMBERS = 65536


def check(btf: Btf) -> None:
    """Decode every type of an object's BTF and check it.

    :raises BtfError: the first thing that is wrong, with the id of its type.
    """
    nested: dict[int, tuple[int, int]] = {}
    for type_id in range(1, len(btf)):
        found = btf.type(type_id)
        try:
            _check_references(btf, found)
            if isinstance(found, t.Struct | t.Array):
                _nesting(btf, type_id, 0, nested)
        except BtfError as error:
            raise BtfError(f"type {type_id} ({type(found).__name__.lower()} {found.name!r}): {error.reason}") from None


def _check_references(btf: Btf, found: t.Type) -> None:
    match found:
        case t.Typedef() | t.Modifier() | t.Pointer():
            btf.strip(found.type)
        case t.Function():
            if not isinstance(btf.type(found.type), t.Prototype):
                raise BtfError("its type is no function prototype")
        case t.Prototype():
            for parameter in (found.return_type, *(p.type for p in found.parameters)):
                btf.strip(parameter)
        case t.Variable():
            btf.strip(found.type)
        case t.DataSection():
            for variable in found.variables:
                held = btf.type(variable.type)
                if not isinstance(held, t.Variable | t.Function):
                    raise BtfError(f"holds type {variable.type}, which is neither a variable nor a function")
                if found.size and variable.offset + variable.size > found.size:
                    raise BtfError(f"variable {held.name!r} lies outside the {found.size} bytes of the section")
        case t.DeclarationTag():
            btf.type(found.type)
        case _:
            pass


def _nesting(btf: Btf, type_id: int, level: int, done: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return (depth, members) of the type counted out by value; memoised in ``done``."""
    type_id = btf.strip(type_id)
    if type_id in done:
        depth, members = done[type_id]
        if level + depth > MAX_DEPTH:
            raise BtfError(f"structs nest deeper than {MAX_DEPTH}")
        return depth, members
    if level > MAX_DEPTH:
        raise BtfError(f"structs nest deeper than {MAX_DEPTH}, or one holds itself")
    depth = members = 0
    found = btf.type(type_id)
    if isinstance(found, t.Array):
        btf.size_of(found.type)
        depth, members = _nesting(btf, found.type, level + 1, done)
    elif isinstance(found, t.Struct):
        for member in found.members:
            inner_depth, inner_members = _nesting(btf, member.type, level + 1, done)
            depth, members = max(depth, inner_depth), members + 1 + inner_members
            start, bits = btf.bits_of(member)
            if start + bits > found.size * 8:
                raise BtfError(f"member {member.name!r} lies outside the struct")
        if members > MAX_MEMBERS:
            raise BtfError(f"more than {MAX_MEMBERS} members, counting the structs inside it")
    done[type_id] = depth + 1, members
    return done[type_id]
