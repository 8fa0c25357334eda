"""Packets of a Windows host through WinDivert: XDP programs on what it receives and sends.

**What programs see.** WinDivert's packets begin with their IP header; :mod:`anybpf.hooks.datagram` says what Ethernet
header programs find before it. ``ingress_ifindex`` is Windows' index of the interface that the packet came in by, 0 for
packets that the host sends. Windows calls whatever a host sends to itself sent, and WinDivert shows it once. Checksums
that were left to hardware stand there as Windows left them, which may be anything, and are filled in when the packet
goes on.

**What verdicts do.** PASS lets the packet go on as the program has left it; lengths and checksums that a change makes
wrong are the program's to put right. DROP and ABORTED drop it. TX and REDIRECT: there is no frame and no port to send
it to here, so these drop it too, and are counted as what they are. A packet that passes but cannot go on (another
EtherType, an IP header that says more than there is) is dropped and counted in :attr:`WinDivert.dropped`.

**When something fails.** Packets that do not match the filter are not touched. Those that do wait in the driver, which
drops what is not fetched in time (two seconds, or 4096 packets, unless set otherwise), and does not say how many. Once
the process has ended, packets go on as if nothing had been there.

Not run on Windows by us so far: the driver needs a machine that accepts it. All but the calls of the driver is tested
on every system, on Linux with real traffic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import ClassVar

from anybpf.errors import HookError
from anybpf.hooks.datagram import DatagramPoint
from anybpf.hooks.hook import Accepts, LiveHook
from anybpf.hooks.windivert_driver import BATCH, PacketDriver, open_packets
from anybpf.runtime import AttachPoint
from anybpf.runtime.engine import ffi, lib

__all__ = ("PacketBatches", "WinDivert", "from_argument")

_ROOM = 1 << 20  # bytes for the packets of a batch
_PRIORITIES = range(-30000, 30001)


class PacketBatches:
    """Batches of packets between a driver and the programs attached at a point. Used by one thread."""

    def __init__(self, driver: PacketDriver, meeting: DatagramPoint) -> None:
        self.lost = 0
        self._driver = driver
        self._meeting = meeting
        self._packets, self._kept = bytearray(_ROOM), bytearray(_ROOM)
        size = BATCH * lib.AB_DIVERT_ADDRESS
        self._addresses, self._kept_addresses = bytearray(size), bytearray(size)
        self._batch = ffi.new(
            "ab_divert_batch *",
            {
                "packets": ffi.from_buffer("uint8_t[]", self._packets),
                "addresses": ffi.from_buffer("uint8_t[]", self._addresses),
                "kept": ffi.from_buffer("uint8_t[]", self._kept),
                "kept_addresses": ffi.from_buffer("uint8_t[]", self._kept_addresses),
                "kept_capacity": _ROOM,
            },
        )

    def serve(self) -> None:
        """Serve until the driver has been shut down and has nothing more. :raises OSError: the driver failed."""
        while True:
            length, count = self._driver.receive(self._packets, self._addresses)
            if count == 0:
                return
            self._run(length, count)

    def _run(self, length: int, count: int) -> None:
        batch = self._batch
        batch.length, batch.count = length, count
        batch.next = batch.next_byte = batch.lost = 0
        full = 1
        while full == 1:
            full = lib.ab_divert_run(self._meeting.native, batch)
            if batch.kept_count:
                self._send(batch.kept_length, batch.kept_count)
        self.lost += batch.lost + (batch.count - batch.next)  # behind what is no IP packet nothing can be found

    def _send(self, length: int, count: int) -> None:
        addresses = memoryview(self._kept_addresses)[: count * lib.AB_DIVERT_ADDRESS]
        try:
            self._driver.send(memoryview(self._kept)[:length], addresses)
        except OSError:  # an interface that went away, a packet that Windows does not take: the next may be fine
            self.lost += count


class WinDivert(LiveHook):
    """Packets of this host that match a filter. Needs Windows, an administrator's rights and the package pydivert.

    :param filter: in WinDivert's filter language, such as ``inbound and udp.DstPort == 53``; "true": all packets.
    :param priority: among programs that use WinDivert: of higher priority, earlier; -30000 to 30000.
    :param open: opens the driver, for tests.
    """

    name: ClassVar[str] = "windivert"
    takes: ClassVar[tuple[Accepts, ...]] = (Accepts("windows", "xdp"), Accepts("linux", "xdp", ("xdp",)))

    def __init__(
        self, filter: str = "true", *, priority: int = 0, open: Callable[[str, int], PacketDriver] = open_packets
    ) -> None:
        super().__init__()
        if not filter.isascii() or "\0" in filter:
            raise HookError(f"filter {filter!r} has characters that no WinDivert filter can have; use plain ASCII")
        if priority not in _PRIORITIES:
            raise HookError(f"priority {priority} is out of range; WinDivert has -30000 to 30000")
        self.filter, self.priority = filter, priority
        self.open_driver = open
        self._opened = ExitStack()
        self._batches: PacketBatches | None = None
        self._dropped_before = 0

    def __repr__(self) -> str:
        return f"WinDivert({self.filter!r})"

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """Filter and priority."""
        return {"filter": self.filter, "priority": self.priority}

    @property
    def dropped(self) -> int:
        """Packets that passed but could not go on. What the driver dropped because it was not fetched is not known."""
        return self._dropped_before + (self._batches.lost if self._batches else 0)

    def _open(self, point: AttachPoint) -> None:
        with ExitStack() as opened:
            meeting = opened.enter_context(DatagramPoint(point))
            driver = self.open_driver(self.filter, self.priority)
            opened.callback(driver.close)
            batches = self._batches = PacketBatches(driver, meeting)
            thread = threading.Thread(target=self._serve, args=(batches, driver), name=f"anybpf-{self!r}", daemon=True)
            thread.start()
            opened.callback(self._settle, driver, thread)
            self._opened = opened.pop_all()

    def _serve(self, batches: PacketBatches, driver: PacketDriver) -> None:
        try:
            batches.serve()
        except OSError as error:
            driver.shutdown()  # what comes from now on goes on unseen
            self._fail(HookError(f"WinDivert ended: {error.strerror or error}"))

    def _settle(self, driver: PacketDriver, thread: threading.Thread) -> None:
        """End the service so that no packet is lost: new ones pass by, those that wait are let go."""
        driver.shutdown()
        thread.join()
        self._dropped_before, self._batches = self.dropped, None

    def _close(self) -> None:
        self._opened.close()


def from_argument(argument: str) -> WinDivert:
    """Make the hook of the command line, whose argument is the filter; empty: all packets."""
    return WinDivert(argument or "true")
