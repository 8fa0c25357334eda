"""XDP on live frames of 64 bytes: the same object on the same cables, through Inline and the kernel's generic XDP.

A generator fills one end of a cable; at the other end programs drop the frames, or send them out by a second cable, at
whose end they are counted. The kernel does its part on the generator's processor, Inline on another one. Also: what
Inline adds to a ping between two hosts that a cable would join. ``python benchmarks/live.py`` prints it all.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from measure import Figure
from toolchain import HERE, PROGRAMS, Unavailable, compile_bpf, load

import anybpf
from anybpf.hooks.inline import Inline
from anybpf.spec import MapSpec

sys.path.append(str(HERE.parent / "tests"))
import livekernel
import netlab

FLOWS = 256
SECONDS = 1.0
#: Program; what its table holds; what it should do; how many times faster than ours the kernel may be.
DROPPING, FORWARDING = 2.0, 3.0
CASES = (
    ("drop", 0, "drop", DROPPING),
    ("firewall", FLOWS, "5-tuple firewall, all denied", DROPPING),
    ("forward", 0, "forward", FORWARDING),
    ("firewall", 0, "5-tuple firewall, none denied", FORWARDING),
)
SECTION = "live, 64 bytes / generic XDP"
PINGS = 1000

Counter = Callable[[], int]


@dataclass(frozen=True)
class Attached:
    """A program that runs on the frames; ``seen``: how many it has met; ``clock``: of our thread's processor time."""

    seen: Counter
    clock: int | None = None


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Rates of both, taken in turn, the best of each; then round-trip times."""
    _require()
    path = compile_bpf(PROGRAMS / "live.c", folder / "live.o")
    with netlab.lab() as net:
        yield from _rates(net, path, max(2, rounds // 5))
    with netlab.lab() as net:
        yield from _latency(net, path, max(2, rounds // 8))


def _require() -> None:
    if sys.platform != "linux":
        raise Unavailable("packet sockets and network namespaces are Linux's")
    if os.geteuid() != 0:
        raise Unavailable("network namespaces and packet sockets need root")
    for tool in ("ip", "ping"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} (Debian package {netlab.PACKAGES[tool]}) is not installed")
    try:
        os.close(livekernel.load("xdp", bytes.fromhex("b700000002000000 9500000000000000")))
    except OSError as error:
        raise Unavailable(f"bpf() is not allowed here: {error.strerror}") from None


def _rates(net: netlab.Lab, path: Path, rounds: int) -> Iterator[Figure]:
    processors = sorted(os.sched_getaffinity(0))
    generator = [sys.executable, str(HERE / "generator.py"), "eth0", str(FLOWS), str(processors[0])]
    with net.a.process(*generator, ready="sending"), ExitStack() as restored:
        os.sched_setaffinity(0, set(processors[1:]) or set(processors))
        restored.callback(os.sched_setaffinity, 0, set(processors))
        for name, denied, what, target in CASES:
            best, busy = [0.0, 0.0], math.inf
            for _ in range(rounds):
                for side, attach in enumerate((_ours, _kernel)):
                    with attach(path, name, denied, net) as attached:
                        rate, processor = _rate(attached, net, delivered=target == FORWARDING)
                    best[side] = max(best[side], rate)
                    busy = min(busy, processor or math.inf)
            ours, kernel = best
            note = f"kernel {kernel / 1e3:.0f} k/s, ours {ours / 1e3:.0f} k/s, {1e6 / busy:.0f} k/s if never idle"
            yield Figure(SECTION, what, "×", kernel / ours, target, note)


def _rate(attached: Attached, net: netlab.Lab, *, delivered: bool) -> tuple[float, float]:
    """Frames a second that were seen (or delivered), and our processor time for one, in nanoseconds."""
    count = _delivered(net) if delivered else attached.seen
    time.sleep(0.3)
    start, before, met, busy = time.perf_counter(), count(), attached.seen(), _processor_time(attached)
    time.sleep(SECONDS)
    busy, met = _processor_time(attached) - busy, attached.seen() - met
    return (count() - before) / (time.perf_counter() - start), busy / max(met, 1)


def _processor_time(attached: Attached) -> int:
    return time.clock_gettime_ns(attached.clock) if attached.clock is not None else 0


def _delivered(net: netlab.Lab) -> Counter:
    """Frames that have arrived at host b."""
    return lambda: int(net.b.run("cat", "/sys/class/net/eth0/statistics/rx_packets").stdout)


def _flow(number: int) -> bytes:
    return bytes([10, 0, 0, 1, 10, 0, 0, 2]) + struct.pack(">HH", 1000 + number, 9) + struct.pack("=I", 17)


@contextlib.contextmanager
def _ours(path: Path, name: str, denied: int, net: netlab.Lab) -> Iterator[Attached]:
    with load(path) as loaded:
        loaded.maps["ports"][0] = socket.if_nametoindex(net.right)
        for number in range(denied):
            loaded.maps["denied"].raw[_flow(number)] = bytes(8)
        loaded.programs[name].compile()
        with loaded.programs[name].attach(Inline(net.left, net.right)) as link:
            (thread,) = (one for one in threading.enumerate() if one.name == "anybpf-wire")
            yield Attached(lambda: link.stats.events, time.pthread_getcpuclockid(thread.ident))


@contextlib.contextmanager
def _kernel(path: Path, name: str, denied: int, net: netlab.Lab) -> Iterator[Attached]:
    spec = anybpf.open(path)
    with ExitStack() as opened:
        maps = {made.name: _kernel_map(made, opened) for made in spec.maps}
        livekernel.set_map_value(maps["ports"], bytes(4), struct.pack("=I", socket.if_nametoindex(net.right)))
        for number in range(denied):
            livekernel.set_map_value(maps["denied"], _flow(number), bytes(8))
        code = livekernel.with_maps(spec[name].code, tuple(maps.values()))
        program = livekernel.load("xdp", code)
        opened.callback(os.close, program)
        opened.callback(os.close, livekernel.attach_xdp(program, socket.if_nametoindex(net.left)))
        possible = int(Path("/sys/devices/system/cpu/possible").read_text().strip().rpartition("-")[2]) + 1

        def seen() -> int:
            return sum(
                struct.unpack(f"={possible}Q", livekernel.map_value(maps["seen"], bytes(4), 8 * possible) or b"")
            )

        yield Attached(seen)


def _kernel_map(spec: MapSpec, opened: ExitStack) -> int:
    made = livekernel.create_map(spec.type, spec.key_size, spec.value_size, spec.max_entries)
    opened.callback(os.close, made)
    return made


def _latency(net: netlab.Lab, path: Path, rounds: int) -> Iterator[Figure]:
    other = "10.214.0"
    net.a.ip("link", "add", "direct", "type", "veth", "peer", "name", "direct", "netns", net.b.namespace)
    for host, last in ((net.a, 1), (net.b, 2)):
        host.ip("addr", "add", f"{other}.{last}/24", "dev", "direct")
        host.ip("link", "set", "direct", "up")
    with load(path) as loaded, loaded.programs["pass"].attach(Inline(net.left, net.right)):
        through, direct = [], []
        for _ in range(rounds):
            through.append(_ping(net.a, net.b.address))
            direct.append(_ping(net.a, f"{other}.2"))
    note = f"median round trip {min(through):.0f} µs, {min(direct):.0f} µs by cable"
    yield Figure(SECTION, "added to a ping", "µs", min(through) - min(direct), 100.0, note)


def _ping(host: netlab.Host, address: str) -> float:
    shown = host.run("ping", "-n", "-i", "0.002", "-c", str(PINGS), address).stdout
    return 1e3 * statistics.median(float(time) for time in re.findall(r"time=([\d.]+) ms", shown))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="anybpf-bench-") as folder:
        try:
            for figure in measure(Path(folder), 10):
                print(f"{figure.name:32} {figure.value:6.3g} {figure.unit} (at most {figure.target:g}): {figure.note}")
        except Unavailable as reason:
            raise SystemExit(f"not measured: {reason}") from None


if __name__ == "__main__":
    main()
