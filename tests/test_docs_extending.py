"""docs/extending.md is executed: its files are written, every command in it runs, and prints what the page says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from anybpf.compile import find_clang
from anybpf.errors import CompileError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
FENCE = re.compile(r"^```(?P<kind>\w+)(?: (?P<argument>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"^\(exit status (\d+)\)\n?\Z", re.MULTILINE)
SIZE = re.compile(r"\b\d+(?= bytes$)", re.MULTILINE)  # of objects: compilers differ
LAUNCH = {"anybpf": [sys.executable, "-m", "anybpf"], "python": [sys.executable]}


def install(folder: Path, project: str) -> None:
    """Make the modules of ``folder`` known as an installed package, as pip would: with its entry points."""
    declared = tomllib.loads(project)["project"]
    name = declared["name"].replace("-", "_")
    info = folder / f"{name}-{declared['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: {declared['version']}\n", encoding="utf-8"
    )
    lines = []
    for group, entries in declared["entry-points"].items():
        lines += [f"[{group}]", *(f"{entry} = {target}" for entry, target in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def normal(text: str) -> str:
    """``text`` without what varies, and without trailing space."""
    return "\n".join(line.rstrip() for line in SIZE.sub("N", text).strip().splitlines())


def test_every_example_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    """Commands run in order in one folder, where the page's own files were written, and print what the page shows."""
    try:
        find_clang()
    except CompileError as error:
        pytest.skip(str(error))
    ran = []
    for block in FENCE.finditer(PAGE.read_text(encoding="utf-8")):
        if block["argument"]:
            (tmp_path / block["argument"]).write_text(block["body"], encoding="utf-8")
        if block["kind"] == "toml":
            install(tmp_path, block["body"])
        if block["kind"] != "console":
            continue
        for part in re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            announced = STATUS.search(shown)
            program, *arguments = shlex.split(command)
            done = subprocess.run(
                [*LAUNCH[program], *arguments],
                cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": "utf-8"}, timeout=120, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
            )  # fmt: skip
            assert done.returncode == (int(announced[1]) if announced else 0), f"{command}\n{done.stdout}"
            assert normal(done.stdout) == normal(STATUS.sub("", shown)), command
            ran.append(command)
    assert len(ran) >= 9
    unused = {path.name for path in tmp_path.glob("*.py")} - {word for command in ran for word in command.split()}
    assert unused <= {"shop.py", "udp_frames.py"}, "examples that nothing runs"
