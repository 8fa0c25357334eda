"""Ring buffers and perf event arrays: what programs write is what the user drains, in order, once."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anybpf.errors import MapError
from anybpf.platforms import MapKind
from anybpf.runtime._engine import ffi
from anybpf.runtime.maps import Map
from anybpf.spec import MapSpec
from helpercalls import Helpers

EAGAIN, ENOENT, E2BIG, EOPNOTSUPP, ENOSPC = 11, 2, 7, 95, 28
CURRENT_CPU = 0xFFFFFFFF
NO_WAKEUP = 1


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    """The helpers of an engine with two cpu slots."""
    opened = Helpers()
    yield opened
    opened.close()


def ring(helpers: Helpers, size: int = 4096) -> Map:
    """A ring buffer of ``size`` bytes."""
    return Map(helpers.engine, MapSpec("events", 27, 0, 0, size), MapKind.RINGBUF)


def test_records_come_out_as_they_went_in(helpers: Helpers) -> None:
    """Records of any length are drained once, the oldest first, each with its exact length."""
    m = ring(helpers)
    records = [bytes([length % 256]) * length for length in (1, 7, 8, 9, 100, 0, 1000)]
    for record in records:
        assert helpers.ringbuf_output(m.native.handle, record, len(record), 0) == 0
    assert m.drain() == records
    assert m.drain() == []
    assert m.lost == 0


def test_reservations_are_read_when_submitted(helpers: Helpers) -> None:
    """A reserved record holds back those behind it until it is submitted; a discarded one is skipped."""
    m = ring(helpers)
    first, second, third = (helpers.ringbuf_reserve(m.native.handle, 8, 0) for _ in range(3))
    for number, place in enumerate((first, second, third)):
        ffi.cast("uint64_t *", place)[0] = number
    helpers.ringbuf_submit(second, 0)
    assert m.drain() == []
    helpers.ringbuf_discard(first, 0)
    assert m.drain() == [struct.pack("=Q", 1)]
    helpers.ringbuf_submit(third, 0)
    assert m.drain() == [struct.pack("=Q", 2)]


def test_a_full_ring_loses_and_counts(helpers: Helpers) -> None:
    """Every byte of the ring can be used, headers included; what finds no room is refused and counted."""
    m = ring(helpers)
    for _ in range(4096 // 64):
        assert helpers.ringbuf_output(m.native.handle, bytes(56), 56, 0) == 0
    assert helpers.ringbuf_output(m.native.handle, b"x", 1, 0) == -EAGAIN
    assert helpers.ringbuf_reserve(m.native.handle, 1, 0) == 0
    assert m.lost == 2
    assert m.unread == 4096
    assert len(m.drain()) == 64
    assert m.unread == 0
    assert helpers.ringbuf_output(m.native.handle, b"x", 1, 0) == 0


def test_records_longer_than_the_ring_are_refused(helpers: Helpers) -> None:
    """A record may fill the ring but for its header, and no more; absurd sizes do no harm."""
    m = ring(helpers)
    assert helpers.ringbuf_reserve(m.native.handle, 4089, 0) == 0
    for absurd in (1 << 30, 1 << 32, (1 << 64) - 1):
        assert helpers.ringbuf_reserve(m.native.handle, absurd, 0) == 0
    whole = helpers.ringbuf_reserve(m.native.handle, 4088, 0)
    helpers.ringbuf_submit(whole, 0)
    assert [len(record) for record in m.drain()] == [4088]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(st.none(), st.tuples(st.integers(0, 1500), st.sampled_from(["submit", "discard", "output"]))),
        max_size=60,
    )
)
def test_a_ring_is_a_queue(helpers: Helpers, steps: list[tuple[int, str] | None]) -> None:
    """Whatever is written and drained, across every wrap, the records that found room come out in order."""
    with ring(helpers) as m:
        expected: list[bytes] = []
        used = lost = 0
        for number, step in enumerate(steps):
            if step is None:
                assert m.drain() == expected
                expected, used = [], 0
                continue
            length, how = step
            record = (bytes([number]) * length)[:length]
            fits = used + (length + 8 + 7) // 8 * 8 <= 4096
            if how == "output":
                assert helpers.ringbuf_output(m.native.handle, record, length, 0) == (0 if fits else -EAGAIN)
            else:
                place = helpers.ringbuf_reserve(m.native.handle, length, 0)
                assert bool(place) == fits
                if place:
                    ffi.memmove(ffi.cast("char *", place), record, length)
                    (helpers.ringbuf_submit if how == "submit" else helpers.ringbuf_discard)(place, 0)
            if fits:
                used += (length + 8 + 7) // 8 * 8
                expected += [record] if how != "discard" else []
            lost += not fits
        assert m.drain() == expected
        assert m.lost == lost


def test_query_and_size(helpers: Helpers) -> None:
    """A declared size grows to a power of two of whole pages; the query helper tells positions and size."""
    m = ring(helpers, 5000)
    assert m.max_entries == 8192
    helpers.ringbuf_output(m.native.handle, bytes(10), 10, 0)
    assert [helpers.ringbuf_query(m.native.handle, what) for what in range(4)] == [24, 8192, 0, 24]
    m.drain()
    assert [helpers.ringbuf_query(m.native.handle, what) for what in range(4)] == [0, 8192, 24, 24]


def test_a_declared_value_is_the_records_type(helpers: Helpers) -> None:
    """Ring buffers and perf event arrays that declare a value for their records are made all the same."""
    declared = Map(helpers.engine, MapSpec("events", 27, 0, 28, 4096), MapKind.RINGBUF)
    helpers.ringbuf_output(declared.native.handle, bytes(28), 28, 0)
    assert declared.drain() == [bytes(28)]
    perf = Map(helpers.engine, MapSpec("perf", 4, 0, 84, 0), MapKind.PERF_EVENT_ARRAY)
    assert perf.drain() == []


def test_waiting_ends_with_a_record(helpers: Helpers) -> None:
    """wait returns as soon as a record is there, from another thread or already; False when none comes."""
    m = ring(helpers)
    assert not m.wait(0.02)
    writer = threading.Timer(0.05, lambda: helpers.ringbuf_output(m.native.handle, b"x", 1, 0))
    started = time.monotonic()
    writer.start()
    woken = m.wait(20)
    while not woken and time.monotonic() - started < 20:  # a wait may end early
        woken = m.wait(20)
    assert woken
    assert time.monotonic() - started < 10
    writer.join()
    assert m.wait(20)
    assert m.drain() == [b"x"]


def test_perf_event_arrays_have_a_ring_for_each_cpu_slot(helpers: Helpers) -> None:
    """Without a size there is one for each slot; a record goes to this cpu's, and to no other's."""
    m = Map(helpers.engine, MapSpec("perf", 4, 4, 4, 0), MapKind.PERF_EVENT_ARRAY)
    assert m.max_entries == 2
    with helpers.on("xdp", bytes(64)) as context:
        handle = m.native.handle
        assert helpers.perf_event_output(context, handle, CURRENT_CPU, b"abc", 3) == 0
        assert helpers.perf_event_output(context, handle, 0, b"de", 2) == 0
        assert helpers.perf_event_output(context, handle, 1, b"f", 1) == -EOPNOTSUPP
        assert helpers.perf_event_output(context, handle, 2, b"f", 1) == -E2BIG
        assert m.drain() == [b"abc", b"de"]
        while helpers.perf_event_output(context, handle, CURRENT_CPU, bytes(50000), 50000) == 0:
            pass
        assert helpers.perf_event_output(context, handle, CURRENT_CPU, bytes(50000), 50000) == -ENOSPC
    assert m.lost == 2
    assert {len(record) for record in m.drain()} == {50000}


def test_perf_event_arrays_may_be_smaller_or_larger_than_the_machine(helpers: Helpers) -> None:
    """An index below max_entries without a cpu is -ENOENT, as one without an event is in Linux."""
    m = Map(helpers.engine, MapSpec("perf", 4, 4, 4, 8), MapKind.PERF_EVENT_ARRAY)
    with helpers.on("xdp", bytes(64)) as context:
        assert helpers.perf_event_output(context, m.native.handle, 5, b"f", 1) == -ENOENT


def test_other_kinds_keep_no_records(helpers: Helpers) -> None:
    """drain, lost and wait are refused where there is no ring; a ring has no entries."""
    m = Map(helpers.engine, MapSpec("m", 1, 4, 8, 4), MapKind.HASH)
    for operation in (m.drain, lambda: m.lost, lambda: m.wait(0), lambda: len(ring(helpers)), lambda: ring(helpers)[0]):
        with pytest.raises(MapError):
            operation()
