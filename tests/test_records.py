"""Readers of records: each record once and in order, or counted as lost; who waits sleeps until roused, as on Linux."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import anybpf
from anybpf.errors import MapError
from anybpf.platforms import MapKind
from anybpf.runtime import Batch, Context, Map, RecordReader
from anybpf.runtime._engine import ffi, lib
from anybpf.spec import MapSpec
from compiling import compiled, require_clang
from helpercalls import Helpers
from producing import ring, sequences, writers

CURRENT_CPU = 0xFFFFFFFF
NO_WAKEUP, FORCE_WAKEUP = 1, 2
#: Seconds after which a wait that ought to have ended is a failure.
PATIENCE = 60


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    """The helpers of an engine with two cpu slots."""
    opened = Helpers()
    yield opened
    opened.close()


def put(helpers: Helpers, m: Map, record: bytes, flags: int = 0) -> int:
    """Write a record as a program would."""
    return helpers.ringbuf_output(m.native.handle, record, len(record), flags)


def begin(target: object, *arguments: object) -> threading.Thread:
    """A thread that has been started."""
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


def test_iteration_gives_records_in_order_and_ends(helpers: Helpers) -> None:
    """Records of any length come out once, the oldest first; with a timeout iteration ends when no more come."""
    m = ring(helpers.engine, 1 << 16)
    written = [bytes([n]) * n for n in (1, 0, 7, 8, 200, 64)]
    for record in written:
        put(helpers, m, record)
    with m.records(timeout=0) as records:
        assert list(records) == written
        assert list(records) == []
        put(helpers, m, b"more")
        assert [batch.records for batch in iter(lambda: records.read(0), None)] == [[b"more"]]
        assert records.read(0) is None


def test_what_iteration_leaves_stays_with_the_reader(helpers: Helpers) -> None:
    """A loop that is left, and a callback that raises, lose no record that they were not given."""
    m = ring(helpers.engine)
    for n in range(6):
        put(helpers, m, bytes([n]))
    with m.records(timeout=0) as records:
        for record in records:
            if record == b"\1":
                break

        def refuse(record: bytes) -> None:
            if record == b"\3":
                raise ValueError("refused")

        with pytest.raises(ValueError, match="refused"):
            records.poll(refuse, 0)
        put(helpers, m, b"\6")
        assert records.read(0).records == [b"\4", b"\5"]
        assert m.drain() == [b"\6"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.integers(0, 1500), st.sampled_from(["next", "read", "poll", "batches", "wait"])), max_size=50)
)
def test_every_way_of_reading_gives_the_same_records(helpers: Helpers, steps: list[int | str]) -> None:
    """However reading is mixed, what found room comes out once and in order, and the rest is counted."""
    with ring(helpers.engine) as m, m.records(timeout=0) as records:
        expected: list[bytes] = []
        seen: list[bytes] = []
        lost = 0
        for number, step in enumerate(steps):
            match step:
                case int():
                    record = (bytes([number]) * step)[:step]
                    if put(helpers, m, record) == 0:
                        expected.append(record)
                    else:
                        lost += 1
                case "next":
                    seen += [record for _, record in zip(range(1), records, strict=False)]
                case "read":
                    seen += getattr(records.read(0), "records", [])
                case "poll":
                    before = len(seen)
                    assert records.poll(seen.append, 0) == len(seen) - before
                case "batches":
                    batches: list[Batch] = []
                    records.poll_batches(batches.append, 0)
                    seen += [record for batch in batches for record in batch.records]
                case "wait":
                    assert records.wait(0) == (len(seen) < len(expected))
            assert seen == expected[: len(seen)]
        seen += records
        assert seen == expected
        assert records.lost == m.lost == lost


def test_records_longer_than_a_crossing_takes(helpers: Helpers) -> None:
    """A record may be as long as its ring allows."""
    m = ring(helpers.engine, 1 << 22)
    long = bytes(range(256)) * 8000
    for record in (b"short", long, b"short"):
        assert put(helpers, m, record) == 0
    with m.records(timeout=0) as records:
        assert list(records) == [b"short", long, b"short"]


def test_several_maps_in_one_wait(helpers: Helpers) -> None:
    """A reader of a ring buffer and a perf event array says which map and cpu slot a batch comes from."""
    events, perf = ring(helpers.engine), Map(helpers.engine, MapSpec("perf", 4, 4, 4, 0), MapKind.PERF_EVENT_ARRAY)
    with RecordReader([events, perf]) as records, helpers.on("xdp", bytes(64)) as context:
        assert not records.wait(0)
        assert helpers.perf_event_output(context, perf.native.handle, CURRENT_CPU, b"perf", 4) == 0
        put(helpers, events, b"ring")
        batches = [records.read(PATIENCE), records.read(PATIENCE)]
        assert {(batch.map, batch.cpu, batch.records[0]) for batch in batches} == {
            (events, 0, b"ring"),
            (perf, 0, b"perf"),
        }
        roused = begin(records.wait)
        assert helpers.perf_event_output(context, perf.native.handle, CURRENT_CPU, b"again", 5) == 0
        roused.join(PATIENCE)
        assert records.read(0).records == [b"again"]


def test_a_busy_ring_does_not_starve_the_others(helpers: Helpers) -> None:
    """Rings are read in turn: one that is never empty does not hide another."""
    first, second = ring(helpers.engine), ring(helpers.engine)
    with RecordReader([first, second]) as records:
        put(helpers, second, b"x")
        seen = []
        for _ in range(3):
            put(helpers, first, b"busy")
            seen += records.read(0).records
        assert b"x" in seen


def test_a_reservation_holds_back_and_a_discard_is_skipped(helpers: Helpers) -> None:
    """A reader waits for the oldest record; what the program discards is not seen, though it rouses."""
    m = ring(helpers.engine)
    with m.records(timeout=0) as records:
        first, second = (helpers.ringbuf_reserve(m.native.handle, 8, 0) for _ in range(2))
        helpers.ringbuf_submit(second, 0)
        assert not records.wait(0)
        helpers.ringbuf_discard(first, 0)
        assert records.wait(0)
        assert len(list(records)) == 1


def test_lost_records_are_counted_and_reported(helpers: Helpers) -> None:
    """Each ring's losses are reported before the next records of that ring, and add up to what the reader counts."""
    m = ring(helpers.engine)
    put(helpers, m, bytes(5000))  # longer than the ring: before the reader's time
    reports: list[tuple[Map, int, int]] = []
    with m.records(timeout=0, on_lost=lambda *report: reports.append(report)) as records:
        refused = [put(helpers, m, bytes(56)) != 0 for _ in range(70)]
        assert sum(refused) == 70 - 4096 // 64
        assert len(next(iter(records))) == 56
        assert reports == [(m, 0, sum(refused))]
        assert len(list(records)) == 63
        put(helpers, m, bytes(5000))
        assert len(reports) == 1
        put(helpers, m, b"")
        assert list(records) == [b""]
        assert reports[1:] == [(m, 0, 1)]
        assert records.lost == sum(refused) + 1
    put(helpers, m, bytes(5000))
    assert records.lost == sum(refused) + 1
    assert m.lost == sum(refused) + 3


def test_a_report_that_fails_loses_nothing(helpers: Helpers) -> None:
    """When on_lost raises, the records that were taken before are given out next; it may close the reader, too."""
    m = ring(helpers.engine)

    def fail(*report: object) -> None:
        records.close()
        raise RuntimeError("no")

    with m.records(timeout=0, on_lost=fail) as records:
        put(helpers, m, b"x")
        put(helpers, m, bytes(5000))
        with pytest.raises(RuntimeError, match="no"):
            next(iter(records))
        assert list(records) == [b"x"]


@pytest.mark.parametrize("readers", [1, 3], ids=["shared reader", "reader each"])
def test_many_writers_and_readers(readers: int) -> None:
    """Three writers, three threads that read: each record once, each writer's in order, and the lost ones exactly."""
    with Context(6) as context, ring(context.engine, 1 << 14) as m:
        opened = [RecordReader([m], timeout=None) for _ in range(readers)]
        seen: list[list[bytes]] = [[], [], []]
        threads = [begin(seen[i].extend, opened[i % readers]) for i in range(3)]
        refused = writers(context, m, 3, 20_000)
        while m.unread:
            time.sleep(0.01)
        for reader in opened:
            reader.close()
        for thread in threads:
            thread.join(PATIENCE)
        received = sorted(record for part in seen for record in part)
        assert len(set(received)) == len(received) == 60_000 - refused
        assert m.lost == refused
        if readers == 3:  # threads that share one reader's records may overtake each other
            for part in seen:
                for numbers in sequences(part).values():
                    assert numbers == sorted(numbers)


def test_a_writer_that_waits_for_room_loses_nothing() -> None:
    """As long as the ring is not full no record is lost, however small the ring and slow the reader."""
    with Context(4) as context, ring(context.engine) as m, m.records() as records:
        seen: list[bytes] = []
        reader = begin(seen.extend, records)
        assert writers(context, m, 2, 5_000, gentle=True) == 0
        while m.unread:
            time.sleep(0.01)
        records.close()
        reader.join(PATIENCE)
        assert sequences(seen) == {0: list(range(5_000)), 1: list(range(5_000))}


def test_nobody_spins_while_waiting(helpers: Helpers) -> None:
    """Threads that wait use no processor time, whatever they wait for."""
    m = ring(helpers.engine)
    with m.records() as records:
        waiting = [begin(records.wait) for _ in range(3)]
        before = time.process_time()
        assert not records.wait(1)
        assert time.process_time() - before < 0.1
        assert all(thread.is_alive() for thread in waiting)
        put(helpers, m, b"x")
        for thread in waiting:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_closing_ends_every_wait(helpers: Helpers) -> None:
    """close from another thread ends waits and iterations at once; what had been taken is given out still."""
    m = ring(helpers.engine)
    for n in range(4):
        put(helpers, m, bytes([n]))
    records = m.records()
    iterator = iter(records)
    assert next(iterator) == b"\0"
    other = m.records()
    ended: list[object] = []
    waiting = [begin(lambda: ended.append(list(other))), begin(lambda: ended.append(other.read()))]
    waiting.append(begin(lambda: ended.append(other.poll(print))))
    time.sleep(0.05)
    other.close()
    for thread in waiting:
        thread.join(PATIENCE)
    assert sorted(map(str, ended)) == ["0", "None", "[]"]
    records.close()
    records.close()
    assert list(iterator) == [b"\1", b"\2", b"\3"]
    assert records.read() is None
    assert not records.wait()
    assert records.closed


def test_a_reader_keeps_its_rings(helpers: Helpers) -> None:
    """A map may be closed, and be gone, before its reader."""
    m = ring(helpers.engine)
    records = m.records(timeout=0)
    put(helpers, m, b"x")
    m.close()
    del m
    assert list(records) == [b"x"]
    assert records.lost == 0
    records.close()


def test_wake_up_flags_mean_what_they_mean_on_linux(helpers: Helpers) -> None:
    """Who sleeps is roused by the record it would read next, unless that says NO_WAKEUP, and by FORCE_WAKEUP always."""
    m = ring(helpers.engine)

    def roused(*flags: int) -> bool:
        """Whether records with these flags rouse a reader that went to sleep before."""
        m.drain()
        reader = ffi.gc(lib.ab_reader_create([m.native.handle], 1, ffi.new("int32_t *")), lib.ab_reader_destroy)
        assert lib.ab_reader_arm(reader) == 0
        for each in flags:
            put(helpers, m, b"x", each)
        woken = lib.ab_reader_sleep(reader, 50)
        lib.ab_reader_disarm(reader)
        return bool(woken)

    assert roused(0)
    assert not roused(NO_WAKEUP)
    assert not roused(NO_WAKEUP, 0)  # not the next that the reader would read
    assert roused(NO_WAKEUP, 0, FORCE_WAKEUP)
    assert roused(FORCE_WAKEUP | NO_WAKEUP)
    assert roused(0, NO_WAKEUP)
    with m.records(timeout=0) as records:
        m.drain()
        put(helpers, m, b"quiet", NO_WAKEUP)
        assert list(records) == [b"quiet"]


@pytest.mark.linux_only
def test_writers_make_no_system_call_unless_somebody_sleeps() -> None:
    """Records cost a write only when a reader is asleep, and then one, not one each."""
    io = Path("/proc/self/io")
    if not io.exists():
        pytest.skip("this kernel does not count system calls (/proc/self/io)")

    def writes() -> int:
        return int(io.read_text().split("syscw:")[1].split()[0])

    with Context(2) as context, ring(context.engine, 1 << 20) as m, m.records() as records:
        before = writes()
        assert writers(context, m, 1, 5_000) == 0
        assert writes() - before <= 2
        assert records.read(0)
        m.drain()
        sleeper = begin(records.wait)
        time.sleep(0.2)
        before = writes()
        assert writers(context, m, 1, 5_000) == 0
        sleeper.join(PATIENCE)
        assert 1 <= writes() - before <= 5


WAITS = """
import anybpf.runtime as r
from anybpf.platforms import MapKind
from anybpf.spec import MapSpec
with r.Map(r.default_context().engine, MapSpec("events", 27, 0, 0, 4096), MapKind.RINGBUF) as m, m.records() as records:
    print("waiting", flush=True)
    try:
        records.wait()
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.linux_only
def test_ctrl_c_ends_a_wait() -> None:
    """A thread that sleeps for a record has its signal handled at once."""
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        waiting.send_signal(signal.SIGINT)
        assert waiting.communicate(timeout=PATIENCE)[0] == "interrupted\n"
        assert waiting.returncode == 0


@pytest.mark.linux_only
def test_readers_leave_no_descriptors(helpers: Helpers) -> None:
    """A closed reader gives its descriptor back."""
    m = ring(helpers.engine)
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(300):
        with m.records() as records:
            records.wait(0)
        del records
    assert len(list(descriptors.iterdir())) <= before + 2


def test_kinds_without_records_have_no_reader(helpers: Helpers) -> None:
    """A hash map cannot be read so, and the message says which map it was; no map at all is nothing to wait for."""
    with RecordReader([]) as records:
        assert records.read(0.01) is None
    m = Map(helpers.engine, MapSpec("table", 1, 4, 8, 4), MapKind.HASH)
    with pytest.raises(MapError, match=r"'table'.*keeps no records"):
        m.records()


TYPED = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct event { __u32 number; __u16 flags; __u8 name[6]; };
struct other { __u64 a; };
struct other unused_so_that_its_type_is_kept;
union bomb { __u16 a[30000], b[30000], c[30000]; };
union bomb unused, too;
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
    __type(value, struct event);
} typed SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } bare SEC(".maps");
SEC("xdp")
int emit(struct xdp_md *ctx)
{
    struct event event = {.number = 7, .flags = 3, .name = "abc"};
    __u8 size = 3;
    bpf_ringbuf_output(&typed, &event, sizeof(event), 0);
    bpf_ringbuf_output(&typed, &event, size, 0);
    bpf_ringbuf_output(&bare, &event, sizeof(event), 0);
    return ctx->ingress_ifindex;
}
"""


def test_records_have_the_type_that_the_object_gives_them(tmp_path: Path) -> None:
    """typed=True takes the map's own type, a name takes that type; short records are filled up, long ones cut."""
    require_clang()
    with anybpf.load(compiled(tmp_path, TYPED)) as loaded:
        loaded.programs["emit"].test_run(bytes(64))
        with loaded.maps["typed"].records(typed=True, timeout=0) as records:
            whole, short = records
        assert whole == {"number": 7, "flags": 3, "name": b"abc\0\0\0"}
        assert short == {"number": 7, "flags": 0, "name": bytes(6)}
        with loaded.maps["bare"].records(typed="other", timeout=0) as records:
            (other,) = records
        assert other.a == int.from_bytes(struct.pack("=IH2s", 7, 3, b"ab"), "little")
        with pytest.raises(MapError, match="'bare' declares no type"):
            loaded.maps["bare"].records(typed=True)
        with pytest.raises(MapError, match="more than 65536 bytes or values"):
            loaded.maps["bare"].records(typed="bomb")
        with pytest.raises(MapError, match="no struct, union or typedef 'missing'"):
            loaded.maps["bare"].records(typed="missing")
