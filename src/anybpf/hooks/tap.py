"""An interface of our own: the host's stack sends into it, and XDP programs decide what becomes of that."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from anybpf.errors import HookError
from anybpf.hooks.hook import Accepts, LiveHook
from anybpf.hooks.interfaces import Outbox, PacketSocket, TapDevice, outlet
from anybpf.hooks.wire import Port, Wire
from anybpf.runtime import AttachPoint

__all__ = ("Tap", "from_argument")


class Tap(LiveHook):
    """An interface called ``interface`` that appears with the first program and vanishes with the last.

    What the host sends there meets the programs, with the interface's own number as ``ingress_ifindex``. ``XDP_TX``
    answers the host; ``XDP_PASS`` sends the frame out by interface ``to``, whose frames meet the programs, too, and go
    to the host when they pass (as with :class:`~anybpf.hooks.inline.Inline`). Without ``to``, frames that pass are the
    owner's, to be taken with :meth:`receive`, and the owner answers with :meth:`send`; what comes while so much waits
    that there is no more room is dropped.
    Redirects, drops and faults are as with Inline.

    The interface comes up without an address; give it one as to any other (``ip addr add 10.1.1.1/24 dev t0``). Needs
    Linux and root, or CAP_NET_ADMIN (with ``to``, CAP_NET_RAW as well).
    """

    name = "tap"
    takes = (Accepts("linux", "xdp", ("xdp",)), Accepts("windows", "xdp"))

    def __init__(self, interface: str, to: str | None = None) -> None:
        super().__init__()
        if interface == to:
            raise HookError(f"a tap hook cannot send to its own interface {to!r}; name another one")
        self.interface = interface
        self.to = to
        self._wire: Wire | None = None
        self._device: TapDevice | None = None
        self._outbox: Outbox | None = None
        self._dropped = 0

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """The interface's name, and the second one's if there is one."""
        return {"interface": self.interface} | ({"to": self.to} if self.to is not None else {})

    @property
    def dropped(self) -> int:
        """Frames lost by us since a program was first attached: no room where they led, a redirect to nowhere."""
        wire = self._wire
        return self._dropped if wire is None else wire.dropped

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Return the next frame that passed; None when none came within ``timeout`` seconds (None: wait for ever).

        :raises HookError: frames that pass go to another interface, or no program is attached.
        """
        if self.to is not None:
            raise HookError(f"frames that pass tap {self.interface!r} go out by {self.to!r}; make one without `to`")
        if self._outbox is None:
            raise HookError(f"tap {self.interface!r} is not there while no program is attached; attach one first")
        return self._outbox.receive(timeout)

    def send(self, frame: bytes) -> None:
        """Give the host a frame, as if it had come in by the interface; programs do not see it.

        :param frame: from the Ethernet header on, without checksum. :raises HookError: it is not taken.
        """
        if self._device is None:
            raise HookError(f"tap {self.interface!r} is not there while no program is attached; attach one first")
        self._device.send(frame)

    def _open(self, point: AttachPoint) -> None:
        with contextlib.ExitStack() as opened:
            device = TapDevice(self.interface)
            opened.callback(device.close)
            joined: list[tuple[Port, Port]]
            if self.to is None:
                outbox = Outbox()
                opened.callback(outbox.close)
                joined = [(device, outbox)]
            else:
                outbox = None
                other = PacketSocket(self.to)
                opened.callback(other.close)
                joined = [(device, other), (other, device)]
            self._wire = Wire(point, joined, outlet=outlet, failed=self._fail)
            opened.pop_all()
            self._device, self._outbox = device, outbox

    def _close(self) -> None:
        wire, self._wire = self._wire, None
        self._device = self._outbox = None
        if wire is not None:
            wire.close()
            self._dropped = wire.dropped

    def __repr__(self) -> str:
        return f"Tap({self.interface!r}{f', to={self.to!r}' if self.to is not None else ''})"


def from_argument(argument: str) -> Tap:
    """Make the hook of ``"t0"``, or ``"t0,eth1"`` for a second interface; HookError when it is neither."""
    names = [name.strip() for name in argument.split(",")]
    if len(names) > 2 or not all(names):
        raise HookError(
            f"a tap hook has an interface of its own, and perhaps a second (t0, or t0,eth1), not {argument!r}"
        )
    return Tap(*names)
