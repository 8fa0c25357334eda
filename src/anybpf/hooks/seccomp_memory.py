"""What a system call points to in its caller's memory, copied once: the caller may change it at any time."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from errno import EFAULT, EMSGSIZE, ENOBUFS, ENOENT, ESRCH
from typing import Final

from anybpf.hooks.seccomp_held import HeldCall
from anybpf.runtime.engine import ffi, lib

__all__ = (
    "Header", "MemoryFault", "Message", "gather", "read", "read_data", "read_header", "read_message", "with_source",
    "write", "write_sent",
)  # fmt: skip

#: No datagram is longer, nor has it as much beside its data (the kernel's limits are 65 535 and optmem_max).
MAX_DATAGRAM: Final = 1 << 17
MAX_CONTROL: Final = 1 << 16
_MAX_PARTS: Final = 1024  # UIO_MAXIOV
_MAX_NAME: Final = 128

_HEADER: Final = struct.Struct("=QI4xQQQQI4x")  # struct msghdr: name, its length, parts, how many, control, its length
_PART: Final = struct.Struct("=QQ")  # struct iovec
_CONTROL: Final = struct.Struct("=Qii")  # struct cmsghdr
#: Size of an address → level and type of the ancillary data that says where to send from, and its layout.
_SOURCES: Final = {4: (0, 8, struct.Struct("=4x4s8x")), 16: (41, 50, struct.Struct("=16s8x"))}  # IP(V6)_PKTINFO
_PACKET_INFO_SIZES: Final = {4: 12, 16: 20}
_MSG_ZEROCOPY: Final = 0x4000000


class MemoryFault(Exception):
    """The caller's memory, or what else is needed of it, cannot be had.

    :param error: the error number that its call fails with; ENOENT or ESRCH: the caller waits no more.
    """

    def __init__(self, error: int) -> None:
        self.error = error
        self.gone = error in (ENOENT, ESRCH)
        super().__init__(error)


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be sent.

    :param name: the address that the call names, empty when it names none. :param data: what to send.
    :param control: ancillary data. :param flags: MSG_*.
    """

    name: bytes
    data: bytes
    control: bytes
    flags: int

    def __post_init__(self) -> None:
        if self.flags & _MSG_ZEROCOPY:
            raise MemoryFault(ENOBUFS)  # what the kernel says when it cannot; programs then send with copying


@dataclass(frozen=True, slots=True)
class Header:
    """What is to be sent, and where the caller has it: ``parts`` are addresses and sizes in bytes."""

    name: bytes
    parts: tuple[tuple[int, int], ...]
    control: bytes
    flags: int

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(size for _, size in self.parts)


def read(held: HeldCall, address: int, size: int) -> bytes:
    """Return ``size`` bytes from ``address`` on in the caller's memory.

    :raises MemoryFault: they are not all there.
    """
    if not size:
        return b""
    buffer = ffi.new("uint8_t[]", size)
    copied = lib.ab_seccomp_read(held.listener, held.id, held.thread, address, buffer, size)
    if copied != size:
        raise MemoryFault(EFAULT if copied >= 0 else -copied)
    return bytes(ffi.buffer(buffer))


def write(held: HeldCall, address: int, data: bytes) -> None:
    """Put ``data`` at ``address``.

    :raises MemoryFault: there is no room.
    """
    copied = lib.ab_seccomp_write(held.listener, held.id, held.thread, address, data, len(data))
    if copied != len(data):
        raise MemoryFault(EFAULT if copied >= 0 else -copied)


def read_data(held: HeldCall, address: int, size: int) -> bytes:
    """Return the data of a datagram; MemoryFault with EMSGSIZE when none can be so long."""
    if size > MAX_DATAGRAM:
        raise MemoryFault(EMSGSIZE)
    return read(held, address, size)


def read_header(held: HeldCall, address: int, flags: int) -> Header:
    """Return a ``struct msghdr``."""
    name, name_size, parts, count, control, control_size, _ = _HEADER.unpack(read(held, address, _HEADER.size))
    if count > _MAX_PARTS:
        raise MemoryFault(EMSGSIZE)
    if control_size > MAX_CONTROL:
        raise MemoryFault(ENOBUFS)
    return Header(
        name=read(held, name, min(name_size, _MAX_NAME)) if name else b"",
        parts=tuple(_PART.iter_unpack(read(held, parts, count * _PART.size))),
        control=read(held, control, control_size) if control else b"",
        flags=flags,
    )


def gather(held: HeldCall, parts: tuple[tuple[int, int], ...], skipped: int, most: int) -> bytes:
    """Return at most ``most`` bytes of what is in ``parts``, without the first ``skipped``."""
    gathered = b""
    for where, size in parts:
        passed = min(skipped, size)
        skipped -= passed
        gathered += read(held, where + passed, min(size - passed, most - len(gathered)))
    return gathered


def read_message(held: HeldCall, address: int, flags: int) -> Message:
    """Return the datagram that a ``struct msghdr`` describes."""
    header = read_header(held, address, flags)
    if header.size > MAX_DATAGRAM:
        raise MemoryFault(EMSGSIZE)
    return Message(header.name, gather(held, header.parts, 0, MAX_DATAGRAM), header.control, flags)


def write_sent(held: HeldCall, message: int, sent: int) -> int:
    """Say in the ``struct mmsghdr`` at ``message`` how much was sent; returns 1, the number of messages that were."""
    write(held, message + _HEADER.size, sent.to_bytes(4, "little"))
    return 1


def with_source(control: bytes, host: bytes) -> bytes:
    """Return ancillary data with the address to send from added, which then counts before any that it has."""
    level, kind, layout = _SOURCES[len(host)]
    header = _CONTROL.pack(_CONTROL.size + _PACKET_INFO_SIZES[len(host)], level, kind)
    return control + bytes(-len(control) % 8) + header + layout.pack(host)
