"""An interface's frames through a packet socket with mapped rings (packet(7), TPACKET_V2), as a port of a wire.

The kernel says with each frame what it left to the hardware (PACKET_VNET_HDR): checksums that are not there yet, and
several packets in one. The engine completes and cuts them, so no offload has to be switched off. VLAN tags that the
kernel took out are put back. Packets merged inside a tunnel (VXLAN, GRE) the kernel cannot describe to a packet socket;
it counts them as lost. While the port receives, the interface is promiscuous; closing the socket ends that. What is
sent bypasses the interface's queueing disciplines, and captures on this host do not show it.

The host's own stack still sees what arrives: it drops frames for other hosts' addresses, and answers, for instance, ARP
requests for its own. Interfaces that are joined should have no addresses.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import socket
import struct
import threading
from typing import Final

from anybpf.errors import HookError
from anybpf.runtime.engine import ffi, lib

__all__ = ("PacketSocket",)

#: include/uapi/linux/if_packet.h
_SOL_PACKET: Final = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _COPY_THRESH, _VERSION, _TX_RING, _LOSS = 1, 5, 6, 7, 10, 13, 14
_VNET_HDR, _QDISC_BYPASS, _IGNORE_OUTGOING = 15, 20, 23
_TPACKET_V2, _MR_PROMISC = 1, 1
_SNDBUFFORCE, _RCVBUFFORCE = 32, 33  # of SOL_SOCKET
_ALL_PROTOCOLS: Final = 3  # ETH_P_ALL

#: include/uapi/linux/sockios.h, if.h, if_arp.h; struct ifreq is a name of 16 bytes and a union of 24
_GET_FLAGS, _GET_MTU, _GET_ADDRESS = 0x8913, 0x8921, 0x8927
_UP_AND_RUNNING: Final = 0x1 | 0x40
_ETHERNET: Final = 1

_LINK_HEADER: Final = 14 + 4  # Ethernet and one VLAN tag, bytes
_RING_HEADER: Final = 96  # bytes of a ring's frame before the packet, at most
#: Frames of a ring, where they are not so large (as with jumbo frames) that fewer must do.
_RECEIVE_FRAMES, _SEND_FRAMES = 4096, 1024
_RING: Final = 8 << 20  # bytes
_BLOCK: Final = 1 << 16  # bytes that the kernel allocates together
_MERGED: Final = 16 << 20  # bytes of merged frames that may wait


class PacketSocket:
    """An interface, opened for frames.

    :param interface: its name. :param receive: take frames from it; else it is for sending only.
    :raises HookError: there is no such interface, it is not Ethernet, or this process may not open it.
    """

    def __init__(self, interface: str, *, receive: bool = True) -> None:
        self.name = interface
        self.ifindex = interface_index(interface)
        self._lost = 0
        self._counting = threading.Lock()
        self._claim = _claim(interface, self.ifindex) if receive else None
        try:
            self._socket = _packet_socket(interface)
            try:
                self._open(receive)
            except BaseException:
                self._socket.close()
                raise
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                raise HookError(f"interface {interface!r} cannot be opened: {error.strerror}") from None
            raise

    def _open(self, receive: bool) -> None:
        kind = struct.unpack_from("H", self._ask(_GET_ADDRESS))[0]
        if kind != _ETHERNET:
            raise HookError(f"interface {self.name!r} carries no Ethernet frames (its hardware type is {kind})")
        largest = struct.unpack_from("i", self._ask(_GET_MTU))[0] + _LINK_HEADER
        size = 1 << (largest + _RING_HEADER - 1).bit_length()
        frames = (min(_RECEIVE_FRAMES, _RING // size) if receive else 0, min(_SEND_FRAMES, _RING // size))
        self._set(_VERSION, _TPACKET_V2)
        self._set(_VNET_HDR, 1)
        self._set(_LOSS, 1)  # a frame that the kernel refuses is skipped, and does not hold up those behind it
        self._set(_QDISC_BYPASS, 1)
        for option in (_RCVBUFFORCE, _SNDBUFFORCE):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, _MERGED)
            except PermissionError:  # the system's limit holds without CAP_NET_ADMIN
                self._socket.setsockopt(socket.SOL_SOCKET, _ORDINARY[option], _MERGED)
        if receive:
            with contextlib.suppress(OSError):  # from Linux 4.20 on; the engine leaves them out as well
                self._set(_IGNORE_OUTGOING, 1)
            self._set(_COPY_THRESH, 1)
            self._ring(_RX_RING, frames[0], size)
        self._ring(_TX_RING, frames[1], size)
        self._memory = mmap.mmap(self._socket.fileno(), sum(frames) * size)
        try:
            if receive:
                request = struct.pack("iHH8s", self.ifindex, _MR_PROMISC, 0, b"")
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
            self._socket.bind((self.name, _ALL_PROTOCOLS if receive else 0))
            self._view = ffi.from_buffer("uint8_t[]", self._memory)
            rings = {
                "receive": self._view,
                "transmit": self._view + frames[0] * size,
                "receive_frames": frames[0],
                "transmit_frames": frames[1],
                "frame_size": size,
                "largest": largest,
            }
            given = ffi.new("ab_packet_rings *", rings)
            self.handle = lib.ab_port_packet_create(self._socket.fileno(), self.ifindex, given)
            if self.handle == ffi.NULL:
                ffi.release(self._view)
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
        except BaseException:
            self._memory.close()
            raise

    def _set(self, option: int, value: int) -> None:
        self._socket.setsockopt(_SOL_PACKET, option, value)

    def _ring(self, option: int, frames: int, size: int) -> None:
        block = max(_BLOCK, size)
        self._socket.setsockopt(_SOL_PACKET, option, struct.pack("4I", block, frames * size // block, size, frames))

    def _ask(self, request: int) -> bytes:
        """Return the answer of an interface ioctl, behind the name."""
        return fcntl.ioctl(self._socket, request, struct.pack("16s24x", self.name.encode()))[16:]

    @property
    def lost(self) -> int:
        """Frames that found the ring full, so far."""
        with self._counting:
            if self._socket.fileno() >= 0:  # asking sets the kernel's count to zero
                self._lost += struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1]
            return self._lost

    def is_there(self) -> bool:
        """Whether the interface still exists under its index; clears the socket's error."""
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            self.name = socket.if_indextoname(self.ifindex)
        except OSError:
            return False
        return True

    def is_up(self) -> bool:
        """Whether the interface is there and takes frames."""
        try:
            flags: int = struct.unpack_from("H", self._ask(_GET_FLAGS))[0]
        except OSError:
            return False
        return flags & _UP_AND_RUNNING == _UP_AND_RUNNING

    def close(self) -> None:
        """Unmap the rings and close the socket, which ends the promiscuous mode that it asked for."""
        _ = self.lost
        lib.ab_port_destroy(self.handle)
        ffi.release(self._view)
        self._memory.close()
        with self._counting:
            self._socket.close()
        self._release()

    def _release(self) -> None:
        if self._claim is not None:
            self._claim.close()

    def __repr__(self) -> str:
        return f"<PacketSocket {self.name!r}, interface {self.ifindex}>"


def _packet_socket(interface: str) -> socket.socket:
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        raise HookError(
            f"interface {interface!r} cannot be opened: packet sockets need root or the capability CAP_NET_RAW; "
            "run as root"
        ) from None


def _claim(interface: str, ifindex: int) -> socket.socket:
    """Return what keeps a second wire from taking an interface: each would carry every frame on.

    It is a socket with an abstract name, which is its network namespace's and goes with the process.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0anybpf/interface/{ifindex}")
    except OSError:
        claim.close()
        raise HookError(
            f"interface {interface!r} is taken by another inline or tap hook; detach that one, or attach to it"
        ) from None
    return claim


_ORDINARY: Final = {_RCVBUFFORCE: socket.SO_RCVBUF, _SNDBUFFORCE: socket.SO_SNDBUF}


def interface_index(interface: str) -> int:
    """Return the interface's number; HookError when there is no such interface."""
    try:
        return socket.if_nametoindex(interface)
    except (OSError, ValueError):  # ValueError: no name of anything, with a NUL in it, say
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise HookError(f"there is no interface {interface!r}; there are {known}") from None
