"""Captured packets in files: pcap and pcapng, read in chunks that cross into native code in one call."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from anybpf.errors import HookError

__all__ = ("CaptureReader", "Chunk", "pcap_header")

ETHERNET = 1  # LINKTYPE_ETHERNET
CHUNK_PACKETS = 4096
_NANOSECOND_MAGIC = 0xA1B23C4D


@dataclass(slots=True)
class Chunk:
    """Some consecutive packets.

    :param data: the packets' bytes, one behind the other. :param offsets: where each begins. :param lengths: bytes.
    :param times: nanoseconds since 1970 of each. :param position: bytes of the file read so far, for progress.
    """

    data: bytes
    offsets: array[int] = field(repr=False)
    lengths: array[int] = field(repr=False)
    times: array[int] = field(repr=False)
    position: int = 0

    def __len__(self) -> int:
        return len(self.lengths)


def pcap_header(link_type: int = ETHERNET) -> bytes:
    """Return the file header of a capture with nanosecond times, in this machine's byte order (as its records are)."""
    return struct.pack("=IHHiIII", _NANOSECOND_MAGIC, 2, 4, 0, 0, 262144, link_type)


class _WholeReads:
    """A file whose reads are complete or end it: dpkt would take the beginning of a cut-off packet for the packet."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.ended = False  # the last read wanted bytes, and there were none

    def read(self, size: int) -> bytes:
        data = self._file.read(max(size, 0))
        if size < 0 or 0 < len(data) < size:
            raise ValueError("the file ends, or is damaged, in the middle of a packet")
        self.ended = size > 0 and not data
        return data

    def seek(self, position: int) -> None:
        self._file.seek(position)


class CaptureReader:
    """An open capture file; iterating yields :class:`Chunk` objects. A context manager.

    :param path: a pcap or pcapng file.
    :raises HookError: it is neither, or its packets are not Ethernet frames. :raises OSError: it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = self.path.open("rb")
        self.size = self.path.stat().st_size
        try:
            self._reader = self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> Any:
        import dpkt  # here, so that importing the hooks does not load it

        self._reads = _WholeReads(self._file)
        self._malformed = (dpkt.Error, ValueError, struct.error)
        try:
            reader = dpkt.pcap.UniversalReader(self._reads)
        except self._malformed:
            raise HookError(f"{self.path} is neither a pcap nor a pcapng file") from None
        if reader.datalink() != ETHERNET:
            raise HookError(
                f"{self.path} holds packets of link type {reader.datalink()}; only Ethernet (1) can be replayed"
            )
        return reader

    def __iter__(self) -> Iterator[Chunk]:
        packets: list[bytes] = []
        times = array("Q")
        records = iter(self._reader)
        while True:
            try:
                time, packet = next(records)
            except StopIteration:
                break
            except self._malformed as error:
                raise HookError(f"{self.path}: damaged after {self._file.tell()} bytes: {error}") from None
            if self._reads.ended:  # in a record: behind the last one, the reader has stopped
                raise HookError(f"{self.path}: the file ends in the middle of a packet")
            packets.append(packet)
            times.append(_nanoseconds(time))
            if len(packets) == CHUNK_PACKETS:
                yield self._chunk(packets, times)
                packets, times = [], array("Q")
        if packets:
            yield self._chunk(packets, times)

    def _chunk(self, packets: list[bytes], times: array[int]) -> Chunk:
        lengths = array("I", map(len, packets))
        offsets = array("Q", bytes(8 * len(packets)))
        end = 0
        for index, length in enumerate(lengths):
            offsets[index] = end
            end += length
        return Chunk(b"".join(packets), offsets, lengths, times, self._file.tell())

    def close(self) -> None:
        """Close the file. Further calls do nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nanoseconds(time: float | Decimal) -> int:
    # Captures with microseconds come as floats, which hold microseconds of today exactly only after rounding.
    return int(time * 1_000_000_000) if isinstance(time, Decimal) else round(time * 1_000_000) * 1000
