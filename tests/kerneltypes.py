"""The types of the kernel that the tests run on."""

from pathlib import Path

import pytest

from anybpf import btf
from anybpf.errors import UnsupportedError


def running_kernel() -> btf.Btf:
    """Return the running kernel's types; skips the test where there are none."""
    try:
        return btf.kernel()
    except UnsupportedError as error:
        reason = str(error)
    assert not Path("/sys/kernel/btf/vmlinux").exists()
    pytest.skip(reason)
