"""Netfilter queues: programs on the packets of hosts that stay as they are, with rules that leave nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import anybpf
from anybpf.elf import from_instructions
from anybpf.errors import HookError, UnsupportedError
from anybpf.hooks.nfqueue import QueueRule, expressions
from anybpf.hooks.queue import Queue, from_argument
from anybpf.isa import assemble
from anybpf.runtime import Link, Object, Program
from compiling import compiled, sample
from netlab import Host, Lab, lab, require
from traffic import website

pytestmark = pytest.mark.linux_only

ABORTED, DROP, PASS, TX, REDIRECT = range(5)
NUMBER = 7  # of the queue; each host has its own
HEADERS = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";

static __always_inline __attribute__((unused)) void replace(__be16 *field, __be16 value, __u16 *sum)
{
    __u32 total = (__u16)~*sum + (__u16)~*field + value;
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    *sum = ~total;
    *field = value;
}
"""
#: Port 8080 outside is port 80 inside, in both directions; `longest` frame that was seen.
PORTS = """
__u32 longest;

SEC("xdp") int ports(struct xdp_md *ctx)
{
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = (void *)(long)ctx->data;
    struct iphdr *ip = (void *)(eth + 1);
    struct tcphdr *tcp = (void *)(ip + 1);
    if (end - (void *)eth > longest)
        longest = end - (void *)eth;
    if ((void *)(tcp + 1) > end || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
        return XDP_PASS;
    if (tcp->dest == bpf_htons(8080))
        replace(&tcp->dest, bpf_htons(80), &tcp->check);
    else if (tcp->source == bpf_htons(80))
        replace(&tcp->source, bpf_htons(8080), &tcp->check);
    return XDP_PASS;
}
"""
#: The payload of UDP datagrams becomes `delta` bytes longer; the IP header keeps its old length when `wrong`.
LENGTHS = """
int delta;
int wrong;

SEC("xdp") int lengths(struct xdp_md *ctx)
{
    struct ethhdr *eth = (void *)(long)ctx->data;
    struct iphdr *ip = (void *)(eth + 1);
    struct udphdr *udp = (void *)(ip + 1);
    if ((void *)(udp + 1) > (void *)(long)ctx->data_end || ip->protocol != IPPROTO_UDP)
        return XDP_PASS;
    if (!wrong)
        replace(&ip->tot_len, bpf_htons(bpf_ntohs(ip->tot_len) + delta), &ip->check);
    udp->len = bpf_htons(bpf_ntohs(udp->len) + delta);
    udp->check = 0;
    bpf_xdp_adjust_tail(ctx, delta);
    return XDP_PASS;
}
"""
#: What the program finds before the packet.
HEADER = """
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u8[18]);
} seen SEC(".maps");

SEC("xdp") int header(struct xdp_md *ctx)
{
    __u32 zero = 0, index = ctx->ingress_ifindex;
    __u8 *value = bpf_map_lookup_elem(&seen, &zero), *data = (void *)(long)ctx->data;
    if (value && data + 14 <= (__u8 *)(long)ctx->data_end) {
        __builtin_memcpy(value, data, 14);
        __builtin_memcpy(value + 14, &index, 4);
    }
    return XDP_PASS;
}
"""
#: UDP datagrams to port 10 are dropped, those to port 11 go to port 12.
BY_PORT = """
    r2 = *(u32 *)(r1 + 4)
    r1 = *(u32 *)(r1 + 0)
    r3 = r1
    r3 += 38
    r0 = 2
    if r3 > r2 goto end
    r3 = *(u16 *)(r1 + 36)
    if r3 == 0x0b00 goto change
    if r3 != 0x0a00 goto end
    r0 = 1
    goto end
    change:
    *(u16 *)(r1 + 36) = 0x0c00
    end:
    exit
"""


@dataclass(frozen=True)
class Net:
    """Two hosts and a router between them, none of which knows of us. ``inward``: the router's interface to ``a``."""

    a: Host
    router: Host
    b: Host
    inward: str


def put_router_between(made: Lab) -> Net:
    """Give the inner ends of both hosts' cables to a third namespace that forwards."""
    macs = {name: Path(f"/sys/class/net/{name}/address").read_text().strip() for name in (made.left, made.right)}
    router = Host(f"{made.a.namespace}r", "", "", "")
    subprocess.run(["ip", "netns", "add", router.namespace], check=True)
    sides = ((made.left, made.a, made.b), (made.right, made.b, made.a))
    for name, _, _ in sides:
        subprocess.run(["ip", "link", "set", name, "netns", router.namespace], check=True)
        router.ip("link", "set", name, "up")
    router.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
    for name, host, other in sides:
        router.sysctl(**{f"net__ipv6__conf__{name}__disable_ipv6": 0})
        for address in (host.address, host.address6):
            router.ip("route", "add", address, "dev", name)
            router.ip("neigh", "replace", address, "lladdr", host.mac, "dev", name)
        for address in (other.address, other.address6):
            host.ip("neigh", "replace", address, "lladdr", macs[name], "dev", "eth0")
    return Net(made.a, router, made.b, made.left)


@pytest.fixture
def net() -> Iterator[Net]:
    """Two hosts and a router; nothing of this package is in it."""
    require("ping", "curl")
    with lab() as made:
        try:
            made_net = put_router_between(made)
            for address in (made.b.address, made.b.address6):  # carriers and IPv6 take their time to come up
                for _ in range(50):
                    if ping(made_net, address, 1, 0.5):
                        break
            yield made_net
        finally:
            subprocess.run(["ip", "netns", "del", f"{made.a.namespace}r"], stderr=subprocess.DEVNULL, check=False)


def queue(host: Host, program: Program, hook: Queue, priority: int = 50) -> Link:
    """Attach to a queue of a host. Skips the test where the kernel has no such queues, and for no other reason."""
    with host.entered():
        try:
            return program.attach(hook, priority=priority)
        except UnsupportedError as error:
            pytest.skip(str(error))


def program(source: str | int, platform: str = "linux") -> Program:
    """An XDP program in assembly; a number: one that returns it."""
    code = assemble(f"r0 = {source}\nexit" if isinstance(source, int) else source)
    (only,) = anybpf.load(from_instructions(code, "xdp", "p"), platform=platform).programs.values()
    return only


def load(folder: Path, source: str) -> tuple[Object, Program]:
    """A verified program in C, and its object."""
    loaded = anybpf.load(compiled(folder, HEADERS + source))
    (only,) = loaded.programs.values()
    return loaded, only


def ping(net: Net, target: str, count: int = 2, wait: float = 2) -> set[int]:
    """Ping from host a; gives the sequence numbers, from 1 on, of the requests that were answered."""
    done = net.a.run("ping", "-n", "-c", str(count), "-i", "0.02", "-W", str(wait), target, check=False)
    return set(map(int, re.findall(r"icmp_seq=(\d+) ttl", done.stdout)))


def datagrams(host: Host) -> int:
    """UDP datagrams that reached a host, whether or not somebody waited for them."""
    counters = host.run("cat", "/proc/net/snmp").stdout.splitlines()
    names, values = (line.split() for line in counters if line.startswith("Udp:"))
    found = dict(zip(names[1:], map(int, values[1:]), strict=True))
    return found["InDatagrams"] + found["NoPorts"]


def frame(net: Net, size: int = 60, port: int = 9) -> bytes:
    """A UDP frame from a to b, as a puts it on the wire."""
    payload = bytes(size - 42)
    udp = struct.pack(">4H", 1024, port, 8 + len(payload), 0) + payload
    address = bytes.fromhex(net.a.mac.replace(":", ""))
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    ip += socket.inet_aton(net.a.address) + socket.inet_aton(net.b.address)
    total = sum(struct.unpack(">10H", ip))
    checksum = ~(total % 0xFFFF) & 0xFFFF
    target = net.a.run("ip", "neigh", "show", net.b.address).stdout.split("lladdr ")[1].split()[0]
    return (
        bytes.fromhex(target.replace(":", ""))
        + address
        + b"\x08\0"
        + ip[:10]
        + struct.pack(">H", checksum)
        + ip[12:]
        + udp
    )


def queues(host: Host) -> str:
    """What the kernel says of a host's queues."""
    return host.run("cat", "/proc/net/netfilter/nfnetlink_queue").stdout


def descriptors() -> dict[int, str]:
    """What this process has open."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def threads() -> list[str]:
    """Our threads that serve queues."""
    return [thread.name for thread in threading.enumerate() if "Queue" in thread.name]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("chain", ["input", "forward"])
def test_ping_loses_what_the_filter_says(net: Net, chain: str, version: int) -> None:
    """Of the echo requests that a host receives or forwards exactly those are lost that the program drops."""
    target = net.b.address if version == 4 else net.b.address6
    host = net.b if chain == "input" else net.router
    loaded = anybpf.load(sample("ping_filter"))
    loaded.maps["every"][0] = 4
    with queue(host, loaded.programs["ping_filter"], Queue(NUMBER, chain=chain)) as link:
        assert ping(net, target, 12) == {n for n in range(1, 13) if n % 4}
        assert list(loaded.maps["echoes"].values()) == [9, 3]
        assert link.stats.verdicts[DROP] == 3
        assert link.stats.dropped == 0
    assert ping(net, target) == {1, 2}


def test_a_web_server_behind_rewritten_ports(net: Net, tmp_path: Path) -> None:
    """TCP works through programs that rewrite ports both ways, while hosts leave merging and checksums to hardware."""
    loaded, ports = load(tmp_path, PORTS)
    page, form = os.urandom(2_000_000), os.urandom(1_000_000)
    (tmp_path / "form").write_bytes(form)
    url = f"http://{net.b.address}:8080/"
    with (
        website(net.b, page),
        queue(net.b, ports, Queue(1, chain="input")),
        queue(net.b, ports, Queue(2, chain="output")),
    ):
        got = subprocess.run(net.a.command("curl", "-sS", "-m", "30", url), capture_output=True, timeout=60, check=True)
        assert hashlib.sha256(got.stdout).digest() == hashlib.sha256(page).digest()
        sent = net.a.run("curl", "-sS", "-m", "30", "--data-binary", f"@{tmp_path / 'form'}", url)
        assert sent.stdout == hashlib.sha256(form).hexdigest()
        assert loaded.maps[".bss"][0] == {"longest": 1514}


@pytest.mark.parametrize(("delta", "wrong"), [(-4, False), (4, False), (-4, True)])
def test_packets_may_change_their_length(net: Net, tmp_path: Path, delta: int, wrong: bool) -> None:
    """A datagram arrives longer or shorter; one whose header lies about that is dropped, and counted."""
    loaded, lengths = load(tmp_path, LENGTHS)
    loaded.maps[".bss"][0] = {"delta": delta, "wrong": int(wrong)}
    with net.b.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with net.a.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client, queue(net.b, lengths, Queue(NUMBER, chain="input")) as link:
        server.bind((net.b.address, 5000))
        server.settimeout(0.3 if wrong else 20)
        client.sendto(b"0123456789", server.getsockname())
        if wrong:
            with pytest.raises(TimeoutError):
                server.recv(100)
        else:
            assert server.recv(100) == (b"0123456789" + bytes(4))[: 10 + delta]
        assert (link.stats.verdicts, link.stats.dropped) == ({PASS: 1}, int(wrong))


def test_programs_find_an_ethernet_header(net: Net, tmp_path: Path) -> None:
    """Packets that came in have the sender's address and their interface, packets that are sent zeros."""
    loaded, header = load(tmp_path, HEADER)
    index = net.b.run("cat", "/sys/class/net/eth0/ifindex").stdout
    with queue(net.b, header, Queue(1, chain="input")):
        assert ping(net, net.b.address, 1) == {1}
        seen = bytes(loaded.maps["seen"][0])
        sender = net.router.run("ip", "-br", "link").stdout
        assert seen[6:12].hex(":") in sender
        assert (seen[:6], seen[12:14], seen[14:]) == (bytes(6), b"\x08\0", struct.pack("=I", int(index)))
    with queue(net.b, header, Queue(2, chain="output")):
        assert ping(net, net.b.address6, 1) == {1}
        assert bytes(loaded.maps["seen"][0]) == bytes(12) + b"\x86\xdd" + bytes(4)


@pytest.mark.parametrize(
    ("verdict", "platform"), [(ABORTED, "linux"), (TX, "linux"), (REDIRECT, "linux"), (2, "windows")]
)
def test_what_is_not_pass_drops(net: Net, verdict: int, platform: str) -> None:
    """Whatever else a program says, Linux's or Windows', the packet is dropped and counted as what was said."""
    with queue(net.b, program(verdict, platform), Queue(NUMBER, chain="input")) as link:
        assert ping(net, net.b.address, wait=0.3) == set()
        assert (link.stats.verdicts, link.stats.dropped) == ({verdict: 2}, 0)
        link.update(program(1 if platform == "windows" else PASS, platform))
        assert ping(net, net.b.address) == {1, 2}


def test_another_protocol_cannot_go_on(net: Net) -> None:
    """A packet whose EtherType the program has changed is dropped, and counted as lost."""
    tag = """
        r2 = *(u32 *)(r1 + 4)
        r1 = *(u32 *)(r1 + 0)
        r3 = r1
        r3 += 14
        if r3 > r2 goto end
        *(u16 *)(r1 + 12) = 0x81
        end:
        r0 = 2
        exit
    """
    with queue(net.b, program(tag), Queue(NUMBER, chain="input")) as link:
        assert ping(net, net.b.address, wait=0.3) == set()
    assert (link.stats.verdicts, link.stats.dropped) == ({PASS: 2}, 2)


def test_several_programs_share_a_queue(net: Net) -> None:
    """Programs run by priority, a later one sees only what passed, and the rest go on when one is detached."""
    hook = Queue(NUMBER, chain="input")
    first = queue(net.b, program(PASS), hook, 10)
    second = hook.attach(program(DROP), priority=20)
    assert ping(net, net.b.address, wait=0.3) == set()
    second.detach()
    assert ping(net, net.b.address) == {1, 2}
    assert (first.stats.events, second.stats.events, hook.wait(0)) == (4, 2, False)
    first.detach()
    assert hook.wait(0) is True


def test_detaching_loses_nothing(net: Net, tmp_path: Path) -> None:
    """Under load, attaching, updating and detaching lose no packet: all that were sent arrive."""
    before = datagrams(net.b)
    with net.a.flood([frame(net)], tmp_path, rate=20_000) as generator:
        for _ in range(5):
            with queue(net.b, program(PASS), Queue(NUMBER, chain="input")) as link:
                while link.stats.events < 2000:
                    link.update(program(PASS))
        sent = generator.finish(stop=True)
    assert threads() == []
    assert queues(net.b) == ""
    assert datagrams(net.b) - before == sent


def test_every_packet_of_a_burst_gets_its_own_verdict(net: Net, tmp_path: Path) -> None:
    """Of many packets that wait at once, each passes, is dropped, or is changed, as the program said of it."""
    ports = (9, 10, 10, 11, 9, 11, 11, 10)
    count = 800 * len(ports)
    with net.b.entered(), contextlib.ExitStack() as stack:
        receivers = {
            port: stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for port in range(9, 13)
        }
        for port, receiver in receivers.items():
            receiver.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
            receiver.bind((net.b.address, port))
            receiver.setblocking(False)
        with queue(net.b, program(BY_PORT), Queue(NUMBER, chain="input", depth=1 << 16)) as link:
            with net.a.flood([frame(net, port=port) for port in ports], tmp_path, count=count) as generator:
                assert generator.finish() == count
            assert ping(net, net.b.address, 1) == {1}  # what came before it has been decided
        assert link.stats.verdicts == {PASS: count * 5 // 8 + 1, DROP: count * 3 // 8}
        arrived = {
            port: sum(1 for _ in iter(lambda r=receiver: received(r), None)) for port, receiver in receivers.items()
        }
    assert arrived == {9: count // 4, 10: 0, 11: 0, 12: count * 3 // 8}


@pytest.mark.parametrize(("size", "changed"), [(20_000, True), (65_507, False)])
def test_large_datagrams(net: Net, size: int, changed: bool) -> None:
    """What came in fragments is seen whole; what is larger than the kernel hands over may pass, but not be changed."""
    content, stack = os.urandom(size), contextlib.ExitStack()
    with net.b.entered():
        receivers = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for receiver, port in zip(receivers, (9, 12), strict=True):
            receiver.bind((net.b.address, port))
            receiver.settimeout(20 if changed or port == 9 else 0.3)
    with net.a.entered():
        sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sender.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK: the program leaves the checksum as it is
    with stack, queue(net.b, program(BY_PORT), Queue(NUMBER, chain="input")) as link:
        sender.sendto(content, (net.b.address, 9))
        assert receivers[0].recv(1 << 16) == content
        sender.sendto(content, (net.b.address, 11))
        with contextlib.nullcontext() if changed else pytest.raises(TimeoutError):
            assert receivers[1].recv(1 << 16) == content
        assert (link.stats.verdicts, link.stats.dropped) == ({PASS: 2}, int(not changed))


def received(receiver: socket.socket) -> bytes | None:
    """A datagram that waits; None when there is none."""
    try:
        return receiver.recv(2000)
    except BlockingIOError:
        return None


@pytest.mark.parametrize("fail_open", [True, False])
def test_a_full_queue(net: Net, tmp_path: Path, fail_open: bool) -> None:
    """Packets that find the queue full go on unseen, or are dropped and counted: none is unaccounted for."""
    slow = """
        r1 = 100000
        more:
        r1 += -1
        if r1 != 0 goto more
        r0 = 2
        exit
    """
    before, count = datagrams(net.b), 5000
    hook = Queue(NUMBER, chain="input", depth=8, fail_open=fail_open)
    with queue(net.b, program(slow), hook) as link:
        with net.a.flood([frame(net)], tmp_path, count=count) as generator:
            assert generator.finish() == count
        ping(net, net.b.address, 1)  # what came before it has been decided
        assert link.stats.events < count
        arrived = datagrams(net.b) - before
    assert arrived == (count if fail_open else count - link.stats.dropped)
    assert (link.stats.dropped == 0) == fail_open


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
def test_nothing_is_left_of_a_process_that_ends(net: Net, end: str) -> None:
    """However a process with a queue ends, packets flow again, and its rule and its queue are gone."""
    source = "import sys, anybpf; from anybpf.hooks import queue; from running import load; import time; link = "
    source += (
        "load('r0 = 1; exit'.replace(';', chr(10)), 'xdp').programs['program'].attach(queue.Queue(7, chain='input'));"
    )
    source += "print('attached', flush=True); link.hook.wait()"
    with net.b.process(
        sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {source}", ready="attached"
    ) as child:
        assert ping(net, net.b.address, wait=0.3) == set()
        child.send_signal(signal.Signals[end])
        child.wait(30)
    assert ping(net, net.b.address) == {1, 2}
    assert queues(net.b) == ""
    with queue(net.b, program(DROP), Queue(7, chain="input")):  # the name of the table is free again
        assert ping(net, net.b.address, wait=0.3) == set()


def test_an_interface_can_be_chosen(net: Net) -> None:
    """A rule of ours may name the one interface whose packets it means."""
    with queue(net.b, program(DROP), Queue(NUMBER, chain="input", interface="lo")) as link:
        assert ping(net, net.b.address) == {1, 2}
    with queue(net.b, program(DROP), Queue(NUMBER, chain="output", interface="eth0")) as link:
        assert ping(net, net.b.address, wait=0.3) == set()
        assert dict(link.parameters) == {"number": NUMBER, "chain": "output", "interface": "eth0"}


def test_the_rule_is_what_nft_makes() -> None:
    """In nftables' own words our rule is, byte for byte, nft 1.0.6's for ``iifname "eth0" queue num 5 bypass``."""
    sent = """
        24000180 09000100 6d657461 00000000 14000280 08000200 00000006 08000100 00000001
        38000180 08000100 636d7000 2c000280 08000100 00000001 08000200 00000000
        18000380 14000100 65746830 00000000 00000000 00000000
        2c000180 0a000100 71756575 65000000 1c000280 06000100 00050000 06000200 00010000 06000300 00010000
    """
    assert expressions(5, "input", "eth0", native=True) == bytes.fromhex(sent)


def test_a_rule_of_the_user(net: Net) -> None:
    """With a rule of iptables, packets go to whoever serves the queue, and by when nobody does."""
    require("iptables")
    rule = ("INPUT", "-p", "icmp", "-j", "NFQUEUE", "--queue-num", str(NUMBER), "--queue-bypass")
    net.b.run("iptables", "-A", *rule)
    assert ping(net, net.b.address) == {1, 2}
    with queue(net.b, program(DROP), Queue(NUMBER)):
        assert ping(net, net.b.address, wait=0.3) == set()
    assert ping(net, net.b.address) == {1, 2}


def test_a_queue_in_use(net: Net) -> None:
    """Who asks for a queue that somebody else serves is told so, and nothing of the attempt is left."""
    held = Queue(NUMBER, chain="input")
    with queue(net.b, program(PASS), held):
        before = descriptors()
        with pytest.raises(HookError, match=f"^netfilter queue {NUMBER} is in use by another program"):
            queue(net.b, program(DROP), Queue(NUMBER))
        assert descriptors() == before
        assert ping(net, net.b.address) == {1, 2}
        queue(net.b, program(DROP), Queue(NUMBER + 1)).detach()  # another number is free


def test_a_queue_that_fails(net: Net) -> None:
    """When the queue's socket fails, who waits is told why, packets go on unseen, and detaching works all the same."""
    hook = Queue(NUMBER)
    with net.b.entered(), QueueRule(NUMBER, "input", None), open(os.devnull, "rb") as nothing:
        before = descriptors()
        with queue(net.b, program(DROP), hook) as link:
            opened = descriptors().items() - before.items()
            (socket_of_ours,) = (number for number, target in opened if target.startswith("socket:"))
            os.dup2(nothing.fileno(), socket_of_ours)
            ping(net, net.b.address, 1, wait=0.3)  # wakes it
            with pytest.raises(HookError, match=f"^netfilter queue {NUMBER} ended: "):
                hook.wait(30)
            assert ping(net, net.b.address) == {1, 2}
        assert not link.attached
        assert descriptors() == before
    assert threads() == []


def test_without_the_privilege(net: Net) -> None:
    """A thread that may not administer the network is told what is missing, in one sentence."""
    raised: list[BaseException] = []

    def attach() -> None:
        drop_capabilities()
        try:
            program(PASS).attach(Queue(NUMBER))
        except BaseException as error:
            raised.append(error)

    queue(net.b, program(PASS), Queue(NUMBER)).detach()  # the kernel could do it
    thread = threading.Thread(target=attach)
    thread.start()
    thread.join()
    assert isinstance(raised[0], HookError)
    assert str(raised[0]) == "a netfilter queue takes the privilege CAP_NET_ADMIN; run as root"


def drop_capabilities() -> None:
    """Take all effective capabilities from the calling thread."""
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    sets = (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None, use_errno=True).capset(head, sets) == 0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "names no netfilter queue"),
        ("x", "names no netfilter queue"),
        ("65536", "out of range"),
        ("5,prerouting", "no chain 'prerouting'"),
        ("5,input,", None),
        ("5,,eth0", "name the chain, too"),
        ("5,input,an-interface-name", "no name of an interface"),
        ("5", None),
        ("5,forward,eth0", None),
    ],
)
def test_arguments(argument: str, message: str | None) -> None:
    """The command line's words make a hook, or one sentence says what is wrong with them."""
    with contextlib.ExitStack() as stack:
        if message is not None:
            stack.enter_context(pytest.raises(HookError, match=message))
        hook = from_argument(argument)
        assert ",".join(map(str, hook.parameters.values())) == argument.rstrip(",")


def test_other_programs_are_refused() -> None:
    """Programs that are no XDP programs are refused before anything is opened."""
    (tc,) = anybpf.load(from_instructions(assemble("r0 = 0\nexit"), "tc", "p")).programs.values()
    with pytest.raises(
        HookError, match="which the queue hook does not run; it runs linux xdp and windows xdp programs"
    ):
        tc.attach(Queue(NUMBER))
