"""Watching bound sockets without holding them."""

from __future__ import annotations

import os
import socket

import pytest

from anybpf.hooks.socket_call import Address, Operation, SocketCall

pytestmark = pytest.mark.linux_only


def test_each_closed_socket_is_reported_once() -> None:
    """Of many sockets those are reported whose last descriptor is gone, in whatever process it was."""
    from anybpf.hooks.seccomp_bound import BoundSockets

    with BoundSockets() as bound:
        made = [socket.socket() for _ in range(300)]
        calls = [SocketCall(Operation.UNBIND, 2, 1, 6, Address(bytes(4), number)) for number in range(len(made))]
        for one, call in zip(made, calls, strict=True):
            copy = os.dup(one.fileno())
            bound.add(copy, call)
            os.close(copy)
        assert bound.closed() == []
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        os.close(reader)
        for one in made[::2]:
            one.close()
        assert bound.closed() == []  # the child has them all
        os.close(writer)
        os.waitpid(child, 0)
        assert bound.closed() == calls[::2]
        assert bound.closed() == []
        for one in made:
            one.close()
        assert bound.closed() == calls[1::2]
        assert len(bound) == 0
