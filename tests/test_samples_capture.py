"""The sample programs over the recorded capture, in every mode: they do to it what a reader of the capture expects."""

from __future__ import annotations

import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import dpkt
import pytest

import anybpf
from anybpf.hooks import Pcap
from anybpf.runtime import Object
from anybpf.samples.build import SAMPLES
from compiling import sample
from running import TIERS

CAPTURE = SAMPLES / "traffic.pcap"
DROP, PASS, TX = 1, 2, 3
CLIENT, SERVER = "10.1.0.1", "10.1.0.2"

every_mode = pytest.mark.parametrize("mode", TIERS)


def frames(path: Path = CAPTURE) -> list[bytes]:
    """The frames of a capture."""
    with path.open("rb") as file:
        return [frame for _, frame in dpkt.pcap.UniversalReader(file)]


def layers(frame: bytes) -> tuple[int | None, object]:
    """A frame's VLAN number, and its IP packet (or whatever else it carries)."""
    ethernet = dpkt.ethernet.Ethernet(frame)
    tags = getattr(ethernet, "vlan_tags", ())
    return (tags[0].id if tags else None), ethernet.data


def is_syn(packet: object) -> bool:
    """Whether an IPv4 packet asks for a TCP connection."""
    return (
        isinstance(packet, dpkt.ip.IP)
        and isinstance(packet.data, dpkt.tcp.TCP)
        and packet.data.flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK) == dpkt.tcp.TH_SYN
    )


@pytest.fixture
def loaded(request: pytest.FixtureRequest) -> Iterator[Object]:
    """The sample that the test is named after, loaded and thereby verified."""
    with anybpf.load(sample(request.function.__name__.removeprefix("test_"))) as made:
        yield made


def replay(loaded: Object, program: str, mode: str, out: Path | None = None) -> dict[int, int]:
    """Run a program on the whole capture; gives how often it returned what."""
    with loaded.programs[program].attach(Pcap(CAPTURE, out)) as link:
        return link.run(mode=mode).returns


@every_mode
def test_packet_counter(loaded, mode):
    """Packets and bytes of each protocol, summed over the processors, are those that dpkt counts."""
    expected: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for frame in frames():
        _, packet = layers(frame)
        protocol = (
            packet.p if isinstance(packet, dpkt.ip.IP) else packet.nxt if isinstance(packet, dpkt.ip6.IP6) else 256
        )
        expected[protocol][0] += 1
        expected[protocol][1] += len(frame)
    assert replay(loaded, "packet_counter", mode) == {PASS: len(frames())}
    found = {}
    for key, values in loaded.maps["traffic"].raw.items():
        packets, size = map(sum, zip(*(struct.unpack("<QQ", value) for value in values), strict=True))
        if packets:
            found[struct.unpack("<I", key)[0]] = [packets, size]
    assert found == expected
    assert expected.keys() >= {1, 6, 17, 58, 256}


@every_mode
def test_count(loaded, mode):
    """Untagged IPv4 and IPv6 packets are counted by protocol."""
    expected: Counter[int] = Counter()
    for frame in frames():
        vlan, packet = layers(frame)
        if vlan is None and isinstance(packet, (dpkt.ip.IP, dpkt.ip6.IP6)):
            expected[packet.p if isinstance(packet, dpkt.ip.IP) else packet.nxt] += 1
    assert replay(loaded, "count", mode) == {PASS: len(frames())}
    assert dict(loaded.maps["per_proto"]) == expected


@every_mode
def test_firewall(loaded, mode, tmp_path):
    """A denied network's packets are gone from what passes, those of an exception in it and all others are there."""
    deny = struct.Struct("<I4sI")
    networks = loaded.maps["denied"].raw
    for prefix, network, action in ((16, "10.1.0.0", 0), (32, SERVER, 1), (24, "192.0.2.0", 0)):
        entry = deny.pack(prefix, socket.inet_aton(network), action)
        networks[entry[:8]] = entry[8:]
    syn = next(layers(f)[1] for f in frames() if is_syn(layers(f)[1]) and layers(f)[1].data.dport == 4444)
    back = struct.pack("!4s4sHHB3x", syn.dst, syn.src, syn.data.dport, syn.data.sport, 6)
    loaded.maps["rules"].raw[back] = struct.pack("<I", 0)

    def denied(frame: bytes) -> str:
        ethernet = dpkt.ethernet.Ethernet(frame)
        packet = ethernet.data
        if int.from_bytes(frame[12:14], "big") != dpkt.ethernet.ETH_TYPE_IP:  # tagged frames are not looked into
            return ""
        if packet.src[:2] == b"\x0a\x01" and packet.src != socket.inet_aton(SERVER):
            return "network"
        flow = (packet.src, packet.dst, getattr(packet.data, "sport", 0), getattr(packet.data, "dport", 0), packet.p)
        return "flow" if flow == (syn.dst, syn.src, syn.data.dport, syn.data.sport, 6) else ""

    verdicts = Counter(map(denied, frames()))
    assert verdicts["network"] > 100
    assert verdicts["flow"] > 0
    out = tmp_path / "passed.pcap"
    dropped = verdicts["network"] + verdicts["flow"]
    assert replay(loaded, "firewall", mode, out) == {DROP: dropped, PASS: verdicts[""]}
    assert frames(out) == [frame for frame in frames() if not denied(frame)]
    counts = [sum(loaded.maps["verdicts"][verdict]) for verdict in range(3)]
    assert counts == [verdicts[""], verdicts["network"], verdicts["flow"]]


@every_mode
def test_syn_limiter(mode, tmp_path):
    """Of the burst of 60 SYNs those pass for which there is a token and the rest is dropped; nothing else is."""
    limit, out = 10, tmp_path / "passed.pcap"
    seen: Counter[bytes] = Counter()
    expected = []
    for frame in frames():
        _, packet = layers(frame)
        if is_syn(packet) and int.from_bytes(frame[12:14], "big") == dpkt.ethernet.ETH_TYPE_IP:
            seen[packet.src] += 1
            if seen[packet.src] > limit:
                continue
        expected.append(frame)
    burst = sum(is_syn(layers(f)[1]) and layers(f)[1].data.dport == 4444 for f in frames())
    assert burst == 60
    for _ in range(5):  # until a run takes less than the 100 ms after which there is a new token
        with anybpf.load(sample("syn_limiter")) as loaded:
            returns = replay(loaded, "syn_limiter", mode, out)
            counts = loaded.maps[".bss"][0]
        if returns[PASS] == len(expected):
            break
    assert returns == {DROP: len(frames()) - len(expected), PASS: len(expected)}
    assert returns[DROP] >= burst - limit
    assert frames(out) == expected
    assert counts == {"syns_passed": sum(min(n, limit) for n in seen.values()), "syns_dropped": returns[DROP]}


@every_mode
def test_vlan_rewriter(loaded, mode, tmp_path):
    """Each frame leaves with the tag that its VLAN is mapped to, and is the same frame otherwise."""
    out = tmp_path / "passed.pcap"
    loaded.maps["vlans"].update({0: 7, 100: 200})
    assert replay(loaded, "vlan_rewriter", mode, out) == {PASS: len(frames())}
    before, after = frames(), frames(out)
    assert {layers(frame)[0] for frame in before} == {None, 100}
    assert [layers(frame)[0] for frame in after] == [200 if layers(frame)[0] else 7 for frame in before]

    def untagged(frame: bytes) -> bytes:
        return frame[:12] + frame[16:] if frame[12:14] == b"\x81\x00" else frame

    assert [untagged(frame) for frame in after] == [untagged(frame) for frame in before]
    loaded.maps["vlans"].update({0: 0, 100: 0})
    assert replay(loaded, "vlan_rewriter", mode, out) == {PASS: len(frames())}
    assert frames(out) == [untagged(frame) for frame in before]


@every_mode
def test_load_balancer(loaded, mode):
    """Packets to a service go to its backends, those of one flow to the same, with right checksums; others are left."""
    names = {6: "on_tcp", 17: "on_udp"}
    assert {key: program.name for key, program in loaded.maps["jumps"].items()} == names
    backends = ("10.9.0.1", "10.9.0.2", "10.9.0.3")
    for index, backend in enumerate(backends):
        loaded.maps["backends"].raw[struct.pack("<I", index)] = struct.pack(
            "4s6s2xQ", socket.inet_aton(backend), bytes([2, 0, 0, 0, 0, index]), 0
        )
    for port, protocol in ((8080, 6), (4444, 6), (53, 17)):
        service = struct.pack("!4sHBx", socket.inet_aton(SERVER), port, protocol)
        loaded.maps["services"].raw[service] = struct.pack("<II", 0, len(backends))
    if mode == "jit":
        for program in loaded.programs.values():
            program.compile()
    chosen: dict[tuple[bytes, int, int], set[str]] = defaultdict(set)
    balanced = 0
    for frame in frames():
        result = loaded.programs["balance"].test_run(frame, mode=mode)
        _, packet = layers(frame)
        ports = getattr(getattr(packet, "data", None), "dport", 0), getattr(getattr(packet, "data", None), "sport", 0)
        served = (
            frame[12:14] == b"\x08\x00"
            and packet.dst == socket.inet_aton(SERVER)
            and (ports[0], packet.p) in ((8080, 6), (4444, 6), (53, 17))
        )
        assert result.retval == (TX if served else PASS)
        if not served:
            assert result.data == frame
            continue
        balanced += 1
        _, changed = layers(result.data)
        chosen[packet.src, ports[1], packet.p].add(socket.inet_ntoa(changed.dst))
        assert result.data[:6] == bytes([2, 0, 0, 0, 0, backends.index(socket.inet_ntoa(changed.dst))])
        assert checksums(result.data) == checksums(result.data, afresh=True)
        assert bytes(changed.data.data) == bytes(packet.data.data)
    assert balanced > 100
    assert all(len(found) == 1 for found in chosen.values())
    assert set.union(*chosen.values()) == set(backends)
    counted = [struct.unpack("4s6s2xQ", value)[2] for value in loaded.maps["backends"].raw.values()]
    assert sum(counted) == balanced


def checksums(frame: bytes, *, afresh: bool = False) -> tuple[int, int]:
    """The checksums of an IPv4 packet and its TCP or UDP header, as they stand or computed afresh."""
    packet = dpkt.ethernet.Ethernet(frame).data
    if afresh:
        packet.sum = packet.data.sum = 0
        packet = dpkt.ip.IP(bytes(packet))
    return packet.sum, packet.data.sum


@every_mode
def test_event_sampler(loaded, mode):
    """Every tenth packet is reported, with its interface, its length and its first 64 bytes."""
    assert replay(loaded, "event_sampler", mode) == {PASS: len(frames())}
    sampled = frames()[9::10]
    records = loaded.maps["events"].drain()
    assert len(records) == len(sampled) == 41
    before = 0
    for record, frame in zip(records, sampled, strict=True):
        when, interface, length, captured, unused = struct.unpack_from("<QIIII", record)
        assert before <= when
        before = when
        assert (interface, length, captured, unused) == (1, len(frame), min(len(frame), 64), 0)
        assert record[24:] == frame[:64].ljust(64, b"\0")
    assert loaded.maps[".bss"][0] == {"lost": 0}


@every_mode
def test_droppacket(loaded, mode):
    """eBPF for Windows' tutorial program drops the UDP datagrams without data, and counts them."""
    passes, drops = 1, 2
    empty = 0
    for frame in frames():
        _, packet = layers(frame)
        plain = frame[12:14] == b"\x08\x00"
        empty += plain and isinstance(packet.data, dpkt.udp.UDP) and packet.data.ulen <= 8
    assert empty > 0
    assert replay(loaded, "drop_packet", mode) == {passes: len(frames()) - empty, drops: empty}
    assert loaded.maps["dropped_packet_map"][0] == empty
