"""Machine code against gcc -O2 of the same C: the shared programs, called from the same loop, on the same memory."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from measure import Figure, alternate, geometric_mean
from toolchain import WORKLOADS, Timer, compile_bpf, native_library, shared_sources

from anybpf import elf
from anybpf.isa import decode
from anybpf.runtime.jit import compile_program
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
            found, expected = (timer.time(function, bytearray(memory), 1)[1] for function in (code.entry, native))
            if found != expected:
                raise SystemExit(f"{work.name} returned {found:#x} in machine code, {expected:#x} natively")
            times = [partial(_time, timer, function, memory, work.calls) for function in (code.entry, native)]
            ours, theirs = alternate(times, rounds)
        ratios.append(ours / theirs)
        yield Figure(
            SECTION, work.name, "×", ours / theirs, note=f"{_duration(ours)} against {_duration(theirs)} a call"
        )
    yield Figure(SECTION, "geometric mean", "×", geometric_mean(ratios), 1.15)


def _duration(nanoseconds: float) -> str:
    for unit in ("ns", "µs"):
        if nanoseconds < 1000:
            return f"{nanoseconds:.3g} {unit}"
        nanoseconds /= 1000
    return f"{nanoseconds:.3g} ms"


def _time(timer: Timer, function: int, memory: bytearray, calls: int) -> float:
    return timer.time(function, memory, calls)[0]
