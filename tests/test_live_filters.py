"""Samples that keep traffic from a host, on each hook that sees it: between the hosts, in the one, before the other."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import anybpf
from anybpf.errors import UnsupportedError
from anybpf.hooks.inline import Inline
from anybpf.hooks.queue import Queue
from anybpf.hooks.tap import Tap
from anybpf.runtime import Link, Object, Program
from compiling import sample
from netlab import Host, Lab, lab, require
from traffic import ask, client_socket, echo_server, fetch, ping, wait_until, website

scapy = pytest.importorskip("scapy.all")

pytestmark = pytest.mark.linux_only

DROP = 1
WINDOWS_DROP = 2
ATTACKERS = ["198.51.100.1", "198.51.100.2"]


@dataclass(frozen=True)
class Guard:
    """Host b behind a program; host a reaches it by the interface ``device`` of its own."""

    a: Host
    b: Host
    device: str
    loaded: Object
    link: Link

    def lost(self) -> int:
        """Frames that no program met: host a's interface had no room for them, or the hook."""
        return self.link.stats.dropped + self.a.counters(self.device)["tx_dropped"]

    def frames(self, packets: list[Any]) -> list[bytes]:
        """Packets as frames from host a's interface to host b's."""
        return [bytes(scapy.Ether(src=self.a.mac, dst=self.b.mac) / packet) for packet in packets]

    def flood(self, packets: list[Any], folder: Path, **options: int) -> AbstractContextManager[Any]:
        """Flood host b with packets; see :meth:`netlab.Host.flood`."""
        return self.a.flood(self.frames(packets), folder, device=self.device, **options)


Attach = Callable[[Program, Lab], Link]


def inline(program: Program, net: Lab) -> Link:
    """Between the hosts."""
    return program.attach(Inline(net.left, net.right))


def queue(program: Program, net: Lab) -> Link:
    """In host b: what it receives by its interface, which goes on to its own stack; what finds no room is lost."""
    with net.b.entered():
        return program.attach(Queue(1, chain="input", interface="eth0", fail_open=False))


def tap(program: Program, net: Lab) -> Link:
    """In host a: an interface that takes over the address and the name of the one that leads to host b."""
    with net.a.entered():
        link = program.attach(Tap("t0", to="eth0"))
    net.a.ip("addr", "flush", "dev", "eth0")
    net.a.ip("link", "set", "t0", "address", net.a.mac)
    net.a.ip("addr", "add", f"{net.a.address}/24", "dev", "t0")
    net.a.ip("addr", "add", f"{net.a.address6}/64", "dev", "t0", "nodad")
    return link


@pytest.fixture(params=[inline, queue, tap])
def guard(request: pytest.FixtureRequest) -> Iterator[Callable[..., Guard]]:
    """A function that puts a sample program before host b, on each kind of hook in turn."""
    require("ping", "curl")
    with contextlib.ExitStack() as stack:

        def put(name: str, platform: str | None = None) -> Guard:
            net = stack.enter_context(lab(whole=request.param is not inline))
            loaded = stack.enter_context(anybpf.load(sample(name, platform)))
            (program,) = loaded.programs.values()
            try:
                link = stack.enter_context(request.param(program, net))
            except UnsupportedError as error:
                pytest.skip(str(error))
            return Guard(net.a, net.b, "t0" if request.param is tap else "eth0", loaded, link)

        yield put


def test_ping_loses_what_the_filter_says(guard):
    """Of the echo requests exactly those are lost that the map names, and the program has counted them."""
    made = guard("ping_filter")
    passed = 0
    for target in (made.b.address, made.b.address6):
        made.loaded.maps["every"][0] = 0
        assert ping(made.a, target, 5) == set(range(1, 6))
        made.loaded.maps["every"][0] = 4
        assert ping(made.a, target, 21, patience=1) == {n for n in range(1, 22) if n % 4}
        passed += 5 + 16
    assert list(made.loaded.maps["echoes"].values()) == [passed, 10]
    assert made.link.stats.verdicts[DROP] == 10
    assert made.link.stats.dropped == 0


def syns(target: Host) -> list[Any]:
    """SYNs to a host's web server, from 256 ports of each attacker."""
    return [
        scapy.IP(src=source, dst=target.address) / scapy.TCP(sport=port, dport=80, seq=port, flags="S")
        for source in ATTACKERS
        for port in range(1024, 1280)
    ]


def half_open(host: Host) -> int:
    """Connections of a host that wait for the last packet of the handshake."""
    return len(host.run("ss", "-Htn", "state", "syn-recv").stdout.splitlines())


def test_syn_flood_is_cut(guard, tmp_path):
    """A flood of SYNs that keeps everybody from a server is cut by the limiter, and every real request succeeds."""
    made = guard("syn_limiter")
    limiter = made.link.program
    with anybpf.load(sample("count")) as harmless, website(made.b):
        made.b.sysctl(net__ipv4__tcp_syncookies=0, net__ipv4__tcp_max_syn_backlog=256, net__ipv4__tcp_synack_retries=0)
        made.b.sysctl(net__ipv4__tcp_no_metrics_save=1)  # known clients have places of their own in the backlog
        made.b.ip("route", "add", "default", "via", made.a.address)  # answers to the attackers go there, and get lost
        made.link.update(harmless.programs["count"])
        with made.flood(syns(made.b), tmp_path, rate=20_000) as generator:
            wait_until(lambda: half_open(made.b) >= 150)
            assert fetch(made.a, made.b, seconds=1) is None
            made.link.update(limiter)
            wait_until(lambda: half_open(made.b) < 100)
            for _ in range(20):
                assert fetch(made.a, made.b) == b"hello\n"
                time.sleep(0.1)
            counts = made.loaded.maps[".bss"][0]
            assert counts["syns_dropped"] > 1000
            assert counts["syns_dropped"] > 10 * counts["syns_passed"]
            assert generator.finish(stop=True) > counts["syns_dropped"]


def datagram(source: str, target: Host, payload: Any = b"") -> Any:
    """A datagram to a host's port 53."""
    return scapy.IP(src=source, dst=target.address) / scapy.UDP(sport=4000, dport=53) / payload


def test_flood_of_empty_datagrams(guard, tmp_path):
    """eBPF for Windows' demo: droppacket keeps a flood of empty datagrams from the server, which answers its client."""
    flood = 30_000
    made = guard("droppacket", "windows")
    with echo_server(made.b, 53) as clients, client_socket(made.a) as client:
        with made.flood([datagram(ATTACKERS[0], made.b)], tmp_path, rate=20_000, count=flood) as generator:
            for n in range(20):
                ask(client, made.b, f"question {n}".encode())
            assert generator.finish() == flood
        wait_until(lambda: made.link.stats.verdicts.get(WINDOWS_DROP, 0) + made.lost() >= flood)
        assert made.loaded.maps["dropped_packet_map"][0] == made.link.stats.verdicts[WINDOWS_DROP]
        assert {host for host, _ in clients} == {made.a.address}


@pytest.mark.parametrize("platform", ["linux", "windows"])
def test_flood_of_questions(guard, tmp_path, platform):
    """The DNS filter, built for either platform, lets a source ask as often as the limit says, and others ask on."""
    flood, limit = 10_000, 20
    made = guard("dns_filter", platform)
    question = bytes(scapy.DNS(qd=scapy.DNSQR(qname="example.org")))
    made.b.ip("route", "add", "default", "via", made.a.address)
    made.loaded.maps["limit"][0] = limit
    requests = made.loaded.maps["requests"]
    with echo_server(made.b, 53) as clients, client_socket(made.a) as client:
        began = time.monotonic()
        with made.flood([datagram(ATTACKERS[0], made.b, question)], tmp_path, rate=20_000, count=flood) as generator:
            for _ in range(limit // 2):
                ask(client, made.b, question)
            assert generator.finish() == flood
        wait_until(lambda: sum(requests.values()) + made.lost() >= flood + limit // 2)
        wait_until(lambda: len(clients) >= requests[0])
        passed = sum(host == ATTACKERS[0] for host, _ in clients)
        assert 0 < passed <= limit * (time.monotonic() - began + 2)
        assert passed + requests[2] + made.lost() >= flood


def test_a_flood_that_nobody_filters(guard, tmp_path):
    """The same flood reaches the server when the program lets it pass."""
    made = guard("count")
    with echo_server(made.b, 53) as clients:
        with made.flood([datagram(made.a.address, made.b)], tmp_path, rate=5_000, count=1_000) as generator:
            assert generator.finish() == 1_000
        wait_until(lambda: len(clients) + made.lost() >= 1_000)
    assert made.loaded.maps["per_proto"][socket.IPPROTO_UDP] >= len(clients) > 500
