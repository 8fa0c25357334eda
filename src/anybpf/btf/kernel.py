"""Where types to relocate against come from: a BTF file, or the running kernel."""

from __future__ import annotations

import builtins
import os
from pathlib import Path

from anybpf.btf.table import Btf, load
from anybpf.errors import BtfError, UnsupportedError

KERNEL = Path("/sys/kernel/btf/vmlinux")


def open(path: str | os.PathLike[str]) -> Btf:
    """Return the types in a file of raw BTF, such as those of BTFHub or ``bpftool btf dump … format raw``.

    :raises BtfError: the file cannot be read, or holds none.
    """
    try:
        with builtins.open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise BtfError(f"cannot be read: {error.strerror or error}", file=str(path)) from None
    if data[:4] == b"\x7fELF":
        raise BtfError(
            "an ELF file; take its types out with llvm-objcopy --dump-section .BTF=types.btf", file=str(path)
        )
    try:
        return load(data)
    except BtfError as error:
        raise BtfError(error.reason, file=str(path)) from None


def kernel() -> Btf:
    """Return the types of the running Linux kernel.

    :raises UnsupportedError: this machine runs another system, or a kernel without CONFIG_DEBUG_INFO_BTF.
    """
    if not KERNEL.exists():
        raise UnsupportedError(
            f"the running kernel's types are not available: {KERNEL} does not exist; give a BTF file"
        )
    return open(KERNEL)
