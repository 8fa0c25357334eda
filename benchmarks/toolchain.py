"""Building the benchmarks' programs: clang for BPF (from ziglang), gcc for the same C natively."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anybpf

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
#: The C programs that other runtimes were measured with too; beside the checkout, not part of it.
SHARED = HERE.parent.parent / "shared"
MEMORY = 64 * 1024


class Unavailable(Exception):
    """A tool or file that a benchmark needs is not here; the message says which."""


@dataclass(frozen=True)
class Workload:
    """One of the shared programs: runs on memory, as ``name(memory, length)``.

    :param count: iterations, written over the first 8 bytes of memory; 0: the program takes the whole memory.
    :param calls: how often it is called for one timing.
    """

    file: str
    name: str
    count: int = 0
    calls: int = 1

    def memory(self) -> bytearray:
        """The input: 64 KiB of fixed pseudo-random numbers, or a TCP SYN frame for the parser."""
        if self.name == "parse":
            return bytearray(SYN)
        words, state = [], 0x243F6A8885A308D3
        for _ in range(MEMORY // 8):
            state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
            words.append(state)
        if self.count:
            words[0] = self.count
        return bytearray(struct.pack(f"<{len(words)}Q", *words))


#: Ethernet, IPv4 10.0.0.1 to 10.0.0.2, TCP 12345 to 80, SYN; padded to Ethernet's least length.
SYN = bytes.fromhex(
    "020000000002 020000000001 0800 4500002800010000 40060000 0a000001 0a000002"
    "3039 0050 00000000 00000000 5002 2000 0000 0000"
).ljust(60, b"\0")

WORKLOADS = (
    Workload("b_drop.c", "drop", calls=100_000),
    Workload("b_parse.c", "parse", calls=100_000),
    Workload("b_alu.c", "alu", 4_000_000),
    Workload("b_alu32.c", "alu32", 1_500_000),
    Workload("b_div.c", "divmod", 500_000),
    Workload("b_sieve.c", "sieve", calls=20),
    Workload("b_csum.c", "csum", calls=200),
    Workload("b_bswap.c", "bswap", calls=200),
    Workload("b_jhash.c", "jhash", calls=100),
    Workload("b_siphash.c", "siphash", calls=100),
    Workload("b_crc32.c", "crc32", calls=8),
    Workload("b_stacksort.c", "stacksort", 1000),
    Workload("b_call.c", "call", 1_500_000),
)


def shared_sources() -> Path:
    """The folder of the shared programs."""
    folder = SHARED / "bench"
    if not folder.is_dir():
        raise Unavailable("../shared/bench is not there")
    return folder


def compile_bpf(source: Path, output: Path) -> Path:
    """Compile C to a BPF object, as FIGURES.md says: -mcpu=v3 -O2 -g."""
    try:
        import ziglang  # noqa: F401
    except ImportError:
        raise Unavailable("ziglang (clang with a BPF target) is not installed") from None
    command = [sys.executable, "-m", "ziglang", "clang", "--target=bpf", "-mcpu=v3", "-O2", "-g", "-Wno-everything"]
    subprocess.run([*command, "-c", str(source), "-o", str(output)], check=True, timeout=300)
    return output


def load(path: Path, **options: Any) -> anybpf.Object:
    """Load our own programs without verification: what is measured is how they run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loading without verification warns
        return anybpf.load(path, trust=True, **options)


def native_library(folder: Path) -> ctypes.CDLL:
    """Compile the shared programs with gcc -O2, and the timing loop, into a library in ``folder``."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise Unavailable("gcc is not installed")
    sources = [str(path) for path in sorted(shared_sources().glob("b_*.c"))]
    library = folder / "native.so"
    command = [compiler, "-O2", "-DNATIVE", "-shared", "-fPIC", "-o", str(library), *sources]
    subprocess.run([*command, str(PROGRAMS / "timing.c")], check=True, timeout=300)
    return ctypes.CDLL(str(library))


class Timer:
    """Calls ``function(memory, length)`` at an address from a loop in C."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._call = library.time_calls
        self._call.restype = ctypes.c_uint64
        self._call.argtypes = [ctypes.c_uint64] * 4 + [ctypes.POINTER(ctypes.c_uint64)]

    def time(self, function: int, memory: bytearray, calls: int) -> tuple[float, int]:
        """Return nanoseconds a call, and the last result."""
        view = (ctypes.c_char * len(memory)).from_buffer(memory)
        result = ctypes.c_uint64()
        taken = self._call(function, ctypes.addressof(view), len(memory), calls, ctypes.byref(result))
        return taken / calls, result.value


def large_program(parsers: int) -> str:
    """C source of a program with so many copies of the packet parser, about 200 instructions each."""
    parser = (shared_sources() / "b_parse.c").read_text()
    body = parser[parser.index("PROG(parse)") :].replace(
        "PROG(parse)", "static inline __attribute__((always_inline)) u64 parse(void *mem, u64 len)"
    )
    head = parser[: parser.index("PROG(parse)")]
    calls = "\n".join(f"  h += parse((u8 *)mem + {64 * n}, len - {64 * n}) * {2 * n + 3};" for n in range(parsers))
    return f"{head}{body}\nPROG(large) {{ u64 h = 0;\n{calls}\n  return h; }}\n"
