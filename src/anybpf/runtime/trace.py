"""What programs print with ``bpf_trace_printk`` and its kin: the engine's trace pipe, as Python reads it.

The pipe is bounded (256 KiB): when nobody reads, the oldest lines are lost, and the next line read says how many.
Lines look like those of Linux's ``/sys/kernel/tracing/trace_pipe``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from anybpf.runtime._engine import ffi, lib

__all__ = ("TraceLine", "TracePipe")

_BATCH = 64  # lines a crossing


@dataclass(frozen=True, slots=True)
class TraceLine:
    """A line that a program printed.

    :param text: without a newline at its end; bytes that are not UTF-8 are replaced.
    :param time_ns: nanoseconds since boot, when it was printed.
    :param cpu: the cpu slot, :param thread: the thread, :param comm: the name of the thread that ran the program.
    :param lost: lines that were lost between the line before and this one.
    """

    text: str
    time_ns: int
    cpu: int
    thread: int
    comm: str
    lost: int = 0

    def __str__(self) -> str:
        seconds, rest = divmod(self.time_ns, 1_000_000_000)
        return (
            f"{self.comm:>16}-{self.thread:<7} [{self.cpu:03d}] {seconds:5d}.{rest // 1000:06d}: "
            f"bpf_trace_printk: {self.text}"
        )


class TracePipe:
    """The lines that programs of one engine print. Reading takes them out; several readers share them.

    :param engine: the ``ab_engine *``, which must outlive the pipe.
    """

    def __init__(self, engine: Any) -> None:
        self._trace = lib.ab_engine_trace(engine)
        self._lines = ffi.new("ab_trace_line[]", _BATCH)

    def read(self) -> list[TraceLine]:
        """Return all lines there are now, oldest first; does not wait."""
        found = []
        while count := lib.ab_trace_read(self._trace, self._lines, _BATCH):
            for i in range(count):
                line = self._lines[i]
                found.append(
                    TraceLine(
                        text=ffi.string(line.text).decode(errors="replace"),
                        time_ns=line.time_ns,
                        cpu=line.cpu,
                        thread=line.thread,
                        comm=ffi.string(line.comm).decode(errors="replace"),
                        lost=line.lost,
                    )
                )
        return found

    def __iter__(self) -> Iterator[TraceLine]:
        """Iterate over the lines there are now; ends when there are no more."""
        while lines := self.read():
            yield from lines

    def follow(self, timeout: float | None = None, interval: float = 0.02) -> Iterator[TraceLine]:
        """Iterate over lines as they come.

        :param timeout: seconds without a line after which to stop; None waits for ever.
        :param interval: seconds between two looks at the pipe.
        """
        quiet_since = time.monotonic()
        while timeout is None or time.monotonic() - quiet_since < timeout:
            lines = self.read()
            yield from lines
            if lines:
                quiet_since = time.monotonic()
            else:
                time.sleep(interval)
