"""The C core under sanitizers: eight threads on every kind of map (tests/engine_driver.c) without a report."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ENGINE = TESTS.parent / "src/anybpf/runtime/_engine"
#: Maps, slots and reclamation, and what those call.
CONCEPTS = ("slot", "reclaim", "pool", "lru", "hash_table", "map*", "ring*", "wake*", "trace", "clock*", "process*")
FLAGS = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]

pytestmark = pytest.mark.linux_only


def build(folder: Path, *flags: str) -> Path:
    """Compile the driver and the engine with ``flags``; skips where that cannot be done."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("sanitizers are run on Linux with gcc or clang")
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if subprocess.run([compiler, *flags, str(probe), "-o", str(folder / "probe")], capture_output=True).returncode:
        pytest.skip(f"{compiler} cannot link {' '.join(flags)}")
    if subprocess.run([str(folder / "probe")], capture_output=True).returncode:
        pytest.skip(f"programs built with {' '.join(flags)} do not start on this machine")
    driver = folder / "engine_driver"
    sources = [TESTS / "engine_driver.c", *(source for name in CONCEPTS for source in ENGINE.glob(f"{name}.c"))]
    command = [compiler, *FLAGS, *flags, f"-I{ENGINE}", *map(str, sources), "-o", str(driver), "-lpthread"]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    return driver


def stress(driver: Path, operations: int) -> None:
    """Run every scenario on eight threads; any report or broken promise fails the test."""
    run = subprocess.run([str(driver), "stress", "8", str(operations)], capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr[-4000:]
    assert "all scenarios hold" in run.stdout
    assert not run.stderr, run.stderr[-4000:]


def test_eight_threads_race_on_nothing(tmp_path: Path) -> None:
    """ThreadSanitizer sees no data race in any map, ring, slot or reclamation, and no update is lost."""
    stress(build(tmp_path, "-fsanitize=thread"), 5000)


def test_memory_is_used_soundly(tmp_path: Path) -> None:
    """AddressSanitizer, LeakSanitizer and UBSan see no bad access, no leak and no undefined behaviour."""
    stress(build(tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"), 20000)


def test_the_scenarios_hold_at_full_speed(tmp_path: Path) -> None:
    """Without a sanitizer to slow threads down, promises hold as well."""
    stress(build(tmp_path, "-O2"), 50000)
