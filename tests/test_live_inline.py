"""Samples on a live wire: two hosts with real programs at both ends, and this package in between."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

import anybpf
from anybpf.hooks.inline import Inline
from anybpf.runtime import Link, Object
from compiling import sample
from netlab import Host, Lab, cable, lab, require
from traffic import client_socket, echo_server, fetch, ping, website

scapy = pytest.importorskip("scapy.all")

pytestmark = pytest.mark.linux_only

DROP, PASS = 1, 2
WINDOWS_PASS, WINDOWS_DROP = 1, 2
ETH_P_ALL, SOL_PACKET, PACKET_AUXDATA, VLAN_VALID = 3, 263, 8, 0x10


@pytest.fixture
def net() -> Iterator[Lab]:
    """Two hosts whose cables end here, with nothing between them."""
    require("ping", "curl")
    with lab() as made:
        yield made


@contextlib.contextmanager
def inline(name: str, left: str, right: str, platform: str | None = None) -> Iterator[tuple[Object, Link]]:
    """A sample program on what goes between two interfaces, as long as the context lasts."""
    with anybpf.load(sample(name, platform)) as loaded:
        (program,) = loaded.programs.values()
        with program.attach(Inline(left, right)) as link:
            yield loaded, link


def test_detaching_and_attaching_again(net):
    """The wire is there as long as the link, and a second link finds the interfaces as the first found them."""
    for _ in range(3):
        with inline("count", net.left, net.right) as (loaded, _):
            assert ping(net.a, net.b.address, 3) == {1, 2, 3}
            assert loaded.maps["per_proto"][1] == 6
        assert ping(net.a, net.b.address, patience=0.3) == set()


def vlan_tags(interface: str, frames: int) -> set[int]:
    """The VLAN numbers of the next frames that come in at an interface; 0: untagged. The kernel keeps them aside."""
    tags = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as port:
        port.bind((interface, ETH_P_ALL))
        port.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        port.settimeout(20)
        while frames:
            _, extra, _, sender = port.recvmsg(64, 64)
            if sender[2] != socket.PACKET_OUTGOING:
                status, *_, tag, _ = struct.unpack("<IIIHHHH", extra[0][2])
                tags.add(tag & 0xFFF if status & VLAN_VALID else 0)
                frames -= 1
    return tags


@contextlib.contextmanager
def translated(net: Lab, address: str) -> Iterator[Object]:
    """Host a behind ``address`` and over a trunk of VLAN 100 on its way to host b, which has no VLANs."""
    net.b.ip("route", "add", address, "dev", "eth0")
    net.b.ip("neigh", "replace", address, "lladdr", net.a.mac, "dev", "eth0")
    with (
        cable() as (near, far),
        inline("vlan_nat", net.left, near) as (nat, _),
        inline("vlan_rewriter", far, net.right) as (rewriter, _),
    ):
        nat.maps["settings"].raw[bytes(4)] = socket.inet_aton(address) + struct.pack("<I", 100)
        rewriter.maps["vlans"].update({0: 100, 100: 0})
        seen: list[set[int]] = []
        watcher = threading.Thread(target=lambda: seen.append(vlan_tags(far, 5)))
        watcher.start()
        time.sleep(0.2)
        yield nat
        watcher.join()
        assert seen == [{100}]


def test_curl_through_vlan_and_nat(net, tmp_path):
    """Large files arrive whole in both directions through the rewriter, and the server sees the address of outside."""
    outside, body = "203.0.113.9", os.urandom(20_000_000)
    upload = tmp_path / "upload"
    upload.write_bytes(os.urandom(10_000_000))
    with translated(net, outside) as nat, website(net.b, body) as site:
        for _ in range(2):
            assert hashlib.sha256(fetch(net.a, net.b) or b"").digest() == hashlib.sha256(body).digest()
        answer = fetch(net.a, net.b, "--data-binary", f"@{upload}")
        assert answer == hashlib.sha256(upload.read_bytes()).hexdigest().encode()
        assert site.clients == [outside] * 3
        assert nat.maps[".bss"][0] == {"ports_given": 3}


def test_datagrams_through_vlan_and_nat(net):
    """Datagrams of each size are answered through the rewriter, whose checksums the receivers accept."""
    outside = "203.0.113.9"
    with translated(net, outside) as nat, echo_server(net.b, 7000) as clients:
        with client_socket(net.a) as client:
            for size in (0, 1, 2, 17, 1400):
                data = os.urandom(size)
                client.sendto(data, (net.b.address, 7000))
                assert client.recv(2000) == data
        assert set(clients) == {(outside, 32768)}
        assert nat.maps[".bss"][0] == {"ports_given": 1}


def test_firewall(net):
    """With everything denied but one flow, that flow's connection works, and no other; both directions need a rule."""

    def rule(source: Host, source_port: int, destination: Host, port: int) -> bytes:
        addresses = socket.inet_aton(source.address) + socket.inet_aton(destination.address)
        return addresses + struct.pack("!HHB3x", source_port, port, socket.IPPROTO_TCP)

    allow = struct.pack("<I", 1)
    with website(net.b), inline("firewall", net.left, net.right) as (loaded, _):
        assert fetch(net.a, net.b) == b"hello\n"
        loaded.maps[".data"][0] = {"otherwise": 0}
        loaded.maps["rules"].raw[rule(net.a, 5555, net.b, 80)] = allow
        assert fetch(net.a, net.b, "--local-port", "5555", seconds=1) is None
        assert ping(net.a, net.b.address, patience=0.3) == set()
        for port in (5556, 5557):
            loaded.maps["rules"].raw[rule(net.a, port, net.b, 80)] = allow
            loaded.maps["rules"].raw[rule(net.b, 80, net.a, port)] = allow
        assert fetch(net.a, net.b, "--local-port", "5556") == b"hello\n"
        network = struct.pack("<I", 32) + socket.inet_aton(net.a.address)
        loaded.maps["denied"].raw[network] = struct.pack("<I", 0)
        assert fetch(net.a, net.b, "--local-port", "5557", seconds=1) is None
        assert all(sum(loaded.maps["verdicts"][verdict]) for verdict in range(3))


@pytest.mark.parametrize("direction", [(), ("-R",)], ids=["up", "down"])
def test_iperf3(net, direction):
    """TCP at full speed through a program that only counts: the data that was sent arrives."""
    require("iperf3")
    with (
        inline("count", net.left, net.right) as (loaded, link),
        net.b.process("iperf3", "-s", "-1", "--forceflush", ready="listening"),
    ):
        done = net.a.run("iperf3", "-J", "-t", "1", "-c", net.b.address, *direction)
        sums = json.loads(done.stdout)["end"]
        assert sums["sum_received"]["bytes"] > 1_000_000
        packets = loaded.maps["per_proto"][socket.IPPROTO_TCP]
        assert packets * 1514 > sums["sum_received"]["bytes"]
        assert link.stats.events >= packets


def test_programs_are_swapped_while_traffic_flows(net):
    """While programs take turns on the link, a ping loses nothing, and each echo has met exactly one of them."""
    answered: list[set[int]] = []
    with (
        anybpf.load(sample("count")) as first,
        anybpf.load(sample("packet_counter")) as second,
        first.programs["count"].attach(Inline(net.left, net.right)) as link,
    ):
        pinging = threading.Thread(target=lambda: answered.append(ping(net.a, net.b.address, 50)))
        pinging.start()
        while pinging.is_alive():
            link.update(second.programs["packet_counter"])
            time.sleep(0.01)
            link.update(first.programs["count"])
            time.sleep(0.01)
        pinging.join()
        icmp = second.maps["traffic"].raw[struct.pack("<I", socket.IPPROTO_ICMP)]
        met = first.maps["per_proto"][socket.IPPROTO_ICMP], sum(struct.unpack("<QQ", cpu)[0] for cpu in icmp)
    assert answered == [set(range(1, 51))]
    assert sum(met) == 100
    assert all(met)
