"""The drivers that tests of the WinDivert hooks run with: WinDivert itself, and an imitation of it on Linux.

The imitation is pydivert's own, with kernel eBPF: it gives real packets and real socket events in WinDivert's
structures, and blocks calls. One packet a call, where WinDivert has batches.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from anybpf.errors import UnsupportedError
from anybpf.hooks.windivert_driver import BATCH, OpenEvents, PacketDriver, open_events, open_packets

ADDRESS = 80  # bytes of a WINDIVERT_ADDRESS


@dataclass(frozen=True)
class Drivers:
    """How to open a driver; ``here`` is where its packets are."""

    packets: Callable[[str, int], PacketDriver]
    events: OpenEvents
    image_name: Callable[[int], str]
    here: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


def windivert() -> Drivers:
    """WinDivert itself."""
    from anybpf.hooks.windivert_process import image_name

    return Drivers(open_packets, open_events, image_name)


@contextlib.contextmanager
def imitation() -> Iterator[Drivers]:
    """Its imitation, for packets of a network namespace of its own. Skips the test where there is none."""
    import netlab

    pytest.importorskip("pydivert", reason="needs the package pydivert")
    netlab.require()
    with netlab.lab() as lab:
        yield Drivers(ImitatedPackets, ImitatedEvents, image_name, lab.a.entered)


def image_name(pid: int) -> str:
    """The file name of a Linux process's executable."""
    return os.path.basename(os.readlink(f"/proc/{pid}/exe"))


def imitated(filter: str, layer: int, priority: int, flags: int) -> Any:
    """An open handle of the imitation. UnsupportedError where there is none: it needs kernel eBPF."""
    from pydivert import Flag, Layer
    from pydivert.ebpf import EBPFDivert

    try:
        return EBPFDivert(filter, Layer(layer), priority, Flag(flags)).open()
    except (ImportError, OSError, NotImplementedError) as error:
        raise UnsupportedError(f"pydivert's imitation of WinDivert does not run here: {error}") from None


class ImitatedPackets:
    """A PacketDriver. The imitation, when shut down, forgets what waits; WinDivert gives it first, as this does."""

    def __init__(self, filter: str, priority: int) -> None:
        self._divert = imitated(filter, 0, priority, 0)
        self._ending = False

    def receive(self, packets: bytearray, addresses: bytearray) -> tuple[int, int]:
        """See PacketDriver."""
        while True:
            ending = self._ending
            with contextlib.suppress(TimeoutError):
                received = self._divert.recv_batch(BATCH, timeout=0.05)
                break
            if ending:
                return 0, 0
        end = 0
        for number, packet in enumerate(received):
            packets[end : end + len(packet.raw)] = packet.raw
            addresses[number * ADDRESS : (number + 1) * ADDRESS] = bytes(packet.wd_addr)
            end += len(packet.raw)
        return end, len(received)

    def send(self, packets: memoryview, addresses: memoryview) -> None:
        """See PacketDriver."""
        from pydivert import Packet
        from pydivert.windivert_dll import WinDivertAddress

        for at in range(0, len(addresses), ADDRESS):
            length = ip_length(packets)
            address = WinDivertAddress.from_buffer_copy(addresses[at : at + ADDRESS])
            # Checksums are made as WinDivert's driver makes them: where the address does not say that they are right.
            missing = not (address.UDPChecksum and address.TCPChecksum)
            self._divert.send(Packet(bytes(packets[:length]), wd_addr=address), recalculate_checksum=missing)
            packets = packets[length:]

    def shutdown(self) -> None:
        """See PacketDriver."""
        self._ending = True

    def close(self) -> None:
        """See PacketDriver."""
        self._divert.close()


class ImitatedEvents:
    """An EventDriver."""

    def __init__(self, filter: str, priority: int, *, block: bool) -> None:
        self._divert = imitated(filter, 3, priority, 4 | (2 if block else 1))

    def receive(self) -> bytes:
        """See EventDriver."""
        try:
            return bytes(self._divert.recv().wd_addr)
        except OSError:
            return b""

    def shutdown(self) -> None:
        """See EventDriver."""
        self._divert.shutdown(1)

    def close(self) -> None:
        """See EventDriver."""
        self._divert.close()


def ip_length(packet: Any) -> int:
    """Bytes of the IP packet at the beginning of ``packet``, by its own header."""
    if packet[0] >> 4 == 4:
        return int.from_bytes(packet[2:4], "big")
    return 40 + int.from_bytes(packet[4:6], "big")


def drivers() -> list[Any]:
    """Parameters for a fixture: each driver, by name."""
    return ["windivert", pytest.param("imitation", marks=pytest.mark.linux_only)]


@contextlib.contextmanager
def opened(name: str) -> Iterator[Drivers]:
    """The drivers of that name."""
    if name == "windivert":
        yield windivert()
    else:
        assert sys.platform == "linux"
        with imitation() as made:
            yield made


def until(condition: Callable[[], bool]) -> None:
    """Wait until events that are on their way have made a condition true."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to that")
