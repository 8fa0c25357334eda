"""``anybpf gen header`` writes the header of a hook that a module declares."""

from __future__ import annotations

import subprocess
import sys

import pytest

DECLARATION = """
from anybpf.hooks import Service
from anybpf.hooks.service_fields import U32, Buffer

class hooks:
    orders = Service("order", fields=[U32("amount"), Buffer("item")], returns={"ACCEPT": 0, "REFUSE": 1},
                     fallback="REFUSE")
number = 5
"""


def gen(tmp_path, *arguments):
    """Run ``anybpf gen header`` in a directory with the module ``shop``."""
    (tmp_path / "shop.py").write_text(DECLARATION, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "anybpf", "gen", "header", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_the_header_is_printed_or_written(tmp_path):
    """The same text goes to standard output, or into the file."""
    printed = gen(tmp_path, "shop:hooks.orders")
    assert printed.returncode == 0, printed.stderr
    assert "struct order {" in printed.stdout
    written = gen(tmp_path, "shop:hooks.orders", "-o", "order.h")
    assert (written.returncode, written.stdout) == (0, "")
    assert (tmp_path / "order.h").read_text(encoding="utf-8") == printed.stdout


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("shop", "names no hook; write MODULE:HOOK"),
        (":orders", "names no hook"),
        ("store:orders", "store cannot be imported"),
        ("broken:orders", "broken cannot be imported: ZeroDivisionError"),
        ("shop:hooks.offers", "cannot be found"),
        ("shop:number", "is 5, not an anybpf.hooks.Service"),
    ],
)
def test_what_cannot_be_found_is_named(tmp_path, reference, message):
    """One sentence says what is missing; the exit status is 2."""
    done = gen(tmp_path, reference)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
