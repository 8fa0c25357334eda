"""How long it takes until a program runs: loading and the first run, and LLVM's work by size of program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gcc import lowered_from
from measure import Figure, alternate, cpu_milliseconds, milliseconds
from toolchain import PROGRAMS, SYN, compile_bpf, large_program, shared_sources

import anybpf
from anybpf.runtime.code_cache import CodeCache
from anybpf.runtime.jit import compile_program
from anybpf.runtime.jit_bindings import bind
from anybpf.runtime.lowering import Lowered

SECTION = "compilation"
#: Copies of the parser that make about 4,500 instructions.
COPIES = 23


def compilation(folder: Path, rounds: int) -> Iterator[Figure]:
    """Compile programs of two sizes without the code cache, and one with it."""
    source = folder / "large.c"
    source.write_text(large_program(COPIES).replace('"common.h"', f'"{shared_sources() / "common.h"}"'))
    small = lowered_from(compile_bpf(shared_sources() / "b_jhash.c", folder / "small.o"), "jhash")
    large = lowered_from(compile_bpf(source, folder / "large.o"), "large")
    first = milliseconds(partial(_compile, small))
    yield Figure(SECTION, "LLVM loaded, first program", "ms", first, note="once in a process")
    cache = CodeCache(folder / "code")
    _compile(large, cache)
    small_time, large_time, cached = alternate(
        [partial(cpu_milliseconds, partial(_compile, *work)) for work in ((small,), (large,), (large, cache))],
        max(3, rounds // 3),
    )
    yield Figure(SECTION, f"{_instructions(small)} instructions", "ms CPU", small_time, 20)
    yield Figure(SECTION, f"{_instructions(large)} instructions", "ms CPU", large_time, 300)
    yield Figure(SECTION, "the same from the code cache", "ms CPU", cached)


def _instructions(program: Lowered) -> int:
    return sum(instruction is not None for instruction in program.text)


def _compile(program: Lowered, cache: CodeCache | None = None) -> None:
    with compile_program(program, bind([], {}, None), cache):
        pass


def first_run(folder: Path, rounds: int) -> Iterator[Figure]:
    """From a file to the first result, in a process that has loaded something before."""
    path = compile_bpf(PROGRAMS / "xdp.c", folder / "xdp.o")
    loads, runs = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        with anybpf.load(path) as loaded:
            loads.append((time.perf_counter() - start) * 1e3)
            runs.append(milliseconds(partial(loaded.programs["parse"].test_run, SYN)))
    yield Figure("first run", "load two programs, verified", "ms", min(loads))
    note = f"slowest of {rounds}: {max(runs):.2g} ms"
    yield Figure("first run", "first run after loading", "ms", min(runs), 5, note)
