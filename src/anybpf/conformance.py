"""``python -m anybpf.conformance``: the plugin by which the public BPF conformance runner tries an implementation.

::

    python -m anybpf.conformance [MEMORY] [--interpreter | --checked | --jit] < PROGRAM

MEMORY is the initial memory in hex (r1 points to it, r2 is its length; absent: both are zero), PROGRAM the instructions
in hex. Prints r0 in hex and exits with 0; a program that cannot run gives one line on standard error and exit status 1,
wrong usage 2. The default is the interpreter.

It is started once for every case, so it imports only what it needs. Programs are run as they are, without verification.
"""

from __future__ import annotations

import sys
from typing import Any

from anybpf.errors import AnyBpfError, LoadError
from anybpf.isa import Text, decode
from anybpf.runtime._engine import ffi, lib

__all__ = ("main", "run")

MODES = ("interpreter", "checked", "jit")
#: The helper that uBPF's test programs call: returning anything but zero means to go on.
UNWIND = 5
HELPER = "uint64_t(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, ab_slot *)"
_INSTRUCTION_LIMIT = 100_000_000  # of checked runs, which nothing else would end


def run(code: bytes, memory: bytes, mode: str = "interpreter") -> int:
    """Run a program on a copy of ``memory`` and return r0, 64 bits.

    :param mode: one of :data:`MODES`.
    :raises InstructionError: ``code`` is not a valid program.
    :raises LoadError: the program cannot be run. :raises ProgramFault: a checked run stopped at a bad access.
    """
    text = decode(code, indirect_calls=True)
    unwind = ffi.callback(HELPER, lambda a1, a2, a3, a4, a5, slot: a1)
    engine = ffi.gc(lib.ab_engine_create(1), lib.ab_engine_destroy)
    program = ffi.gc(_create(engine, code, text, int(ffi.cast("uintptr_t", unwind))), lib.ab_program_destroy)
    compiled = _compile(text, program, int(ffi.cast("uintptr_t", unwind))) if mode == "jit" else None
    try:
        return _run(program, memory, lib.AB_MODE_CHECKED if mode == "checked" else lib.AB_MODE_AUTOMATIC)
    finally:
        if compiled is not None:
            compiled.close()


def _create(engine: Any, code: bytes, text: Text, unwind: int) -> Any:
    helper = {"function": unwind, "id": UNWIND, "arguments": [{"kind": lib.AB_ARG_ANYTHING}]}
    buffer, helpers = ffi.from_buffer("uint8_t[]", code), ffi.new("ab_helper[]", [helper])
    config = ffi.new(
        "ab_program_config *",
        {
            "code": buffer,
            "slots": len(text),
            "helpers": helpers,
            "helper_count": 1,
            "instruction_limit": _INSTRUCTION_LIMIT,
        },
    )
    error, slot = ffi.new("int32_t *"), ffi.new("uint32_t *")
    program = lib.ab_program_create(engine, config, error, slot)
    if program == ffi.NULL:
        raise LoadError(f"instruction {slot[0]}: it refers to a map or helper, and here there are none")
    return program


def _compile(text: Text, program: Any, unwind: int) -> Any:
    from anybpf.runtime import jit_bindings
    from anybpf.runtime.jit import compile_program
    from anybpf.runtime.lowering import Lowered, functions_of

    lowered = Lowered(text, b"", functions_of(text), (UNWIND,))
    compiled = compile_program(lowered, jit_bindings.bind((), {UNWIND: unwind}, None))
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


def _memory(arguments: list[str]) -> bytes:
    if len(arguments) > 1:
        raise ValueError("more than one memory")
    return bytes.fromhex(arguments[0]) if arguments else b""


def main(arguments: list[str]) -> int:
    """Run the command with ``arguments``; return its exit status."""
    modes = [a.removeprefix("--") for a in arguments if a.startswith("--")]
    try:
        memory = _memory([a for a in arguments if not a.startswith("--")])
        code = bytes.fromhex(sys.stdin.read())
        if len(modes) > 1 or not set(modes) <= set(MODES):
            raise ValueError("give at most one of --interpreter, --checked, --jit")
    except ValueError as error:
        print(f"anybpf.conformance: {error}", file=sys.stderr)
        return 2
    try:
        print(f"{run(code, memory, *modes):x}")
    except AnyBpfError as error:
        print(f"anybpf.conformance: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
