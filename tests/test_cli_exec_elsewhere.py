"""`anybpf exec` where there is no seccomp."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform.startswith("linux"), reason="Linux has it")
def test_it_says_so() -> None:
    """One sentence names what is missing, the status is 2, and the command is not run."""
    line = [sys.executable, "-m", "anybpf", "exec", "--attach", "bind=policy.o", "--", sys.executable, "-c", "print(1)"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "seccomp" in done.stderr
    assert "Traceback" not in done.stderr
