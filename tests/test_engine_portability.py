"""The C core compiles for systems and processors that this machine is not, with the headers of those systems."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parent.parent / "src" / "anybpf" / "runtime" / "_engine"
# A cross-compiler says the same wherever it runs, so this need not run on Windows, where it takes long.
pytestmark = pytest.mark.linux_only

#: LLVM target, and where the package ziglang keeps that system's headers.
TARGETS = {
    "aarch64-apple-macos12": ("any-darwin-any",),
    "x86_64-apple-macos12": ("any-darwin-any",),
    "aarch64-w64-windows-gnu": ("any-windows-any",),
    "aarch64-linux-musl": ("aarch64-linux-musl", "generic-musl", "aarch64-linux-any", "any-linux-any"),
    "riscv64-linux-musl": ("riscv64-linux-musl", "generic-musl", "riscv-linux-any", "any-linux-any"),
}


def complaints(target: str, *arguments: str | Path) -> str:
    """What clang says of sources (and with flags) for ``target``, all warnings being errors; skips without ziglang."""
    ziglang = importlib.util.find_spec("ziglang")
    if ziglang is None or ziglang.origin is None:
        pytest.skip("the package ziglang, which has the headers of other systems, is not installed")
    library = Path(ziglang.origin).parent / "lib"
    command = [sys.executable, "-m", "ziglang", "clang", f"--target={target}", "-nostdlibinc", "-resource-dir", library]
    for folder in TARGETS[target]:
        command += ["-isystem", library / "libc" / "include" / folder]
    command += ["-I", ENGINE, "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    return "" if done.returncode == 0 else done.stderr or f"status {done.returncode}"


@pytest.mark.parametrize("target", TARGETS)
def test_every_file_compiles_without_a_warning(target: str) -> None:
    """Each C file of the engine is correct C11 for the target, with the engine's own set of warnings."""
    assert complaints(target, *sorted(ENGINE.glob("*.c"))) == ""


def test_no_file_needs_a_gnu_compiler() -> None:
    """Whatever uses GNU C has a twin that does not; parameters that a helper ignores are marked for GNU C alone."""
    flags = ("-fgnuc-version=0", "-Wno-unused-parameter")
    assert complaints("aarch64-linux-musl", *flags, *sorted(ENGINE.glob("*.c"))) == ""


def test_what_the_target_lacks_is_noticed(tmp_path: Path) -> None:
    """A file that uses another system's interface is refused, so the check above sees the target's headers."""
    source = tmp_path / "linux.c"
    source.write_text("#include <sys/epoll.h>\nint made(void) { return epoll_create1(0); }\n", encoding="utf-8")
    assert "sys/epoll.h" in complaints("aarch64-apple-macos12", source)
    assert "sys/epoll.h" in complaints("aarch64-w64-windows-gnu", source)
    assert complaints("aarch64-linux-musl", source) == ""
