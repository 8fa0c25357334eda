"""Bare programs: instructions and memory in, r0 out; no object, no maps, no verification.

What the conformance plugin runs. It is started once for every case, so nothing is imported here that the interpreter
does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from anybpf.errors import LoadError
from anybpf.isa import Text, decode
from anybpf.runtime._engine import ffi, lib

__all__ = ("MODES", "run")

MODES = ("interpreter", "checked", "jit")
#: A helper in Python: its five arguments as unsigned 64-bit numbers, to an unsigned 64-bit number.
Helper = Callable[[int, int, int, int, int], int]

_HELPER = "uint64_t(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, ab_slot *)"
_INSTRUCTION_LIMIT = 100_000_000  # of checked runs, which nothing else would end


def run(code: bytes, memory: bytes, mode: str = "interpreter", helpers: Mapping[int, Helper] | None = None) -> int:
    """Run a program on a copy of ``memory`` (r1 points to it, r2 is its length) and return r0, 64 bits.

    :param mode: one of :data:`MODES`. :param helpers: by the number that call instructions give.
    :raises InstructionError: ``code`` is not a valid program.
    :raises LoadError: the program cannot be run. :raises ProgramFault: a checked run stopped at a bad access.
    """
    text = decode(code, indirect_calls=True)
    callbacks = {number: _callback(helper) for number, helper in sorted((helpers or {}).items())}
    addresses = {number: int(ffi.cast("uintptr_t", callback)) for number, callback in callbacks.items()}
    with ExitStack() as closing:
        engine = lib.ab_engine_create(1)
        closing.callback(lib.ab_engine_destroy, engine)
        program = _create(engine, code, text, addresses)
        closing.callback(lib.ab_program_destroy, program)
        if mode == "jit":
            closing.callback(_compile(text, code, program, addresses).close)
        return _run(program, memory, lib.AB_MODE_CHECKED if mode == "checked" else lib.AB_MODE_AUTOMATIC)


def _callback(helper: Helper) -> Any:
    return ffi.callback(_HELPER, lambda a1, a2, a3, a4, a5, slot: helper(a1, a2, a3, a4, a5))


def _create(engine: Any, code: bytes, text: Text, addresses: Mapping[int, int]) -> Any:
    helpers = [{"id": number, "function": address} for number, address in addresses.items()]
    held = ffi.from_buffer("uint8_t[]", code), ffi.new("ab_helper[]", helpers)
    config = ffi.new(
        "ab_program_config *",
        {
            "code": held[0],
            "slots": len(text),
            "helpers": held[1],
            "helper_count": len(helpers),
            "instruction_limit": _INSTRUCTION_LIMIT,
        },
    )
    error, slot = ffi.new("int32_t *"), ffi.new("uint32_t *")
    program = lib.ab_program_create(engine, config, error, slot)
    if program == ffi.NULL:
        raise LoadError(f"instruction {slot[0]} refers to a map, helper or function that is not there")
    return program


def _compile(text: Text, code: bytes, program: Any, addresses: Mapping[int, int]) -> Any:
    from anybpf.runtime import jit_bindings
    from anybpf.runtime.jit import compile_program
    from anybpf.runtime.lowering import Lowered, functions_of

    lowered = Lowered(text, code, functions_of(text), tuple(addresses))
    compiled = compile_program(lowered, jit_bindings.bind((), addresses, None))
    lib.ab_program_set_entry(program, compiled.entry)
    return compiled


def _run(program: Any, memory: bytes, mode: int) -> int:
    state = ffi.new("ab_run *", {"mode": mode, "repeat": 1})
    copy = bytearray(memory)
    pointer = ffi.from_buffer("uint8_t[]", copy) if memory else ffi.NULL
    if lib.ab_program_test(program, ffi.NULL, pointer, len(memory), state):
        from anybpf.runtime import fault

        raise fault.describe(state.fault, "program", None, str)
    return int(state.result)
