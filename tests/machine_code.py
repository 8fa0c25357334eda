"""Runs programs in machine code with little or nothing of the rest of the runtime: assembly in, r0 and memory out.

Programs get what the ``raw`` platform gives: r1 = memory, r2 = its length.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Self

from anybpf.isa import assemble, decode
from anybpf.runtime import _engine
from anybpf.runtime.jit import CompiledCode, compile_program
from anybpf.runtime.jit_bindings import Bindings, bind
from anybpf.runtime.lowering import Lowered, functions_of, helpers_of

ENTRY = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p)
HELPER = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 5, ctypes.c_void_p)
MASK = 2**64 - 1


def program(source: str | bytes, array_lookups: Mapping[int, int] | None = None) -> Lowered:
    """Assemble (or take) a program whose text needs no lowering.

    :param array_lookups: slots of calls to be done without a call, and the index of the array map.
    """
    code = assemble(source) if isinstance(source, str) else source
    text = decode(code, indirect_calls=True)
    return Lowered(text, code, functions_of(text), helpers_of(text, ()), array_lookups or {})


def run(
    source: str | bytes | Lowered, memory: bytearray | bytes = b"", bindings: Bindings | None = None, slot: int = 0
) -> int:
    """Compile, run once on ``memory`` (a bytearray is written in place), and return r0."""
    lowered = source if isinstance(source, Lowered) else program(source)
    size = len(memory)
    buffer = memory if isinstance(memory, bytearray) else bytearray(memory)
    with compile_program(lowered, bindings or Bindings()) as code:
        view = (ctypes.c_char * size).from_buffer(buffer) if size else None
        return ENTRY(code.entry)(ctypes.addressof(view) if view is not None else 0, size, slot)


def helper(function: Callable[..., int]) -> ctypes._CFuncPtr:
    """Make a helper of a Python function of (a1, a2, a3, a4, a5, slot); keep the result alive while programs run."""
    return HELPER(lambda *arguments: function(*arguments) & MASK)


def address(of: object) -> int:
    """Return the address of a ctypes function or buffer."""
    if isinstance(of, ctypes._CFuncPtr):
        return ctypes.cast(of, ctypes.c_void_p).value or 0
    return ctypes.addressof(of)  # type: ignore[arg-type]


class Engine:
    """A real engine with maps and programs, to run the same program in the interpreter and in machine code.

    :param helpers: the helpers that programs may call: engine name by id. 12 is always the tail call.
    """

    TAIL_CALL = 12

    def __init__(self, helpers: Mapping[int, str] | None = None, cpus: int = 4) -> None:
        self._lib, self._ffi = _engine.lib, _engine.ffi
        self._closing = ExitStack()
        self.engine = self._lib.ab_engine_create(cpus)
        self._closing.callback(self._lib.ab_engine_destroy, self.engine)
        self._helpers = {number: self._lib.ab_helper_address(name.encode()) for number, name in (helpers or {}).items()}
        assert all(self._helpers.values()), helpers
        self.maps: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._closing.close()

    def map(self, kind: str, key_size: int, value_size: int, max_entries: int) -> Any:
        """Create a map; programs refer to maps by the order in which they were created."""
        shape = self._ffi.new("ab_map_shape *")
        shape.kind = self._lib.ab_map_kind_named(kind.encode())
        shape.key_size, shape.value_size, shape.max_entries, shape.lock_offset = key_size, value_size, max_entries, -1
        error = self._ffi.new("int *")
        created = self._lib.ab_map_create(self.engine, shape, error)
        assert created, error[0]
        self.maps.append(created)
        self._closing.callback(self._lib.ab_map_destroy, created)
        return created

    def program(self, source: str, array_lookups: Mapping[int, int] | None = None) -> tuple[Any, CompiledCode]:
        """Create a program (cffi ``ab_program *``) that has machine code."""
        lowered = program(source, array_lookups)
        ffi, code = self._ffi, lowered.code
        helpers = ffi.new("ab_helper[]", len(self._helpers) + 1)
        known = {**self._helpers, self.TAIL_CALL: 0}
        for entry, number in zip(helpers, sorted(known), strict=True):
            entry.id, entry.function = number, known[number]
            entry.returns = self._lib.AB_RETURNS_TAIL_CALL if number == self.TAIL_CALL else 0
        config = ffi.new("ab_program_config *")
        held = (ffi.from_buffer(code), ffi.new("ab_map *[]", self.maps), ffi.new("uint32_t[]", lowered.functions))
        config.code, config.slots, config.lowered = held[0], len(lowered.text), 1
        config.maps, config.map_count = held[1], len(self.maps)
        config.helpers, config.helper_count = helpers, len(known)
        config.functions, config.function_count = held[2], len(lowered.functions)
        error, slot = ffi.new("int32_t *"), ffi.new("uint32_t *")
        created = self._lib.ab_program_create(self.engine, config, error, slot)
        assert created, (error[0], slot[0])
        compiled = compile_program(lowered, bind(self.maps, self._helpers, self.TAIL_CALL))
        self._lib.ab_program_set_entry(created, compiled.entry)
        self._closing.enter_context(compiled)
        self._closing.callback(self._lib.ab_program_destroy, created)
        return created, compiled

    def run(self, created: Any, memory: bytearray, *, interpreter: bool = False) -> int:
        """Run once on ``memory``; returns r0."""
        run = self._ffi.new("ab_run *")
        run.mode = self._lib.AB_MODE_INTERPRETER if interpreter else self._lib.AB_MODE_AUTOMATIC
        run.repeat = 1
        status = self._lib.ab_program_test(created, self._ffi.NULL, self._ffi.from_buffer(memory), len(memory), run)
        assert status == 0, status
        return int(run.result)

    def run_in_both(
        self, source: str, memory: bytes = bytes(64), array_lookups: Mapping[int, int] | None = None
    ) -> int:
        """Run in the interpreter and in machine code; r0 and memory must agree."""
        created, _ = self.program(source, array_lookups)
        first, second = bytearray(memory), bytearray(memory)
        interpreted = self.run(created, first, interpreter=True)
        assert self.run(created, second) == interpreted
        assert first == second
        return interpreted
