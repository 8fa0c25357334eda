"""Finding a clang that emits BPF, and running it on one source, apart from the machine's own headers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from anybpf.errors import CompileError

__all__ = ("Clang", "compile_source", "find_clang", "include_dir")

_INCLUDE: Final = Path(__file__).resolve().parent / "include"
_TIMEOUT_SECONDS: Final = 120

#: Variables by which clang would search the machine's headers after all.
_SEARCH_PATHS: Final = frozenset({"CPATH", "C_INCLUDE_PATH"})

#: ISA version 3: 32-bit arithmetic and jumps, and atomics, which every kernel since 5.12 runs.
_CPU: Final = "v3"


@dataclass(frozen=True, slots=True)
class Clang:
    """A compiler that has the BPF target.

    :param command: what to run, before any flag. :param flags: what this compiler needs to find its own headers.
    :param description: for people: which clang it is.
    """

    command: tuple[str, ...]
    flags: tuple[str, ...]
    description: str


def include_dir(platform: str) -> Path:
    """Return the directory of the headers of ``platform`` ("linux" or "windows"); CompileError for any other."""
    directory = _INCLUDE / platform
    if not directory.is_dir():
        known = ", ".join(sorted(path.name for path in _INCLUDE.iterdir() if path.is_dir()))
        raise CompileError(f"there are no headers for platform {platform!r}; there are some for {known}")
    return directory


@cache
def find_clang() -> Clang:
    """Return the system's clang when it emits BPF, else the one in the ``clang`` extra (the package ziglang).

    :raises CompileError: there is neither.
    """
    system = shutil.which("clang")
    if system is not None and _has_bpf_target(system):
        return Clang((system,), ("-nostdlibinc",), system)
    ziglang = importlib.util.find_spec("ziglang")
    if ziglang is not None and ziglang.submodule_search_locations:
        library = (Path(next(iter(ziglang.submodule_search_locations))) / "lib").as_posix()
        flags = ("-nostdlibinc", "-resource-dir", library, f"-ffile-prefix-map={library}=clang")
        return Clang((sys.executable, "-m", "ziglang", "clang"), flags, "the clang of the package ziglang")
    raise CompileError(
        "no clang that emits BPF was found: `pip install 'anybpf[clang]'` brings one, and so do your system's packages"
    )


def _has_bpf_target(clang: str) -> bool:
    try:
        done = subprocess.run(
            [clang, "--target=bpf", "-x", "c", "-c", "-", "-o", "-"],
            input=b"",
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.startswith(b"\x7fELF")


def compile_source(
    path: str | Path,
    *,
    platform: str = "linux",
    include_dirs: Iterable[str | Path] = (),
    defines: Iterable[str] = (),
    opt: str = "2",
    warnings: Iterable[str] = ("all",),
    debug: bool = True,
) -> bytes:
    """Return the BPF object that clang makes of the C source ``path``.

    Only the compiler's own headers (``stdint.h`` and its kin), those of ``include_dirs`` and the bundled ones of
    ``platform`` are searched, in the order ``include_dirs``, bundled, compiler: never the machine's.

    :param platform: whose headers: "linux" or "windows".
    :param defines: macros, each ``NAME`` or ``NAME=VALUE``. :param opt: clang's ``-O`` level.
    :param warnings: names of ``-W`` flags ("all", "error"); warnings of a compilation that succeeds go to stderr.
    :param debug: add type and line information (BTF), which names maps' types and source lines.
    :raises CompileError: no clang was found, the source cannot be read, or clang refused it, with its diagnostics.
    """
    source = Path(path)
    if not source.is_file():
        raise CompileError(f"{source}: there is no such file")
    defined = tuple(defines)
    if not all(defined):
        raise CompileError("a macro to define has no name; give NAME or NAME=VALUE")
    clang = find_clang()
    flags = [*clang.flags, "--target=bpf", f"-mcpu={_CPU}", f"-O{opt}", "-fno-stack-protector"]
    # The same source gives the same bytes wherever this package and the working directory are, on every system: hence
    # forward slashes on Windows, too.
    flags += ["-g", "-fdebug-compilation-dir=.", f"-ffile-prefix-map={_INCLUDE.as_posix()}=anybpf"] if debug else []
    flags += [f"-W{name}" for name in warnings]
    flags += [flag for directory in include_dirs for flag in ("-I", Path(directory).as_posix())]
    flags += ["-isystem", include_dir(platform).as_posix()]
    flags += [f"-D{define}" for define in defined]
    with tempfile.TemporaryDirectory(prefix="anybpf-") as directory:
        output = Path(directory) / "output.o"
        try:
            done = subprocess.run(
                [*clang.command, *flags, "-x", "c", "-c", source.as_posix(), "-o", str(output)],
                env={name: value for name, value in os.environ.items() if name not in _SEARCH_PATHS},
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompileError(f"{source}: {clang.description} does not run: {error}") from error
        if done.returncode != 0 or not output.exists():
            raise CompileError(f"{source}: clang refused it:\n{done.stderr.strip()}")
        sys.stderr.write(done.stderr)
        return output.read_bytes()
