"""The live kernel's maps through bpf(2), with ctypes alone: what the engine's maps are compared with."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

import pytest

#: The system call's number by machine.
SYSCALL = {"x86_64": 321, "aarch64": 280}
MAP_CREATE, LOOKUP, UPDATE, DELETE, NEXT_KEY, TAKE = 0, 1, 2, 3, 4, 21

#: Numbers of Linux's map types.
TYPES = {
    "hash": 1, "array": 2, "prog_array": 3, "percpu_hash": 5, "percpu_array": 6, "lru_hash": 9,
    "lru_percpu_hash": 10, "lpm_trie": 11, "array_of_maps": 12, "hash_of_maps": 13, "devmap": 14, "cpumap": 16,
    "queue": 22, "stack": 23, "devmap_hash": 25, "ringbuf": 27, "bloom_filter": 30,
}  # fmt: skip


class KernelMap:
    """A map of the running kernel; every operation returns (0 or a negative errno, bytes)."""

    def __init__(self, kind: str, key_size: int, value_size: int, max_entries: int, flags: int = 0) -> None:
        self.key_size = key_size
        cpus = possible_cpus() if "percpu" in kind else 1
        self.value_size = ((value_size + 7) // 8 * 8) * cpus if "percpu" in kind else value_size
        self.fd, _ = _bpf(MAP_CREATE, struct.pack("=5I", TYPES[kind], key_size, value_size, max_entries, flags))

    def close(self) -> None:
        """Give the map back."""
        if self.fd >= 0:
            os.close(self.fd)

    def _operate(self, command: int, key: bytes | None, value: bytes, flags: int) -> tuple[int, bytes]:
        key_buffer = None if key is None else ctypes.create_string_buffer(key, max(len(key), 1))
        value_buffer = ctypes.create_string_buffer(value, max(len(value), 1))
        key_address = 0 if key_buffer is None else ctypes.addressof(key_buffer)
        value_address = ctypes.addressof(value_buffer) if value else 0  # the kernel refuses fields that mean nothing
        attributes = struct.pack("=IIQQQ", self.fd, 0, key_address, value_address, flags)
        result, _ = _bpf(command, attributes)
        return result, value_buffer.raw[: len(value)]

    def lookup(self, key: bytes | None, value: bytes | None = None, flags: int = 0) -> tuple[int, bytes]:
        """BPF_MAP_LOOKUP_ELEM; ``value`` is what the buffer holds before (bloom filters read it)."""
        return self._operate(LOOKUP, key, bytes(self.value_size) if value is None else value, flags)

    def update(self, key: bytes | None, value: bytes, flags: int = 0) -> int:
        """BPF_MAP_UPDATE_ELEM."""
        return self._operate(UPDATE, key, value, flags)[0]

    def delete(self, key: bytes) -> int:
        """BPF_MAP_DELETE_ELEM."""
        return self._operate(DELETE, key, b"", 0)[0]

    def take(self, key: bytes | None, flags: int = 0) -> tuple[int, bytes]:
        """BPF_MAP_LOOKUP_AND_DELETE_ELEM."""
        return self._operate(TAKE, key, bytes(self.value_size), flags)

    def next_key(self, key: bytes | None) -> tuple[int, bytes]:
        """BPF_MAP_GET_NEXT_KEY."""
        return self._operate(NEXT_KEY, key, bytes(self.key_size), 0)


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"), 144)
    result = libc.syscall(SYSCALL[platform.machine()], command, buffer, 144)
    return (result if result >= 0 else -ctypes.get_errno()), buffer.raw


def possible_cpus() -> int:
    """Processors that the kernel has per-CPU values for."""
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
        return int(file.read().strip().split("-")[-1]) + 1


def require_kernel_maps() -> None:
    """Skip the test unless this process may create maps in a running Linux kernel."""
    if sys.platform != "linux" or platform.machine() not in SYSCALL:
        pytest.skip("needs a Linux kernel's bpf() system call")
    probe = KernelMap("array", 4, 8, 1)
    if probe.fd < 0:
        pytest.skip(f"bpf() refuses maps here: {errno.errorcode.get(-probe.fd, probe.fd)}")
    probe.close()
