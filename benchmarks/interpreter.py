"""The fast interpreter: nanoseconds an instruction on the shared programs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from instructions import count_instructions
from measure import Figure, alternate
from toolchain import WORKLOADS, Workload, compile_bpf, load, shared_sources

import anybpf

#: Long runs of arithmetic: what the target was set on.
ARITHMETIC = ("alu", "alu32", "divmod", "call", "crc32", "siphash", "jhash")


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Time every shared program, with fewer iterations than machine code gets."""
    sources = shared_sources()
    for work in WORKLOADS:
        path = compile_bpf(sources / work.file, folder / f"{work.name}.o")
        memory = _memory(work)
        executed = count_instructions(path, work.name, memory)
        with load(path, platform="raw") as loaded:
            run = partial(_run, loaded.programs[work.name], memory, max(1, 400_000 // executed))
            (best,) = alternate((run,), max(3, rounds // 3))
        target = 3.0 if work.name in ARITHMETIC else None
        yield Figure("interpreter", work.name, "ns/instruction", best / executed, target, f"{executed:,} instructions")


def _memory(work: Workload) -> bytes:
    memory = bytes(work.memory())
    return struct.pack("<Q", work.count // 20) + memory[8:] if work.count else memory


def _run(program: anybpf.Program, memory: bytes, repeat: int) -> float:
    return program.test_run(memory, mode="interpreter", repeat=repeat).duration_ns
