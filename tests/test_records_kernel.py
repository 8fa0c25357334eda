"""Whom a record rouses: the live kernel's ring buffer and epoll against ours, for every mix of wake-up flags."""

from __future__ import annotations

import mmap
import os
import select
import struct
from collections.abc import Iterator
from itertools import product

import pytest

from anybpf.isa import assemble
from anybpf.runtime import Map
from anybpf.runtime._engine import ffi, lib
from helpercalls import Helpers
from livekernel import create_map, load, require_live_kernel, run_loaded, with_maps
from producing import ring

pytestmark = pytest.mark.linux_only

RINGBUF = 27
#: Writes 8 bytes to the ring with the flags that the packet begins with.
WRITE = """
r2 = *(u32 *)(r1 + 0)
r3 = *(u32 *)(r1 + 4)
r4 = r2
r4 += 8
if r4 > r3 goto end
r4 = *(u64 *)(r2 + 0)
*(u64 *)(r10 - 8) = r4
r1 = map[0] ll
r2 = r10
r2 += -8
r3 = 8
call 130
end:
r0 = 2
exit
"""


class KernelRing:
    """A ring buffer of the kernel."""

    def __init__(self) -> None:
        page = mmap.PAGESIZE
        self._map = create_map(RINGBUF, 0, 0, page)
        self._program = load("xdp", with_maps(assemble(WRITE), (self._map,)))
        self._consumer = mmap.mmap(self._map, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer = mmap.mmap(self._map, page, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)

    def rouses(self, flags: tuple[int, ...], patience: float) -> bool:
        """Whether records with these flags rouse who found the ring empty before."""
        self._consumer[:8] = self._producer[:8]
        with select.epoll() as sleeper:
            sleeper.register(self._map, select.EPOLLIN)
            assert sleeper.poll(0) == []
            for each in flags:
                run_loaded(self._program, struct.pack("=Q", each).ljust(64, b"\0"))
            return bool(sleeper.poll(patience))

    def close(self) -> None:
        """Give everything back."""
        self._consumer.close()
        self._producer.close()
        os.close(self._program)
        os.close(self._map)


@pytest.fixture
def kernel() -> Iterator[KernelRing]:
    """The kernel's ring; skips where that cannot be had."""
    require_live_kernel()
    opened = KernelRing()
    yield opened
    opened.close()


def rouses(helpers: Helpers, m: Map, flags: tuple[int, ...]) -> bool:
    """The same of ours."""
    m.drain()
    reader = ffi.gc(lib.ab_reader_create([m.native.handle], 1, ffi.new("int32_t *")), lib.ab_reader_destroy)
    assert lib.ab_reader_arm(reader) == 0
    for each in flags:
        assert helpers.ringbuf_output(m.native.handle, bytes(8), 8, each) == 0
    woken = lib.ab_reader_sleep(reader, 0)
    lib.ab_reader_disarm(reader)
    return bool(woken)


def test_the_same_records_rouse_a_sleeper(kernel: KernelRing) -> None:
    """Up to three records, each with no flag, NO_WAKEUP, FORCE_WAKEUP or both: ours rouses when the kernel does."""
    helpers = Helpers()
    with ring(helpers.engine) as m:
        for length in (1, 2, 3):
            for flags in product(range(4), repeat=length):
                ours = rouses(helpers, m, flags)
                assert kernel.rouses(flags, 10 if ours else 0.02) == ours, flags
    helpers.close()
