"""Fields of map values that only helpers may touch: locks, timers, kernel pointers. Known from the object's BTF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from anybpf.btf import Btf, load, types
from anybpf.errors import BtfError
from anybpf.spec import MapSpec, ObjectSpec

__all__ = ("KERNEL_POINTER", "SpecialField", "special_fields")

#: First byte in the value, bytes, what it is: the name of its struct, or :data:`KERNEL_POINTER`.
SpecialField = tuple[int, int, str]

KERNEL_POINTER: Final = "kernel pointer"

#: Structs that programs may not look into (Linux, include/uapi/linux/bpf.h).
_OPAQUE: Final = frozenset(
    {
        "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work", "bpf_list_head", "bpf_list_node",
        "bpf_rb_root", "bpf_rb_node", "bpf_refcount",
    }
)  # fmt: skip
_KERNEL_POINTER_TAGS: Final = frozenset({"kptr", "kptr_untrusted", "percpu_kptr", "uptr"})


def special_fields(spec: ObjectSpec, map: MapSpec) -> tuple[SpecialField, ...]:
    """The special fields of ``map``'s value, by offset; none when the object has no type information for it.

    Without types a program gets nowhere with a lock either: its helpers take what is known to be one.
    """
    if spec.btf is None or not map.value_type:
        return ()
    try:
        return tuple(sorted(_find(load(spec.btf), map.value_type, 0, map.value_size)))
    except BtfError:
        return ()


def _find(btf: Btf, type_id: int, offset: int, end: int) -> Iterator[SpecialField]:
    if offset >= end:
        return
    found = btf.type(type_id)
    if isinstance(found, types.Typedef | types.Modifier | types.Variable):
        yield from _find(btf, found.type, offset, end)
    elif isinstance(found, types.Pointer):
        target = btf.type(found.type)
        while isinstance(target, types.Modifier):
            if target.keyword == "type_tag" and target.name in _KERNEL_POINTER_TAGS:
                yield offset, 8, KERNEL_POINTER
                return
            target = btf.type(target.type)
    elif isinstance(found, types.Struct):
        if found.name in _OPAQUE:
            yield offset, found.size, found.name
            return
        for member in found.members:
            yield from _find(btf, member.type, offset + member.offset, end)
    elif isinstance(found, types.DataSection):
        for variable in found.variables:
            yield from _find(btf, variable.type, offset + variable.offset, end)
    elif isinstance(found, types.Array) and found.length and _may_hold(btf, found.type):
        size = btf.size_of(found.type)
        for index in range(found.length):
            if offset + index * size >= end or not size:
                return
            yield from _find(btf, found.type, offset + index * size, end)


def _may_hold(btf: Btf, type_id: int) -> bool:
    """Whether elements of the type can have special fields: a quick no for arrays of plain numbers."""
    return isinstance(btf.resolve(type_id), types.Struct | types.Pointer | types.Array)
