"""What stopped a checked run, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anybpf.errors import ProgramFault
from anybpf.runtime._engine import lib
from anybpf.spec import ProgramSpec

__all__ = ("describe",)

_REASONS: dict[int, Callable[[Any], str]] = {
    lib.AB_FAULT_READ: lambda fault: f"it read {_bytes(fault.size)} that it may not read",
    lib.AB_FAULT_WRITE: lambda fault: f"it wrote {_bytes(fault.size)} that it may not write",
    lib.AB_FAULT_ALIGNMENT: lambda fault: f"an atomic operation on {_bytes(fault.size)} needs an aligned address",
    lib.AB_FAULT_REGISTER: lambda fault: f"it used r{fault.subject}, which has no usable value there",
    lib.AB_FAULT_ARGUMENT: lambda fault: f"argument {fault.subject} of the helper is not what the helper demands",
    lib.AB_FAULT_LIMIT: lambda fault: "instruction limit reached; the program may never end",
    lib.AB_FAULT_DEPTH: lambda fault: "too many calls inside one another",
    lib.AB_FAULT_END: lambda fault: "it ran past its last instruction",
    lib.AB_FAULT_HELPER: lambda fault: f"it called helper {fault.subject}, which does not exist",
    lib.AB_FAULT_LEAK: lambda fault: f"it ended without submitting or discarding a record of {_bytes(fault.size)}",
    lib.AB_FAULT_LOCK: lambda fault: "it took a lock twice, gave back one that it did not hold, or ended holding one",
    lib.AB_FAULT_MEMORY: lambda fault: "no memory left to keep track of what it may touch",
}
_REGIONS = {
    lib.AB_REGION_STACK: "stack",
    lib.AB_REGION_CONTEXT: "context",
    lib.AB_REGION_PACKET: "packet",
    lib.AB_REGION_BUFFER: "buffer",
    lib.AB_REGION_MEMORY: "memory",
    lib.AB_REGION_MAP_VALUE: "map",
    lib.AB_REGION_MAP_KEY: "key of map",
    lib.AB_REGION_RECORD: "record",
}
_WITH_ADDRESS = (
    lib.AB_FAULT_READ,
    lib.AB_FAULT_WRITE,
    lib.AB_FAULT_ALIGNMENT,
    lib.AB_FAULT_ARGUMENT,
    lib.AB_FAULT_LEAK,
    lib.AB_FAULT_LOCK,
)
_FIRST_PAGE = 4096


def _bytes(size: int) -> str:
    return "1 byte" if size == 1 else f"{size} bytes"


def describe(fault: Any, name: str, spec: ProgramSpec | None, map_name: Callable[[int], str]) -> ProgramFault:
    """Return the error for an ``ab_fault`` of the program called ``name``.

    :param spec: that program's spec, for source lines; None when it has none.
    :param map_name: gives the name of a map by its id.
    """
    located = fault.reason in _WITH_ADDRESS
    return ProgramFault(
        _REASONS[fault.reason](fault),
        program=name,
        instruction=fault.instruction,
        address=fault.address if located else None,
        region=_region(fault, map_name) if located else None,
        source=spec.source_at(fault.instruction) if spec is not None else None,
    )


def _region(fault: Any, map_name: Callable[[int], str]) -> str:
    """Say where the address lies: in which memory, or how far from the nearest."""
    if fault.region == lib.AB_REGION_NONE:
        return "a null pointer" if fault.address < _FIRST_PAGE else "nothing"
    region = _REGIONS[fault.region]
    if fault.region in (lib.AB_REGION_MAP_VALUE, lib.AB_REGION_MAP_KEY):
        region = f"{region} {map_name(fault.map)}"
    offset = fault.address - fault.region_start
    if offset < 0:
        return f"{_bytes(-offset)} before {region}"
    return f"{region}, offset {offset} of {_bytes(fault.region_size)}"
