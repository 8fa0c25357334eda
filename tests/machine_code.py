"""Runs programs in machine code without the rest of the runtime: assembly in, r0 and memory out.

Programs get what the ``raw`` platform gives: r1 = memory, r2 = its length.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from anybpf.isa import Text, assemble, decode, jump_target
from anybpf.isa import opcodes as op
from anybpf.runtime.jit import compile_program
from anybpf.runtime.jit_bindings import Bindings

ENTRY = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p)
HELPER = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 5, ctypes.c_void_p)
MASK = 2**64 - 1


@dataclass(frozen=True)
class Program:
    """A lowered program made by hand."""

    text: Text
    functions: tuple[int, ...]
    array_lookups: Mapping[int, int] = field(default_factory=dict)


def program(source: str | bytes, array_lookups: Mapping[int, int] | None = None) -> Program:
    """Assemble (or decode) a program; functions are found by who calls or refers to them."""
    text = decode(assemble(source) if isinstance(source, str) else source, indirect_calls=True)
    functions = {0}
    for slot, instruction in enumerate(text):
        if instruction is None:
            continue
        local = instruction.opcode == op.OP_CALL and instruction.src == op.CALL_LOCAL
        if local or (instruction.is_wide and instruction.src == op.LDDW_FUNCTION):
            target = jump_target(instruction, slot)
            assert target is not None
            functions.add(target)
    return Program(text, tuple(sorted(functions)), array_lookups or {})


def run(
    source: str | bytes | Program, memory: bytearray | bytes = b"", bindings: Bindings | None = None, slot: int = 0
) -> int:
    """Compile, run once on ``memory`` (a bytearray is written in place), and return r0."""
    lowered = source if isinstance(source, Program) else program(source)
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
