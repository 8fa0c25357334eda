"""Machine code against gcc -O2 of the same C: the shared programs, called from the same loop, on the same memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

from measure import Figure, alternate, geometric_mean
from toolchain import WORKLOADS, Timer, compile_bpf, native_library, shared_sources

from anybpf import elf
from anybpf.isa import decode
from anybpf.runtime.jit import CompiledCode, compile_program
from anybpf.runtime.jit_bindings import bind
from anybpf.runtime.lowering import Lowered, functions_of, helpers_of

SECTION = "machine code / gcc -O2"


def lowered_from(path: Path, name: str) -> Lowered:
    """A program that runs on memory, from an object file."""
    code = elf.open(path)[name].code
    text = decode(code)
    return Lowered(text, code, functions_of(text), helpers_of(text, ()))


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Time every shared program both ways. Results must agree, or the benchmark stops."""
    sources = shared_sources()
    library = native_library(folder)
    timer = Timer(library)
    ratios = []
    for work in WORKLOADS:
        object_file = compile_bpf(sources / work.file, folder / f"{work.name}.o")
        memory = work.memory()
        native = ctypes.cast(getattr(library, work.name), ctypes.c_void_p).value or 0
        with compile_program(lowered_from(object_file, work.name), bind([], {}, None)) as code:
            if (found := _result(timer, code, memory)) != (expected := timer.time(native, bytearray(memory), 1)[1]):
                raise SystemExit(f"{work.name} returned {found:#x} in machine code, {expected:#x} natively")
            ours, theirs = alternate(
                (
                    lambda: timer.time(code.entry, memory, work.calls)[0],
                    lambda: timer.time(native, memory, work.calls)[0],
                ),
                rounds,
            )
        ratios.append(ours / theirs)
        yield Figure(SECTION, work.name, "×", ours / theirs, note=f"{ours:.4g} ns against {theirs:.4g} ns a call")
    yield Figure(SECTION, "geometric mean", "×", geometric_mean(ratios), 1.15)


def _result(timer: Timer, code: CompiledCode, memory: bytearray) -> int:
    return timer.time(code.entry, bytearray(memory), 1)[1]
