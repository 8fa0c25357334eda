"""Building the package: what the source archive holds, and what is said when there is no C compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The lab builds for Windows (tests/windows/lab.py); setup.py itself would need Microsoft's compiler there.
pytestmark = pytest.mark.linux_only


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that the repository tracks, as they are now."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def setup(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the project's setup.py in ``folder``."""
    command = [sys.executable, "setup.py", "-q", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_source_archive_holds_the_repository(checkout: Path) -> None:
    """All that is tracked is in the source archive: C files, headers, samples, tests, documentation."""
    tracked = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file()}
    done = setup(checkout, "sdist", "--dist-dir", "archive")
    assert done.returncode == 0, done.stderr
    with tarfile.open(next((checkout / "archive").glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked - held == {".gitignore"}
    assert {"src/anybpf/runtime/_engine/map_hash.c", "src/anybpf/samples/traffic.pcap"} <= held


def test_without_a_compiler_one_sentence_says_so(checkout: Path) -> None:
    """The build ends with one sentence that names the compiler that is missing and what to install."""
    done = setup(checkout, "build_ext", CC="/nonexistent/cc")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == (
        "anybpf needs a C compiler to build its engine, and '/nonexistent/cc' was not found: "
        "install gcc or clang and try again."
    )
