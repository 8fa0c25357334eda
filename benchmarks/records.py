"""Records of 64 bytes from a program on one thread into Python on another, next to a queue and a pipe in the same run.

The writer waits when the ring is half full, so every record arrives; times are of the wall clock, from the first record
written to the last one seen.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path

from measure import Figure, alternate, milliseconds
from toolchain import PROGRAMS, SYN

import anybpf
from anybpf.compile import compile_source
from anybpf.runtime import Batch, RecordReader

COUNT = 400_000
PEER_COUNT = 40_000
BURST = 4_000
SIZE = 64
SECTION = "records"


@dataclass(frozen=True)
class Burst:
    """``BURST`` packets, one behind the other in memory, as replay takes them."""

    data: bytes
    offsets: array[int]
    lengths: array[int]
    times: array[int]


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Time the ways of reading, the peers, and what writing costs a program."""
    burst = Burst(
        SYN * BURST,
        array("Q", range(0, len(SYN) * BURST, len(SYN))),
        array("I", [len(SYN)] * BURST),
        array("Q", bytes(8 * BURST)),
    )
    with anybpf.load(compile_source(PROGRAMS / "records.c")) as loaded:
        program, events = loaded.programs["write_record"], loaded.maps["events"]
        program.compile()
        ways = (in_batches, one_by_one, in_asyncio)
        timed = [lambda way=way: through_ring(program, burst, events, way) for way in ways]
        batches, callbacks, tasks, queued, piped, quiet = alternate(
            [*timed, through_queue, through_pipe, lambda: written(program, burst, events)], rounds
        )
    yield Figure(SECTION, "ring buffer, callback a batch", "ns", batches, 1000, f"{1e3 / batches:.2g} million a second")
    yield Figure(SECTION, "ring buffer, callback a record", "ns", callbacks, 1000)
    yield Figure(SECTION, "ring buffer, async for", "ns", tasks)
    yield Figure(SECTION, "batches / queue.Queue", "×", batches / queued, 1, f"queue: {queued:.3g} ns")
    yield Figure(SECTION, "batches / multiprocessing.Pipe", "×", batches / piped, 1, f"pipe: {piped:.3g} ns")
    yield Figure(
        SECTION, "the program's part, nobody asleep", "ns", quiet, note="reserve, fill, submit, and the packet"
    )


def in_batches(records: RecordReader, count: int) -> None:
    """A callback for each batch."""
    seen = 0

    def callback(batch: Batch) -> None:
        nonlocal seen
        seen += len(batch.records)

    while seen < count:
        records.poll_batches(callback)


def one_by_one(records: RecordReader, count: int) -> None:
    """A callback for each record."""
    seen = 0

    def callback(record: bytes) -> None:
        nonlocal seen
        seen += 1

    while seen < count:
        records.poll(callback)


def in_asyncio(records: RecordReader, count: int) -> None:
    """``async for``."""

    async def main() -> None:
        seen = 0
        async for _ in records:
            seen += 1
            if seen == count:
                return

    asyncio.run(main())


def through_ring(
    program: anybpf.Program, burst: Burst, events: anybpf.Map, read: Callable[[RecordReader, int], None]
) -> float:
    """Nanoseconds a record until ``read`` has seen all of them."""
    room = events.max_entries // 2

    def write() -> None:
        for _ in range(COUNT // BURST):
            while events.unread > room:
                time.sleep(0.0001)
            program.replay(burst)

    with events.records() as records:
        taken = between(write, lambda: read(records, COUNT)) / COUNT
        if records.lost:
            raise SystemExit(f"{records.lost} records were lost")
    return taken


def through_queue() -> float:
    """Nanoseconds an object through ``queue.Queue`` between two threads."""
    through: queue.Queue[bytes] = queue.Queue(BURST)

    def write() -> None:
        for _ in range(PEER_COUNT):
            through.put(bytes(SIZE))

    return between(write, lambda: [through.get() for _ in range(PEER_COUNT)]) / PEER_COUNT


def through_pipe() -> float:
    """Nanoseconds a message through ``multiprocessing.Pipe`` between two threads."""
    reader, writer = Pipe(duplex=False)

    def write() -> None:
        for _ in range(PEER_COUNT):
            writer.send_bytes(bytes(SIZE))

    with reader, writer:
        return between(write, lambda: [reader.recv_bytes() for _ in range(PEER_COUNT)]) / PEER_COUNT


def written(program: anybpf.Program, burst: Burst, events: anybpf.Map) -> float:
    """Nanoseconds a record that the program takes while a reader is there but awake."""
    with events.records() as records:
        taken = program.replay(burst).duration_ns / BURST
        while records.read(0) is not None:
            pass
    return taken


def between(write: Callable[[], None], read: Callable[[], object]) -> float:
    """Nanoseconds from the start of a thread that writes to the end of ``read``."""
    writer = threading.Thread(target=write)

    def both() -> None:
        writer.start()
        read()

    taken = milliseconds(both) * 1e6
    writer.join()
    return taken
