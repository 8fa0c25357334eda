"""What a packet costs besides the program: run_batch and replay of a program of two instructions."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from measure import Figure, alternate, milliseconds
from toolchain import PROGRAMS, SYN, compile_bpf, load

COUNT = 20_000
SECTION = "batch"


@dataclass(frozen=True)
class Capture:
    """Packets one behind the other in memory, as replay takes them."""

    data: bytes
    offsets: array[int]
    lengths: array[int]
    times: array[int]


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Time the engine's own loop, and the whole call from Python."""
    packets = [SYN] * COUNT
    lengths = array("I", map(len, packets))
    offsets = array("Q", list(accumulate(lengths, initial=0))[:-1])
    capture = Capture(b"".join(packets), offsets, lengths, array("Q", bytes(8 * COUNT)))
    xdp, tc = (compile_bpf(PROGRAMS / f"{name}.c", folder / f"{name}.o") for name in ("xdp", "tc"))
    with load(xdp) as loaded, load(tc) as others:
        program, classifier = loaded.programs["drop"], others.programs["accept"]
        program.compile()
        classifier.compile()
        inside, larger, machine, interpreted = alternate(
            (
                lambda: program.replay(capture, mode="jit").duration_ns / COUNT,
                lambda: classifier.replay(capture, mode="jit").duration_ns / COUNT,
                lambda: milliseconds(lambda: program.run_batch(packets, mode="jit")) * 1e6 / COUNT,
                lambda: milliseconds(lambda: program.run_batch(packets, mode="interpreter")) * 1e6 / COUNT,
            ),
            rounds,
        )
    yield Figure(SECTION, "engine, machine code", "ns/packet", inside, 6, f"{len(SYN)}-byte packets")
    yield Figure(SECTION, "engine, machine code, __sk_buff", "ns/packet", larger, note="a context of 192 bytes")
    yield Figure(SECTION, "run_batch(), machine code", "ns/packet", machine, note="with joining the list")
    yield Figure(SECTION, "run_batch(), interpreter", "ns/packet", interpreted, note="with joining the list")
