"""The live Linux kernel as a peer: BPF_PROG_LOAD and BPF_PROG_TEST_RUN. Needs root."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Self

from measure import Figure, alternate
from toolchain import PROGRAMS, SYN, Unavailable, compile_bpf, load

import anybpf

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _PROG_TEST_RUN, _XDP = 5, 10, 6


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Run the same XDP programs through Linux's BPF_PROG_TEST_RUN and through ours. Results must agree."""
    _require()
    path = compile_bpf(PROGRAMS / "xdp.c", folder / "xdp.o")
    spec, repeat = anybpf.open(path), 1_000_000
    with load(path) as loaded:
        for name in ("drop", "parse"):
            with LoadedXdp(spec[name].code) as theirs:
                program = loaded.programs[name]
                if (result := theirs.test_run(SYN, 1)[0]) != program.test_run(SYN, mode="jit").retval:
                    raise SystemExit(f"{name}: the kernel returned {result}")
                times = (partial(_ours, program, repeat), partial(_theirs, theirs, repeat))
                ours, linux = alternate(times, max(3, rounds // 3))
            note = f"{ours:.0f} ns against {linux:.0f} ns a run"
            yield Figure("test run / live kernel", f"XDP {name}", "×", ours / linux, note=note)


def _ours(program: anybpf.Program, repeat: int) -> float:
    return program.test_run(SYN, mode="jit", repeat=repeat).duration_ns


def _theirs(program: LoadedXdp, repeat: int) -> float:
    return program.test_run(SYN, repeat)[1]


def _require() -> None:
    """Unavailable unless this process may load BPF programs."""
    if sys.platform != "linux" or platform.machine() not in _SYSCALL:
        raise Unavailable("no live Linux kernel to compare with")
    try:
        LoadedXdp(bytes.fromhex("b700000002000000 9500000000000000")).close()
    except OSError as error:
        raise Unavailable(f"bpf() is not allowed here: {error.strerror}") from None


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attributes, 152)
    result = ctypes.CDLL(None, use_errno=True).syscall(_SYSCALL[platform.machine()], command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer.raw


class LoadedXdp:
    """An XDP program in the kernel, until it is closed."""

    def __init__(self, code: bytes) -> None:
        text, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
        attributes = struct.pack("<IIQQ", _XDP, len(code) // 8, ctypes.addressof(text), ctypes.addressof(licence))
        self._descriptor, _ = _bpf(_PROG_LOAD, attributes)

    def test_run(self, packet: bytes, repeat: int) -> tuple[int, int]:
        """Run ``repeat`` times; return the result and the mean time in nanoseconds that the kernel reports."""
        data = ctypes.create_string_buffer(packet, len(packet))
        attributes = struct.pack("<IIIIQQI", self._descriptor, 0, len(packet), 0, ctypes.addressof(data), 0, repeat)
        _, answer = _bpf(_PROG_TEST_RUN, attributes)
        (result,), (duration,) = struct.unpack_from("<I", answer, 4), struct.unpack_from("<I", answer, 36)
        return result, duration

    def close(self) -> None:
        """Unload."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
