"""How long it takes until a program runs: LLVM's part by size of program, a hit in the code cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from machine_code import lowered_from
from measure import Figure, alternate, milliseconds
from toolchain import compile_bpf, large_program, shared_sources

from anybpf.runtime.code_cache import CodeCache
from anybpf.runtime.jit import compile_program
from anybpf.runtime.jit_bindings import bind
from anybpf.runtime.lowering import Lowered

SECTION = "compilation"
#: Copies of the parser that make about 4,500 instructions.
COPIES = 36


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Compile programs of two sizes without the code cache, and one with it."""
    source = folder / "large.c"
    source.write_text(large_program(COPIES).replace('"common.h"', f'"{shared_sources() / "common.h"}"'))
    parser = lowered_from(compile_bpf(shared_sources() / "b_parse.c", folder / "small.o"), "parse")
    large = lowered_from(compile_bpf(source, folder / "large.o"), "large")
    first = milliseconds(lambda: _compile(parser))
    yield Figure(SECTION, "LLVM loaded, first program compiled", "ms", first, note="once in a process")
    small_time, large_time = alternate(
        (lambda: milliseconds(lambda: _compile(parser)), lambda: milliseconds(lambda: _compile(large))),
        max(3, rounds // 3),
    )
    yield Figure(SECTION, f"{len(parser.text)} instructions", "ms", small_time, 20)
    yield Figure(SECTION, f"{len(large.text)} instructions", "ms", large_time, 300)
    cache = CodeCache(folder / "code")
    _compile(large, cache)
    (cached,) = alternate((lambda: milliseconds(lambda: _compile(large, cache)),), max(3, rounds // 3))
    yield Figure(SECTION, f"{len(large.text)} instructions, from the cache", "ms", cached)


def _compile(program: Lowered, cache: CodeCache | None = None) -> None:
    with compile_program(program, bind([], {}, None), cache):
        pass
