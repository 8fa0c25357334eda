"""Reading the records that programs write to ring buffers and perf event arrays, as they come.

A reader sleeps until there is something to read; programs pay for that only when somebody is asleep. As in Linux, a
record rouses readers when it is the next to be read, unless the program says ``BPF_RB_NO_WAKEUP``;
``BPF_RB_FORCE_WAKEUP`` rouses them in any case. Records that nobody was roused for wait until somebody looks.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from anybpf.btf.types import Struct, Typedef
from anybpf.errors import MapError
from anybpf.runtime._engine import ffi, lib
from anybpf.runtime.native_map import split_records
from anybpf.runtime.typed import codec_for, values_in

if TYPE_CHECKING:
    from anybpf.runtime.maps import Map

__all__ = ("Batch", "RecordReader")

_EINVAL, _ENOSPC = 22, 28

#: Bytes (unless one record is longer) and records that one crossing takes at most.
BATCH_BYTES, BATCH_RECORDS = 1 << 18, 1 << 12
_INT32_MAX = 0x7FFFFFFF
#: Bytes of a record's type, and values in it: whoever made the object decides what decoding a record costs.
_LARGEST = 1 << 16

_Taken = TypeVar("_Taken")


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that were read in one go, the oldest first; all from one ring.

    :param map: the map they come from. :param cpu: for perf event arrays the cpu slot that wrote them, else 0.
    :param records: bytes; or what the reader's ``typed`` makes of them.
    """

    map: Map
    cpu: int
    records: list[Any] = field(repr=False)

    def __len__(self) -> int:
        return len(self.records)


class RecordReader:
    """Takes records out of ring buffers and perf event arrays: one at a time, in batches, or given to a callback.

    Each record goes to one reader, once, and each ring's records come in the order of their reservation. Several
    threads and tasks may share a reader, and several readers a map. A context manager; :meth:`close` may be called
    from any thread and ends what others wait for. What had been taken out of a ring by then is still given out. ::

        with obj.maps["events"].records(typed="event") as records:
            for event in records: ...                   # ends when the reader is closed

        async for event in records: ...                 # the same in asyncio

    A record is its bytes; of perf event arrays, with what the program appended of the packet.

    :param maps: what to read, in one wait. The reader keeps their rings in being, closed or not.
    :param typed: the struct, union or typedef (its name in the object's BTF) that records hold; True: the value type
        that the map declares; False: bytes. Of longer records the first bytes count; what shorter ones lack is 0.
    :param timeout: iteration ends when so many seconds have passed without a record; None: never.
    :param on_lost: called with map, cpu slot and how many records were lost there since the last such call, before the
        next records of that ring are given out.
    :raises MapError: EOPNOTSUPP, a map keeps no records; EINVAL, its object has no such type.
    """

    def __init__(
        self,
        maps: Iterable[Map],
        *,
        typed: str | bool = False,
        timeout: float | None = None,
        on_lost: Callable[[Map, int, int], object] | None = None,
    ) -> None:
        self.timeout = timeout
        self._on_lost = on_lost
        maps = tuple(maps)
        self._rings = [(each, cpu) for each in maps for cpu in range(each.rings())]
        self._decoders = {each: _decoder(each, typed) for each in maps} if typed else {}
        error = ffi.new("int32_t *")
        reader = lib.ab_reader_create([each.native.handle for each in maps], len(maps), error)
        if reader == ffi.NULL:
            raise MapError(-error[0], "the operating system does not let a reader of records be made")
        self._reader: Any = ffi.gc(reader, lib.ab_reader_destroy)
        self._lost_at_start = self._count_lost(self._reader)
        self._lost = list(self._lost_at_start)
        self._lock = threading.RLock()  # a callback may close the reader
        self._buffer = ffi.new("char[]", BATCH_BYTES)
        self._ends = ffi.new("uint32_t[]", BATCH_RECORDS)
        self._ring = ffi.new("uint32_t *")
        self._pending: deque[Any] = deque()  # records of ring number self._ring[0], taken and not given out yet
        _readers.add(self)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._reader is None

    @property
    def lost(self) -> int:
        """Records that programs could not write since the reader was made, because a ring was full."""
        reader = self._reader
        lost = self._lost if reader is None else self._count_lost(reader)
        return sum(lost) - sum(self._lost_at_start)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most so many seconds (None: for ever) until there are records; False: none, or the reader is closed.

        On Windows, as with locks, Ctrl-C is noticed when the wait ends.
        """
        until = _deadline(timeout)
        while not self._pending and (reader := self._reader) is not None:
            if armed := lib.ab_reader_arm(reader):
                return bool(armed > 0)
            try:
                left = until - time.monotonic()
                if left > 0:
                    lib.ab_reader_sleep(reader, _milliseconds(left))
            finally:
                lib.ab_reader_disarm(reader)
            if left <= 0:
                return False
        return bool(self._pending)

    def read(self, timeout: float | None = None) -> Batch | None:
        """Wait for records as :meth:`wait` does and take them, up to some thousands; None: none came."""
        return self._until(timeout, self._batch)

    async def read_async(self, timeout: float | None = None) -> Batch | None:
        """As :meth:`read`, for coroutines of asyncio: other tasks run meanwhile. Cancelled, it has taken nothing."""
        return await self._until_async(timeout, self._batch)

    def poll(self, callback: Callable[[Any], object], timeout: float | None = None) -> int:
        """Wait as :meth:`wait` does and call back with each record that waits, up to some thousands; return how many.

        When the callback raises, the records behind the one at fault stay with the reader.
        """
        given = 0
        if self._until(timeout, self._refill):
            for record in self._taken():
                callback(record)
                given += 1
        return given

    def poll_batches(self, callback: Callable[[Batch], object], timeout: float | None = None) -> int:
        """As :meth:`poll`, with one call for all records; for speed."""
        if (batch := self.read(timeout)) is None:
            return 0
        callback(batch)
        return len(batch)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over records until the reader is closed or :attr:`timeout` seconds have passed without one."""
        while self._until(self.timeout, self._refill):
            yield from self._taken()

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over records as they come, in asyncio; ends as the other iteration does."""
        while await self._until_async(self.timeout, self._refill):
            for record in self._taken():
                yield record

    def close(self) -> None:
        """Stop reading, from any thread: who waits is roused, and iteration ends. Further calls do nothing."""
        with self._lock:
            reader, self._reader = self._reader, None
            if reader is not None:
                self._lost = self._count_lost(reader)
                lib.ab_reader_close(reader)  # what it holds goes when the last one who waits has left

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _until(self, timeout: float | None, take: Callable[[], _Taken]) -> _Taken:
        """Call ``take`` until it has taken something; wait before further calls, ``timeout`` seconds at most."""
        until = _deadline(timeout)
        while not (taken := take()) and self.wait(until - time.monotonic()):
            pass
        return taken

    async def _until_async(self, timeout: float | None, take: Callable[[], _Taken]) -> _Taken:
        import asyncio

        from anybpf.runtime.records_asyncio import sleep

        until = _deadline(timeout)
        await asyncio.sleep(0)  # a ring that never runs dry must not stop the other tasks
        while not (taken := take()) and (reader := self._reader) is not None:
            if (left := until - time.monotonic()) <= 0:
                break
            await sleep(reader, left)
        return taken

    def _taken(self) -> Iterator[Any]:
        """Give out what :meth:`_refill` took. A record leaves the reader when it is asked for, not before."""
        pending = self._pending
        while pending:
            try:
                record = pending.popleft()
            except IndexError:  # another thread was faster
                return
            yield record

    def _refill(self) -> bool:
        with self._lock:
            if not self._pending:
                self._pending.extend(self._take())
            return bool(self._pending)

    def _batch(self) -> Batch | None:
        with self._lock:
            records = list(self._taken()) if self._pending else self._take()
            if not records:
                return None
            source, cpu = self._rings[self._ring[0]]
            return Batch(source, cpu, records)

    def _take(self) -> list[Any]:
        """Take records out of the next ring that has some."""
        if (reader := self._reader) is None:
            return []
        while (count := self._fill(reader)) == -_ENOSPC:  # a record is longer; its ring's size is the limit
            self._buffer = ffi.new("char[]", 2 * len(self._buffer))
        if count <= 0:
            return []
        records = split_records(self._buffer, self._ends, count)
        if (decode := self._decoders.get(self._rings[self._ring[0]][0])) is not None:
            records = list(map(decode, records))
        try:
            self._report_lost(reader)
        except BaseException:
            self._pending.extend(records)
            raise
        return records

    def _fill(self, reader: Any) -> int:
        size = len(self._buffer)
        return int(lib.ab_reader_take(reader, self._buffer, size, self._ends, BATCH_RECORDS, self._ring))

    def _report_lost(self, reader: Any) -> None:
        if self._on_lost is None:
            return
        number = self._ring[0]
        lost = int(lib.ab_reader_lost(reader, number))
        newly, self._lost[number] = lost - self._lost[number], lost
        if newly:
            source, cpu = self._rings[number]
            self._on_lost(source, cpu, newly)

    def _count_lost(self, reader: Any) -> list[int]:
        return [int(lib.ab_reader_lost(reader, number)) for number in range(len(self._rings))]


_readers: WeakSet[RecordReader] = WeakSet()
_held: list[Any] = []


def _before_fork() -> None:
    """Let no other thread be taking records while this one forks: the child would find its lock held for ever."""
    _held[:] = [reader._lock for reader in sorted(_readers, key=id)]
    for lock in _held:
        lock.acquire()


def _after_fork() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _milliseconds(seconds: float) -> int:
    """Return a time for the engine: rounded up, so that no wait is cut short; -1 for ever."""
    return -1 if seconds == math.inf else min(math.ceil(seconds * 1000), _INT32_MAX)


def _decoder(records_of: Map, typed: str | bool) -> Callable[[bytes], Any]:
    """What makes a value of a record of one map; see :class:`RecordReader`."""
    btf, name = records_of.btf, records_of.name
    if btf is None:
        raise MapError(_EINVAL, f"map {name!r} belongs to no object with BTF, so its records are bytes only")
    if isinstance(typed, str):
        found = next((i for i in btf.ids(typed) if isinstance(btf.type(i), Struct | Typedef)), 0)
        wanted = f"the object's BTF has no struct, union or typedef {typed!r}"
    else:
        found, wanted = records_of.spec.value_type, f"map {name!r} declares no type of its records"
    if not found:
        remedy = "declare it with __type(value, struct ...) in the map, or use it in a global variable"
        raise MapError(_EINVAL, f"{wanted}; {remedy}")
    size = btf.size_of(found)
    if size > _LARGEST or values_in(codec := codec_for(btf, found, size)) > _LARGEST:
        raise MapError(_EINVAL, f"records of map {name!r} have a type of more than {_LARGEST} bytes or values")
    decode = codec.decode
    return lambda data: decode(data if len(data) == size else data[:size].ljust(size, b"\0"))


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout
