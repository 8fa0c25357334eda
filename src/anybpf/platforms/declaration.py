"""Helpers written as their C declaration plus what each argument must be: one line of a platform's table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from anybpf.platforms.model import Arg, ArgKind, Callback, Helper, MapKind, ReturnKind

__all__ = (
    "ALLOC_SIZE",
    "ANY",
    "CALLBACK",
    "CALLBACK_CONTEXT",
    "CTX",
    "DYNPTR",
    "DYNPTR_OUT",
    "KERNEL",
    "KERNEL_OR_NULL",
    "KEY",
    "KPTR",
    "MAP",
    "MEM",
    "MEM_INOUT",
    "MEM_OR_NULL",
    "OUT",
    "OUT_OR_NULL",
    "PERCPU",
    "RECORD",
    "SCALAR",
    "SIZE",
    "SIZE_OR_ZERO",
    "SOCKET",
    "SOCKET_OR_NULL",
    "SOCKET_RELEASED",
    "SPIN_LOCK",
    "STRING",
    "TIMER",
    "VALUE",
    "VALUE_OR_NULL",
    "VALUE_OUT",
    "helper",
    "map_of",
    "memory",
    "memory_inout",
    "memory_out",
    "names",
    "table",
)

ANY = Arg(ArgKind.ANYTHING)
SCALAR = Arg(ArgKind.SCALAR)
CTX = Arg(ArgKind.CONTEXT)
MAP = Arg(ArgKind.MAP)
KEY = Arg(ArgKind.MAP_KEY)
VALUE = Arg(ArgKind.MAP_VALUE)
VALUE_OR_NULL = Arg(ArgKind.MAP_VALUE_OR_NULL)
VALUE_OUT = Arg(ArgKind.MAP_VALUE_OUT)
MEM = Arg(ArgKind.MEMORY)
MEM_OR_NULL = Arg(ArgKind.MEMORY_OR_NULL)
MEM_INOUT = Arg(ArgKind.MEMORY_INOUT)
OUT = Arg(ArgKind.MEMORY_OUT)
OUT_OR_NULL = Arg(ArgKind.MEMORY_OUT_OR_NULL)
SIZE = Arg(ArgKind.SIZE)
SIZE_OR_ZERO = Arg(ArgKind.SIZE_OR_ZERO)
ALLOC_SIZE = Arg(ArgKind.ALLOC_SIZE)
STRING = Arg(ArgKind.STRING)
CALLBACK = Arg(ArgKind.CALLBACK)
CALLBACK_CONTEXT = Arg(ArgKind.CALLBACK_CONTEXT)
RECORD = Arg(ArgKind.RECORD)
SPIN_LOCK = Arg(ArgKind.SPIN_LOCK)
TIMER = Arg(ArgKind.TIMER)
SOCKET = Arg(ArgKind.SOCKET)
SOCKET_OR_NULL = Arg(ArgKind.SOCKET_OR_NULL)
SOCKET_RELEASED = Arg(ArgKind.SOCKET_RELEASED)
KERNEL = Arg(ArgKind.KERNEL)
KERNEL_OR_NULL = Arg(ArgKind.KERNEL_OR_NULL)
DYNPTR = Arg(ArgKind.DYNPTR)
DYNPTR_OUT = Arg(ArgKind.DYNPTR_OUT)
PERCPU = Arg(ArgKind.PERCPU)
KPTR = Arg(ArgKind.KPTR)


def map_of(*kinds: MapKind) -> Arg:
    """Return a map argument that takes only maps of these kinds."""
    return Arg(ArgKind.MAP, maps=frozenset(kinds))


def memory(size: int) -> Arg:
    """Return an argument that points to ``size`` readable bytes."""
    return Arg(ArgKind.MEMORY, size=size)


def memory_inout(size: int) -> Arg:
    """Return an argument that points to ``size`` initialised bytes, which the call changes."""
    return Arg(ArgKind.MEMORY_INOUT, size=size)


def memory_out(size: int) -> Arg:
    """Return an argument that points to ``size`` writable bytes."""
    return Arg(ArgKind.MEMORY_OUT, size=size)


_DECLARATION = re.compile(r"(?P<result>.*?[ *])(?P<name>\w+)\((?P<parameters>.*)\)")


def helper(
    number: int,
    declaration: str,
    *args: Arg,
    returns: ReturnKind = ReturnKind.SCALAR,
    returns_range: tuple[int, int] | None = None,
    returns_up_to: str = "",
    returns_size: int = 0,
    structure: str = "",
    changes_packet: bool = False,
    packet_access: bool = False,
    acquires: bool = False,
    gpl_only: bool = False,
    callback: Callback | None = None,
    implementation: str = "",
) -> Helper:
    """Return the helper with the C ``declaration``, such as ``"long bpf_redirect(__u32 ifindex, __u64 flags)"``.

    There is one of ``args`` for each parameter (what stands for ``...`` is not checked); ValueError otherwise.
    A function that returns void has ``ReturnKind.VOID`` without being told.
    """
    found = _DECLARATION.fullmatch(declaration)
    if found is None:
        raise ValueError(f"not a C declaration: {declaration!r}")
    parameters = [p.strip() for p in found["parameters"].split(",")]
    named = [p for p in parameters if p not in ("void", "...")]
    if len(named) != len(args):
        raise ValueError(f"{found['name']}: {len(named)} parameters but {len(args)} arguments")
    result = found["result"].strip()
    return Helper(
        id=number,
        name=found["name"],
        args=tuple(replace(a, name=p.replace("*", " ").split()[-1]) for a, p in zip(args, named, strict=True)),
        returns=ReturnKind.VOID if result == "void" else returns,
        prototype=f"{result} ({found['parameters']})",
        returns_range=returns_range,
        returns_up_to=returns_up_to,
        returns_size=returns_size,
        structure=structure,
        changes_packet=changes_packet,
        packet_access=packet_access,
        acquires=acquires,
        gpl_only=gpl_only,
        callback=callback,
        implementation=implementation,
    )


def table(*families: Iterable[Helper]) -> Mapping[int, Helper]:
    """Return the families' helpers by number, ascending; ValueError when two have the same number or name."""
    helpers = sorted((h for family in families for h in family), key=lambda h: h.id)
    by_number = {h.id: h for h in helpers}
    if len(by_number) != len(helpers) or len({h.name for h in helpers}) != len(helpers):
        raise ValueError("two helpers have the same number or name")
    return by_number


def names(text: str) -> frozenset[str]:
    """Return helper names from words without their ``bpf_`` prefix."""
    return frozenset(f"bpf_{word}" for word in text.split())
