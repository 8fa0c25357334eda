"""The sample programs do what their first comments say."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

import anybpf
import compiling
import livekernel
from anybpf.errors import VerificationError
from anybpf.runtime import Object
from anybpf.samples.build import SAMPLES, platforms_of
from kernelverifier import create_map

scapy = pytest.importorskip("scapy.all")

DROP, PASS, TX = 1, 2, 3
RDONLY_PROG = 1 << 7  # BPF_F_RDONLY_PROG


@pytest.fixture
def sample(request: pytest.FixtureRequest) -> Iterator[Object]:
    """The sample that the test class names, loaded and thereby verified."""
    with anybpf.load(compiling.sample(request.cls.NAME, getattr(request.cls, "PLATFORM", None))) as loaded:
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

    def test_otherwise(self, sample):
        """When what no rule names is denied, only allowed flows pass, and what is no IPv4."""
        assert sample.maps[".data"][0] == {"otherwise": 1}
        sample.maps[".data"][0] = {"otherwise": 0}
        key = address("192.0.2.1") + address("198.51.100.1") + struct.pack("!HHB3x", 1234, 80, 6)
        sample.maps["rules"].raw[key] = struct.pack("<I", 1)
        assert self.verdict(sample, tcp()) == PASS
        assert self.verdict(sample, tcp(dport=81)) == DROP
        assert self.verdict(sample, scapy.ARP()) == PASS
        assert [sum(sample.maps["verdicts"][i]) for i in range(3)] == [2, 0, 1]


class TestSynLimiter:
    """syn_limiter.c"""

    NAME = "syn_limiter"

    def test_limit(self, sample):
        """Each source's SYNs pass until its bucket is empty, and are dropped then."""
        run = sample.programs["syn_limiter"].run_batch
        passed = [list(run([ethernet(tcp(f"192.0.2.{n}"))] * 25)).count(PASS) for n in range(5)]
        assert passed.count(10) >= 4  # a new token may come in between once
        assert sample.maps[".bss"][0] == {"syns_passed": sum(passed), "syns_dropped": 125 - sum(passed)}

    def test_others_pass(self, sample):
        """What opens no connection passes, however much of it comes."""
        run = sample.programs["syn_limiter"].run_batch
        for packet in (tcp(flags="SA"), tcp(flags="A"), scapy.IP() / scapy.UDP(), scapy.ARP()):
            assert list(run([ethernet(packet)] * 25)) == [PASS] * 25

    def test_new_tokens(self, sample):
        """A source that was cut off may open connections again after a pause, as many as tokens came in it."""
        program = sample.programs["syn_limiter"]
        verdicts = list(program.run_batch([ethernet(tcp())] * 20))
        assert verdicts[:10] == [PASS] * 10
        assert verdicts[-1] == DROP
        time.sleep(0.25)
        assert list(program.run_batch([ethernet(tcp())] * 2)) == [PASS] * 2


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


class TestPingFilter:
    """ping_filter.c"""

    NAME = "ping_filter"

    def test_drops_what_the_map_says(self, sample):
        """Requests whose sequence number is a multiple of the number in the map are dropped, for IPv4 and IPv6."""
        program = sample.programs["ping_filter"]
        for ip, request in ((scapy.IP, scapy.ICMP), (scapy.IPv6, scapy.ICMPv6EchoRequest)):
            frames = [ethernet(ip() / request(seq=n)) for n in range(1, 10)]
            sample.maps["every"][0] = 0
            assert list(program.run_batch(frames)) == [PASS] * 9
            sample.maps["every"][0] = 4
            assert list(program.run_batch(frames)) == [PASS, PASS, PASS, DROP] * 2 + [PASS]
        assert list(sample.maps["echoes"].values()) == [32, 4]

    def test_others_pass(self, sample):
        """Replies, other messages and other protocols pass, and are not counted."""
        sample.maps["every"][0] = 1
        others = (scapy.IP() / scapy.ICMP(type=0), scapy.IPv6() / scapy.ICMPv6EchoReply(), tcp(), scapy.ARP())
        assert list(sample.programs["ping_filter"].run_batch([ethernet(p) for p in others])) == [PASS] * 4
        assert list(sample.maps["echoes"].values()) == [0, 0]


class TestVlanNat:
    """vlan_nat.c"""

    NAME = "vlan_nat"
    OUTSIDE = "203.0.113.9"

    @pytest.fixture
    def through(self, sample):
        """A function that sends a packet through the program and returns the frame that comes out."""
        sample.maps["settings"].raw[bytes(4)] = address(self.OUTSIDE) + struct.pack("<I", 100)

        def run(packet):
            out = sample.programs["vlan_nat"].test_run(ethernet(packet))
            assert out.retval == PASS
            return scapy.Ether(out.data)

        return run

    @pytest.mark.parametrize("transport", ["TCP", "UDP"])
    def test_both_directions(self, through, transport):
        """Leaving packets show the outside address and a port of their flow; the answers find back to the host."""
        layer, ports = getattr(scapy, transport), {}
        for host, port in (("10.0.0.1", 1000), ("10.0.0.2", 1000), ("10.0.0.1", 1001)) * 2:
            packet = scapy.IP(src=host, dst="198.51.100.1") / layer(sport=port, dport=80) / b"request"
            left = through(packet)
            assert (left[scapy.Dot1Q].vlan, left[scapy.IP].src, left[layer].dport) == (100, self.OUTSIDE, 80)
            assert ports.setdefault((host, port), left[layer].sport) == left[layer].sport
            assert_checksums(left, layer)
            answer = layer(sport=80, dport=left[layer].sport) / b"answer"
            came = through(scapy.Dot1Q(vlan=100) / scapy.IP(src="198.51.100.1", dst=self.OUTSIDE) / answer)
            assert scapy.Dot1Q not in came
            assert (came[scapy.IP].dst, came[layer].dport, came[layer].sport) == (host, port, 80)
            assert_checksums(came, layer)
        assert len(set(ports.values())) == 3

    def test_udp_without_a_checksum(self, through):
        """A datagram without a checksum gets none; one whose new checksum is zero gets 0xffff, which means the same."""
        packet = scapy.IP(src="10.0.0.1", dst="198.51.100.1") / scapy.UDP(sport=1, dport=2, chksum=0) / b"data"
        assert through(packet)[scapy.UDP].chksum == 0
        translated = scapy.IP(src=self.OUTSIDE, dst="198.51.100.1") / scapy.UDP(sport=32768, dport=2) / bytes(2)
        missing = scapy.IP(bytes(translated))[scapy.UDP].chksum  # as the data it makes the new checksum zero
        packet = scapy.IP(src="10.0.0.1", dst="198.51.100.1") / scapy.UDP(sport=1, dport=2) / missing.to_bytes(2, "big")
        assert through(packet)[scapy.UDP].chksum == 0xFFFF

    def test_others_keep_their_addresses(self, through):
        """What is neither TCP nor UDP over IPv4 changes nothing but its tag, and so do fragments."""
        fragment = scapy.IP(src="10.0.0.1", frag=10, proto=6) / (b"x" * 40)
        for packet in (scapy.ARP(), scapy.IPv6() / scapy.TCP(), scapy.IP() / scapy.ICMP(), fragment):
            left = through(packet)
            assert bytes(left[scapy.Dot1Q].payload) == bytes(packet)
            assert bytes(through(scapy.Dot1Q(vlan=100) / packet).payload) == bytes(packet)

    def test_other_vlans_pass(self, through):
        """What has another tag passes as it is."""
        packet = scapy.Dot1Q(vlan=7) / tcp()
        assert bytes(through(packet)) == ethernet(packet)


def assert_checksums(frame, layer) -> None:
    """The checksums of an IPv4 packet and its TCP or UDP header are right."""
    fresh = scapy.IP(bytes(frame[scapy.IP]))
    del fresh.chksum, fresh[layer].chksum
    fresh = scapy.IP(bytes(fresh))
    assert (frame[scapy.IP].chksum, frame[layer].chksum) == (fresh.chksum, fresh[layer].chksum)


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


class TestDnsFilter:
    """dns_filter.c, on Linux's platform"""

    NAME = "dns_filter"
    PASSES, DROPS = PASS, DROP

    def verdicts(self, sample, *packets) -> list[int]:
        """What the filter says of each packet."""
        return list(sample.programs["dns_filter"].run_batch([ethernet(p) for p in packets]))

    def query(self, source: str = "192.0.2.1"):
        """A query."""
        return scapy.IP(src=source) / scapy.UDP(dport=53) / scapy.DNS(qd=scapy.DNSQR(qname="example.org"))

    def test_malformed(self, sample):
        """Datagrams to the server's port that are too short for a query, or an answer, are dropped; others pass."""
        answer = scapy.IP() / scapy.UDP(dport=53) / scapy.DNS(qr=1)
        short = [scapy.IP() / scapy.UDP(dport=53) / bytes(n) for n in (0, 11)]
        assert self.verdicts(sample, answer, *short) == [self.DROPS] * 3
        others = (scapy.IP() / scapy.UDP(sport=53, dport=1234), tcp(dport=53), scapy.IPv6() / scapy.UDP(), scapy.ARP())
        assert self.verdicts(sample, self.query(), *others) == [self.PASSES] * 5
        assert list(sample.maps["requests"].values()) == [1, 3, 0]

    def test_limit(self, sample):
        """Each source gets as many queries through as the limit says, and the others are dropped."""
        sample.maps["limit"][0] = 5
        passed = [self.verdicts(sample, *[self.query(f"192.0.2.{n}")] * 20).count(self.PASSES) for n in range(5)]
        assert passed.count(5) >= 4  # a new second may begin in between once
        assert list(sample.maps["requests"].values()) == [sum(passed), 0, 100 - sum(passed)]


class TestDnsFilterOnWindows(TestDnsFilter):
    """dns_filter.c, on Windows' platform"""

    PLATFORM = "windows"
    PASSES, DROPS = 1, 2


class TestBindMonitor:
    """bind_monitor.c, on Windows' platform"""

    NAME = "bind_monitor"
    BIND, POST_BIND, UNBIND = range(3)
    PERMIT, DENY = range(2)

    def call(self, sample, operation: int, pid: int, app: str = "leak.exe") -> int:
        """What the program answers when a process binds or gives back a port."""
        context = struct.pack("<16xQ16xB3xIB", pid, 16, operation, 17)
        return sample.programs["bind_monitor"].test_run(app.encode("utf-16-le"), context).retval

    def held(self, sample) -> dict[int, tuple[int, str]]:
        """Of each process the ports that it holds, and its name."""
        held = {}
        for key, value in sample.maps["process_map"].raw.items():
            held[int.from_bytes(key, "little")] = int.from_bytes(value[:4], "little"), text(value[4:])
        return held

    def test_quota(self, sample):
        """A process gets as many ports as the quota says, another one for each that it gives back, others their own."""
        sample.maps["limits_map"][0] = 3
        assert [self.call(sample, self.BIND, 7) for _ in range(5)] == [self.PERMIT] * 3 + [self.DENY] * 2
        assert self.call(sample, self.BIND, 8, "other.exe") == self.PERMIT
        assert self.held(sample) == {7: (3, "leak.exe"), 8: (1, "other.exe")}
        assert self.call(sample, self.UNBIND, 7) == self.PERMIT
        assert [self.call(sample, self.BIND, 7) for _ in range(2)] == [self.PERMIT, self.DENY]

    def test_statistics(self, sample):
        """A process that holds nothing is forgotten, what its executable did is not."""
        sample.maps["limits_map"][0] = 2
        for operation in (self.BIND, self.BIND, self.BIND, self.POST_BIND):
            self.call(sample, operation, 7)
        assert self.held(sample) == {7: (2, "leak.exe")}
        for _ in range(3):
            self.call(sample, self.UNBIND, 7)
        assert self.held(sample) == {}
        counts = {text(key): struct.unpack("<3Q", value) for key, value in sample.maps["app_map"].raw.items()}
        assert counts == {"leak.exe": (2, 1, 2)}

    def test_no_quota(self, sample):
        """Without a quota everything is permitted, and counted."""
        assert {self.call(sample, self.BIND, 9, "x" * 100) for _ in range(50)} == {self.PERMIT}
        assert self.held(sample) == {9: (50, "x" * 32)}


def text(app_id: bytes) -> str:
    """An application's name as the program keeps it."""
    return app_id.decode("utf-16-le").rstrip("\0")


LINUX_SAMPLES = [source.stem for source in sorted(SAMPLES.glob("*.c")) if "linux" in platforms_of(source)]


@pytest.mark.linux_only
@pytest.mark.parametrize("name", LINUX_SAMPLES)
def test_linux_takes_them(name):
    """Linux's own verifier takes the samples for Linux, too."""
    livekernel.require_live_kernel()
    spec = compiling.sample(name, "linux")
    maps = [
        create_map(m.type, m.key_size, m.value_size, m.max_entries, flags=RDONLY_PROG if m.read_only else m.flags)
        for m in spec.maps
    ]
    try:
        for program in spec.entries:
            os.close(livekernel.load("xdp", livekernel.with_maps(program.code, tuple(maps))))
    finally:
        for descriptor in maps:
            os.close(descriptor)


def test_unsafe_is_refused():
    """The variant without the bounds check is refused, with the line that reads beyond the packet."""
    with pytest.raises(VerificationError, match=r"droppacket_unsafe\.c:\d+"):
        anybpf.load(str(SAMPLES / "droppacket_unsafe.o"))
