"""Map operations from machine code: 4-byte keys, 8-byte values, 10 000 entries, every key in turn."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from measure import Figure, alternate
from toolchain import PROGRAMS, compile_bpf, load

import anybpf

ENTRIES = 10_000
COUNT = 200_000
TARGETS = {
    "hash_lookup": 40.0,
    "hash_lookup_chain": 40.0,
    "hash_update": 120.0,
    "array_lookup": 3.0,
    "percpu_array_lookup": None,
}


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Time loops of operations, and take off the time of the loop alone."""
    packet = struct.pack("<I", COUNT) + bytes(60)
    with load(compile_bpf(PROGRAMS / "maps.c", folder / "maps.o")) as loaded:
        for name in ("table", "array"):
            for key in range(ENTRIES):
                loaded.maps[name].raw[struct.pack("<I", key)] = struct.pack("<Q", key)
        if (found := loaded.programs["hash_lookup"].test_run(packet).retval) != COUNT * (ENTRIES - 1) // 2 % 2**32:
            raise SystemExit(f"the lookups added up to {found}: not every key was found")
        runs = [partial(_run, loaded.programs[name], packet) for name in ("nothing", *TARGETS)]
        empty, *times = alternate(runs, rounds)
    for (name, target), value in zip(TARGETS.items(), times, strict=True):
        note = f"less the loop's {empty:.2g} ns"
        yield Figure("map operations", name.replace("_", " "), "ns", max(value - empty, 0.0), target, note)


def _run(program: anybpf.Program, packet: bytes) -> float:
    return program.test_run(packet, mode="jit").duration_ns / COUNT
