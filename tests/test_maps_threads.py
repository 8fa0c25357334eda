"""Maps used from many Python threads at once. (tests/test_engine_sanitizers.py does the same below Python.)"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from anybpf.platforms import MapKind
from anybpf.runtime import Context
from anybpf.runtime._engine import lib
from anybpf.runtime.maps import NOEXIST, Map
from anybpf.spec import MapSpec

THREADS = 8


def together(work: Callable[[int], None]) -> None:
    """Run ``work`` in eight threads that start at the same moment; what one raises is raised here."""
    start = threading.Barrier(THREADS)

    def begin(number: int) -> None:
        start.wait()
        work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(begin, range(THREADS)))


@pytest.mark.parametrize("cpus", [1, 3, 8])
@pytest.mark.parametrize("kind", [MapKind.HASH, MapKind.LRU_HASH, MapKind.PERCPU_HASH])
def test_nothing_is_lost(kind: MapKind, cpus: int) -> None:
    """Threads that write, read and delete keys of their own find exactly what they left, with any number of slots."""
    with Context(cpus=cpus) as context:
        m = Map(context.engine, MapSpec("m", 1, 4, 8, THREADS * 300), kind)

        def value(number: int) -> object:
            return [number] * cpus if kind is MapKind.PERCPU_HASH else number

        def work(thread: int) -> None:
            mine = range(thread * 1000, thread * 1000 + 200)
            for _ in range(3):
                m.update({key: value(key) for key in mine})
                assert m.lookup_batch(mine) == [value(key) for key in mine]
                assert all(m[key] == value(key) for key in mine[:20])
                m.delete_batch(mine[100:])
                assert {key for key, _ in m.items()} >= set(mine[:100])

        together(work)
        assert len(m) == THREADS * 100
        assert dict(m.items()) == {t * 1000 + i: value(t * 1000 + i) for t in range(THREADS) for i in range(100)}


def test_only_one_thread_creates_an_entry() -> None:
    """Of many threads that store the same key with NOEXIST, one succeeds."""
    with Context(cpus=4) as context:
        m = Map(context.engine, MapSpec("m", 1, 4, 8, 100), MapKind.HASH)
        created: list[int] = []

        def work(thread: int) -> None:
            for key in range(100):
                try:
                    m.update(key, thread, NOEXIST)
                    created.append(key)
                except Exception as error:
                    assert getattr(error, "code", None) == 17  # noqa: PT017 -- the error is one of two right outcomes

        together(work)
        assert sorted(created) == list(range(100))


def test_max_entries_holds_under_pressure() -> None:
    """However many threads insert at once, exactly max_entries of their keys get in."""
    with Context(cpus=8) as context:
        m = Map(context.engine, MapSpec("m", 1, 4, 8, 97), MapKind.HASH)
        inserted = [0] * THREADS

        def work(thread: int) -> None:
            for key in range(thread * 100, thread * 100 + 100):
                try:
                    m[key] = key
                    inserted[thread] += 1
                except Exception as error:
                    assert getattr(error, "code", None) == 7  # noqa: PT017 -- the error is one of two right outcomes

        together(work)
        assert sum(inserted) == len(m) == 97


def test_a_thread_that_holds_a_slot_can_use_maps() -> None:
    """A thread inside the engine's only slot (as a Python helper is) uses maps without waiting for itself."""
    with Context(cpus=1) as context:
        m = Map(context.engine, MapSpec("m", 1, 4, 8, 10), MapKind.HASH)
        slot = lib.ab_slot_acquire(context.engine)
        m[1] = 2
        assert lib.ab_slot_acquire(context.engine) == slot
        lib.ab_slot_release(slot)
        others: list[int] = []
        waiting = threading.Thread(target=lambda: others.append(m[1]))
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        lib.ab_slot_release(slot)
        waiting.join(10)
        assert others == [2]
