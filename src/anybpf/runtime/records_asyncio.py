"""How coroutines of asyncio sleep until a reader of records is roused: no thread where descriptors can be polled."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from anybpf.runtime._engine import lib

__all__ = ("sleep",)


async def sleep(reader: Any, seconds: float) -> None:
    """Sleep until an ``ab_reader *`` may have something to read, is closed, or so many seconds have passed."""
    if lib.ab_reader_arm(reader):
        return
    try:
        roused = asyncio.Event()
        watched = _polled if lib.ab_reader_descriptor(reader) >= 0 else _by_a_thread
        with watched(reader, roused.set), suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await roused.wait()
    finally:
        lib.ab_reader_disarm(reader)


@contextmanager
def _polled(reader: Any, notify: Callable[[], object]) -> Iterator[None]:
    """Have the loop poll the descriptor: one of our own, because a loop has one callback for each."""
    loop = asyncio.get_running_loop()
    descriptor = os.dup(lib.ab_reader_descriptor(reader))
    try:
        loop.add_reader(descriptor, notify)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _by_a_thread(reader: Any, notify: Callable[[], object]) -> Iterator[None]:
    """Have a thread sleep, where there is no descriptor to poll (Windows)."""
    loop = asyncio.get_running_loop()

    def sleep() -> None:
        lib.ab_reader_sleep(reader, -1)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(notify)

    threading.Thread(target=sleep, name="anybpf-records", daemon=True).start()
    try:
        yield
    finally:
        lib.ab_reader_rouse(reader)
