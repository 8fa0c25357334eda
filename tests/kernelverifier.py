"""What the live kernel's verifier says of tiny programs, for tests that compare the platform tables with it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

import pytest

from anybpf import btf
from anybpf.btf.types import Enum, Function, Typedef

_SYSCALLS = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _MAP_FREEZE, _PROG_LOAD = 0, 22, 5
_SLEEPABLE = 1 << 4
_LOG_SIZE = 1 << 16
VMLINUX = Path("/sys/kernel/btf/vmlinux")


def _bpf(command: int, attributes: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 152))
    result = libc.syscall(_SYSCALLS[platform.machine()], command, buffer, len(attributes))
    return result if result >= 0 else -ctypes.get_errno()


class Kernel:
    """The verifier of the running kernel, asked with programs of one type.

    :param number: of the program type. :param attach_type: its number. :param target: id of the BTF type to attach to.
    """

    def __init__(self, number: int, attach_type: int = 0, *, target: int = 0, sleepable: bool = False) -> None:
        self.number = number
        self.attach_type = attach_type
        self.target = target
        self.flags = _SLEEPABLE if sleepable else 0

    def verdict(self, code: bytes, licence: bytes = b"GPL") -> tuple[bool, str]:
        """Return whether the kernel takes ``code``, and its log."""
        text, name = ctypes.create_string_buffer(code), ctypes.create_string_buffer(licence)
        log = ctypes.create_string_buffer(_LOG_SIZE)
        attributes = struct.pack(
            "<IIQQIIQII16sIIIIQIIQII", self.number, len(code) // 8, ctypes.addressof(text), ctypes.addressof(name),
            1, _LOG_SIZE, ctypes.addressof(log), 0, self.flags, b"", 0, self.attach_type, 0, 0, 0, 0, 0, 0, 0,
            self.target,
        )  # fmt: skip
        result = _bpf(_PROG_LOAD, attributes)
        if result >= 0:
            os.close(result)
        return result >= 0, log.value.decode(errors="replace")

    def accepts(self, code: bytes) -> bool:
        """Whether the kernel takes ``code``."""
        return self.verdict(code)[0]


def create_map(
    kind: int, key_size: int, value_size: int, entries: int, *, flags: int = 0, inner: int = 0, freeze: bool = False
) -> int:
    """Return the file descriptor of a new map, or a negative error number."""
    attributes = struct.pack("<IIIIII", kind, key_size, value_size, entries, flags, inner)
    result = _bpf(_MAP_CREATE, attributes)
    if result >= 0 and freeze:
        _bpf(_MAP_FREEZE, struct.pack("<I", result))
    return result


def require_kernel() -> None:
    """Skip the test unless this process may load BPF programs, and the kernel describes its types."""
    if not sys.platform.startswith("linux") or platform.machine() not in _SYSCALLS:
        pytest.skip("compares with a live Linux kernel")
    if not VMLINUX.exists():
        pytest.skip(f"{VMLINUX} is not there")
    if not Kernel(1).accepts(bytes.fromhex("b700000000000000 9500000000000000")):
        pytest.skip("bpf() is not allowed here")


def release() -> tuple[int, int]:
    """Return the kernel's major and minor version."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int(minor)


def type_id(name: str, kind: type[Function] | type[Typedef]) -> int:
    """Return the id of the kernel's type ``name``; skips the test when this kernel has none."""
    found = btf.kernel().find(name, kind)
    if found is None:
        pytest.skip(f"this kernel has no {name}")
    return found


def enumeration(name: str) -> dict[str, int]:
    """Return the enumerators of the kernel's ``enum name``."""
    types = btf.kernel()
    found = types.type(types.find(name, Enum) or 0)
    assert isinstance(found, Enum)
    return {enumerator.name: enumerator.value for enumerator in found.values}
