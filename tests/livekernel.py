"""The live kernel's own BPF_PROG_TEST_RUN, for tests that compare with it. Needs Linux and root."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from dataclasses import dataclass

import pytest

_SYSCALLS = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _PROG_LOAD, _PROG_TEST_RUN, _MAP_FREEZE, _LINK_CREATE = 0, 1, 2, 5, 10, 22, 28
_ATTACH_XDP, _GENERIC = 37, 2  # BPF_XDP, XDP_FLAGS_SKB_MODE
_PROG_ATTACH, _ALLOW_MULTI = 8, 2
_ARRAY, _RDONLY_PROG = 2, 0x80
_LDDW = 0x18
_SLOT = struct.Struct("<BBhi")
_TYPES = {
    "socket_filter": 1, "sched_cls": 3, "xdp": 6, "cgroup_skb": 8, "cgroup_sock": 9, "lwt_xmit": 12,
    "raw_tracepoint": 17, "cgroup_sock_addr": 18,
}  # fmt: skip
_LOG_SIZE = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """What a test run gives: the program's 32-bit return value, the packet and the context afterwards."""

    retval: int
    data: bytes
    context: bytes = b""


class Refused(AssertionError):
    """The kernel's verifier refused a program; the message is its log."""


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 152))
    result = libc.syscall(_SYSCALLS[platform.machine()], command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw


def require_live_kernel() -> None:
    """Skip the test unless this process may load BPF programs."""
    if not sys.platform.startswith("linux") or platform.machine() not in _SYSCALLS:
        pytest.skip("compares with a live Linux kernel")
    try:
        os.close(load("xdp", bytes.fromhex("b700000002000000 9500000000000000")))
    except OSError as error:
        pytest.skip(f"bpf() is not allowed here: {error.strerror}")


def load(kind: str, code: bytes, attach_type: int = 0) -> int:
    """Load a program; returns its file descriptor. Refused, with the kernel's log, when it does not verify."""
    text = ctypes.create_string_buffer(code)
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_LOG_SIZE)
    attributes = struct.pack(
        "<IIQQIIQ28xI", _TYPES[kind], len(code) // 8, ctypes.addressof(text), ctypes.addressof(licence), 1, _LOG_SIZE,
        ctypes.addressof(log), attach_type,
    )  # fmt: skip
    try:
        return _bpf(_PROG_LOAD, attributes)[0]
    except OSError as error:
        if log.value:
            raise Refused(log.value.decode()) from error
        raise


def attach_to_cgroup(cgroup: int, program: int, attach_type: int) -> None:
    """Attach a loaded program to the control group whose directory is open, behind those that are."""
    _bpf(_PROG_ATTACH, struct.pack("<IIII", cgroup, program, attach_type, _ALLOW_MULTI))


def run_loaded(program: int, data: bytes, context: bytes = b"") -> Outcome:
    """Run a loaded program once."""
    given = ctypes.create_string_buffer(data, len(data))
    out = ctypes.create_string_buffer(1 << 16)
    context_in = ctypes.create_string_buffer(context, max(len(context), 1))
    context_out = ctypes.create_string_buffer(max(len(context), 1))
    attributes = struct.pack(
        "<IIIIQQIIIIQQ", program, 0, len(data), len(out), ctypes.addressof(given), ctypes.addressof(out), 1, 0,
        len(context), len(context), ctypes.addressof(context_in) if context else 0,
        ctypes.addressof(context_out) if context else 0,
    )  # fmt: skip
    _, result = _bpf(_PROG_TEST_RUN, attributes)
    retval, _, size = struct.unpack_from("<III", result, 4)
    return Outcome(retval, out.raw[:size], context_out.raw[: len(context)])


def read_only_map(contents: bytes) -> int:
    """Create an array map of one frozen element that programs may only read; returns its file descriptor."""
    made, _ = _bpf(_MAP_CREATE, struct.pack("<IIIII", _ARRAY, 4, len(contents), 1, _RDONLY_PROG))
    set_map_value(made, bytes(4), contents)
    _bpf(_MAP_FREEZE, struct.pack("<I", made))
    return made


def create_map(kind: int, key_size: int, value_size: int, entries: int) -> int:
    """Create a map; returns its file descriptor."""
    return _bpf(_MAP_CREATE, struct.pack("<IIIII", kind, key_size, value_size, entries, 0))[0]


def map_value(made: int, key: bytes, value_size: int) -> bytes | None:
    """Return the value of ``key``, or None."""
    given, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value_size)
    try:
        _bpf(_MAP_LOOKUP, struct.pack("<IIQQQ", made, 0, ctypes.addressof(given), ctypes.addressof(value), 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def set_map_value(made: int, key: bytes, value: bytes) -> None:
    """Write an entry of a map."""
    given, new = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_MAP_UPDATE, struct.pack("<IIQQQ", made, 0, ctypes.addressof(given), ctypes.addressof(new), 0))


def attach_xdp(program: int, ifindex: int) -> int:
    """Attach an XDP program to an interface, in generic mode, as long as the file descriptor returned is open."""
    return _bpf(_LINK_CREATE, struct.pack("<IIII", program, ifindex, _ATTACH_XDP, _GENERIC))[0]


def with_maps(code: bytes, maps: tuple[int, ...]) -> bytes:
    """Replace references to maps by index with the file descriptors that the kernel wants."""
    result = bytearray(code)
    slot = 0
    while slot < len(code) // 8:
        opcode, registers, offset, number = _SLOT.unpack_from(code, 8 * slot)
        if opcode == _LDDW and registers >> 4 in (5, 6):
            pseudo = 1 if registers >> 4 == 5 else 2
            _SLOT.pack_into(result, 8 * slot, opcode, registers & 15 | pseudo << 4, offset, maps[number])
        slot += 2 if opcode == _LDDW else 1
    return bytes(result)


def run(kind: str, code: bytes, data: bytes, context: bytes = b"", *, read_only: bytes = b"") -> Outcome:
    """Load, run once, unload. Map 0, if the code uses it, holds ``read_only`` as its one value."""
    maps = (read_only_map(read_only),) if read_only else ()
    try:
        program = load(kind, with_maps(code, maps))
        try:
            return run_loaded(program, data, context)
        finally:
            os.close(program)
    finally:
        for opened in maps:
            os.close(opened)
