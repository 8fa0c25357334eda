"""Linux's netfilter queue as an event source: XDP programs on the packets of a host as it stands.

Nothing is plugged in between: a rule sends packets that the host receives, forwards or sends to the queue, and here
they meet the programs. The rule is the user's own, for example ::

    iptables -A INPUT -i eth0 -p udp -j NFQUEUE --queue-num 5 --queue-bypass
    nft add rule inet filter input iifname eth0 queue num 5 bypass

or, with ``chain``, one in an nftables table of ours that goes when we do, however we end. Ours stands at the priority
of filters: behind connection tracking and the translation of where packets go.

**What programs see.** Queued packets begin with their IP header; :mod:`anybpf.hooks.datagram` says what Ethernet header
programs find before it. The kernel knows the sender's link-layer address of packets that came in by Ethernet.
``ingress_ifindex`` is the interface that the packet came in by, 0 for packets that the host sends. Packets are as on
the wire: the kernel takes apart merged ones (GRO, GSO) and fills in checksums that were left to hardware.

**What verdicts do.** PASS lets the packet go on, as the program has left it; lengths and checksums that a change makes
wrong are the program's to put right, as in XDP. DROP and ABORTED drop it. TX, REDIRECT: a queue has no port to send
a frame to, so these drop it too, and are counted as what they are. A packet that passes but cannot go on (another
EtherType, an IP header that says more than there is, more than 65531 bytes after a change) is dropped and counted in
:attr:`Queue.dropped`.

**When something fails.** Packets go on unseen when the queue is full (``fail_open=False``: they are dropped, and
counted) and, if the rule says bypass, as ours does, when nobody serves the queue: before, after, and when the process
was killed, except that the kernel then drops those that are waiting at that moment. Detaching drops none.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, ClassVar

from anybpf.errors import HookError, LoadError, UnsupportedError
from anybpf.hooks.datagram import DatagramPoint
from anybpf.hooks.hook import Accepts, LiveHook
from anybpf.hooks.nfqueue import CHAINS, Chain, QueueRule, QueueSocket
from anybpf.runtime import AttachPoint
from anybpf.runtime.engine import ffi, lib

__all__ = ("Queue", "from_argument")

_NUMBERS = range(1 << 16)
_NAME_SIZE = 16  # IFNAMSIZ
_INSTEAD = {
    "win32": "on Windows the windivert hook does the same",
    "darwin": "macOS hands packets only to system extensions that Apple has entitled to filter the network",
}


class Queue(LiveHook):
    """A netfilter queue, in the network namespace of the thread that attaches first. Needs CAP_NET_ADMIN.

    :param number: of the queue, 0 to 65535.
    :param chain: "input", "forward" or "output": also make the rule that fills the queue, with all packets to, through
        or from this host. :param interface: of those, only what comes in (for "output": leaves) by the interface of
        this name. :param depth: packets that may wait.
    :param fail_open: packets that find the queue full go on unseen; False: they are dropped.
    :raises HookError: no such chain, or numbers out of range.
    """

    name: ClassVar[str] = "queue"
    takes: ClassVar[tuple[Accepts, ...]] = (Accepts("linux", "xdp", ("xdp",)), Accepts("windows", "xdp"))

    def __init__(
        self,
        number: int,
        *,
        chain: Chain | None = None,
        interface: str | None = None,
        depth: int = 4096,
        fail_open: bool = True,
    ) -> None:
        super().__init__()
        if number not in _NUMBERS:
            raise HookError(f"queue number {number} is out of range; queues have the numbers 0 to {_NUMBERS.stop - 1}")
        if chain is not None and chain not in CHAINS:
            raise HookError(f"there is no chain {chain!r} for a queue; choose {', '.join(CHAINS)}")
        if interface is not None and chain is None:
            raise HookError("an interface is part of the rule that a queue makes; name the chain, too")
        if interface is not None and not 0 < len(os.fsencode(interface)) < _NAME_SIZE:
            raise HookError(f"{interface!r} is no name of an interface; those have 1 to {_NAME_SIZE - 1} bytes")
        if not 0 < depth < 1 << 19:
            raise HookError(f"a queue cannot be {depth} packets deep; give 1 to {(1 << 19) - 1}")
        self.number, self.chain, self.interface = number, chain, interface
        self.depth, self.fail_open = depth, fail_open
        self._opened = ExitStack()
        self._count: Callable[[], int] | None = None
        self._dropped_before = 0

    def __repr__(self) -> str:
        return "Queue(" + ", ".join(str(value) for value in self.parameters.values()) + ")"

    @property
    def parameters(self) -> Mapping[str, str | int]:
        """Number, chain and interface."""
        given = {"number": self.number, "chain": self.chain, "interface": self.interface}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def dropped(self) -> int:
        """Packets that found no room, and those that passed but could not go on. See the module for what is neither."""
        return self._dropped_before + (self._count() if self._count is not None else 0)

    def _open(self, point: AttachPoint) -> None:
        if not hasattr(socket, "AF_NETLINK"):
            raise UnsupportedError(
                f"netfilter queues are Linux's; {_INSTEAD.get(sys.platform, 'this is another system')}"
            )
        if self.interface is not None:
            _require_interface(self.interface)
        with ExitStack() as opened:
            packets = opened.enter_context(QueueSocket(self.number, self.depth, fail_open=self.fail_open))
            native = self._native(packets, opened.enter_context(DatagramPoint(point)))
            opened.callback(lib.ab_nfqueue_destroy, native)
            if self.chain is not None:
                opened.enter_context(QueueRule(self.number, self.chain, self.interface))
            self._count = lambda: packets.dropped + _lost(native)
            thread = threading.Thread(target=self._serve, args=(native, packets), name=f"anybpf-{self!r}", daemon=True)
            thread.start()
            opened.callback(self._settle, native, packets, thread)
            self._opened = opened.pop_all()

    def _native(self, packets: QueueSocket, meeting: DatagramPoint) -> Any:
        error = ffi.new("int *")
        native = lib.ab_nfqueue_create(packets.fileno(), self.number, meeting.native, error)
        if native == ffi.NULL:
            raise LoadError(f"netfilter queue {self.number} cannot be served: {os.strerror(-error[0])}")
        return native

    def _serve(self, native: Any, packets: QueueSocket) -> None:
        error = lib.ab_nfqueue_serve(native)
        if error:
            packets.release()
            self._fail(HookError(f"netfilter queue {self.number} ended: {os.strerror(-error)}"))

    def _settle(self, native: Any, packets: QueueSocket, thread: threading.Thread) -> None:
        """End the service so that no packet is lost: what is new goes on by itself, what waits is let go."""
        if packets.fileno() >= 0:
            packets.bypass()
        lib.ab_nfqueue_stop(native)
        thread.join()
        if packets.fileno() >= 0:
            lib.ab_nfqueue_drain(native)
        self._dropped_before, self._count = self.dropped, None

    def _close(self) -> None:
        self._opened.close()


def _lost(native: Any) -> int:
    counts = ffi.new("ab_nfqueue_counts *")
    lib.ab_nfqueue_count(native, counts)
    return int(counts.lost)


def _require_interface(name: str) -> None:
    try:
        socket.if_nametoindex(name)
    except OSError:
        raise HookError(f"there is no interface {name!r}; the rule of a queue would never match") from None


def from_argument(argument: str) -> Queue:
    """Make the hook of the command line: ``NUMBER``, ``NUMBER,CHAIN`` or ``NUMBER,CHAIN,INTERFACE``."""
    number, _, rule = argument.partition(",")
    chain, _, interface = rule.partition(",")
    if not (number.isascii() and number.isdigit()):
        raise HookError(f"{argument!r} names no netfilter queue; write its number, such as 5, or 5,input")
    return Queue(int(number), chain=chain or None, interface=interface or None)  # type: ignore[arg-type] # it checks
