"""The sample programs do what their first comments say."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import anybpf
from anybpf.errors import VerificationError
from anybpf.runtime import Object
from anybpf.samples.build import SAMPLES, build
from compiling import require_clang

scapy = pytest.importorskip("scapy.all")

DROP, PASS, TX = 1, 2, 3


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every sample compiled."""
    require_clang()
    directory = tmp_path_factory.mktemp("samples")
    for source in SAMPLES.glob("*.c"):
        (directory / f"{source.stem}.o").write_bytes(build(source.stem))
    return directory


@pytest.fixture
def sample(request: pytest.FixtureRequest, objects: Path) -> Iterator[Object]:
    """The sample that the test class names, loaded and thereby verified."""
    with anybpf.load(str(objects / f"{request.cls.NAME}.o")) as loaded:
        yield loaded


def ethernet(payload, **fields) -> bytes:
    """A frame's bytes."""
    return bytes(scapy.Ether(src="02:00:00:00:00:aa", dst="02:00:00:00:00:bb", **fields) / payload)


def tcp(source: str = "192.0.2.1", flags: str = "S", sport: int = 1234, dport: int = 80):
    """An IPv4 packet with a TCP segment."""
    return scapy.IP(src=source, dst="198.51.100.1") / scapy.TCP(sport=sport, dport=dport, flags=flags)


def address(text: str) -> bytes:
    """The 4 bytes of an IPv4 address."""
    return socket.inet_aton(text)


def test_shipped_count():
    """The shipped object counts IPv4 and IPv6 packets by protocol, without a compiler."""
    with anybpf.load(str(SAMPLES / "count.o")) as loaded:
        count = loaded.programs["count"]
        for packet in (tcp(), tcp(), scapy.IPv6() / scapy.UDP(), scapy.ARP()):
            assert count.test_run(ethernet(packet)).retval == PASS
        assert dict(loaded.maps["per_proto"]) == {6: 2, 17: 1}


class TestPacketCounter:
    """packet_counter.c"""

    NAME = "packet_counter"

    def test_counts(self, sample):
        """Packets and bytes are summed by protocol, VLAN tags are looked through, and the rest counts as no IP."""
        frames = [
            ethernet(tcp()),
            ethernet(scapy.Dot1Q(vlan=5) / tcp()),
            ethernet(scapy.Dot1AD(vlan=5) / scapy.Dot1Q(vlan=6) / scapy.IPv6() / scapy.UDP()),
            ethernet(scapy.ARP()),
        ]
        for frame in frames:
            assert sample.programs["packet_counter"].test_run(frame).retval == PASS
        seen = {}
        for protocol in (6, 17, 256):
            values = [struct.unpack("<QQ", v) for v in sample.maps["traffic"].raw[struct.pack("<I", protocol)]]
            seen[protocol] = tuple(map(sum, zip(*values, strict=True)))
        assert seen == {6: (2, len(frames[0]) + len(frames[1])), 17: (1, len(frames[2])), 256: (1, len(frames[3]))}


class TestFirewall:
    """firewall.c"""

    NAME = "firewall"

    def deny(self, sample, prefix: int, network: str, action: int = 0) -> None:
        """Add a network to the deny list."""
        sample.maps["denied"].raw[struct.pack("<I", prefix) + address(network)] = struct.pack("<I", action)

    def verdict(self, sample, packet) -> int:
        """What the firewall says of a packet."""
        return sample.programs["firewall"].test_run(ethernet(packet)).retval

    def test_networks(self, sample):
        """A denied network is dropped, a longer prefix inside it that allows is not."""
        self.deny(sample, 8, "10.0.0.0")
        self.deny(sample, 16, "10.1.0.0", action=1)
        assert self.verdict(sample, tcp("10.2.3.4")) == DROP
        assert self.verdict(sample, tcp("10.1.3.4")) == PASS
        assert self.verdict(sample, tcp("11.2.3.4")) == PASS
        counts = sample.maps["verdicts"]
        assert [sum(counts[i]) for i in range(3)] == [2, 1, 0]

    def test_flows(self, sample):
        """A rule drops the flow that it names in all five values, and no other."""
        key = address("192.0.2.1") + address("198.51.100.1") + struct.pack("!HHB3x", 1234, 80, 6)
        sample.maps["rules"].raw[key] = struct.pack("<I", 0)
        assert self.verdict(sample, tcp()) == DROP
        assert self.verdict(sample, tcp(dport=81)) == PASS
        assert self.verdict(sample, scapy.IPv6() / scapy.TCP()) == PASS


class TestSynLimiter:
    """syn_limiter.c"""

    NAME = "syn_limiter"

    def test_limit(self, sample):
        """Beyond the limit of a second, a source's SYNs are dropped; other sources and packets are not affected."""
        program = sample.programs["syn_limiter"]
        verdicts = [program.test_run(ethernet(tcp())).retval for _ in range(25)]
        assert verdicts[:10] == [PASS] * 10
        assert verdicts.count(DROP) >= 5  # even if a new second began in between
        assert program.test_run(ethernet(tcp("192.0.2.2"))).retval == PASS
        assert program.test_run(ethernet(tcp(flags="SA"))).retval == PASS
        assert sample.maps[".bss"][0] == {"syns_passed": verdicts.count(PASS) + 1, "syns_dropped": verdicts.count(DROP)}


class TestVlanRewriter:
    """vlan_rewriter.c"""

    NAME = "vlan_rewriter"

    @pytest.mark.parametrize(("arrives", "leaves"), [(None, 100), (5, None), (6, 7), (8, 8)])
    def test_tags(self, sample, arrives, leaves):
        """A tag is added, removed, changed or left, and the rest of the frame stays as it was."""
        sample.maps["vlans"].update({0: 100, 5: 0, 6: 7})
        tag = scapy.Dot1Q(vlan=arrives, prio=3) if arrives else None
        out = sample.programs["vlan_rewriter"].test_run(ethernet(tag / tcp() if tag else tcp()))
        frame = scapy.Ether(out.data)
        assert out.retval == PASS
        assert (frame[scapy.Dot1Q].vlan if scapy.Dot1Q in frame else None) == leaves
        if arrives and leaves:
            assert frame[scapy.Dot1Q].prio == 3
        assert (frame.src, frame.dst) == ("02:00:00:00:00:aa", "02:00:00:00:00:bb")
        assert bytes(frame[scapy.IP]) == bytes(tcp())


class TestLoadBalancer:
    """load_balancer.c"""

    NAME = "load_balancer"

    def serve(self, sample, protocol: int) -> None:
        """Make two backends serve 198.51.100.1:80."""
        key = address("198.51.100.1") + struct.pack("!HBx", 80, protocol)
        sample.maps["services"].raw[key] = struct.pack("<II", 0, 2)
        for index in range(2):
            backend = address(f"10.0.0.{index + 1}") + bytes([2, 0, 0, 0, 0, index + 1]) + bytes(14)
            sample.maps["backends"].raw[struct.pack("<I", index)] = backend

    @pytest.mark.parametrize("transport", ["TCP", "UDP"])
    def test_spreads(self, sample, transport):
        """Flows go to both backends, each flow always to the same, with checksums that are right."""
        layer = getattr(scapy, transport)
        self.serve(sample, 6 if transport == "TCP" else 17)
        chosen = {}
        for _ in range(2):
            for port in range(1000, 1032):
                packet = scapy.IP(src="192.0.2.1", dst="198.51.100.1") / layer(sport=port, dport=80) / b"data"
                out = sample.programs["balance"].test_run(ethernet(packet))
                assert out.retval == TX
                frame = scapy.Ether(out.data)
                sums = frame[scapy.IP].chksum, frame[layer].chksum
                del frame[scapy.IP].chksum, frame[layer].chksum
                fresh = scapy.Ether(bytes(frame))
                assert sums == (fresh[scapy.IP].chksum, fresh[layer].chksum)
                assert chosen.setdefault(port, frame[scapy.IP].dst) == frame[scapy.IP].dst
                assert frame.dst.endswith(frame[scapy.IP].dst[-1])
        assert set(chosen.values()) == {"10.0.0.1", "10.0.0.2"}

    def test_others_pass(self, sample):
        """What is no service, no known protocol or no IPv4 passes unchanged."""
        for packet in (tcp(), scapy.IP() / scapy.ICMP(), scapy.ARP()):
            out = sample.programs["balance"].test_run(ethernet(packet))
            assert (out.retval, out.data) == (PASS, ethernet(packet))


class TestEventSampler:
    """event_sampler.c"""

    NAME = "event_sampler"

    def test_samples(self, sample):
        """One packet in ten is reported, with its length and first bytes."""
        frame = ethernet(tcp() / (b"x" * 100))
        for _ in range(20):
            assert sample.programs["event_sampler"].test_run(frame).retval == PASS
        records = sample.maps["events"].drain()
        assert len(records) == 2
        for record in records:
            _, _, length, captured, _ = struct.unpack_from("<QIIII", record)
            assert (length, captured, record[24:88]) == (len(frame), 64, frame[:64])


class TestDropPacket:
    """droppacket.c, on Windows' platform"""

    NAME = "droppacket"
    PASSES, DROPS = 1, 2

    def test_drops(self, sample):
        """UDP without data is dropped and counted; all else passes."""
        program = sample.programs["drop_packet"]
        empty, full = scapy.IP() / scapy.UDP(), scapy.IP() / scapy.UDP() / b"data"
        verdicts = [program.test_run(ethernet(p)).retval for p in (empty, full, tcp(), scapy.ARP())]
        assert verdicts == [self.DROPS, self.PASSES, self.PASSES, self.PASSES]
        assert sample.maps["dropped_packet_map"][0] == 1

    def test_one_interface(self, sample):
        """When an interface is named, packets of others pass."""
        sample.maps["interface_index_map"][0] = 99
        out = sample.programs["drop_packet"].test_run(ethernet(scapy.IP() / scapy.UDP()))
        assert out.retval == self.PASSES


def test_unsafe_is_refused():
    """The variant without the bounds check is refused, with the line that reads beyond the packet."""
    with pytest.raises(VerificationError, match=r"droppacket_unsafe\.c:\d+"):
        anybpf.load(str(SAMPLES / "droppacket_unsafe.o"))
