"""Frames sent into an interface and taken from it as they are, past the host's stack; merged ones too. Linux, root."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from dataclasses import dataclass

_SOL_PACKET, _AUXDATA, _VNET_HDR, _IGNORE_OUTGOING = 263, 8, 15, 23
_VLAN_VALID, _TPID_VALID = 0x10, 0x40
_ALL_PROTOCOLS = 3
_LARGEST = 70_000

MAC_A, MAC_B = bytes.fromhex("02aa00000001"), bytes.fromhex("02aa00000002")


@dataclass(frozen=True)
class Offload:
    """What is left to the hardware: struct virtio_net_hdr. Of the kinds TCP over IPv4, over IPv6, and UDP are used."""

    kind: int = 0
    size: int = 0
    start: int = 0
    offset: int = 0
    checksum: bool = True

    TCP4, TCP6, UDP = 1, 4, 5

    def bytes(self) -> bytes:
        """As it stands before the frame."""
        return struct.pack("=BBHHHH", self.checksum, self.kind, 0, self.size, self.start, self.offset)


NOTHING = Offload(checksum=False)


class Plug:
    """One end of a cable: what is sent leaves there, what arrives is kept. A context manager."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        for option in (_AUXDATA, _VNET_HDR, _IGNORE_OUTGOING):
            self._socket.setsockopt(_SOL_PACKET, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self._socket.bind((interface, _ALL_PROTOCOLS))

    def send(self, *frames: bytes, offload: Offload = NOTHING) -> None:
        """Send frames, all with the same offload."""
        for frame in frames:
            self._socket.send(offload.bytes() + frame)

    def receive(self, count: int, timeout: float = 20) -> list[bytes]:
        """Return the next ``count`` frames, VLAN tags in place; fewer when no more come in ``timeout`` seconds."""
        self._socket.settimeout(timeout)
        frames: list[bytes] = []
        try:
            while len(frames) < count:
                frames.append(self._next())
        except TimeoutError:
            pass
        return frames

    def quiet(self) -> bool:
        """Whether nothing more has arrived, after a moment's wait."""
        return not self.receive(1, 0.1)

    def _next(self) -> bytes:
        data, extra, _, _ = self._socket.recvmsg(_LARGEST, 256)
        frame = data[len(NOTHING.bytes()) :]
        for level, kind, value in extra:
            if (level, kind) == (_SOL_PACKET, _AUXDATA):
                status, *_, tag, protocol = struct.unpack("=IIIHHHH", value[:20])
                if status & _VLAN_VALID:
                    tpid = protocol if status & _TPID_VALID else 0x8100
                    return frame[:12] + struct.pack(">HH", tpid, tag) + frame[12:]
        return frame

    def __enter__(self) -> Plug:
        return self

    def __exit__(self, *raised: object) -> None:
        self._socket.close()


def checksum(data: bytes) -> int:
    """The Internet checksum of ``data`` (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(kind: int, *tags: tuple[int, int]) -> bytes:
    """An Ethernet header from A to B; ``tags``: protocol and number of each VLAN tag, the outer first."""
    return MAC_B + MAC_A + b"".join(struct.pack(">HH", *tag) for tag in tags) + struct.pack(">H", kind)


def ipv4(protocol: int, size: int, *, options: bytes = b"") -> bytes:
    """An IPv4 header for ``size`` bytes."""
    start = struct.pack(">BBHHHBB", 0x45 + len(options) // 4, 0, 20 + len(options) + size, 7, 0x4000, 64, protocol)
    end = bytes([10, 0, 0, 1, 10, 0, 0, 2]) + options
    return start + struct.pack(">H", checksum(start + b"\0\0" + end)) + end


def ipv6(protocol: int, size: int) -> bytes:
    """An IPv6 header for ``size`` bytes."""
    return struct.pack(">IHBB", 0x60000000, size, protocol, 64) + bytes(15) + b"\1" + bytes(15) + b"\2"


def pseudo_header(header: bytes, protocol: int, size: int) -> bytes:
    """What the checksum of a transport header begins with."""
    addresses = header[12:20] if header[0] >> 4 == 4 else header[8:40]
    return addresses + struct.pack(">BBH", 0, protocol, size)


def udp(payload: bytes, *, port: int = 9, version: int = 4, tags: tuple[tuple[int, int], ...] = ()) -> bytes:
    """A UDP frame, whole and with its checksum."""
    frame, offload = merged(payload, Offload.UDP, 0, version=version, tags=tags, port=port)
    at = offload.start + offload.offset
    return frame[:at] + struct.pack(">H", checksum(frame[offload.start :]) or 0xFFFF) + frame[at + 2 :]


def merged(
    payload: bytes,
    kind: int,
    size: int,
    *,
    version: int = 4,
    tags: tuple[tuple[int, int], ...] = (),
    port: int = 9,
    flags: int = 0x18,
    options: bytes = b"",
) -> tuple[bytes, Offload]:
    """A frame that stands for packets of ``size`` bytes of ``payload`` each, its checksum left to the hardware.

    With ``size`` 0 it is one packet. :param flags: of TCP. :param options: of TCP, a multiple of 4 bytes.
    """
    if kind == Offload.UDP:
        protocol, offset = 17, 6
        transport = struct.pack(">HHHH", 1000, port, 8 + len(payload), 0)
    else:
        protocol, offset = 6, 16
        words = 5 + len(options) // 4
        transport = struct.pack(">HHIIBBHHH", 1000, port, 0xFFFFFF00, 99, words << 4, flags, 512, 0, 0) + options
    length = len(transport) + len(payload)
    network = ipv4(protocol, length) if version == 4 else ipv6(protocol, length)
    partial = ~checksum(pseudo_header(network, protocol, length)) & 0xFFFF
    transport = transport[:offset] + struct.pack(">H", partial) + transport[offset + 2 :]
    header = ethernet(0x0800 if version == 4 else 0x86DD, *tags) + network
    offload = Offload(kind if size else 0, size, len(header), offset)
    return header + transport + payload, offload


def descriptors() -> int:
    """How many sockets, TAP interfaces and wake-up descriptors this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that listed them is closed
            count += os.readlink(f"/proc/self/fd/{name}").startswith(("socket:", "/dev/net/tun", "anon_inode:[eventfd"))
    return count


def text(size: int, seed: int = 0) -> bytes:
    """``size`` bytes that are the same every time."""
    return random.Random(seed).randbytes(size)
