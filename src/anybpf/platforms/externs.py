"""Undefined functions that are helpers: objects older than numbered helper declarations call them by name."""

from __future__ import annotations

from dataclasses import replace

from anybpf.isa import decode, encode, opcodes
from anybpf.platforms.model import Platform
from anybpf.spec import ObjectSpec, ProgramSpec

__all__ = ("with_helpers_by_name",)


def with_helpers_by_name(program: ProgramSpec, spec: ObjectSpec, platform: Platform) -> ProgramSpec:
    """Return ``program`` with its calls of undefined functions that are named like a helper made calls of that helper.

    :raises InstructionError: there are such functions, and the program's bytes are no valid instructions.
    """
    numbers = {helper.name: helper.id for helper in platform.helpers.values()}
    named = {index: numbers[e.name] for index, e in enumerate(spec.externs) if e.is_function and e.name in numbers}
    if not named:
        return program
    text = (
        replace(i, src=opcodes.CALL_HELPER, imm=named[i.imm])
        if i is not None and i.opcode == opcodes.OP_CALL and i.src == opcodes.CALL_KFUNC and i.imm in named
        else i
        for i in decode(program.code)
    )
    return replace(program, code=encode(tuple(text)))
