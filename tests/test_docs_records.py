"""docs/records.md is executed: its program is compiled, and its Python prints what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from compiling import require_clang

PAGE = Path(__file__).resolve().parent.parent / "docs" / "records.md"
FENCE = re.compile(r"^```(?P<kind>\w+)(?: (?P<file>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_examples_print_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of Python goes on where the one before ended, and a block of text is what it printed."""
    require_clang()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    printed, compared = io.StringIO(), 0
    for block in FENCE.finditer(PAGE.read_text(encoding="utf-8")):
        match block["kind"]:
            case "c":
                Path(block["file"]).write_text(block["body"], encoding="utf-8")
            case "python":
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile(block["body"], str(PAGE), "exec"), names)
            case "text":
                assert printed.getvalue() == block["body"]
                compared += 1
    names["loaded"].close()
    assert compared == 3
