"""Readers of records in asyncio: waiting takes no processor time and can be cancelled and closed at any moment."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from anybpf.runtime import Context, Map, RecordReader
from helpercalls import Helpers
from producing import ring, sequences, writers

#: Seconds after which something that ought to have happened is a failure.
PATIENCE = 60


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    """The helpers of an engine with two cpu slots."""
    opened = Helpers()
    yield opened
    opened.close()


def put(helpers: Helpers, m: Map, record: bytes) -> None:
    """Write a record as a program would."""
    assert helpers.ringbuf_output(m.native.handle, record, len(record), 0) == 0


async def all_of(records: RecordReader) -> list[bytes]:
    """Everything until the reader ends."""
    return [record async for record in records]


def test_async_for_gives_records_as_they_come(helpers: Helpers) -> None:
    """Records that are there, that come while the loop sleeps, and that come in a burst are given in order."""
    m = ring(helpers.engine)

    async def main() -> list[bytes]:
        put(helpers, m, b"0")
        with m.records() as records:
            reading = asyncio.create_task(all_of(records))
            for burst in (b"1", b"23", b"456"):
                await asyncio.sleep(0.02)
                for byte in burst:
                    put(helpers, m, bytes([byte]))
            while m.unread:
                await asyncio.sleep(0.01)
            records.close()
            return await asyncio.wait_for(reading, PATIENCE)

    assert b"".join(asyncio.run(main())) == b"0123456"


def test_nothing_is_lost_while_threads_write() -> None:
    """Two threads write as long as there is room; async for sees every record once, each writer's in order."""
    with Context(4) as context, ring(context.engine) as m, m.records() as records:

        async def main() -> list[bytes]:
            reading = asyncio.create_task(all_of(records))
            assert await asyncio.to_thread(writers, context, m, 2, 3_000, gentle=True) == 0
            while m.unread:
                await asyncio.sleep(0.01)
            records.close()
            return await asyncio.wait_for(reading, PATIENCE)

        assert sequences(asyncio.run(main())) == {0: list(range(3_000)), 1: list(range(3_000))}


def test_timeouts(helpers: Helpers) -> None:
    """Iteration and reads end when nothing has come in time, and not before; a wait takes no processor time."""
    m = ring(helpers.engine)

    async def main() -> None:
        with m.records(timeout=0.05) as records:
            assert await all_of(records) == []
            before, cpu = time.monotonic(), time.process_time()
            assert await records.read_async(0.5) is None
            assert time.monotonic() - before >= 0.5
            assert time.process_time() - cpu < 0.1
            put(helpers, m, b"x")
            batch = await records.read_async(0)
            assert batch is not None
            assert batch.records == [b"x"]

    asyncio.run(main())


def test_a_cancelled_read_has_taken_nothing(helpers: Helpers) -> None:
    """Cancelling at any moment leaves every record for the next who reads, and nothing behind in the loop."""
    m = ring(helpers.engine)

    async def main() -> list[bytes]:
        seen: list[bytes] = []
        with m.records() as records:
            for number in range(60):
                reading = asyncio.create_task(records.read_async())
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                put(helpers, m, bytes([number]))
                if number % 3 == 0:
                    await asyncio.sleep(0.001)
                reading.cancel()
                try:
                    batch = await reading
                except asyncio.CancelledError:
                    continue
                assert batch is not None
                seen += batch.records
            records.timeout = 0
            return seen + await all_of(records)

    assert asyncio.run(main()) == [bytes([number]) for number in range(60)]


def test_other_tasks_run_while_a_ring_never_runs_dry(helpers: Helpers) -> None:
    """A reader that always finds a record gives way to other tasks."""
    m = ring(helpers.engine)

    async def main() -> int:
        turns = 0
        with m.records() as records:

            async def count() -> None:
                nonlocal turns
                while not records.closed:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.create_task(count())
            put(helpers, m, b"x")
            read = 0
            async for _ in records:
                put(helpers, m, b"x")
                read += 1
                if read == 100:
                    records.close()
            await counting
        return turns

    assert asyncio.run(main()) >= 50


def test_several_tasks_share_a_reader_and_a_map(helpers: Helpers) -> None:
    """Each record goes to one of the tasks that wait, and closing from a thread ends them all."""
    m = ring(helpers.engine)

    async def main() -> list[list[bytes]]:
        shared, own = m.records(), m.records()
        tasks = [asyncio.create_task(all_of(reader)) for reader in (shared, shared, own)]
        for number in range(50):
            put(helpers, m, bytes([number]))
            await asyncio.sleep(0.001 if number % 10 == 0 else 0)
        while m.unread:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        threading.Thread(target=lambda: (shared.close(), own.close())).start()
        return await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)

    parts = asyncio.run(main())
    assert sorted(b"".join(map(b"".join, parts))) == list(range(50))


def test_leaving_the_loop_leaves_the_rest_with_the_reader(helpers: Helpers) -> None:
    """What async for took and did not give out is there for the next who reads."""
    m = ring(helpers.engine)

    async def main() -> list[bytes]:
        for number in range(5):
            put(helpers, m, bytes([number]))
        with m.records(timeout=0) as records:
            async for record in records:
                if record == b"\1":
                    break
            return await all_of(records)

    assert asyncio.run(main()) == [b"\2", b"\3", b"\4"]


def test_a_loop_that_ends_while_a_reader_waits(helpers: Helpers) -> None:
    """asyncio.run cancels what waits and returns; the reader can be used in another loop."""
    m = ring(helpers.engine)
    with m.records() as records:

        async def abandon() -> None:
            _ = asyncio.create_task(records.read_async())  # noqa: RUF006  # it is cancelled when the loop ends
            await asyncio.sleep(0.02)

        asyncio.run(abandon())
        put(helpers, m, b"x")
        batch = asyncio.run(records.read_async(PATIENCE))
        assert batch is not None
        assert batch.records == [b"x"]
