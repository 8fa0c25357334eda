"""docs/exec.md is executed: its commands print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compiling import require_clang

pytestmark = pytest.mark.linux_only

PAGE = Path(__file__).resolve().parent.parent / "docs" / "exec.md"
FENCE = re.compile(r"^```(?P<kind>\w+)(?: (?P<name>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_what_the_page_shows_is_what_happens(tmp_path: Path) -> None:
    """Files are written as shown, and each command prints what stands below it."""
    require_clang()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, module in (("anybpf", "-m anybpf"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    commands = 0
    for block in FENCE.finditer(PAGE.read_text(encoding="utf-8")):
        if block["name"]:
            (tmp_path / block["name"]).write_text(block["body"], encoding="utf-8")
        elif block["kind"] == "console":
            for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block["body"], re.MULTILINE):
                done = subprocess.run(
                    command, shell=True, cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
                )  # fmt: skip
                if not command.startswith("anybpf compile"):
                    assert done.stdout == expected, command
                commands += 1
    assert commands == 3
