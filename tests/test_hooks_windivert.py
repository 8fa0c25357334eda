"""WinDivert's packets: the same tests on WinDivert where it is, and on its imitation where Linux has that."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import anybpf
from anybpf.elf import from_instructions
from anybpf.errors import HookError, UnsupportedError
from anybpf.hooks.datagram import DatagramPoint
from anybpf.hooks.windivert import PacketBatches, WinDivert, from_argument
from anybpf.isa import assemble
from anybpf.runtime import AttachPoint, Link, Program
from compiling import compiled, require_clang, sample
from divertdrivers import ADDRESS, Drivers, drivers, ip_length, opened, until

DROP, PASS = 1, 2
PORT, OTHER = 24157, 24158
OUTBOUND = 1 << 17
#: Datagrams whose first byte is odd are dropped; those that begin with 100 or more go to the port behind theirs.
FILTER = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";

__u32 interface;
__u64 addresses;

SEC("xdp") int filter(struct xdp_md *ctx)
{
    struct ethhdr *eth = (void *)(long)ctx->data;
    struct iphdr *ip = (void *)(eth + 1);
    struct udphdr *udp = (void *)(ip + 1);
    __u8 *payload = (void *)(udp + 1);
    if ((void *)(payload + 1) > (void *)(long)ctx->data_end || eth->h_proto != bpf_htons(ETH_P_IP))
        return XDP_PASS;
    for (int i = 0; i < ETH_ALEN; i++)
        addresses += eth->h_dest[i] + eth->h_source[i];
    interface = ctx->ingress_ifindex;
    if (*payload & 1)
        return XDP_DROP;
    if (*payload >= 100) {
        __u32 sum = (__u16)~udp->check + (__u16)~udp->dest;
        udp->dest = bpf_htons(bpf_ntohs(udp->dest) + 1);
        sum += udp->dest;
        sum = (sum & 0xffff) + (sum >> 16);
        udp->check = ~((sum & 0xffff) + (sum >> 16));
    }
    return XDP_PASS;
}
"""


@pytest.fixture(params=drivers())
def driver(request: pytest.FixtureRequest) -> Iterator[Drivers]:
    """A driver."""
    with opened(request.param) as made:
        yield made


def bind(receiver: socket.socket, port: int) -> None:
    """Bind to a port of the loopback interface that a test in another process may have for a while."""
    for _ in range(300):
        with contextlib.suppress(OSError):
            return receiver.bind(("127.0.0.1", port))
        time.sleep(0.1)
    return receiver.bind(("127.0.0.1", port))


@pytest.fixture
def sockets(driver: Drivers) -> Iterator[tuple[socket.socket, ...]]:
    """A socket that sends, and two that receive at PORT and OTHER of the loopback interface."""
    with contextlib.ExitStack() as stack, driver.here():
        made = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)]
        for receiver, port in zip(made[1:], (PORT, OTHER), strict=True):
            bind(receiver, port)
            receiver.settimeout(20)
        yield tuple(made)


def attach(driver: Drivers, program: Program, port: int = PORT) -> Link:
    """Attach to the datagrams that are sent to a port; skips the test where there is no such driver."""
    hook = WinDivert(f"udp.DstPort == {port} and loopback", open=driver.packets)
    with driver.here():
        try:
            return program.attach(hook)
        except UnsupportedError as error:
            pytest.skip(str(error))


def verdict(value: int) -> Program:
    """A program that always returns ``value``."""
    (only,) = anybpf.load(from_instructions(assemble(f"r0 = {value}\nexit"), "xdp", "p")).programs.values()
    return only


def test_datagrams_meet_the_program(driver: Drivers, sockets: tuple[socket.socket, ...], tmp_path: Path) -> None:
    """What the program drops does not arrive, what it rewrites arrives elsewhere, checksums and all."""
    require_clang()
    sender, receiver, other = sockets
    loaded = anybpf.load(compiled(tmp_path, FILTER))
    with attach(driver, loaded.programs["filter"]) as link:
        for number in (0, 1, 2, 3, 100, 102, 101, 4):
            sender.sendto(bytes([number]) * 9, ("127.0.0.1", PORT))
        assert [receiver.recv(100)[0] for _ in range(3)] == [0, 2, 4]
        assert [other.recv(100) for _ in range(2)] == [b"\x64" * 9, b"\x66" * 9]
    assert dict(link.stats.verdicts) == {DROP: 3, PASS: 5}
    assert link.stats.dropped == 0
    assert loaded.maps[".bss"][0] == {"interface": 0, "addresses": 0}
    sender.sendto(b"\1", ("127.0.0.1", PORT))
    assert receiver.recv(100) == b"\1"


def test_programs_come_and_go_without_loss(driver: Drivers, sockets: tuple[socket.socket, ...]) -> None:
    """Datagrams that are sent while a program is attached, swapped and detached all arrive, in order."""
    sender, receiver, _ = sockets
    sent = 0
    for _ in range(3):
        with attach(driver, verdict(PASS)) as link:
            for _ in range(20):
                sender.sendto(struct.pack(">I", sent), ("127.0.0.1", PORT))
                sent += 1
            link.update(verdict(PASS))
    assert sorted(struct.unpack(">I", receiver.recv(100))[0] for _ in range(sent)) == list(range(sent))


def test_empty_datagrams_are_dropped(driver: Drivers, sockets: tuple[socket.socket, ...]) -> None:
    """The sample for Windows that drops datagrams without data drops these, counts them, and no others."""
    sender, receiver, _ = sockets
    loaded = anybpf.load(sample("droppacket"))
    with attach(driver, loaded.programs["drop_packet"]):
        for content in (b"", b"1", b"", b"", b"2"):
            sender.sendto(content, ("127.0.0.1", PORT))
        assert [receiver.recv(100) for _ in range(2)] == [b"1", b"2"]
    assert loaded.maps["dropped_packet_map"][0] == 3


def test_a_flood_of_dns_requests(driver: Drivers, sockets: tuple[socket.socket, ...]) -> None:
    """The sample for Windows that guards a DNS server lets through so many queries a second, and nothing else."""
    sender, _, server = sockets
    server.close()
    with driver.here(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        server.settimeout(20)
        query, answer = (struct.pack(">6H", 1, flags, 1, 0, 0, 0) for flags in (0x100, 0x8180))
        loaded = anybpf.load(sample("dns_filter", "windows"))
        loaded.maps["limit"][0] = 5
        with attach(driver, loaded.programs["dns_filter"], 53):
            for content in (answer, b"short", *[query] * 40):
                sender.sendto(content, ("127.0.0.1", 53))
            until(lambda: sum(loaded.maps["requests"].values()) == 42)
        answered, malformed, too_many = loaded.maps["requests"].values()
        assert (malformed, answered + too_many) == (2, 40)
        assert [server.recv(100) for _ in range(answered)] == [query] * answered
        assert 5 <= answered <= 35


def test_a_wrong_filter(driver: Drivers) -> None:
    """A filter that WinDivert does not understand is refused, and nothing is left attached."""
    if driver.packets is not WinDivert().open_driver:
        pytest.skip("the imitation has errors of its own")
    program = verdict(PASS)
    before = dict(program.context.links)
    try:
        with pytest.raises(HookError, match=r"filter 'udp.DstPort ==' is wrong at position"):
            program.attach(WinDivert("udp.DstPort =="))
    except UnsupportedError as error:
        pytest.skip(str(error))
    assert program.context.links == before


class Recorded:
    """A PacketDriver whose packets are given in advance; ``sent`` is what came back: packets, and their addresses."""

    def __init__(self, batches: list[list[bytes]], flags: int = 0) -> None:
        self.batches = batches
        self.flags = flags
        self.sent: list[tuple[bytes, bytes]] = []
        self.number = 0

    def address(self) -> bytes:
        """An address that tells which packet it belongs to."""
        self.number += 1
        return struct.pack("<qII II", self.number, self.flags, 0, 7, 0).ljust(ADDRESS, b"\xaa")

    def receive(self, packets: bytearray, addresses: bytearray) -> tuple[int, int]:
        """The next batch."""
        if not self.batches:
            return 0, 0
        batch = self.batches.pop(0)
        joined = b"".join(batch)
        packets[: len(joined)] = joined
        addresses[: ADDRESS * len(batch)] = b"".join(self.address() for _ in batch)
        return len(joined), len(batch)

    def send(self, packets: memoryview, addresses: memoryview) -> None:
        """Keep them, one by one."""
        for at in range(0, len(addresses), ADDRESS):
            length = ip_length(packets)
            self.sent.append((bytes(packets[:length]), bytes(addresses[at : at + ADDRESS])))
            packets = packets[length:]
        assert len(packets) == 0

    def shutdown(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """There is nothing to close."""


def serve(program: Program, driver: Recorded) -> int:
    """Let a program have a driver's packets; gives how many were lost."""
    point = AttachPoint(program.context, program.type)
    with DatagramPoint(point) as meeting, point.attach(program, driver):
        batches = PacketBatches(driver, meeting)
        batches.serve()
        return batches.lost


def ipv4(payload: bytes, protocol: int = 17) -> bytes:
    """An IPv4 packet."""
    return struct.pack(">BBHIBBHII", 0x45, 0, 20 + len(payload), 0, 64, protocol, 0, 1, 2) + payload


def ipv6(payload: bytes) -> bytes:
    """An IPv6 packet."""
    return struct.pack(">IHBB", 6 << 28, len(payload), 17, 64) + bytes(32) + payload


SECOND_BYTE_OF_IP_DECIDES = """
    r2 = *(u32 *)(r1 + 4)
    r1 = *(u32 *)(r1 + 0)
    r3 = r1
    r3 += 34
    r0 = 1
    if r3 > r2 goto end
    r0 = *(u8 *)(r1 + 15)
    end:
    exit
"""


def test_survivors_keep_their_addresses() -> None:
    """Of a batch, what passes goes on in order, each packet with the address that it came with."""
    code = from_instructions(assemble(SECOND_BYTE_OF_IP_DECIDES), "xdp", "p")
    (program,) = anybpf.load(code).programs.values()
    batch = [bytearray(ipv4(bytes([n]) * n)) for n in range(1, 200)]
    for number, packet in enumerate(batch):
        packet[1] = PASS if number % 3 else DROP
    driver = Recorded([[bytes(one) for one in batch], [bytes(batch[1])]])
    assert serve(program, driver) == 0
    expected = [(bytes(packet), number + 1) for number, packet in enumerate(batch) if number % 3]
    expected.append((bytes(batch[1]), 200))
    assert [(packet, struct.unpack_from("<q", address)[0]) for packet, address in driver.sent] == expected
    assert all(address[24:] == b"\xaa" * 56 for _, address in driver.sent)


@pytest.mark.parametrize(("flags", "index"), [(0, 7), (OUTBOUND, 0)])
def test_frames_are_made_of_both_protocols(flags: int, index: int) -> None:
    """Programs see IPv4 and IPv6 behind the right EtherType, and the interface that a packet came in by."""
    remember = """
        r6 = r1
        r2 = *(u32 *)(r1 + 4)
        r1 = *(u32 *)(r1 + 0)
        r3 = r1
        r3 += 34
        r0 = 1
        if r3 > r2 goto end
        r0 = *(u16 *)(r1 + 12)
        *(u16 *)(r1 + 32) = r0
        r0 = *(u32 *)(r6 + 12)
        *(u8 *)(r1 + 31) = r0
        r0 = 2
        end:
        exit
    """
    (program,) = anybpf.load(from_instructions(assemble(remember), "xdp", "p")).programs.values()
    driver = Recorded([[ipv4(b""), ipv6(b"1234")]], flags)
    assert serve(program, driver) == 0
    assert [(packet[17], packet[18:20]) for packet, _ in driver.sent] == [(index, b"\x08\0"), (index, b"\x86\xdd")]


@pytest.mark.parametrize(("flags", "passes"), [(0, True), (OUTBOUND, False)])
def test_windows_programs(flags: int, passes: bool) -> None:
    """Programs for Windows have their own context and their own verdicts."""
    source = "r1 = *(u32 *)(r1 + 24)\nr0 = 1\nif r1 == 7 goto end\nr0 = 2\nend:\nexit"
    loaded = anybpf.load(from_instructions(assemble(source), "xdp", "p"), platform="windows")
    driver = Recorded([[ipv4(b"")]], flags)
    assert serve(loaded.programs["p"], driver) == 0
    assert len(driver.sent) == passes


def test_packets_that_grow_are_sent_in_parts() -> None:
    """A batch whose packets no longer fit where what passes is collected is sent in several."""
    grow = """
        r6 = r1
        r2 = 30000
        call 65
        r2 = *(u32 *)(r6 + 4)
        r1 = *(u32 *)(r6 + 0)
        r3 = r1
        r3 += 34
        r0 = 1
        if r3 > r2 goto end
        r0 = *(u8 *)(r1 + 16)
        r0 += 0x75
        *(u8 *)(r1 + 16) = r0
        r0 = *(u8 *)(r1 + 17)
        r0 += 0x30
        *(u8 *)(r1 + 17) = r0
        r0 = 2
        end:
        exit
    """
    (program,) = anybpf.load(from_instructions(assemble(grow), "xdp", "p")).programs.values()
    driver = Recorded([[ipv4(bytes([number])) for number in range(100)]])
    assert serve(program, driver) == 0
    assert [packet[20] for packet, _ in driver.sent] == list(range(100))
    assert {len(packet) for packet, _ in driver.sent} == {30021}


PAYLOADS = st.binary(max_size=30)
BATCHES = st.lists(st.one_of(st.binary(max_size=60), st.builds(ipv4, PAYLOADS), st.builds(ipv6, PAYLOADS)))


@given(BATCHES, st.integers(1, 255))
def test_any_bytes(packets: list[bytes], count: int) -> None:
    """Bytes that are no packets end a batch; what comes back is always some of the packets, whole."""

    class Wrong(Recorded):
        def receive(self, into: bytearray, addresses: bytearray) -> tuple[int, int]:
            length, _ = super().receive(into, addresses)
            return length, count if length else 0

    driver = Wrong([packets])
    lost = serve(PASSES, driver)
    joined = b"".join(packets)
    assert b"".join(packet for packet, _ in driver.sent) == joined[: sum(len(packet) for packet, _ in driver.sent)]
    assert len(driver.sent) + lost == (count if joined else 0)


PASSES = verdict(PASS)
#: The first ten bytes of the payload take the place of the first ten of the frame's EtherType and IP header.
COPIES = """
    r2 = *(u32 *)(r1 + 4)
    r1 = *(u32 *)(r1 + 0)
    r0 = 2
    r3 = r1
    r3 += 44
    if r3 > r2 goto end
    r3 = *(u16 *)(r1 + 34)
    *(u16 *)(r1 + 12) = r3
    r3 = *(u32 *)(r1 + 36)
    *(u32 *)(r1 + 14) = r3
    r3 = *(u32 *)(r1 + 40)
    *(u32 *)(r1 + 18) = r3
    end:
    exit
"""
HEADERS = st.one_of(
    st.binary(min_size=10, max_size=10),
    st.builds(
        struct.pack, st.just(">HBBHI"), st.sampled_from((0x800, 0x86DD, 0x806)), st.integers(0x43, 0x66), st.just(0),
        st.integers(0, 100), st.just(0),
    ),
)  # fmt: skip


@given(st.lists(st.tuples(HEADERS, PAYLOADS), max_size=5))
def test_any_header(made: list[tuple[bytes, bytes]]) -> None:
    """Whatever a program writes into headers, what goes on is an IP packet of the length it says; others are lost."""
    (program,) = anybpf.load(from_instructions(assemble(COPIES), "xdp", "p")).programs.values()
    driver = Recorded([[ipv4(header + rest) for header, rest in made]])
    lost = serve(program, driver)
    fits = [
        header[:2] == b"\x08\0"
        and header[2] >> 4 == 4
        and 20 <= 4 * (header[2] & 15) <= int.from_bytes(header[4:6], "big") <= 30 + len(rest)
        for header, rest in made
    ]
    assert (len(driver.sent), lost) == (fits.count(True), fits.count(False))


def test_a_driver_that_fails() -> None:
    """When the driver fails, who waits is told why, and the driver is shut down so that packets go on."""
    ended: list[str] = []

    class Failing(Recorded):
        def receive(self, packets: bytearray, addresses: bytearray) -> tuple[int, int]:
            if not self.batches:
                raise OSError(5, "the driver was unloaded")
            return super().receive(packets, addresses)

        def shutdown(self) -> None:
            ended.append("shutdown")

        def close(self) -> None:
            ended.append("close")

    driver = Failing([[ipv4(b"1")]])
    hook = WinDivert(open=lambda filter, priority: driver)
    with PASSES.attach(hook) as link:
        with pytest.raises(HookError, match=r"^WinDivert ended: the driver was unloaded$"):
            hook.wait(30)
        assert ended == ["shutdown"]
    assert (ended, link.stats.events, len(driver.sent)) == (["shutdown", "shutdown", "close"], 1, 1)


def test_elsewhere() -> None:
    """On other systems the hook says in one sentence what there is instead."""
    if sys.platform == "win32":
        pytest.skip("this is Windows")
    with pytest.raises(UnsupportedError, match=r"^WinDivert is a driver of Windows; "):
        verdict(PASS).attach(from_argument("udp"))


@pytest.mark.parametrize(
    ("options", "message"), [({"priority": 30001}, "out of range"), ({"filter": "udp\0"}, "ASCII")]
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    """What no WinDivert handle can have is refused in one sentence."""
    with pytest.raises(HookError, match=message):
        WinDivert(**options)  # type: ignore[arg-type]
