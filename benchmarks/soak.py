"""Load through a live wire for minutes, with programs coming and going: ``python benchmarks/soak.py [--minutes 10]``.

Two wires, each between two hosts (network namespaces). On one, small frames at a steady rate: each must be
accounted for, as arrived, dropped by a program, or lost by the hook. On the other TCP with its offloads,
whose link is taken away and made anew all the time. On both, programs are loaded, swapped and closed, and maps read.
Ten times, memory, descriptors and threads of this process are written down; the exit status is 1 when any of them
grows or a frame is missing. Needs Linux, root, iproute2 and iperf3.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

import anybpf
from anybpf.hooks.inline import Inline
from anybpf.runtime import Link, Object
from anybpf.samples.build import build
from netlab import Lab, lab

PROGRAMS = ("count", "firewall", "packet_counter", "ping_filter", "syn_limiter")
XDP_DROP = 1
NOTES = 10  # lines of the table, evenly spread over the time
HEADING = " seconds      MiB descriptors threads       events  swaps"
SWAP_SECONDS = 1.0
RELINK_SECONDS = 20.0
DENIED, FLOWS = 4, 16
#: Memory that may come and go, as allocators and Python have it, MiB; a leak of 1 byte a packet would show.
NOISE_MIB = 4.0


@dataclass(frozen=True)
class Sample:
    """This process at one time. ``memory_mib``: resident."""

    seconds: float
    memory_mib: float
    descriptors: int
    threads: int
    packets: int
    swaps: int


@dataclass(frozen=True)
class Account:
    """Frames on the counted wire: ``sent`` by the hosts; ``arrived`` at them; dropped by programs, and by the hook."""

    sent: int
    arrived: int
    denied: int
    lost: int

    @property
    def missing(self) -> int:
        """Frames that nobody accounts for; below zero: that came from nowhere."""
        return self.sent - self.arrived - self.denied - self.lost


def process() -> tuple[float, int, int]:
    """Resident memory in MiB, open descriptors, threads."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return int(status["VmRSS"].split()[0]) / 1024, descriptors, int(status["Threads"])


def frames(net: Lab) -> list[bytes]:
    """UDP datagrams from host a to host b, of FLOWS flows, as frames that are 64 bytes long on a wire."""
    made = []
    for flow in range(FLOWS):
        ethernet = bytes.fromhex((net.b.mac + net.a.mac).replace(":", "")) + b"\x08\x00"
        addresses = socket.inet_aton(net.a.address) + socket.inet_aton(net.b.address)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 46, 0, 0, 64, 17, 0) + addresses
        made.append((ethernet + ip + struct.pack("!HHHH", 1000 + flow, 9, 26, 0)).ljust(60, b"\0"))
    return made


class Changing:
    """A wire whose program is loaded anew again and again, while traffic flows."""

    def __init__(self, objects: dict[str, bytes], net: Lab) -> None:
        self.objects = objects
        self.net = net
        self.names = itertools.cycle(objects)
        self.swaps = 0
        self._before = 0  # events of links that were taken away
        self.loaded = self._load()
        self.link = self._attach()

    def _load(self) -> Object:
        name = next(self.names)
        loaded = anybpf.load(self.objects[name])
        if name == "firewall":
            for flow in range(DENIED):
                addresses = socket.inet_aton(self.net.a.address) + socket.inet_aton(self.net.b.address)
                loaded.maps["rules"].raw[addresses + struct.pack("!HHB3x", 1000 + flow, 9, 17)] = struct.pack("<I", 0)
        return loaded

    def _attach(self) -> Link:
        (program,) = self.loaded.programs.values()
        return program.attach(Inline(self.net.left, self.net.right))

    @property
    def events(self) -> int:
        """Runs of programs so far."""
        return self._before + self.link.stats.events

    def read_maps(self) -> None:
        """Read every entry of every map."""
        for opened in self.loaded.maps.values():
            dict(opened.raw)

    def swap(self) -> None:
        """Put the next program, freshly loaded, in the place of the present one, which is closed."""
        before, self.loaded = self.loaded, self._load()
        (program,) = self.loaded.programs.values()
        self.link.update(program)
        before.close()
        self.swaps += 1

    def relink(self) -> None:
        """Detach, and attach anew: for a moment there is no wire."""
        self.link.detach()
        self._before += self.link.stats.events
        self.link = self._attach()

    def close(self) -> None:
        """Detach, and close what is loaded."""
        self.link.detach()
        self.loaded.close()


def counted(net: Lab) -> tuple[int, int]:
    """Frames that the two hosts have sent and received."""
    counters = [host.counters() for host in (net.a, net.b)]
    return sum(c["tx_packets"] for c in counters), sum(c["rx_packets"] for c in counters)


@contextmanager
def iperf3(net: Lab, minutes: float) -> Iterator[None]:
    """TCP with a limit of 300 Mbit/s from one host to the other and back, as long as the context lasts."""
    seconds, quiet = str(int(minutes * 60) + 60), ("--logfile", "/dev/null")
    with (
        net.b.process("iperf3", "-s", "--forceflush", ready="listening"),
        net.a.process("iperf3", "--bidir", "-b", "300M", "-t", seconds, "-i", "0", "-c", net.b.address, *quiet),
    ):
        yield


def soak(minutes: float, rate: int) -> tuple[list[Sample], Account, int]:
    """Run the load; gives what was written down, the account of the counted wire, and bytes that TCP has brought."""
    objects = {name: build(name) for name in PROGRAMS}
    samples = []
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        exact, rough = stack.enter_context(lab()), stack.enter_context(lab())
        wires = [Changing(objects, net) for net in (exact, rough)]
        for wire in wires:
            stack.callback(wire.close)
        sent, arrived = counted(exact)
        print(HEADING)
        began = time.monotonic()

        def note() -> None:
            events, swaps = sum(wire.events for wire in wires), sum(wire.swaps for wire in wires)
            samples.append(Sample(time.monotonic() - began, *process(), events, swaps))
            print(describe(samples[-1]), flush=True)

        with iperf3(rough, minutes), exact.a.flood(frames(exact), Path(folder), rate=rate) as generator:
            next_note, next_relink = 0.0, RELINK_SECONDS
            while (now := time.monotonic() - began) < minutes * 60:
                if now >= next_note:
                    note()
                    next_note += minutes * 60 / NOTES
                if now >= next_relink:
                    wires[1].relink()
                    next_relink += RELINK_SECONDS
                for wire in wires:
                    wire.read_maps()
                    wire.swap()
                time.sleep(SWAP_SECONDS)
            generator.finish(stop=True)
        time.sleep(1)
        note()
        stats = wires[0].link.stats
        now_sent, now_arrived = counted(exact)
        account = Account(now_sent - sent, now_arrived - arrived, stats.verdicts.get(XDP_DROP, 0), stats.dropped)
        return samples, account, rough.b.counters()["rx_bytes"]


def describe(sample: Sample) -> str:
    """One line of the table."""
    return (
        f"{sample.seconds:8.0f} {sample.memory_mib:8.1f} {sample.descriptors:11d} {sample.threads:7d} "
        f"{sample.packets:12,d} {sample.swaps:6d}"
    )


def leaks(samples: list[Sample], account: Account) -> list[str]:
    """What has grown between the end of the first fifth and the end, and what is missing; empty: nothing."""
    first, last = samples[NOTES // 5], samples[-1]
    found = []
    if last.memory_mib - first.memory_mib > NOISE_MIB:
        found.append(f"memory grew by {last.memory_mib - first.memory_mib:.1f} MiB")
    if last.descriptors > first.descriptors:
        found.append(f"descriptors grew from {first.descriptors} to {last.descriptors}")
    if last.threads > first.threads:
        found.append(f"threads grew from {first.threads} to {last.threads}")
    if account.missing:
        found.append(f"{account.missing} frames are missing")
    return found


def main() -> int:
    """Parse the arguments, run, print; 1 when something leaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--rate", type=int, default=50_000, help="frames a second on the counted wire (default: 50000)")
    arguments = parser.parse_args()
    samples, account, tcp_bytes = soak(arguments.minutes, arguments.rate)
    print(
        f"counted wire: {account.sent:,} sent = {account.arrived:,} arrived + {account.denied:,} dropped by programs "
        f"+ {account.lost:,} lost by the hook + {account.missing:,} missing\n"
        f"other wire: {tcp_bytes / 1e9:.2f} GB of TCP reached host b"
    )
    found = leaks(samples, account)
    print("; ".join(found) if found else "nothing leaked")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
