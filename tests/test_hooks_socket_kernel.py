"""Socket calls against a live kernel: the same object in a control group, the same calls, the same outcome."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import anybpf
from anybpf.hooks.socket_call import Address, Decision, Operation, SocketCall, Task
from anybpf.hooks.socket_hook import SocketHook
from anybpf.platforms import linux, program_type_for
from compiling import compiled, require_clang
from livekernel import attach_to_cgroup, create_map, load, map_value, read_only_map, require_live_kernel, with_maps
from socketcalls import LINUX, SIZE, Seen

pytestmark = pytest.mark.linux_only

TCP, UDP, RAW = (1, 6), (2, 17), (3, 200)
COOKIE = 0x1234567890
#: In a network of its own, makes the calls that come in as lines, each on a new socket; answers what came of each.
CHILD = r"""
import ctypes, json, os, socket, subprocess, sys
if ctypes.CDLL(None).unshare(0x40000000) or subprocess.run(["ip", "link", "set", "lo", "up"]).returncode:
    sys.exit("no network of its own")
for name, value in (("cgroup.procs", "0"), ("/proc/sys/net/ipv4/ping_group_range", "0 0")):
    with open(os.path.join(sys.argv[1], name), "w") as file:
        file.write(value)
print(json.dumps([os.getpid(), open("/proc/self/comm").read().strip()]), flush=True)
for line in sys.stdin:
    what, family, kind, protocol, local, address = json.loads(line)
    made, error, own, peer = None, 0, None, None
    try:
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        if local:
            made.bind(tuple(local))
        if what == "sendto":
            made.sendto(b"x", tuple(address))
        elif what == "bind as nobody":
            os.seteuid(65534)
            made.bind(tuple(address))
        elif what != "socket":
            getattr(made, what)(tuple(address))
    except OSError as failure:
        error = failure.errno
    os.seteuid(0)
    if made is not None:
        own = made.getsockname()
        try:
            peer = made.getpeername()
        except OSError:
            pass
        made.close()
    print(json.dumps([error, own, peer]), flush=True)
"""


@dataclass
class Group:
    """A control group with the programs of an object, and a process in it that makes calls."""

    child: subprocess.Popen[str]
    seen: int
    task: Task

    def call(self, what: str, kind: tuple[int, int], family: int, address: Any, local: Any = None) -> list[Any]:
        """Make a call on a new socket: the error number or 0, the socket's name, its peer's."""
        self.child.stdin.write(json.dumps([what, family, *kind, local, address]) + "\n")
        self.child.stdin.flush()
        answer: list[Any] = json.loads(self.child.stdout.readline())
        return answer

    def note(self, number: int) -> Seen:
        """What program ``number`` has noted."""
        value = map_value(self.seen, number.to_bytes(4, "little"), SIZE)
        assert value is not None
        return Seen.parse(value)


@dataclass
class Ours:
    """The same programs on a SocketHook."""

    hook: SocketHook
    seen: Any
    task: Task

    def decide(self, operation: Operation, kind: tuple[int, int], family: int, **more: Any) -> Decision:
        """What the programs decide of a call of the child's."""
        return self.hook.decide(SocketCall(operation, family, *kind, task=self.task, cookie=COOKIE, **more))

    def note(self, number: int) -> Seen:
        """What program ``number`` has noted."""
        return Seen.parse(self.seen.raw[number.to_bytes(4, "little")])


def unified() -> Path:
    """Where control groups (version 2) are mounted; skips the test where they are not."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(where)
    pytest.skip("no cgroup v2 hierarchy is mounted here")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """The object whose programs are tried."""
    require_clang()
    return compiled(tmp_path_factory.mktemp("calls"), LINUX)


@pytest.fixture(scope="module")
def group(spec) -> Iterator[Group]:
    """The programs in the kernel, attached to a new control group."""
    require_live_kernel()
    directory = unified() / f"anybpf-test-{os.getpid()}"
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error.strerror}")
    opened = [os.open(directory, os.O_RDONLY)]
    child = None
    try:
        for declared in spec.maps:
            opened.append(read_only_map(declared.contents) if declared.is_data else create_map(2, 4, SIZE, 16))
        maps = tuple(opened[1:])
        for program in spec.programs:
            kind = program_type_for(linux, program, spec=spec)
            number = kind.attach_types[kind.attach_type]
            opened.append(load(kind.name, with_maps(program.code, maps), number))
            attach_to_cgroup(opened[0], opened[-1], number)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        answer = child.stdout.readline()
        if not answer:
            pytest.skip("no network namespace of its own for the process that makes calls")
        pid, comm = json.loads(answer)
        seen = maps[[m.name for m in spec.maps].index("seen")]
        yield Group(child, seen, Task(pid, pid, os.getuid(), os.getgid(), comm.encode(), ""))
    finally:
        if child is not None:
            child.communicate()
        for descriptor in opened:
            os.close(descriptor)
        directory.rmdir()


@pytest.fixture
def ours(spec, group) -> Iterator[Ours]:
    """The programs on a hook of our own."""
    hook = SocketHook()
    with anybpf.load(spec) as loaded:
        links = [hook.attach(program) for program in loaded.programs.values()]
        yield Ours(hook, loaded.maps["seen"], group.task)
        for link in links:
            link.detach()


def address_of(name: Any) -> Address:
    """The address of a name as Python's sockets give it."""
    family = socket.AF_INET6 if ":" in name[0] else socket.AF_INET
    return Address(socket.inet_pton(family, name[0]), name[1])


def same_note(kernel: Group, ours: Ours, number: int, before: Seen) -> None:
    """Assert that program ``number`` has noted the same call on both sides, and that it was called once."""
    theirs = kernel.note(number)
    assert theirs.calls == before.calls + 1, f"the kernel did not call program {number}"
    mine = ours.note(number)
    assert replace(mine, calls=0, cookie=0) == replace(theirs, calls=0, cookie=0)
    assert mine.cookie == COOKIE
    assert theirs.cookie


LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])


@FAMILIES
@pytest.mark.parametrize("kind", [TCP, UDP, RAW, (1, 0), (2, 0)], ids=["tcp", "udp", "raw", "stream", "dgram"])
def test_sockets_are_made_and_closed(group, ours, family, kind):
    """sock_create and sock_release programs see what Linux's see, and a socket of protocol 200 is refused."""
    before = group.note(6), group.note(9)
    error, *_ = group.call("socket", kind, family, None)
    decision = ours.decide(Operation.SOCKET, kind, family)
    same_note(group, ours, 6, before[0])
    assert decision.error == error == (errno.EPERM if kind == RAW else 0)
    if decision.allowed:
        ours.decide(Operation.RELEASE, kind, family)
        same_note(group, ours, 9, before[1])


@FAMILIES
@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("port", [0, 7001, 7002, 7003, 7005, 7021, 7022])
def test_binds(group, ours, family, kind, port):
    """bind and post_bind programs see, allow, deny and rewrite as in Linux."""
    four = family == socket.AF_INET
    before = [group.note(number) for number in range(9)]
    error, own, _ = group.call("bind", kind, family, [LOOPBACK[family], port])
    decision = ours.decide(Operation.BIND, kind, family, address=address_of([LOOPBACK[family], port]))
    same_note(group, ours, 0 if four else 1, before[0 if four else 1])
    if decision.allowed:
        number = 7 if four else 8
        bound = replace(decision.address, port=decision.address.port or group.note(number).src_port)
        later = ours.decide(Operation.POST_BIND, kind, family, address=bound)
        same_note(group, ours, number, before[number])
        decision = later
        if later.allowed:
            assert address_of(own) == bound
    assert decision.error == error


@FAMILIES
@pytest.mark.parametrize(("port", "error"), [(99, 0), (98, errno.EPERM), (97, errno.EACCES)])
def test_low_ports_without_the_capability(group, ours, family, port, error):
    """3 allows a low port to whoever may not bind it by himself; 2 allows it to nobody, 1 changes nothing."""
    theirs, *_ = group.call("bind as nobody", TCP, family, [LOOPBACK[family], port])
    assert theirs == error
    decision = ours.decide(Operation.BIND, TCP, family, address=address_of([LOOPBACK[family], port]))
    assert decision.privileged == (port == 99)
    assert decision.error == (errno.EPERM if port == 98 else 0)


@FAMILIES
@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize("port", [7000, 7001, 7002, 7003, 7005, 7010])
def test_connections(group, ours, family, kind, port):
    """connect programs see, allow, deny, rewrite and choose a source as in Linux, one behind the other."""
    numbers = (2, 10) if family == socket.AF_INET else (3,)
    before = [group.note(number) for number in range(11)]
    error, own, peer = group.call("connect", kind, family, [LOOPBACK[family], port])
    decision = ours.decide(Operation.CONNECT, kind, family, address=address_of([LOOPBACK[family], port]))
    for number in numbers:
        same_note(group, ours, number, before[number])
    if not decision.allowed:
        assert decision.error == error
        return
    assert error in (0, errno.EINPROGRESS, errno.ECONNREFUSED)
    if kind == UDP:
        assert address_of(peer) == decision.address
        if decision.source is not None:
            assert address_of(own).host == decision.source.host
    assert (decision.source is not None) == (port == 7010)


@FAMILIES
@pytest.mark.parametrize("port", [7000, 7001, 7002, 7003, 7005, 7007, 7008, 7009])
@pytest.mark.parametrize("bound", [False, True], ids=["unbound", "bound"])
def test_datagrams(group, ours, family, port, bound):
    """sendmsg programs see the source as well, and what they rewrite wrongly is refused, as in Linux."""
    number = 4 if family == socket.AF_INET else 5
    before = group.note(number)
    local = [LOOPBACK[family], 0] if bound else None
    error, own, _ = group.call("sendto", UDP, family, [LOOPBACK[family], port], local)
    decision = ours.decide(
        Operation.SENDMSG, UDP, family, address=address_of([LOOPBACK[family], port]),
        local=address_of(own) if bound else None,
    )  # fmt: skip
    same_note(group, ours, number, before)
    assert decision.error == error
    assert (decision.source is not None) == (port == 7008 and family == socket.AF_INET)


@pytest.mark.parametrize("port", [7000, 7001, 7003])
def test_datagrams_to_mapped_addresses(group, ours, port):
    """A datagram of an IPv6 socket to an IPv4-mapped address is IPv4's programs' matter."""
    before = group.note(4), group.note(5)
    error, *_ = group.call("sendto", UDP, socket.AF_INET6, ["::ffff:127.0.0.1", port])
    decision = ours.decide(
        Operation.SENDMSG, UDP, socket.AF_INET6, address=address_of(["::ffff:127.0.0.1", port])
    )  # fmt: skip
    same_note(group, ours, 4, before[0])
    assert group.note(5).calls == before[1].calls
    assert decision.error == error
    if port == 7003:
        assert decision.address == address_of(["::ffff:127.0.0.2", 7004])


def test_connections_to_mapped_addresses(group, ours):
    """A connection of an IPv6 socket to an IPv4-mapped address is IPv6's programs' matter."""
    before = group.note(2), group.note(3)
    name = ["::ffff:127.0.0.1", 7000]
    group.call("connect", UDP, socket.AF_INET6, name)
    ours.decide(Operation.CONNECT, UDP, socket.AF_INET6, address=address_of(name))
    same_note(group, ours, 3, before[1])
    assert group.note(2).calls == before[0].calls


@pytest.mark.parametrize("what", ["bind", "connect", "sendto"])
def test_raw_sockets_are_not_seen(group, ours, what):
    """Raw sockets' binds, connections and datagrams meet no program."""
    operation = {"bind": Operation.BIND, "connect": Operation.CONNECT, "sendto": Operation.SENDMSG}[what]
    before = [group.note(number).calls for number in range(6)]
    error, *_ = group.call(what, (3, 201), socket.AF_INET, ["127.0.0.1", 7001])
    decision = ours.decide(operation, (3, 201), socket.AF_INET, address=address_of(["127.0.0.1", 7001]))
    assert error == 0
    assert decision.allowed
    assert [group.note(number).calls for number in range(6)] == before
    assert [ours.note(number).calls for number in range(6)] == [0] * 6


def test_ping_sockets(group, ours):
    """Of sockets that ping, connections are seen, and neither binds nor datagrams."""
    ping = (2, 1)
    before = [group.note(number).calls for number in range(6)]
    for what, operation in (("bind", Operation.BIND), ("sendto", Operation.SENDMSG), ("connect", Operation.CONNECT)):
        group.call(what, ping, socket.AF_INET, ["127.0.0.1", 7000])
        ours.decide(operation, ping, socket.AF_INET, address=address_of(["127.0.0.1", 7000]))
    theirs = [group.note(number).calls - before[number] for number in range(6)]
    assert [ours.note(number).calls for number in range(6)] == theirs == [0, 0, 1, 0, 0, 0]
