"""docs/verifier.md is up to date with the code."""

from __future__ import annotations

import os

from anybpf.verifier.failure import FAILURES, reference_table
from conftest import ROOT

BEGIN, END = "<!-- failures -->\n", "<!-- end of failures -->"


def test_failure_table_is_fresh() -> None:
    """The page's table is what the code says; ANYBPF_WRITE_DOCS=1 writes it anew."""
    page = ROOT / "docs" / "verifier.md"
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    if os.environ.get("ANYBPF_WRITE_DOCS"):
        page.write_text(before + BEGIN + reference_table() + END + after, encoding="utf-8")
        text = page.read_text(encoding="utf-8")
    assert text == before + BEGIN + reference_table() + END + after


def test_every_code_has_a_row() -> None:
    """No failure is missing from the table."""
    table = reference_table()
    assert all(f"| `{code}` |" in table for code in FAILURES)
