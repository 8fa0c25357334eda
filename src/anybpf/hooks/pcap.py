"""Captured traffic as an event source: a program runs on every packet, and what it lets pass can be written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from anybpf.errors import HookError
from anybpf.hooks.capture import CaptureReader, pcap_header
from anybpf.runtime import Mode, Program

__all__ = ("Pcap", "PcapLink", "Totals")

#: Called after each chunk with the bytes of the capture read so far, and its size.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Totals:
    """What a replay came to.

    :param returns: how many packets the program returned which (unsigned 32-bit) number for.
    :param duration_ns: time in the engine for all packets together; reading the file is not in it.
    """

    packets: int
    returns: dict[int, int]
    duration_ns: int

    @property
    def ns_per_packet(self) -> float:
        """Mean time of one packet in the engine, nanoseconds; 0 for an empty capture."""
        return self.duration_ns / self.packets if self.packets else 0.0


@dataclass(frozen=True, slots=True)
class Pcap:
    """A capture (pcap or pcapng, Ethernet frames) to attach a program to.

    :param source: the capture. :param out: where to write, as pcap, the packets that the program lets pass.
    """

    source: str | Path
    out: str | Path | None = None

    def attach(self, program: Program) -> PcapLink:
        """Open the files and return the link; nothing runs before :meth:`PcapLink.run`.

        :raises HookError: this is no capture for this type of program. :raises OSError: a file cannot be opened.
        """
        return PcapLink(program, self)


class PcapLink:
    """A program attached to a capture; a context manager that closes the files at its end."""

    def __init__(self, program: Program, hook: Pcap) -> None:
        self.program = program
        self.hook = hook
        if not program.type.passes and not any(field.name == "data_end" for field in program.type.context.fields):
            raise HookError(
                f"program {program.name!r} is a {program.type.name} program, which no packet triggers; "
                f"captures are for packet programs, such as xdp, tc, socket or cgroup_skb"
            )
        self._reader = CaptureReader(hook.source)
        self._out: BinaryIO | None = None
        self._closed = False
        try:
            if hook.out is not None:
                if Path(hook.out).resolve() == Path(hook.source).resolve():
                    raise HookError(f"{hook.out} is the capture itself; write the packets that pass to another file")
                self._out = Path(hook.out).open("wb")  # noqa: SIM115 - closed by close()
                self._out.write(pcap_header())
        except BaseException:
            self._reader.close()
            raise

    def run(self, *, mode: Mode = None, progress: Progress | None = None) -> Totals:
        """Run the program on every packet of the capture, once each, in order.

        :param mode: "jit", "interpreter", "checked", or None for the program's own.
        :raises ProgramFault: a checked run stopped. :raises HookError: the capture is damaged.
        """
        if self._closed:
            raise HookError(f"the link to {self.hook.source} is closed; attach again")
        returns: Counter[int] = Counter()
        duration = 0
        for chunk in self._reader:
            keep = self.program.type.passes if self._out is not None else ()
            replay = self.program.replay(chunk, mode=mode, keep=keep)
            returns.update(replay.counts)
            duration += replay.duration_ns
            if self._out is not None:
                self._out.write(replay.kept)
            if progress is not None:
                progress(chunk.position, self._reader.size)
        return Totals(returns.total(), dict(sorted(returns.items())), duration)

    def close(self) -> None:
        """Close the capture and the output. Further calls do nothing."""
        self._closed = True
        self._reader.close()
        if self._out is not None:
            self._out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
