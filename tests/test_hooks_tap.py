"""Tap: an interface of ours, the host's own stack behind it, and programs in between."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import anybpf
from anybpf.elf import from_instructions
from anybpf.errors import HookError
from anybpf.hooks.tap import Tap, from_argument
from anybpf.isa import assemble
from anybpf.runtime import Link, Object, Program
from compiling import compiled, require_clang
from netlab import cable, require
from rawframes import MAC_A, Plug, descriptors, ipv4, udp

pytestmark = pytest.mark.linux_only

DROP, PASS, REDIRECT = 1, 2, 4
#: The host's address at the interface, and another one of the same network.
HERE, THERE = f"10.214.{os.getpid() % 250}.1", f"10.214.{os.getpid() % 250}.2"

PROGRAMS = """
#include <linux/bpf.h>
#include <linux/icmp.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
char _license[] SEC("license") = "GPL";

__u32 target, ingress, longest;

/* Answers every ping; all else passes. */
SEC("xdp") int answer(struct xdp_md *ctx)
{
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = (void *)(long)ctx->data;
    struct iphdr *ip = (void *)(eth + 1);
    struct icmphdr *icmp = (void *)(ip + 1);
    __u8 mac[ETH_ALEN];
    __be32 address;
    ingress = ctx->ingress_ifindex;
    if ((void *)(icmp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_ICMP)
        return XDP_PASS;
    if (icmp->type != ICMP_ECHO)
        return XDP_PASS;
    if (end - (void *)eth > longest)
        longest = end - (void *)eth;
    __builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
    __builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
    __builtin_memcpy(eth->h_source, mac, ETH_ALEN);
    address = ip->daddr;
    ip->daddr = ip->saddr;
    ip->saddr = address;
    icmp->type = ICMP_ECHOREPLY;
    __u32 sum = (__u16)~icmp->checksum + (__u16)~bpf_htons(ICMP_ECHO << 8);
    sum = (sum & 0xffff) + (sum >> 16);
    icmp->checksum = ~((sum & 0xffff) + (sum >> 16));
    return XDP_TX;
}

SEC("xdp") int away(struct xdp_md *ctx __attribute__((unused))) { return bpf_redirect(target, 0); }
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Object]:
    """PROGRAMS."""
    require_clang()
    with anybpf.load(compiled(tmp_path_factory.mktemp("tap"), PROGRAMS)) as made:
        yield made


def returning(number: int) -> Program:
    """An XDP program that returns a number."""
    return anybpf.load(from_instructions(assemble(f"r0 = {number}\nexit"), "xdp", "p")).programs["p"]


_names = iter(f"t{os.getpid()}n{number}" for number in range(1000))


@pytest.fixture
def tap() -> Tap:
    """A hook with an interface that is not there yet."""
    require("ping")
    return Tap(next(_names))


def attach(tap: Tap, program: Program) -> Link:
    """Attach, and give the interface an address and the neighbour THERE. Skips where there is no TAP driver."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun (the kernel's module tun)")
    link = program.attach(tap)
    for command in (
        ("sysctl", "-q", "-w", f"net.ipv6.conf.{tap.interface}.disable_ipv6=1"),
        ("ip", "addr", "add", f"{HERE}/24", "dev", tap.interface),
        ("ip", "neigh", "replace", THERE, "lladdr", MAC_A.hex(":"), "dev", tap.interface),
    ):
        subprocess.run(command, check=True)
    return link


def received(tap: Tap, mark: bytes) -> bytes:
    """The next frame that passed with ``mark`` in it; others are what the host says by itself."""
    while (frame := tap.receive(20)) is not None:
        if mark in frame:
            return frame
    raise AssertionError("the frame has not come")


def arrives(plug: Plug, mark: bytes) -> bool:
    """Whether a frame with ``mark`` in it comes out of a cable."""
    while frames := plug.receive(1):
        if mark in frames[0]:
            return True
    return False


def datagram(mark: bytes) -> None:
    """Have the host send a datagram to THERE."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(mark, (THERE, 9))


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; AssertionError after a long while."""
    for _ in range(2000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it has not come true")


def test_a_program_answers_the_host(tap: Tap, loaded: Object) -> None:
    """What the host sends is an event, and what is sent back arrives at its stack: ping works against a program."""
    with attach(tap, loaded.programs["answer"]) as link:
        shown = subprocess.run(["ping", "-c", "5", "-i", "0.02", "-s", "1472", THERE], capture_output=True, text=True)
        assert len(re.findall("icmp_seq=\\d+ ttl", shown.stdout)) == 5, shown.stdout
        assert loaded.maps[".bss"][0]["ingress"] == socket.if_nametoindex(tap.interface)
        assert loaded.maps[".bss"][0]["longest"] == 1514
        assert link.stats.verdicts[3] == 5


def test_what_passes_is_the_owners(tap: Tap) -> None:
    """Frames that pass are given to receive(), whole and with their checksums; what is dropped is not."""
    with attach(tap, returning(PASS)) as link:
        datagram(b"to be received")
        frame = received(tap, b"to be received")
        assert frame[:6] == MAC_A
        sums = struct.unpack(">10H", frame[14:34])
        assert sum(sums) % 0xFFFF == 0
        link.update(returning(DROP))
        datagram(b"to be dropped")
        until(lambda: link.stats.verdicts.get(DROP, 0) >= 1)
        link.update(returning(PASS))
        datagram(b"the next")
        while (frame := tap.receive(20)) and b"the next" not in frame:
            assert b"to be dropped" not in frame
        assert link.stats.dropped == 0


def test_the_owner_sends(tap: Tap) -> None:
    """A frame given to send() arrives at the host, past the programs."""
    with attach(tap, returning(DROP)) as link, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HERE, 0))
        server.settimeout(20)
        payload = struct.pack(">HHHH", 9, server.getsockname()[1], 8 + 5, 0) + b"hello"
        header = bytearray(ipv4(17, len(payload)))
        header[12:20] = socket.inet_aton(THERE) + socket.inet_aton(HERE)
        header[10:12] = b"\0\0"
        header[10:12] = struct.pack(">H", ~(sum(struct.unpack(">10H", header)) % 0xFFFF) & 0xFFFF)
        own = bytes.fromhex(Path(f"/sys/class/net/{tap.interface}/address").read_text().replace(":", ""))
        before = link.stats.events
        tap.send(own + MAC_A + b"\x08\0" + bytes(header) + payload)
        assert server.recv(100) == b"hello"
        assert link.stats.events == before


def test_a_second_interface(tap: Tap) -> None:
    """With ``to``, frames that pass leave by that interface, and what comes in there reaches the host."""
    with cable() as (near, far), Plug(far) as plug:
        tap.to = near
        with attach(tap, returning(PASS)) as link:
            datagram(b"outward")
            assert arrives(plug, b"outward")
            echo = udp(b"inward")
            plug.send(echo)
            counter = Path(f"/sys/class/net/{tap.interface}/statistics/rx_packets")
            until(lambda: int(counter.read_text()) >= 1)
            assert dict(link.parameters) == {"interface": tap.interface, "to": near}
            with pytest.raises(HookError, match="go out by"):
                tap.receive(0)


def test_redirect(tap: Tap, loaded: Object) -> None:
    """bpf_redirect leads out of the interface to any other."""
    with cable() as (near, far), Plug(far) as plug, attach(tap, loaded.programs["away"]):
        loaded.maps[".bss"][0] = {**loaded.maps[".bss"][0], "target": socket.if_nametoindex(near)}
        datagram(b"redirected")
        assert arrives(plug, b"redirected")


def test_what_nobody_takes_is_counted(tap: Tap) -> None:
    """When so many frames wait for the owner that there is no more room, the rest is dropped and counted."""
    with attach(tap, returning(PASS)) as link:
        while link.stats.dropped == 0:
            datagram(bytes(1400))
        waiting = 0
        while tap.receive(0) is not None:
            waiting += 1
        until(lambda: link.stats.events == link.stats.verdicts[PASS])
        assert waiting > 0


def test_detaching_leaves_nothing(tap: Tap) -> None:
    """Interface, descriptors and threads go with the link, also for an owner who waits; it can be made again."""
    attach(tap, returning(PASS)).detach()
    before = descriptors()
    for _ in range(2):
        link, got = attach(tap, returning(PASS)), []
        waiting = threading.Thread(target=lambda got=got: got.append(drain(tap)))
        waiting.start()
        datagram(b"x")
        until(lambda link=link: link.stats.events > 0)
        link.detach()
        waiting.join(20)
        assert got == [True]
        assert not Path("/sys/class/net", tap.interface).exists()
        assert descriptors() <= before
        assert not [thread for thread in threading.enumerate() if thread.name == "anybpf-wire"]
        for call in (lambda: tap.receive(0), lambda: tap.send(b"")):
            with pytest.raises(HookError, match="attach one first"):
                call()


def drain(tap: Tap) -> bool:
    """Take frames until there will be no more."""
    with contextlib.suppress(HookError):
        while tap.receive() is not None:
            pass
    return True


def test_an_interface_that_was_there_stays(tap: Tap) -> None:
    """A TAP interface that somebody else made for keeps is used, and left as it was made."""
    attach(tap, returning(PASS)).detach()
    subprocess.run(["ip", "tuntap", "add", tap.interface, "mode", "tap"], check=True)
    try:
        with attach(tap, returning(PASS)):
            datagram(b"through it")
            assert received(tap, b"through it")
        assert Path("/sys/class/net", tap.interface).exists()
    finally:
        subprocess.run(["ip", "tuntap", "del", tap.interface, "mode", "tap"], check=True)


def test_an_interface_that_is_deleted_ends_it(tap: Tap) -> None:
    """Somebody takes the interface away: wait() says so in one sentence, and detaching is quiet."""
    link = attach(tap, returning(PASS))
    subprocess.run(["ip", "link", "del", tap.interface], check=True)
    with pytest.raises(HookError, match=f"^interface '{tap.interface}' has gone; attach again when it is back$"):
        tap.wait(20)
    link.detach()


@pytest.mark.parametrize(
    ("interface", "to", "message"),
    [
        ("", None, "is no interface's name"),
        ("a/b", None, "is no interface's name"),
        ("a\0\udc80", None, "is no interface's name"),
        ("sixteen-letters-", None, "is no interface's name"),
        ("lo", None, "^TAP interface 'lo' cannot be made: an interface of another kind has this name; choose another$"),
        ("", "no-such-if", "is no interface's name"),
    ],
)
def test_names_that_cannot_be(interface: str, to: str | None, message: str) -> None:
    """A name that no interface can have, or that another one has, is refused in one sentence."""
    require()
    made, before = returning(PASS), descriptors()
    with pytest.raises(HookError, match=message):
        made.attach(Tap(interface, to))
    assert descriptors() <= before


def test_a_second_interface_that_is_missing(tap: Tap) -> None:
    """When the second interface is not there, the first does not stay either."""
    attach(tap, returning(PASS)).detach()
    tap.to = "no-such-if"
    with pytest.raises(HookError, match=r"^there is no interface 'no-such-if'"):
        returning(PASS).attach(tap)
    assert not Path("/sys/class/net", tap.interface).exists()


@pytest.mark.parametrize("argument", ["", ",eth1", "t0,", "t0,eth1,eth2", "t0,t0"])
def test_arguments_that_are_none(argument: str) -> None:
    """The command line's words name one or two interfaces, or one sentence says that they do not."""
    with pytest.raises(HookError, match="tap hook"):
        from_argument(argument)
    assert dict(from_argument("t0").parameters) == {"interface": "t0"}
    assert dict(from_argument("t0,eth1").parameters) == {"interface": "t0", "to": "eth1"}
