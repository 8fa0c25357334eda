"""Programs on Python's own socket calls: each test is a Python of its own, with real sockets, on every system."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import anybpf
from anybpf.compile import compile_source
from anybpf.errors import HookError
from anybpf.hooks.audit import Audit, install
from compiling import require_clang
from running import load as load_assembly

LINUX = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u64);
} calls SEC(".maps");

static __attribute__((always_inline)) int decide(__u32 kind, struct bpf_sock_addr *ctx) {
    __u64 *count = bpf_map_lookup_elem(&calls, &kind);
    if (count) __sync_fetch_and_add(count, 1);
    switch (bpf_ntohs(ctx->user_port)) {
    case 7001: return 0;
    case 7002: bpf_set_retval(-111); return 0;
    case 7003: ctx->user_port = bpf_htons(7004);
    }
    return 1;
}
SEC("cgroup/bind4") int bind4(struct bpf_sock_addr *ctx) { return decide(0, ctx); }
SEC("cgroup/bind6") int bind6(struct bpf_sock_addr *ctx) { return decide(1, ctx); }
SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx) {
    return decide(2, ctx) && ctx->user_ip4 != bpf_htonl(0x7f000009);
}
SEC("cgroup/connect6") int connect6(struct bpf_sock_addr *ctx) { return decide(3, ctx); }
SEC("cgroup/sendmsg4") int sendmsg4(struct bpf_sock_addr *ctx) {
    return decide(4, ctx) && ctx->user_ip4 != bpf_htonl(-1);
}
SEC("cgroup/sendmsg6") int sendmsg6(struct bpf_sock_addr *ctx) { return decide(5, ctx); }
SEC("cgroup/sock_create") int sock_create(struct bpf_sock *ctx) {
    __u32 kind = 6;
    __u64 *count = bpf_map_lookup_elem(&calls, &kind);
    if (count) __sync_fetch_and_add(count, 1);
    return ctx->type != 3;
}
"""

WINDOWS = r"""
#include "bpf_helpers.h"
#include "bpf_endian.h"

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, uint64_t); /* process */
    __type(value, uint64_t); /* its calls */
} calls SEC(".maps");

SEC("bind") int bind_hook(bind_md_t *ctx) {
    uint64_t one = 1, id = ctx->process_id;
    uint64_t *count = bpf_map_lookup_elem(&calls, &id);
    if (count) (*count)++;
    else bpf_map_update_elem(&calls, &id, &one, 0);
    return *(uint16_t *)(ctx->socket_address + 2) == 7001 ? BIND_DENY : BIND_PERMIT;
}
SEC("cgroup/connect4") int connect4(bpf_sock_addr_t *ctx) {
    return ctx->user_port == bpf_htons(7001) ? BPF_SOCK_ADDR_VERDICT_REJECT : BPF_SOCK_ADDR_VERDICT_PROCEED;
}
SEC("cgroup/connect_authorization4") int authorization4(bpf_sock_addr_t *ctx) {
    return ctx->user_port == bpf_htons(7005) ? BPF_SOCK_ADDR_VERDICT_REJECT : BPF_SOCK_ADDR_VERDICT_PROCEED;
}
"""

#: What every script begins with. It prints what it found as JSON.
PRELUDE = r"""
import asyncio, errno, json, os, socket, sys, threading
import anybpf
from anybpf.errors import HookError
from anybpf.hooks.audit import Audit, install

def error(call):
    "None, or the type and number of the error that a call ends in, and whether the message names a program."
    try:
        done = call()
    except OSError as failure:
        return [type(failure).__name__, failure.errno, "eBPF" in str(failure)]
    if hasattr(done, "close"):
        done.close()
    return None

def bound(port, host="127.0.0.1", family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as made:
        made.bind((host, port))

def connected(port, host="127.0.0.1", family=socket.AF_INET, kind=socket.SOCK_DGRAM):
    with socket.socket(family, kind) as made:
        made.connect((host, port))

def sent(port, host="127.0.0.1", family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as made:
        made.sendto(b"x", (host, port))

def calls(links):
    return [link.stats.events for link in links]
"""
DENIED = ["PermissionError", errno.EPERM, True]
REFUSED = ["PermissionError", errno.EACCES, True]


@pytest.fixture(scope="module")
def policies(tmp_path_factory) -> dict[str, str]:
    """The object files of both platforms."""
    require_clang()
    folder = tmp_path_factory.mktemp("policies")
    made = {}
    for platform, source in (("linux", LINUX), ("windows", WINDOWS)):
        path = folder / f"{platform}.o"
        path.write_bytes(compile_text(folder, source, platform))
        made[platform] = str(path)
    return made


def compile_text(folder: Path, text: str, platform: str = "linux") -> bytes:
    """The object file of a source text."""
    source = folder / "policy.c"
    source.write_text(text, encoding="utf-8")
    return compile_source(source, platform=platform)


def run(script: str, *arguments: str, prelude: str = PRELUDE) -> Any:
    """Run a script, which gets the arguments as sys.argv[1:]; return what it prints last, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", prelude + script, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_one_line_puts_a_policy_on_this_process(policies):
    """After install(), denied calls raise PermissionError, others go on; detached links decide nothing at once."""
    found = run(
        """
links = install(sys.argv[1])
found = {
    "bind": [error(lambda port=port: bound(port)) for port in (0, 7001)],
    "bind6": [error(lambda port=port: bound(port, "::1", socket.AF_INET6)) for port in (7001,)],
    "connect": [error(lambda port=port: connected(port)) for port in (9, 7001, 7002)],
    "connect6": error(lambda: connected(7001, "::1", socket.AF_INET6)),
    "sendto": [error(lambda port=port: sent(port)) for port in (9, 7001)],
    "sendto6": error(lambda: sent(7001, "::1", socket.AF_INET6)),
    "create_server": error(lambda: socket.create_server(("127.0.0.1", 7001))),
    "create_connection": error(lambda: socket.create_connection(("127.0.0.1", 7001))),
    "connect_ex": error(lambda: socket.socket().connect_ex(("127.0.0.1", 7001))),
    "rewritten": error(lambda: connected(7003)),
}
for link in links:
    link.detach()
before = calls(links)
found["detached"] = [error(lambda: connected(7001)), error(lambda: sent(7001)), calls(links) == before]
print(json.dumps(found))
""",
        policies["linux"],
    )
    assert found == {
        "bind": [None, DENIED],
        "bind6": [DENIED],
        "connect": [None, DENIED, ["ConnectionRefusedError", errno.ECONNREFUSED, True]],
        "connect6": DENIED,
        "sendto": [None, DENIED],
        "sendto6": DENIED,
        "create_server": DENIED,
        "create_connection": DENIED,
        "connect_ex": DENIED,
        "rewritten": REFUSED,
        "detached": [None, None, True],
    }


def test_windows_programs(policies):
    """bind and sock_addr programs of eBPF for Windows decide here too; what they deny fails with EACCES."""
    found = run(
        """
links = install(sys.argv[1])
maps = links[0].program.owner.maps
found = {
    "bind": [error(lambda port=port: bound(port)) for port in (0, 7001)],
    "bind6": error(lambda: bound(7001, "::1", socket.AF_INET6)),
    "datagrams": error(lambda: bound(7001, kind=socket.SOCK_DGRAM)),
    "connect": [error(lambda port=port: connected(port)) for port in (9, 7001, 7005)],
    "sendto": [error(lambda port=port: sent(port)) for port in (9, 7001)],
    "processes": {key: value for key, value in maps["calls"].items()} == {os.getpid(): 5},
}
print(json.dumps(found))
""",
        policies["windows"],
    )
    assert found == {
        "bind": [None, REFUSED],
        "bind6": REFUSED,
        "datagrams": REFUSED,
        "connect": [None, REFUSED, REFUSED],
        "sendto": [None, REFUSED],
        "processes": True,
    }


def test_closed_sockets_are_unbound(policies):
    """bind programs learn of closed sockets, dropped ones and failed binds before the next call, each once."""
    found = run(
        """
links = install(sys.argv[1])
bind = links[0]
told = lambda: bind.stats.events
def next_call():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return told()
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
found = [told(), next_call()]
held[0].close()
found += [next_call(), next_call()]
held[1].detach()
del held[2]
found += [next_call()]
busy = socket.create_server(("127.0.0.1", 0))
found += [next_call(), error(lambda: bound(busy.getsockname()[1]))[1] in (errno.EADDRINUSE, errno.EACCES), next_call()]
error(lambda: bound(7001))
found += [next_call(), next_call()]
busy.close()
def elsewhere():
    found.append(next_call())
thread = threading.Thread(target=elsewhere)
thread.start()
thread.join()
print(json.dumps(found))
""",
        policies["windows"],
    )
    assert found == [3, 3, 4, 4, 6, 7, True, 9, 10, 10, 11]


def test_only_new_sockets_are_made(policies):
    """sock_create programs see new sockets of the Internet, and not those that wrap a descriptor, as accept's do."""
    found = run(
        """
links = install(sys.argv[1])
made = links[-1]
events = lambda: made.stats.events
listening = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listening.getsockname())
found = [events()]
accepted, _ = listening.accept()
copies = [accepted, listening.dup(), socket.socket(fileno=listening.dup().detach())]
found += [events()]
class Own(socket.socket):
    family = 99
Own()
found += [events()]
found += [error(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))]
print(json.dumps(found))
""",
        policies["linux"],
    )
    assert found == [2, 2, 3, DENIED]


def test_host_names(policies):
    """Names are decided by what they mean, every address of them; names=False refuses all but addresses."""
    found = run(
        """
audit = Audit()
loaded = anybpf.load(sys.argv[1])
links = [audit.attach(program) for program in loaded.programs.values()]
broadcast = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
broadcast.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
found = {
    "localhost": [error(lambda port=port: bound(port, "localhost")) for port in (0, 7001)],
    "bytes": error(lambda: bound(7001, b"localhost")),
    "any": [error(lambda port=port: bound(port, "")) for port in (0, 7001)],
    "short": error(lambda: connected(9, "127.9")),
    "broadcast": error(lambda: broadcast.sendto(b"x", ("<broadcast>", 9))),
}
strict = Audit(names=False)
strict.attach(loaded.programs["bind4"])
found["strict"] = [error(lambda host=host: bound(0, host)) for host in ("127.0.0.1", "", "localhost")]
print(json.dumps(found))
""",
        policies["linux"],
    )
    assert found == {
        "localhost": [None, DENIED],
        "bytes": DENIED,
        "any": [None, DENIED],
        "short": DENIED,
        "broadcast": DENIED,
        "strict": [None, None, ["PermissionError", errno.EACCES, False]],
    }


def test_messages_with_addresses(policies):
    """sendmsg is decided like sendto where it names an address; send and sendmsg without one go on."""
    if not hasattr(socket.socket, "sendmsg"):
        pytest.skip("this Python's sockets have no sendmsg")
    found = run(
        """
links = install(sys.argv[1])
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
found = [error(lambda port=port: made.sendmsg([b"x"], [], 0, ("127.0.0.1", port))) for port in (9, 7001)]
made.connect(("127.0.0.1", 9))
count = links[4].stats.events
found += [error(lambda: made.send(b"x")), links[4].stats.events - count]
stream = socket.socket()
found += [error(lambda: stream.sendto(b"x", ("127.0.0.1", 7001)))]
print(json.dumps(found))
""",
        policies["linux"],
    )
    assert found == [None, DENIED, None, 0, DENIED]


def test_servers_and_event_loops(policies):
    """socketserver's servers and asyncio's selector event loop meet the programs, and their callers the errors."""
    found = run(
        """
import socketserver
install(sys.argv[1])
loop = asyncio.SelectorEventLoop()
async def talk():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    answered = await reader.read()
    writer.close()
    server.close()
    return answered == b""
async def denied(what):
    try:
        await what
    except OSError as failure:
        return [type(failure).__name__, failure.errno]
found = [
    loop.run_until_complete(talk()),
    loop.run_until_complete(denied(asyncio.open_connection("127.0.0.1", 7001))),
    loop.run_until_complete(denied(loop.create_server(asyncio.Protocol, "127.0.0.1", 7001)))[1],
    error(lambda: socketserver.TCPServer(("localhost", 7001), None)),
    error(lambda: socketserver.TCPServer(("localhost", 0), None).server_close()),
]
loop.close()
print(json.dumps(found))
""",
        policies["linux"],
    )
    assert found == [True, ["PermissionError", errno.EPERM], errno.EPERM, DENIED, None]


def test_all_hooks_must_allow(policies):
    """With several Audit objects all must allow a call; each detaches by itself; one hook of Python's serves all."""
    found = run(
        """
added = []
sys.addaudithook(lambda event, arguments: added.append(event) if event == "sys.addaudithook" else None)
first, second = install(sys.argv[1]), install(sys.argv[2])
found = [error(lambda port=port: connected(port)) for port in (9, 7001, 7005)]
for link in first:
    link.detach()
found += [error(lambda port=port: connected(port)) for port in (9, 7001)]
for link in second:
    link.detach()
install(sys.argv[1])
found += [error(lambda: connected(7001)), len(added)]
print(json.dumps(found))
""",
        policies["linux"],
        policies["windows"],
    )
    assert found == [None, DENIED, REFUSED, None, REFUSED, DENIED, 1]


def test_threads_and_calls_within_calls(policies):
    """Threads are decided at once, programs coming and going; a call made while another is decided is decided too."""
    found = run(
        """
loaded = anybpf.load(sys.argv[1])
audit = Audit()
audit.attach(loaded.programs["connect4"])
wrong = []
def work(port, wanted):
    for _ in range(200):
        if error(lambda: connected(port)) != wanted:
            wrong.append(port)
denied = ["PermissionError", 1, True]
threads = [threading.Thread(target=work, args=(port, wanted)) for port, wanted in ((9, None), (7001, denied)) * 3]
for thread in threads:
    thread.start()
for _ in range(50):
    audit.attach(loaded.programs["bind4"]).detach()
for thread in threads:
    thread.join()

inner = []
class Port(int):
    def __index__(self):
        inner.append(error(lambda: connected(7001)))
        return 9
class Outer:
    def __index__(self):
        inner.append(error(lambda: connected(7001)))
        return 9
outer = error(lambda: connected(Outer()))
print(json.dumps([wrong, outer, len(inner) > 1, inner[-1]]))
""",
        policies["linux"],
    )
    assert found == [[], None, True, DENIED]


def test_other_interpreters_and_processes(policies):
    """A forked child keeps the policy; other interpreters, and new processes, have none, as documented."""
    found = run(
        """
install(sys.argv[1])
found = {}
if hasattr(os, "fork"):
    child = os.fork()
    if not child:
        os._exit(0 if error(lambda: connected(7001)) else 1)
    found["fork"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
import subprocess
script = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 7001))"
found["process"] = subprocess.run([sys.executable, "-c", script]).returncode
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    pass
else:
    other = interpreters.create()
    interpreters.run_string(other, script)
    interpreters.destroy(other)
print(json.dumps(found))
""",
        policies["linux"],
    )
    assert found == {"process": 0} | ({"fork": 0} if hasattr(os, "fork") else {})


def test_another_hook_that_refuses_ours(policies):
    """Where an earlier audit hook keeps others out, attaching says so and leaves nothing attached."""
    found = run(
        """
def jealous(event, arguments):
    if event == "sys.addaudithook":
        raise RuntimeError
sys.addaudithook(jealous)
audit = Audit()
program = anybpf.load(sys.argv[1]).programs["connect4"]
try:
    audit.attach(program)
except HookError as refusal:
    left = len(audit.links), len(audit.operations), error(lambda: connected(7001))
    print(json.dumps([str(refusal), *left]))
""",
        policies["linux"],
    )
    assert found == [
        "another audit hook of this process refuses further ones; anybpf's must be added before it", 0, 0, None
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "platform"),
    [
        ("cgroup/post_bind4", "linux"), ("cgroup/sock_release", "linux"), ("cgroup/recv_accept4", "windows"),
        ("cgroup/listen6", "windows"),
    ],
)  # fmt: skip
def test_what_python_does_not_tell_is_refused(section, platform):
    """Programs on calls without an audit event are refused in one sentence."""
    program = load_assembly("r0 = 1\nexit", section, platform=platform).programs["program"]
    with pytest.raises(HookError, match="Python raises no audit event"):
        Audit().attach(program)


def test_objects_are_installed_whole_or_not_at_all(tmp_path):
    """An object with a program that cannot be attached leaves nothing attached."""
    require_clang()
    mixed = LINUX + 'SEC("xdp") int packets(struct xdp_md *ctx) { return 2; }\n'
    links = set(anybpf.runtime.default_context().links)
    with pytest.raises(HookError, match="does not run"):
        install(compile_text(tmp_path, mixed))
    assert set(anybpf.runtime.default_context().links) == links
