"""Helpers of a service: the general ones, and functions of its own in C or Python.

A function of the service's own has the engine's signature, ``uint64_t f(uint64_t a1, …, uint64_t a5, void *)``: what
the program passes, and a last argument to ignore. So has any C function whose parameters and result are pointers and
integers of 64 bits, when it has at most five: the caller passes more than it looks at.

A Python function costs a microsecond or two for each call, and takes Python's global lock, which native functions do
not: threads that run programs then wait for each other.
"""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from anybpf.errors import HookError
from anybpf.platforms import Arg, ArgKind, Helper, MapKind, linux
from anybpf.platforms.declaration import (
    CTX,
    KEY,
    MAP,
    MEM,
    MEM_INOUT,
    MEM_OR_NULL,
    OUT,
    SCALAR,
    SIZE,
    SIZE_OR_ZERO,
    STRING,
    VALUE,
    VALUE_OUT,
    helper,
    memory,
    memory_inout,
    memory_out,
    names,
)
from anybpf.runtime.engine import ffi

__all__ = (
    "CTX",
    "FIRST_OWN",
    "GENERAL",
    "KEY",
    "KINDS",
    "MAP",
    "MEM",
    "MEM_INOUT",
    "MEM_OR_NULL",
    "OUT",
    "REPEATING",
    "SCALAR",
    "SIZE",
    "SIZE_OR_ZERO",
    "STRING",
    "VALUE",
    "VALUE_OUT",
    "available",
    "function",
    "memory",
    "memory_inout",
    "memory_out",
)

#: What programs of any service may call: maps, rings, time, random numbers, text. None repeats anything for long.
GENERAL: Final = names(
    "map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem map_lookup_percpu_elem "
    "tail_call ktime_get_ns ktime_get_boot_ns ktime_get_coarse_ns ktime_get_tai_ns jiffies64 get_prandom_u32 "
    "get_smp_processor_id spin_lock spin_unlock "
    "ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard ringbuf_query perf_event_output "
    "trace_printk trace_vprintk snprintf strtol strtoul strncmp csum_diff"
)
#: Calls back up to eight million times, and inside one another: a program may keep a thread for hours. For programs
#: that the service trusts to end soon.
REPEATING: Final = names("loop for_each_map_elem")

#: Kinds of maps that mean something without a network stack.
KINDS: Final = frozenset(
    {
        MapKind.HASH,
        MapKind.ARRAY,
        MapKind.PROG_ARRAY,
        MapKind.PERF_EVENT_ARRAY,
        MapKind.PERCPU_HASH,
        MapKind.PERCPU_ARRAY,
        MapKind.LRU_HASH,
        MapKind.LRU_PERCPU_HASH,
        MapKind.LPM_TRIE,
        MapKind.ARRAY_OF_MAPS,
        MapKind.HASH_OF_MAPS,
        MapKind.QUEUE,
        MapKind.STACK,
        MapKind.RINGBUF,
        MapKind.BLOOM_FILTER,
    }
)
#: Number of the first function of a service's own; the others follow in their order.
FIRST_OWN: Final = 0x10000

_MOST_ARGUMENTS: Final = 5
_SIGNATURE: Final = "uint64_t(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, ab_slot *)"
_SIZES: Final = frozenset({ArgKind.SIZE, ArgKind.SIZE_OR_ZERO})
_READ: Final = frozenset({ArgKind.MEMORY, ArgKind.MEMORY_OR_NULL})
_FILLED: Final = frozenset({ArgKind.MEMORY_OUT, ArgKind.MEMORY_OUT_OR_NULL})
_SIZED: Final = _READ | _FILLED | {ArgKind.MEMORY_INOUT}
_PYTHON: Final = _SIZED | _SIZES | {ArgKind.SCALAR}
_OWN: Final = _PYTHON | {
    ArgKind.CONTEXT,
    ArgKind.MAP,
    ArgKind.MAP_KEY,
    ArgKind.MAP_VALUE,
    ArgKind.MAP_VALUE_OUT,
    ArgKind.STRING,
}
#: What functions of ctypes are.
_CTypes: Final[Any] = ctypes.CFUNCTYPE(None).__mro__[1]
_U64: Final = 0xFFFFFFFFFFFFFFFF


def available(chosen: frozenset[str]) -> dict[int, Helper]:
    """Return Linux's helpers called ``chosen``, by number, for programs under any licence.

    :raises HookError: there is no such helper.
    """
    found = {number: h for number, h in linux.helpers.items() if h.name in chosen}
    if missing := chosen - {h.name for h in found.values()}:
        raise HookError(f"there is no helper {min(missing)!r}; names begin with bpf_, as in docs/helpers.md")
    return {number: replace(h, gpl_only=False) for number, h in found.items()}


def function(
    declaration: str, *args: Arg, call: Any, returns: tuple[int, int] | None = None, failure: int = -1
) -> Helper:
    """Declare a function of the service's own that programs may call.

    :param declaration: in C, such as ``"long score(const void *text, __u64 size)"``: what the header will say.
    :param args: what each parameter must be, in terms of this module: ``SCALAR``; ``MEM``, ``MEM_INOUT`` or ``OUT``
        with ``SIZE`` behind it; ``memory(8)``, ``memory_inout(8)``, ``memory_out(8)`` for memory of fixed size. For
        functions in C also ``MAP``, ``KEY``, ``VALUE``, ``VALUE_OUT``, ``CTX`` and ``STRING``.
    :param call: the function: an address, a function of cffi or ctypes, or any Python callable. A Python callable gets
        an unsigned number for SCALAR, bytes for MEM, a writable memoryview for MEM_INOUT and (of zeros) for OUT, and
        nothing for SIZE. It returns an int, or None for 0. What it raises goes to ``sys.unraisablehook``, and the
        program gets ``failure``. A function in C must fill what is OUT.
    :param returns: bounds of the result, when programs may rely on them; a Python result outside them is a failure.
    :raises HookError: declaration and arguments do not fit together, or ``call`` cannot be called.
    """
    try:
        declared = helper(0, declaration, *args, returns_range=returns)
    except ValueError as error:
        raise HookError(f"a function cannot be declared: {error}") from None
    _require_arguments(declared)
    if returns is not None and not returns[0] <= failure <= returns[1]:
        raise HookError(f"{declared.name} returns {failure} on failure, which is not from {returns[0]} to {returns[1]}")
    address, owner = _native(call), call
    if address is None:
        owner = ffi.callback(_SIGNATURE, _PythonFunction(declared, call), error=failure & _U64)
        address = int(ffi.cast("uintptr_t", owner))
    return replace(declared, address=address, owner=owner)


def _require_arguments(declared: Helper) -> None:
    """Reject what the verifier could not check: memory whose size nobody says, or arguments that only kernels have."""
    kinds = [arg.kind for arg in declared.args]
    if len(kinds) > _MOST_ARGUMENTS:
        raise HookError(f"{declared.name} has {len(kinds)} parameters; a BPF program passes at most {_MOST_ARGUMENTS}")
    if foreign := next((arg for arg in declared.args if arg.kind not in _OWN), None):
        raise HookError(f"{declared.name}: parameter {foreign.name!r} cannot be a {foreign.kind.value} in a service")
    wanted = [index + 1 for index, arg in enumerate(declared.args) if arg.kind in _SIZED and not arg.size]
    if wanted != [index for index, kind in enumerate(kinds) if kind in _SIZES]:
        raise HookError(f"{declared.name}: SIZE stands behind memory whose size is not fixed, and nowhere else")


def _native(call: Any) -> int | None:
    """Return the address of what is a native function, or None."""
    if isinstance(call, int):
        if call <= 0:
            raise HookError(f"{call:#x} is no address of a function")
        return call
    if isinstance(call, _CTypes):
        return ctypes.cast(call, ctypes.c_void_p).value
    if isinstance(call, ffi.CData):
        return int(ffi.cast("uintptr_t", call))
    return None


class _PythonFunction:
    """A Python callable as programs call it: with five 64-bit numbers, some of which are addresses."""

    def __init__(self, declared: Helper, call: Callable[..., Any]) -> None:
        if foreign := next((arg for arg in declared.args if arg.kind not in _PYTHON), None):
            raise HookError(
                f"{declared.name}: a Python function takes numbers and memory; {foreign.name!r} is neither, so write "
                "the function in C"
            )
        self._call = call
        self._bounds = declared.returns_range or (-(1 << 63), _U64)
        self._args = [(index, arg) for index, arg in enumerate(declared.args) if arg.kind not in _SIZES]
        self._require_callable(declared.name)

    def _require_callable(self, name: str) -> None:
        if not callable(self._call):
            raise HookError(f"{name}: {self._call!r} is neither an address nor can it be called")
        try:
            inspect.signature(self._call).bind(*self._args)
        except TypeError:
            raise HookError(f"{name}: {self._call!r} does not take {len(self._args)} arguments") from None
        except ValueError:
            pass  # a builtin without a signature

    def __call__(self, *values: Any) -> int:
        views: list[tuple[Any, bytearray]] = []
        try:
            arguments = [self._argument(index, arg, values, views) for index, arg in self._args]
            result = self._call(*arguments)
            number = 0 if result is None else int(result)
            if not self._bounds[0] <= number <= self._bounds[1]:
                raise ValueError(f"the result {number} is not from {self._bounds[0]} to {self._bounds[1]}")
            return number & _U64
        finally:
            for place, copy in views:
                ffi.memmove(place, copy, len(copy))

    def _argument(
        self, index: int, arg: Arg, values: tuple[int, ...], views: list[tuple[Any, bytearray]]
    ) -> int | bytes | memoryview | None:
        """Return what the callable gets for an argument.

        A view is of a copy, so that whoever keeps it can do no harm; it goes back to the program after the call.
        """
        if arg.kind is ArgKind.SCALAR:
            return values[index]
        if not values[index]:
            return None
        size = arg.size or values[index + 1]
        place = ffi.cast("char *", values[index])
        if arg.kind in _READ:
            return bytes(ffi.buffer(place, size))
        copy = bytearray(size) if arg.kind in _FILLED else bytearray(ffi.buffer(place, size))
        views.append((place, copy))
        return memoryview(copy)
