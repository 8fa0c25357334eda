"""C sources for tests, compiled on the spot."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from anybpf import elf
from anybpf.compile import compile_source, find_clang
from anybpf.errors import CompileError
from anybpf.samples.build import build
from anybpf.spec import ObjectSpec


def require_clang() -> None:
    """Skip the test where no clang emits BPF."""
    try:
        find_clang()
    except CompileError as error:
        pytest.skip(str(error))


def compiled(directory: Path, source: str, platform: str = "linux") -> ObjectSpec:
    """The object of a source text, with every warning an error."""
    path = directory / "source.c"
    path.write_text(source, encoding="utf-8")
    return elf.parse(compile_source(path, platform=platform, warnings=("all", "extra", "error")), "source.o")


@cache
def sample(name: str, platform: str | None = None) -> ObjectSpec:
    """The object of a sample program; skips the test where no clang emits BPF."""
    require_clang()
    return elf.parse(build(name, platform), f"{name}.o")
