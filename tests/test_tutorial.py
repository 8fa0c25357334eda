"""The tutorial is executed: every command in it runs, and prints what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from anybpf.compile import find_clang
from anybpf.errors import CompileError

TUTORIAL = Path(__file__).resolve().parent.parent / "docs" / "tutorial.md"
FENCE = re.compile(r"^```(?P<kind>\w+)(?: (?P<argument>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run: times and sizes of what the compiler made. Both sides are rewritten the same way.
VARYING = re.compile(r"\b\d+(?:\.\d+)?(?= (?:ms|ns|µs|bytes)\b)")

# A machine with more processors has more (zero) values in a per-CPU map.
PER_CPU = re.compile(r"(?:, 0)+\]")


@dataclass(frozen=True)
class Step:
    """A command of the tutorial, the lines it shows below it, and the exit status that it announces."""

    command: str
    shown: str
    status: int


def steps(body: str) -> list[Step]:
    """Split a console block at its ``$`` lines; a last line ``(exit status N)`` announces a failure."""
    found = []
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        status = 0
        if match := re.search(r"^\(exit status (\d+)\)\n?\Z", shown, re.MULTILINE):
            status, shown = int(match[1]), shown[: match.start()]
        found.append(Step(command, shown, status))
    return found


def normal(text: str) -> str:
    """``text`` without what varies, and without trailing space."""
    text = PER_CPU.sub(", 0]", VARYING.sub("N", text))
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_every_command_of_the_tutorial_prints_what_it_says(tmp_path: Path) -> None:
    """Commands run in order in one folder, where the tutorial's own files were written, print what the page shows."""
    try:
        find_clang()
    except CompileError as error:
        pytest.skip(str(error))
    ran = 0
    for block in FENCE.finditer(TUTORIAL.read_text(encoding="utf-8")):
        if block["kind"] in ("c", "python") and block["argument"]:
            (tmp_path / block["argument"]).write_text(block["body"], encoding="utf-8")
        if block["kind"] != "console":
            continue
        for step in steps(block["body"]):
            program, *arguments = shlex.split(step.command)
            launch = {"anybpf": [sys.executable, "-m", "anybpf"], "python": [sys.executable]}[program]
            done = subprocess.run(
                [*launch, *arguments],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=120,
                check=False,
            )
            printed = done.stdout + done.stderr
            assert done.returncode == step.status, f"{step.command}\n{printed}"
            assert normal(printed) == normal(step.shown), step.command
            ran += 1
    assert ran >= 10
