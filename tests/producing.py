"""Threads that run programs which write records into a ring buffer."""

from __future__ import annotations

import struct
import threading
import time
import warnings

import anybpf
from anybpf.isa import assemble
from anybpf.platforms import MapKind
from anybpf.runtime import Context, Map
from anybpf.spec import MapSpec, ObjectSpec, ProgramSpec

#: Bytes of a record of :func:`writers`: the writer's number and the record's, and nothing more.
RECORD = 16

#: Writes the first bytes of its packet as a record; returns what the helper says.
_WRITE = assemble(f"r2 = *(u32 *)(r1 + 0)\nr1 = map[0] ll\nr3 = {RECORD}\nr4 = 0\ncall 130\nexit\n")


def ring(engine: object, size: int = 4096) -> Map:
    """A ring buffer of ``size`` bytes."""
    return Map(engine, MapSpec("events", 27, 0, 0, size), MapKind.RINGBUF)


def writers(context: Context, m: Map, threads: int, count: int, *, gentle: bool = False) -> int:
    """Let so many threads write ``count`` records each; return how many the ring refused.

    :param gentle: wait until there is room for everybody's next burst, so that nothing is refused.
    """
    spec = ObjectSpec("writer", (ProgramSpec("write", "xdp", _WRITE),), (m.spec,), license="GPL")
    refused = [0] * threads
    burst = 16 if gentle else 500
    full = m.max_entries - threads * burst * (RECORD + 8)

    def write(writer: int) -> None:
        for first in range(0, count, burst):
            packets = [struct.pack("=QQ", writer, n).ljust(64, b"\0") for n in range(first, min(first + burst, count))]
            while gentle and m.unread > full:
                time.sleep(0.0001)
            refused[writer] += sum(result != 0 for result in program.run_batch(packets, mode="interpreter"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trust
        loaded = anybpf.load(spec, platform="linux", trust=True, context=context, maps={m.name: m})
    with loaded:
        program = loaded.programs["write"]
        started = [threading.Thread(target=write, args=(writer,)) for writer in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
    return sum(refused)


def sequences(records: list[bytes]) -> dict[int, list[int]]:
    """The numbers of records, by writer."""
    found: dict[int, list[int]] = {}
    for record in records:
        writer, number = struct.unpack("=QQ", record)
        found.setdefault(writer, []).append(number)
    return found
