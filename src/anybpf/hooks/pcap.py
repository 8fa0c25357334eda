"""Captured traffic as an event source: a program runs on every packet, and what it lets pass can be written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, ClassVar, Self

from anybpf.errors import HookError
from anybpf.hooks.capture import CaptureReader, pcap_header
from anybpf.hooks.hook import Hook
from anybpf.runtime import LinkStats, Mode, Program

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


@dataclass(frozen=True)
class Pcap(Hook):
    """A capture (pcap or pcapng, Ethernet frames) to attach a program to, of any type that runs on packets.

    :param source: the capture. :param out: where to write, as pcap, the packets that the program lets pass.
    """

    name: ClassVar[str] = "pcap"
    source: str | Path
    out: str | Path | None = None

    def require(self, program: Program) -> None:
        """Raise HookError when no packet triggers programs of this type."""
        kind = program.type
        if not kind.passes and not any(field.name == "data_end" for field in kind.context.fields):
            raise HookError(
                f"program {program.name!r} is a {kind.name} program, which no packet triggers; "
                f"captures are for packet programs, such as xdp, tc, socket or cgroup_skb"
            )

    def attach(self, program: Program) -> PcapLink:
        """Open the files and return the link; nothing runs before :meth:`PcapLink.run`. Each link is by itself.

        :raises HookError: this is no capture for this type of program. :raises OSError: a file cannot be opened.
        """
        return PcapLink(program, self)


class PcapLink:
    """A program attached to a capture, as :class:`~anybpf.runtime.Link` is to live events: events come when asked for.

    A context manager that closes the files at its end.
    """

    def __init__(self, program: Program, hook: Pcap) -> None:
        hook.require(program)
        self.program = program
        self.hook = hook
        self._reader = CaptureReader(hook.source)
        self._out: BinaryIO | None = None
        self.id = program.context.next_id()
        self.parameters = {"source": str(hook.source)}
        self.attached = True
        self._totals = Totals(0, {}, 0)
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
        if not self.attached:
            raise HookError(f"the link to {self.hook.source} is detached; attach again")
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
        self._totals = Totals(returns.total(), dict(sorted(returns.items())), duration)
        return self._totals

    def update(self, program: Program) -> None:
        """Put ``program`` in the place of the present one, for the next :meth:`run`.

        :raises HookError: no packet triggers programs of its type.
        """
        self.hook.require(program)
        self.program = program

    @property
    def stats(self) -> LinkStats:
        """What the last run came to. A fault ends a run, so there are no errors to count."""
        totals = self._totals
        return LinkStats(totals.packets, totals.returns, 0, 0, totals.ns_per_packet)

    def detach(self) -> None:
        """Close the capture and the output. Further calls do nothing."""
        self.attached = False
        self._reader.close()
        if self._out is not None:
            self._out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()
