"""TAP interfaces (Documentation/networking/tuntap.rst): Ethernet interfaces whose cable is a descriptor of ours.

No offloads are asked for, so the host's stack hands over whole packets of the interface's MTU, with their checksums.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from typing import Final

from anybpf.errors import HookError
from anybpf.runtime.engine import ffi, lib

__all__ = ("Outbox", "TapDevice")

_DEVICE: Final = "/dev/net/tun"
#: include/uapi/linux/if_tun.h, sockios.h, if.h; struct ifreq is a name of 16 bytes and a union of 24
_SET_INTERFACE: Final = 0x400454CA
_TAP, _NO_PACKET_INFORMATION = 0x2, 0x1000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
_NAME_MAX: Final = 15
#: Bytes of the largest frame: the largest MTU, an Ethernet header, a VLAN tag.
LARGEST: Final = 65535 + 14 + 4


class TapDevice:
    """A TAP interface, up, as a port of a wire. It vanishes when it is closed, unless somebody made it before.

    :raises HookError: there is no TAP driver, the interface cannot be made, or it is another kind of interface.
    """

    lost = 0  # what does not fit into the interface's queue, the host's stack counts as its own

    def __init__(self, name: str) -> None:
        if not name.isprintable() or not 0 < len(name.encode()) <= _NAME_MAX or set(name) & set("/ %"):
            raise HookError(f"{name!r} is no interface's name; give 1 to {_NAME_MAX} characters, no space, / or %")
        self.name = name
        try:
            self._descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            raise HookError(f"TAP interface {name!r} cannot be made: {_REASONS[errno.EPERM]}") from None
        except OSError as error:
            raise HookError(f"{_DEVICE} cannot be opened ({error.strerror}); it is made by `modprobe tun`") from None
        try:
            request = struct.pack("16sH22x", name.encode(), _TAP | _NO_PACKET_INFORMATION)
            fcntl.ioctl(self._descriptor, _SET_INTERFACE, request)
            self.ifindex = socket.if_nametoindex(name)
            _bring_up(name)
        except OSError as error:
            os.close(self._descriptor)
            reason = _REASONS.get(error.errno or 0, error.strerror or "")
            raise HookError(f"TAP interface {name!r} cannot be made: {reason}") from None
        self.handle = lib.ab_port_frames_create(self._descriptor, self.ifindex, LARGEST)
        if self.handle == ffi.NULL:
            os.close(self._descriptor)
            raise HookError(f"no memory for TAP interface {name!r}; close other programs")

    def send(self, frame: bytes) -> None:
        """Give the host's stack a frame; HookError when it does not take it."""
        try:
            os.write(self._descriptor, frame)
        except OSError as error:
            raise HookError(f"TAP interface {self.name!r} does not take a frame: {error.strerror}") from None

    def is_there(self) -> bool:
        """Whether the interface still exists."""
        try:
            self.name = socket.if_indextoname(self.ifindex)
        except OSError:
            return False
        return True

    def is_up(self) -> bool:
        """Always: a TAP interface that is down only has nothing to give, and its descriptor no error."""
        return True

    def close(self) -> None:
        """Close the descriptor; the interface goes with it."""
        lib.ab_port_destroy(self.handle)
        os.close(self._descriptor)


_REASONS: Final = {
    errno.EPERM: "that needs root or the capability CAP_NET_ADMIN; run as root",
    errno.EINVAL: "an interface of another kind has this name; choose another",
    errno.EBUSY: "another process has it open; choose another name",
}


def _bring_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        request = struct.pack("16s24x", name.encode())
        flags: int = struct.unpack_from("16xH", fcntl.ioctl(control, _GET_FLAGS, request))[0]
        if not flags & _UP:
            fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH22x", name.encode(), flags | _UP))


class Outbox:
    """A port for sending only whose frames the owner takes: a pair of sockets that keep frames apart."""

    name = "owner"
    ifindex = 0  # no interface has it, so no redirect leads here
    lost = 0

    def __init__(self) -> None:
        self._given, self._taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._given.setblocking(False)
        self.handle = lib.ab_port_frames_create(self._given.fileno(), self.ifindex, LARGEST)
        if self.handle == ffi.NULL:
            self._given.close()
            self._taken.close()
            raise HookError("no memory for frames; close other programs")

    def receive(self, timeout: float | None) -> bytes | None:
        """Return the next frame, or None when none came within ``timeout`` seconds (None: wait for ever)."""
        self._taken.settimeout(timeout)
        with contextlib.suppress(OSError):  # it took too long, or the hook has been closed
            return self._taken.recv(LARGEST) or None
        return None

    def is_there(self) -> bool:
        """Always."""
        return True

    def is_up(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Close the sockets."""
        lib.ab_port_destroy(self.handle)
        self._given.close()
        self._taken.close()
