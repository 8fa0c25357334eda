"""Fields of map values that only helpers may touch: locks, timers, kernel pointers. Known from BTF."""

from __future__ import annotations

from anybpf.spec import MapSpec, ObjectSpec

__all__ = ("SpecialField", "special_fields")

#: First byte in the value, bytes, what it is.
SpecialField = tuple[int, int, str]


def special_fields(spec: ObjectSpec, map: MapSpec) -> tuple[SpecialField, ...]:
    """The special fields of ``map``'s value."""
    return ()
