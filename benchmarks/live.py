"""XDP on live frames of 64 bytes: the same object on the same cables, through Inline and the kernel's generic XDP.

A generator fills one end of a cable; at the other end programs drop the frames, or send them out by a second cable, at
whose end they are counted. The kernel does its part on the generator's processor, Inline on another one. Also: what
Inline adds to a ping between two hosts that a cable would join. ``python benchmarks/live.py`` prints it all.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
CASES = (
    ("drop", 0, "drop", 2.0),
    ("firewall", FLOWS, "5-tuple firewall, all denied", 2.0),
    ("forward", 0, "forward", 3.0),
    ("firewall", 0, "5-tuple firewall, none denied", 3.0),
)
PINGS = 1000

Counter = Callable[[], int]


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
            best = [0.0, 0.0]
            for _ in range(rounds):
                for side, attached in enumerate((_ours, _kernel)):
                    with attached(path, name, denied, net) as seen:
                        dropping = target == 2.0
                        best[side] = max(best[side], _rate(seen if dropping else _delivered(net)))
            ours, kernel = best
            note = f"kernel {kernel / 1e3:.0f} k/s, ours {ours / 1e3:.0f} k/s"
            yield Figure("live, 64 bytes / generic XDP", what, "×", kernel / ours, target, note)


def _rate(count: Counter) -> float:
    time.sleep(0.3)
    start, before = time.perf_counter(), count()
    time.sleep(SECONDS)
    return (count() - before) / (time.perf_counter() - start)


def _delivered(net: netlab.Lab) -> Counter:
    """Frames that have arrived at host b."""
    return lambda: int(net.b.run("cat", "/sys/class/net/eth0/statistics/rx_packets").stdout)


def _flow(number: int) -> bytes:
    return bytes([10, 0, 0, 1, 10, 0, 0, 2]) + struct.pack(">HH", 1000 + number, 9) + struct.pack("=I", 17)


@contextlib.contextmanager
def _ours(path: Path, name: str, denied: int, net: netlab.Lab) -> Iterator[Counter]:
    with load(path) as loaded:
        loaded.maps["ports"][0] = socket.if_nametoindex(net.right)
        for number in range(denied):
            loaded.maps["denied"].raw[_flow(number)] = bytes(8)
        loaded.programs[name].compile()
        with loaded.programs[name].attach(Inline(net.left, net.right)) as link:
            yield lambda: link.stats.events


@contextlib.contextmanager
def _kernel(path: Path, name: str, denied: int, net: netlab.Lab) -> Iterator[Counter]:
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

        yield seen


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
    yield Figure("live, 64 bytes / generic XDP", "added to a ping", "µs", min(through) - min(direct), 100.0, note)


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
