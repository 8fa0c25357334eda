"""Requests to Linux's netfilter over netlink: attributes packed, requests sent, the kernel's answer awaited.

Sources: ``linux/netlink.h``, ``linux/netfilter/nfnetlink.h``. Numbers in attributes are in network order, those in the
headers of messages in the machine's. A library was considered: the ones there are need C libraries on the system or
bring much more than the two dozen lines that packing takes.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from typing import Self

from anybpf.errors import HookError, UnsupportedError

__all__ = ("CREATE", "EXCLUSIVE", "NetfilterSocket", "attribute", "be16", "be32", "message", "nested", "text")

CREATE, EXCLUSIVE = 0x400, 0x200  # NLM_F_*
_REQUEST, _ACK, _NESTED = 1, 4, 0x8000
_NETLINK_NETFILTER = 12
_ERROR, _BATCH_BEGIN, _BATCH_END = 2, 16, 17
_NFTABLES = 10
_HEADER = struct.Struct("=IHHII")
_SO_RCVBUFFORCE = 33
_ANSWER_SIZE = 8192


def attribute(kind: int, data: bytes) -> bytes:
    """Return an attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def be16(kind: int, number: int) -> bytes:
    """Return an attribute that is a 16-bit number."""
    return attribute(kind, struct.pack(">H", number))


def be32(kind: int, number: int) -> bytes:
    """Return an attribute that is a 32-bit number, which may be negative."""
    return attribute(kind, struct.pack(">I", number & 0xFFFFFFFF))


def text(kind: int, words: str) -> bytes:
    """Return an attribute that is text, with the NUL that ends it."""
    return attribute(kind, words.encode() + b"\0")


def message(subsystem: int, kind: int, *attributes: bytes, family: int = 0, resource: int = 0, flags: int = 0) -> bytes:
    """Return a request that the kernel is to answer. ``family`` and ``resource`` go to its ``nfgenmsg``."""
    return _message(subsystem << 8 | kind, _REQUEST | _ACK | flags, family, resource, b"".join(attributes))


def _message(kind: int, flags: int, family: int, resource: int, payload: bytes) -> bytes:
    body = struct.pack(">BBH", family, 0, resource) + payload
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


class NetfilterSocket:
    """A socket to netfilter in the network namespace of the calling thread. A context manager.

    :raises UnsupportedError: this kernel was built without it.
    """

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        except OSError as error:
            raise UnsupportedError(f"this kernel has no netfilter sockets ({error.strerror}); they come with "
                                   "CONFIG_NETFILTER_NETLINK") from None  # fmt: skip
        self._socket.bind((0, 0))

    def fileno(self) -> int:
        """Return the descriptor; -1 after :meth:`close`."""
        return self._socket.fileno()

    def grow(self, size: int) -> None:
        """Let ``size`` bytes of messages wait in the socket. Without the privilege, what the system allows."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def send(self, request: bytes) -> None:
        """Send a request and leave the answer to whoever reads from the socket next."""
        self._socket.send(request)

    def request(self, *requests: bytes) -> None:
        """Send requests, one after another, each when the one before was answered.

        :raises OSError: the kernel's answer to one of them; those after it are not sent.
        """
        for one in requests:
            self._socket.send(one)
            # What comes first may be something else than the answer only where the request has taken effect.
            if self._socket.recv(_ANSWER_SIZE, socket.MSG_PEEK)[4:6] == struct.pack("=H", _ERROR):
                _raise_error(self._socket.recv(_ANSWER_SIZE))

    def transact(self, requests: Iterable[bytes]) -> None:
        """Send requests to nftables as one transaction: all of them take effect, or none.

        :raises OSError: the kernel's answer to the first that failed.
        """
        begin, end = (_message(kind, _REQUEST, 0, _NFTABLES, b"") for kind in (_BATCH_BEGIN, _BATCH_END))
        self._socket.send(begin + b"".join(requests) + end)
        failures = []
        while (answer := self._answer()) is not None:  # the kernel has answered before it returns from send
            try:
                _raise_error(answer)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _answer(self) -> bytes | None:
        try:
            return self._socket.recv(_ANSWER_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Close the socket: what the kernel keeps on its behalf goes. Further calls do nothing."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _raise_error(answer: bytes) -> None:
    if len(answer) < _HEADER.size + 4:
        raise HookError(f"netfilter gave an answer of {len(answer)} bytes, which is none")
    (number,) = struct.unpack_from("=i", answer, _HEADER.size)
    if number:
        raise OSError(-number, os.strerror(-number))
