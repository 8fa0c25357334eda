"""Inline: what each verdict does to frames on the wire, whatever was merged, tagged or left without a checksum."""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import anybpf
from anybpf.elf import from_instructions
from anybpf.errors import HookError, UnsupportedError
from anybpf.hooks import interfaces_other
from anybpf.hooks.inline import Inline, from_argument
from anybpf.isa import assemble
from anybpf.runtime import Object, Program
from anybpf.spec import ObjectSpec
from compiling import compiled, require_clang
from netlab import cable, lab, require
from rawframes import Offload, Plug, descriptors, merged, text, udp

scapy = pytest.importorskip("scapy.all")

pytestmark = pytest.mark.linux_only

ABORTED, DROP, PASS, TX, REDIRECT = range(5)
MTU, HEADER = 1500, 14
BROADCAST, EXCLUDE_INGRESS = 8, 16

PROGRAMS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define unused __attribute__((unused))
char _license[] SEC("license") = "GPL";

__u32 target;  /* an interface, or a key */
__u64 flags;
__u32 longest, shortest = 1 << 20, ingress;

struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u32);
} by_index SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, struct bpf_devmap_val);
} by_number SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_CPUMAP);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} processors SEC(".maps");

/* The last byte of a frame says what to do with it. */
SEC("xdp") int told(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    ingress = ctx->ingress_ifindex;
    return data + 60 <= end ? data[59] : XDP_PASS;
}

SEC("xdp") int to_interface(struct xdp_md *ctx unused) { return bpf_redirect(target, 0); }
SEC("xdp") int to_index(struct xdp_md *ctx unused) { return bpf_redirect_map(&by_index, target, flags); }
SEC("xdp") int to_number(struct xdp_md *ctx unused) { return bpf_redirect_map(&by_number, target, flags); }

SEC("xdp") int to_processor(struct xdp_md *ctx unused) { return bpf_redirect_map(&processors, 0, 0); }

SEC("xdp") int measure(struct xdp_md *ctx)
{
    __u32 length = ctx->data_end - ctx->data;
    if (length > longest)
        longest = length;
    if (length < shortest)
        shortest = length;
    return XDP_PASS;
}

/* Puts a tag into each frame, in the head room. */
SEC("xdp") int grow(struct xdp_md *ctx)
{
    if (bpf_xdp_adjust_head(ctx, -4))
        return XDP_ABORTED;
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 18 > end)
        return XDP_ABORTED;
    __builtin_memmove(data, data + 4, 12);
    data[12] = 0x81;
    data[13] = data[14] = 0;
    data[15] = 9;
    return XDP_PASS;
}

static long spin(__u32 index unused, void *context unused) { return 0; }

SEC("xdp") int slow(struct xdp_md *ctx unused)
{
    bpf_loop(1 << 17, spin, 0, 0);
    return XDP_DROP;
}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ObjectSpec:
    """PROGRAMS, compiled once."""
    require_clang()
    return compiled(tmp_path_factory.mktemp("inline"), PROGRAMS)


@pytest.fixture
def loaded(spec: ObjectSpec) -> Iterator[Object]:
    """PROGRAMS, loaded."""
    with anybpf.load(spec) as made:
        yield made


@dataclass(frozen=True)
class Bench:
    """Two cables with their near ends joined by the hook; ``a`` and ``b`` are plugs at their far ends."""

    hook: Inline
    near: tuple[str, str]
    far: tuple[str, str]
    a: Plug
    b: Plug


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Two cables, nothing between them yet."""
    require()
    with cable() as (far_a, near_a), cable() as (near_b, far_b), Plug(far_a) as a, Plug(far_b) as b:
        yield Bench(Inline(near_a, near_b), (near_a, near_b), (far_a, far_b), a, b)


def returning(number: int, platform: str = "linux") -> Program:
    """An XDP program that returns a number."""
    made = from_instructions(assemble(f"r0 = {number}\nexit"), "xdp", "p")
    return anybpf.load(made, platform=platform).programs["p"]


def told(verdict: int) -> bytes:
    """A frame of 60 bytes whose last one is ``verdict``."""
    return udp(bytes(17) + bytes([verdict]))


def test_every_verdict(bench: Bench, loaded: Object) -> None:
    """PASS goes to the other side, from either; TX comes back; the others, and numbers without a name, go nowhere."""
    with loaded.programs["told"].attach(bench.hook) as link:
        for near, far in ((bench.a, bench.b), (bench.b, bench.a)):
            near.send(*(told(verdict) for verdict in (ABORTED, DROP, TX, 200, PASS)))
            assert far.receive(1) == [told(PASS)]
            assert near.receive(1) == [told(TX)]
            assert far.quiet()
            assert near.quiet()
        assert link.stats.verdicts == {ABORTED: 2, DROP: 2, PASS: 2, TX: 2, -1: 2}
        assert link.stats.dropped == 0


def test_verdicts_of_windows(bench: Bench) -> None:
    """Windows' numbers mean what Windows says: 1 passes, 2 drops, 3 sends back."""
    with returning(1, "windows").attach(bench.hook) as link:
        bench.a.send(told(0))
        assert bench.b.receive(1) == [told(0)]
        link.update(returning(2, "windows"))
        bench.a.send(told(1))
        link.update(returning(3, "windows"))
        bench.a.send(told(2))
        assert [frame[59] for frame in bench.a.receive(1)] in ([1], [2])
        assert bench.b.quiet()


def test_programs_learn_the_interface(bench: Bench, loaded: Object) -> None:
    """ingress_ifindex is the number of the interface that the frame came in by."""
    with loaded.programs["told"].attach(bench.hook):
        for plug, other, interface in ((bench.a, bench.b, bench.near[0]), (bench.b, bench.a, bench.near[1])):
            plug.send(told(PASS))
            other.receive(1)
            assert loaded.maps[".bss"][0]["ingress"] == socket.if_nametoindex(interface)


def settings(loaded: Object, **values: int) -> None:
    """Set variables of the programs."""
    loaded.maps[".bss"][0] = {**loaded.maps[".bss"][0], **values}


def test_redirect_to_an_interface(bench: Bench, loaded: Object) -> None:
    """bpf_redirect sends to any interface, opened when it is first needed; one that is not there loses its frames."""
    with cable() as (near, far), Plug(far) as c, loaded.programs["to_interface"].attach(bench.hook) as link:
        settings(loaded, target=socket.if_nametoindex(near))
        frames = [told(number) for number in range(50)]
        bench.a.send(*frames)
        assert c.receive(50) == frames
        settings(loaded, target=2**31 - 1)
        bench.a.send(told(0))
        until(lambda: link.stats.dropped == 1)
        settings(loaded, target=socket.if_nametoindex(bench.near[0]))
        bench.a.send(told(1))
        assert bench.a.receive(1) == [told(1)]
        assert bench.b.quiet()
        assert link.stats.verdicts == {REDIRECT: 52}


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; AssertionError after a long while."""
    for _ in range(2000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it has not come true")


def test_an_interface_that_goes_is_only_lost_for_redirects(bench: Bench, loaded: Object) -> None:
    """When a redirect's interface vanishes, frames for it are dropped and the wire goes on; a new one is found."""
    with loaded.programs["to_interface"].attach(bench.hook) as link:
        with cable() as (near, far), Plug(far) as c:
            settings(loaded, target=socket.if_nametoindex(near))
            bench.a.send(told(1))
            assert c.receive(1) == [told(1)]
        bench.a.send(*(told(2) for _ in range(10)))
        until(lambda: link.stats.events == 11)
        with cable() as (near, far), Plug(far) as c:
            settings(loaded, target=socket.if_nametoindex(near))
            bench.a.send(told(3))
            assert c.receive(1) == [told(3)]
        assert not bench.hook.wait(0)


@pytest.mark.parametrize("kind", ["index", "number"])
def test_redirect_through_a_devmap(bench: Bench, loaded: Object, kind: str) -> None:
    """A key leads to its interface; a key without one gives the action in the flags."""
    entries = loaded.maps[f"by_{kind}"]
    with loaded.programs[f"to_{kind}"].attach(bench.hook) as link:
        put(entries, 3, bench.near[1])
        put(entries, 4, bench.near[0])
        settings(loaded, target=3)
        bench.a.send(told(1))
        assert bench.b.receive(1) == [told(1)]
        settings(loaded, target=4)
        bench.a.send(told(2))
        assert bench.a.receive(1) == [told(2)]
        settings(loaded, target=5, flags=PASS)
        bench.a.send(told(3))
        assert bench.b.receive(1) == [told(3)]
        assert link.stats.verdicts == {REDIRECT: 2, PASS: 1}
        assert link.stats.dropped == 0


def put(entries: object, key: int, interface: str) -> None:
    """Write an interface into a devmap."""
    value = struct.pack("=I", socket.if_nametoindex(interface))
    entries.raw[struct.pack("=I", key)] = value.ljust(entries.spec.value_size, b"\0")


@pytest.mark.parametrize("kind", ["index", "number"])
def test_broadcast(bench: Bench, loaded: Object, kind: str) -> None:
    """BPF_F_BROADCAST sends to every interface of the map, BPF_F_EXCLUDE_INGRESS leaves out where it came from."""
    entries = loaded.maps[f"by_{kind}"]
    with cable() as (near, far), Plug(far) as c, loaded.programs[f"to_{kind}"].attach(bench.hook) as link:
        for key, interface in enumerate((*bench.near, near)):
            put(entries, key, interface)
        settings(loaded, flags=BROADCAST | EXCLUDE_INGRESS)
        bench.a.send(told(1))
        assert [bench.b.receive(1), c.receive(1)] == [[told(1)]] * 2
        assert bench.a.quiet()
        settings(loaded, flags=BROADCAST)
        bench.a.send(told(2))
        assert [plug.receive(1) for plug in (bench.a, bench.b, c)] == [[told(2)]] * 3
        assert all(plug.quiet() for plug in (bench.a, bench.b, c))
        assert link.stats.dropped == 0


def test_redirect_to_a_processor(bench: Bench, loaded: Object) -> None:
    """A cpumap only says where Linux would go on; the frame passes."""
    loaded.maps["processors"][0] = 192
    with loaded.programs["to_processor"].attach(bench.hook) as link:
        bench.a.send(told(1))
        assert bench.b.receive(1) == [told(1)]
        assert (link.stats.verdicts, link.stats.dropped) == ({REDIRECT: 1}, 0)


def test_faults_let_frames_pass(bench: Bench) -> None:
    """A run of an unverified program that stops at a bad access counts as PASS, and as an error."""
    code = assemble("r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit")
    program = anybpf.load(from_instructions(code, "xdp", "p"), unverified=True).programs["p"]
    with program.attach(bench.hook) as link:
        bench.a.send(told(DROP))
        assert bench.b.receive(1) == [told(DROP)]
        assert (link.stats.events, link.stats.errors) == (1, 1)


def test_several_programs(bench: Bench, loaded: Object) -> None:
    """Programs see a frame by priority, as long as it passes; the others go on when one is detached."""
    with loaded.programs["told"].attach(bench.hook, priority=10) as first:
        with loaded.programs["grow"].attach(bench.hook) as second:
            bench.a.send(told(DROP), told(PASS))
            assert [len(frame) for frame in bench.b.receive(1)] == [64]
            assert (first.stats.events, second.stats.events) == (2, 1)
        bench.a.send(told(PASS))
        assert bench.b.receive(1) == [told(PASS)]


def test_jumbo_frames(bench: Bench, loaded: Object) -> None:
    """Interfaces with a larger MTU carry larger frames, also merged ones."""
    for interface in (*bench.near, *bench.far):
        subprocess.run(["ip", "link", "set", interface, "mtu", "9000"], check=True)
    frame = udp(text(8972))
    whole, offload = merged(text(50_000), Offload.TCP4, 8948)
    with loaded.programs["measure"].attach(bench.hook) as link:
        bench.a.send(frame)
        assert bench.b.receive(1) == [frame]
        bench.a.send(whole, offload=offload)
        assert b"".join(body(packet) for packet in bench.b.receive(6)) == text(50_000)
        assert loaded.maps[".bss"][0]["longest"] == 9014
        assert link.stats.dropped == 0


@pytest.mark.parametrize(
    "tags", [((0x8100, 0x2064),), ((0x88A8, 100),), ((0x88A8, 100), (0x8100, 200))], ids=["802.1Q", "802.1ad", "both"]
)
def test_vlan_tags_stay(bench: Bench, loaded: Object, tags: tuple[tuple[int, int], ...]) -> None:
    """Programs and the other side see VLAN tags where they are on the wire, priority included, both ways."""
    frame = udp(text(100), tags=tags)
    with loaded.programs["measure"].attach(bench.hook):
        bench.a.send(frame)
        assert bench.b.receive(1) == [frame]
        bench.b.send(frame)
        assert bench.a.receive(1) == [frame]
        assert loaded.maps[".bss"][0]["longest"] == len(frame)


@pytest.mark.parametrize("tags", [(), ((0x8100, 5),)], ids=["untagged", "tagged"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", [Offload.TCP4, Offload.UDP], ids=["TCP", "UDP"])
def test_merged_packets_are_cut(bench: Bench, loaded: Object, kind: int, version: int, tags: tuple) -> None:
    """A merged packet reaches programs as the packets of the wire, with right checksums, in order and complete."""
    kind = Offload.TCP6 if kind == Offload.TCP4 and version == 6 else kind
    payload, size = text(60_000), 1400
    frame, offload = merged(payload, kind, size, version=version, tags=tags, flags=0x19)
    with loaded.programs["measure"].attach(bench.hook) as link:
        bench.a.send(frame, offload=offload)
        bench.a.send(told(7))
        count = -(-len(payload) // size)
        *packets, last = bench.b.receive(count + 1)
        assert last == told(7)
        assert b"".join(body(packet) for packet in packets) == payload
        assert {len(body(packet)) for packet in packets[:-1]} == {size}
        for packet in packets:
            assert rebuilt(packet) == packet
        assert loaded.maps[".bss"][0]["longest"] <= MTU + HEADER + 4
        assert link.stats.verdicts == {PASS: count + 1}
        assert link.stats.dropped == 0


def body(packet: bytes) -> bytes:
    """The payload of a TCP or UDP packet."""
    parsed = scapy.Ether(packet)
    layer = parsed.getlayer(scapy.TCP) or parsed.getlayer(scapy.UDP)
    return bytes(layer.payload)


def rebuilt(packet: bytes) -> bytes:
    """The packet with all lengths and checksums as scapy computes them."""
    parsed = scapy.Ether(packet)
    for layer, fields in ((scapy.IP, ("len", "chksum")), (scapy.IPv6, ("plen",)), (scapy.TCP, ("chksum",))):
        for name in fields if parsed.haslayer(layer) else ():
            delattr(parsed[layer], name)
    if parsed.haslayer(scapy.UDP):
        del parsed[scapy.UDP].chksum, parsed[scapy.UDP].len
    return bytes(parsed)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [1, 2, 999, 1400])
def test_checksums_left_to_hardware_are_there(bench: Bench, version: int, size: int) -> None:
    """A packet without its checksum has it when the program and the other side see it."""
    kind = Offload.TCP4 if version == 4 else Offload.TCP6
    with returning(PASS).attach(bench.hook):
        for one in (kind, Offload.UDP):
            frame, offload = merged(text(size), one, 0, version=version)
            bench.a.send(frame, offload=offload)
            (packet,) = bench.b.receive(1)
            assert packet != frame
            assert rebuilt(packet) == packet


def test_a_program_makes_room(bench: Bench, loaded: Object) -> None:
    """A program may lengthen a full frame by a tag; what then is too long for the interface is dropped and counted."""
    fits, too_long = udp(text(1472)), udp(text(1472), tags=((0x8100, 1),))
    with loaded.programs["grow"].attach(bench.hook) as link:
        bench.a.send(fits)
        assert bench.b.receive(1) == [fits[:12] + bytes.fromhex("81000009") + fits[12:]]
        bench.a.send(too_long)
        until(lambda: link.stats.dropped == 1)


def test_tcp_with_offloads_is_intact(loaded: Object) -> None:
    """A TCP stream between hosts that leave work to hardware arrives, and programs see wire packets only."""
    require()
    sent, got = text(20_000_000, 1), []
    with lab() as net, loaded.programs["measure"].attach(Inline(net.left, net.right)) as link:
        with net.b.entered():
            server = socket.create_server((net.b.address, 5000))
        with net.a.entered():
            client = socket.socket()
        with server, client:
            thread = threading.Thread(target=lambda: got.append(take(server)))
            thread.start()
            client.settimeout(60)
            client.connect((net.b.address, 5000))
            client.sendall(sent)
            client.close()
            thread.join()
        assert got == [sent]
        assert loaded.maps[".bss"][0]["longest"] == MTU + HEADER
        assert link.stats.events > len(sent) // MTU
        for host in (net.a, net.b):
            assert bad_checksums(host.run("cat", "/proc/net/snmp").stdout) == 0


def take(server: socket.socket) -> bytes:
    """All that the first client sends."""
    server.settimeout(60)
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as stream:
        return stream.read()


def bad_checksums(counters: str) -> int:
    """TCP segments that a host refused for their checksum."""
    names, values = (line.split() for line in counters.splitlines() if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["InCsumErrors"])


def test_swapping_under_traffic_loses_nothing(bench: Bench) -> None:
    """While programs replace one another, every frame meets one of them and arrives, in order."""
    frames = [udp(struct.pack(">I", number) + bytes(14)) for number in range(20_000)]
    with returning(PASS).attach(bench.hook) as link:
        both = (returning(PASS), returning(PASS))
        for number in range(0, len(frames), 100):
            bench.a.send(*frames[number : number + 100])
            link.update(both[number // 100 % 2])
            assert bench.b.receive(100) == frames[number : number + 100]
        assert (link.stats.events, link.stats.dropped) == (len(frames), 0)


def test_what_does_not_fit_is_counted(bench: Bench, loaded: Object) -> None:
    """Frames that come faster than they are handled are counted as dropped, and no other."""
    frames = [udp(bytes(18))] * 6000
    with loaded.programs["slow"].attach(bench.hook) as link:
        bench.a.send(*frames)
        until(lambda: link.stats.events + link.stats.dropped == len(frames))
        assert link.stats.dropped > 0
    assert link.stats.dropped + link.stats.events == len(frames)


def promiscuous(interface: str) -> bool:
    """Whether somebody has made an interface promiscuous."""
    shown = subprocess.run(["ip", "-d", "link", "show", interface], capture_output=True, text=True, check=True).stdout
    return "promiscuity 0" not in shown


def test_detaching_leaves_nothing(bench: Bench, loaded: Object) -> None:
    """Descriptors, threads and promiscuous mode are gone at once, and the hook can be used again."""
    returning(PASS).attach(bench.hook).detach()
    with cable() as (near, _):
        settings(loaded, target=socket.if_nametoindex(near))
        before = descriptors()
        for _ in range(3):
            with loaded.programs["to_interface"].attach(bench.hook) as link:
                assert promiscuous(bench.near[0])
                bench.a.send(told(0))
                until(lambda link=link: link.stats.events == 1)
            assert not promiscuous(bench.near[0])
            assert not promiscuous(bench.near[1])
            assert descriptors() <= before
            assert not [thread for thread in threading.enumerate() if thread.name == "anybpf-wire"]
    bench.a.send(told(PASS))
    assert bench.b.quiet()


def test_an_interface_has_one_wire(bench: Bench) -> None:
    """A second hook on an interface, which would carry every frame on as well, is refused while the first is there."""
    near_a, near_b = bench.near
    with cable() as (other, _), returning(PASS).attach(bench.hook):
        with pytest.raises(HookError, match=f"'{near_b}' is taken by another inline or tap hook"):
            returning(PASS).attach(Inline(other, near_b))
        returning(PASS).attach(Inline(bench.far[0], other)).detach()  # nothing of the one refused is left
    with returning(PASS).attach(Inline(near_b, near_a)):
        bench.a.send(told(PASS))
        assert bench.b.receive(1) == [told(PASS)]


def test_a_forked_child_ends_its_copy_only(bench: Bench) -> None:
    """A child that detaches what it inherited takes nothing from its parent."""
    with returning(PASS).attach(bench.hook) as link:
        child = os.fork()
        if child == 0:
            link.detach()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        bench.a.send(told(PASS))
        assert bench.b.receive(1) == [told(PASS)]
        assert not bench.hook.wait(0)


def test_waiting_costs_nothing(bench: Bench) -> None:
    """While no frames come, the wire's thread is not run at all."""
    with returning(PASS).attach(bench.hook):
        (thread,) = (one for one in threading.enumerate() if one.name == "anybpf-wire")
        status = Path(f"/proc/self/task/{thread.native_id}/status")
        bench.a.send(told(PASS))
        bench.b.receive(1)
        time.sleep(0.1)
        switches = re.findall(r"ctxt_switches:\t(\d+)", status.read_text())
        time.sleep(0.5)
        assert re.findall(r"ctxt_switches:\t(\d+)", status.read_text()) == switches


def test_an_interface_that_is_gone_ends_it(bench: Bench) -> None:
    """Taking one side away ends the hook with one sentence; detaching leaves nothing, attaching again says why not."""
    link = returning(PASS).attach(bench.hook)
    assert not bench.hook.wait(0)
    subprocess.run(["ip", "link", "del", bench.near[1]], check=True)
    with pytest.raises(HookError, match=f"^interface '{bench.near[1]}' has gone; attach again when it is back$"):
        bench.hook.wait(20)
    link.detach()
    assert not promiscuous(bench.near[0])
    with pytest.raises(HookError, match=f"^there is no interface '{bench.near[1]}'"):
        returning(PASS).attach(bench.hook)
    assert not promiscuous(bench.near[0])


def test_an_interface_that_goes_down_comes_back(bench: Bench) -> None:
    """While an interface is down nothing passes; when it is up again, everything does."""
    subprocess.run(["ip", "link", "set", bench.near[0], "down"], check=True)
    with returning(PASS).attach(bench.hook):
        subprocess.run(["ip", "link", "set", bench.near[0], "up"], check=True)
        until(lambda: passes(bench))
        subprocess.run(["ip", "link", "set", bench.near[0], "down"], check=True)
        bench.b.send(told(1))
        assert not bench.hook.wait(0.3)
        subprocess.run(["ip", "link", "set", bench.near[0], "up"], check=True)
        until(lambda: passes(bench))


def passes(bench: Bench) -> bool:
    """Whether a frame gets from a to b."""
    bench.a.send(told(2))
    return told(2) in bench.b.receive(1, 0.2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("no-such-if", "lo"), "^there is no interface 'no-such-if'; there are lo"),
        (("a\0b", "lo"), r"^there is no interface 'a\\x00b'"),
        (("lo", "no-such-if"), r"^interface 'lo' carries no Ethernet frames \(its hardware type is 772\)$"),
    ],
)
def test_interfaces_that_cannot_be_joined(names: tuple[str, str], message: str) -> None:
    """An interface that is not there, or is no Ethernet, is refused in one sentence, with nothing left open."""
    require()
    made, before = returning(PASS), descriptors()
    with pytest.raises(HookError, match=message):
        made.attach(Inline(*names))
    assert descriptors() <= before


def test_privilege_is_asked_for(bench: Bench) -> None:
    """A thread without CAP_NET_RAW is told what is missing, in one sentence."""
    raised: list[BaseException] = []

    def attach() -> None:
        head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None, use_errno=True).capset(head, sets) == 0
        try:
            returning(PASS).attach(bench.hook)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=attach)
    thread.start()
    thread.join()
    assert isinstance(raised[0], HookError)
    assert str(raised[0]) == (
        f"interface {bench.near[0]!r} cannot be opened: packet sockets need root or the capability CAP_NET_RAW; "
        "run as root"
    )


@pytest.mark.parametrize("argument", ["", "eth1", "eth1,", "eth1,eth2,eth3", "eth1,eth1"])
def test_arguments_that_are_none(argument: str) -> None:
    """The command line's words name two interfaces, or one sentence says that they do not."""
    with pytest.raises(HookError, match="joins two interfaces"):
        from_argument(argument)
    assert from_argument("eth1, eth2").parameters == {"a": "eth1", "b": "eth2"}


def test_other_programs_are_refused() -> None:
    """Programs that are no XDP programs of interfaces are refused before anything is opened."""
    for section in ("tc", "xdp/devmap"):
        (other,) = anybpf.load(from_instructions(assemble("r0 = 0\nexit"), section, "p")).programs.values()
        with pytest.raises(HookError, match="which the inline hook does not run"):
            other.attach(Inline("eth1", "eth2"))


@pytest.mark.parametrize(("system", "words"), [("darwin", "macOS has no"), ("win32", "Windows has no"), ("aix", "aix")])
def test_other_systems_say_what_is_missing(monkeypatch: pytest.MonkeyPatch, system: str, words: str) -> None:
    """Where there are no packet sockets or TAP interfaces, opening one names what this system lacks."""
    monkeypatch.setattr(sys, "platform", system)
    for refuse in (lambda: interfaces_other.PacketSocket("en0"), lambda: interfaces_other.TapDevice("t0")):
        with pytest.raises(UnsupportedError, match=f"^{words}.*; this hook needs Linux$"):
            refuse()
