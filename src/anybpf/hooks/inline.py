"""A bump in the wire: two interfaces become one cable, and XDP programs decide what goes through it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from anybpf.errors import HookError
from anybpf.hooks.hook import Accepts, LiveHook
from anybpf.hooks.interfaces import PacketSocket, outlet
from anybpf.hooks.wire import Wire
from anybpf.runtime import AttachPoint

__all__ = ("Inline", "from_argument")


class Inline(LiveHook):
    """Joins interfaces ``a`` and ``b``: what comes in by one leaves by the other, if the programs let it pass.

    Programs see each frame as it was on the wire, from either side; ``ingress_ifindex`` tells which. ``XDP_PASS`` sends
    it on to the other side, ``XDP_TX`` back, ``XDP_REDIRECT`` to an interface, named directly or through a devmap;
    ``XDP_DROP`` and ``XDP_ABORTED`` drop it. A program that faults (only unverified ones can) counts as ``XDP_PASS``.
    Once the last program is detached nothing is passed on any more: the cable was ours.

    The interfaces must carry Ethernet and should have no addresses of their own: the host's stack sees arriving frames,
    too. Needs Linux and root, or CAP_NET_RAW.
    """

    name = "inline"
    takes = (Accepts("linux", "xdp", ("xdp",)), Accepts("windows", "xdp"))

    def __init__(self, a: str, b: str) -> None:
        super().__init__()
        if a == b:
            raise HookError(f"an inline hook joins two interfaces, but both are {a!r}; name two")
        self.a = a
        self.b = b
        self._wire: Wire | None = None
        self._dropped = 0

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """The two interfaces' names."""
        return {"a": self.a, "b": self.b}

    @property
    def dropped(self) -> int:
        """Frames lost by us since a program was first attached.

        They found a ring full on arrival or on departure, could not be read whole, were too long for the interface to
        send them, or were redirected to nowhere.
        """
        wire = self._wire
        return self._dropped if wire is None else wire.dropped

    def _open(self, point: AttachPoint) -> None:
        with contextlib.ExitStack() as opened:
            ports = []
            for interface in (self.a, self.b):
                ports.append(PacketSocket(interface))
                opened.callback(ports[-1].close)
            first, second = ports
            joined = ((first, second), (second, first))
            self._wire = Wire(point, joined, outlet=outlet, failed=self._fail)
            opened.pop_all()

    def _close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
            self._dropped = wire.dropped

    def __repr__(self) -> str:
        return f"Inline({self.a!r}, {self.b!r})"


def from_argument(argument: str) -> Inline:
    """Make the hook of ``"a,b"``; HookError when that does not name two interfaces."""
    names = [name.strip() for name in argument.split(",")]
    if len(names) != 2 or not all(names):
        raise HookError(f"an inline hook joins two interfaces, such as eth1,eth2; {argument!r} does not name two")
    return Inline(*names)
