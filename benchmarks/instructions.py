"""How many BPF instructions a run executes: machine code of the program that counts its basic blocks as it goes."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from gcc import lowered_from

from anybpf.runtime.jit import translate_program
from anybpf.runtime.jit_bindings import bind
from anybpf.runtime.jit_flow import analyse
from anybpf.runtime.jit_machine import LinkedCode, Pipeline, compile_object
from anybpf.runtime.jit_symbols import ENTRY

_ENTRY = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p)


def count_instructions(path: Path, name: str, memory: bytes) -> int:
    """Run the program of ``path`` called ``name`` once on a copy of ``memory``; return the instructions executed."""
    lowered = lowered_from(path, name)
    lengths = {
        start: len(block.instructions)
        for entry in lowered.functions
        for start, block in analyse(lowered.text, entry).blocks.items()
    }

    def count_block(label: re.Match[str]) -> str:
        start = int(label[1])
        return f"{label[0]}\n  %count{start} = atomicrmw add ptr @executed, i64 {lengths[start]} monotonic"

    bindings = bind([], {}, None)
    ir = re.sub(r"^b(\d+):$", count_block, translate_program(lowered, bindings), flags=re.MULTILINE)
    code = compile_object("@executed = external global i64\n" + ir, Pipeline.BRIEF)
    executed, copy = ctypes.c_uint64(), ctypes.create_string_buffer(memory, len(memory))
    imports = {**bindings.symbols(), "executed": ctypes.addressof(executed)}
    with LinkedCode(code, imports, (ENTRY,)) as linked:
        _ENTRY(linked[ENTRY])(ctypes.addressof(copy), len(memory), 0)
    return executed.value
