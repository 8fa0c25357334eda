"""Socket calls decided by programs: what each program type sees, what its return values mean, what several come to."""

from __future__ import annotations

import os
import struct
import sys
import threading
from dataclasses import replace

import pytest

import anybpf
from anybpf.errors import HookError
from anybpf.hooks.socket_call import Address, Decision, Operation, SocketCall, Task
from anybpf.hooks.socket_hook import SocketHook, accepted
from compiling import compiled, require_clang
from running import load as load_assembly
from socketcalls import LINUX, NUMBERS, WINDOWS, WINDOWS_NUMBERS, Bound, Seen, WindowsSeen

EPERM, EACCES, EINVAL, ECONNABORTED, ECONNREFUSED, ENOTSUPP = 1, 13, 22, 103, 111, 524
STREAM, DGRAM, RAW = 1, 2, 3
TASK = Task(pid=70, tid=71, uid=1000, gid=100, comm=b"worker", app="Größe.exe")
HOST4, HOST6 = b"\x0a\x01\x02\x03", bytes(range(16))
OWN4, OWN6 = b"\x7f\0\0\1", bytes(15) + b"\1"
MAPPED = bytes(10) + b"\xff\xff"
OPERATIONS = {
    "bind": Operation.BIND,
    "connect": Operation.CONNECT,
    "connect_authorization": Operation.CONNECT,
    "sendmsg": Operation.SENDMSG,
    "sock_create": Operation.SOCKET,
    "post_bind": Operation.POST_BIND,
    "sock_release": Operation.RELEASE,
    "recv_accept": Operation.ACCEPT,
    "listen": Operation.LISTEN,
}


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """The noting programs of both platforms, loaded."""
    require_clang()
    directory = tmp_path_factory.mktemp("calls")
    with (
        anybpf.load(compiled(directory, LINUX)) as linux,
        anybpf.load(compiled(directory, WINDOWS, "windows")) as windows,
    ):
        yield {"linux": linux, "windows": windows}


def forgetful(loaded):
    """The object, with all that its programs have noted forgotten."""
    for name in {"seen", "bound"} & set(loaded.maps):
        notes = loaded.maps[name].raw
        for key, note in notes.items():
            notes[key] = bytes(len(note))
    return loaded


@pytest.fixture
def linux(objects):
    """Linux's noting programs."""
    return forgetful(objects["linux"])


@pytest.fixture
def windows(objects):
    """The noting programs of eBPF for Windows."""
    return forgetful(objects["windows"])


def operation_of(section: str) -> Operation:
    """The call that programs of a section decide."""
    return OPERATIONS[section.partition("/")[2].rstrip("46")]


def call_of(section: str, port: int = 443, kind: int = STREAM, **changes) -> SocketCall:
    """A call that programs of ``section`` see; the remote end is HOST, the socket's own address OWN and port 999."""
    six = section.endswith("6")
    host, own = (HOST6, OWN6) if six else (HOST4, OWN4)
    operation = operation_of(section)
    address = None if operation in (Operation.LISTEN, Operation.SOCKET) else Address(host, port)
    local = Address(own, port if operation in (Operation.LISTEN, Operation.ACCEPT) else 999)
    if operation is Operation.SENDMSG:
        kind = DGRAM
    call = SocketCall(operation, 10 if six else 2, kind, 0, address, local, TASK, 0xC0FFEE)
    return replace(call, **changes)


def program_of(loaded, section: str):
    """The first program of a section."""
    return next(p for p in loaded.programs.values() if p.spec.section == section)


def decide(loaded, section: str, call: SocketCall) -> Decision:
    """What the section's program alone decides."""
    hook = SocketHook()
    with hook.attach(program_of(loaded, section)):
        return hook.decide(call)


def port(number: int) -> bytes:
    """A port in network order."""
    return struct.pack(">H", number)


# ---------------------------------------------------------------------------------------------------------------------
# Contexts


@pytest.mark.parametrize("section", NUMBERS)
def test_linux_contexts(linux, section):
    """Each of Linux's programs sees its fields of the call, and on whose behalf it is made."""
    call = call_of(section)
    decide(linux, section, call)
    seen = Seen.parse(linux.maps["seen"].raw[NUMBERS[section].to_bytes(4, "little")])
    name = section.partition("/")[2]
    six, sock = section.endswith("6"), name.startswith(("sock", "post"))
    datagram = name.startswith("sendmsg")
    host = HOST6 if six else HOST4.ljust(16, b"\0")
    own = (OWN6 if six else OWN4).ljust(16, b"\0")
    assert seen == Seen(
        calls=1,
        user_family=0 if sock else call.family,
        user_ip=bytes(16) if sock and name != "sock_release" else host,
        user_port=bytes(4) if sock and name != "sock_release" else port(443) + b"\0\0",
        family=call.family,
        type=DGRAM if datagram else STREAM,
        protocol=17 if datagram else 6,
        source=host if name.startswith("post") else own if datagram else bytes(16),
        state=0 if not sock else 1 if name == "sock_release" else 7,
        queue=0xFFFFFFFF if sock else 0,
        retval=0,
        src_port=443 if name.startswith("post") else 0,
        pid_tgid=70 << 32 | 71,
        uid_gid=100 << 32 | 1000,
        cookie=0xC0FFEE,
        comm=b"worker".ljust(16, b"\0"),
    )


@pytest.mark.parametrize("section", WINDOWS_NUMBERS)
def test_sock_addr_contexts(windows, section):
    """Programs of each attach type of sock_addr see who is at which end, as eBPF for Windows shows it."""
    decide(windows, section, call_of(section))
    seen = WindowsSeen.parse(windows.maps["seen"].raw[WINDOWS_NUMBERS[section].to_bytes(4, "little")])
    name, six = section.partition("/")[2].rstrip("46"), section.endswith("6")
    remote = ((HOST6 if six else HOST4).ljust(16, b"\0"), port(443))
    own = (OWN6 if six else OWN4).ljust(16, b"\0")
    source, user = {
        "connect": ((own, port(999)), remote),
        "connect_authorization": ((own, port(999)), remote),
        "recv_accept": (remote, (own, port(443))),
        "bind": ((bytes(16), port(0)), remote),
        "listen": ((own, port(443)), (own, port(443))),
    }[name]
    assert seen == WindowsSeen(
        calls=1,
        interface_luid=0,
        pid_tgid=70 << 32 | 71,
        cookie=0xC0FFEE,
        family=23 if six else 2,
        source=source[0],
        user=user[0],
        protocol=6,
        compartment_id=1,
        source_port=source[1],
        user_port=user[1],
    )


@pytest.mark.parametrize("operation", [Operation.BIND, Operation.UNBIND])
@pytest.mark.parametrize("kind", [STREAM, DGRAM, RAW])
@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
def test_bind_contexts(windows, operation, kind, six):
    """bind_md_t holds the executable's name, the process, and a SOCKADDR_IN in host byte order, IPv6 too."""
    address = Address(HOST6 if six else HOST4, 0x1234)
    call = SocketCall(operation, 10 if six else 2, kind, 1 if kind == RAW else 0, address, None, TASK)
    decide(windows, "bind", call)
    host = 0 if six else int.from_bytes(HOST4, "big")
    assert Bound.parse(windows.maps["bound"].raw[bytes(4)]) == Bound(
        calls=1,
        process_id=70,
        pid_tgid=70 << 32 | 71,
        start_key=0,
        thread_time=0,
        admin=-EPERM if sys.platform == "win32" else 0,
        address=struct.pack("=HHI8x", 2, 0x1234, host),
        length=16,
        operation=0 if operation is Operation.BIND else 2,
        protocol={STREAM: 6, DGRAM: 17, RAW: 1}[kind],
        app_id="Größe.exe".encode("utf-16-le").ljust(64, b"\0"),
    )


@pytest.mark.skipif(sys.platform == "win32", reason="users have no numbers on Windows")
def test_the_superuser_is_an_administrator(windows):
    """Of another process's calls, those of user 0 are an administrator's."""
    decide(windows, "bind", SocketCall(Operation.BIND, 2, STREAM, 0, Address(HOST4, 80), None, replace(TASK, uid=0)))
    assert Bound.parse(windows.maps["bound"].raw[bytes(4)]).admin == 1


def test_calls_of_this_thread(linux, windows):
    """Without a task, programs see the thread that asks, and the executable of this process."""
    decide(linux, "cgroup/connect4", call_of("cgroup/connect4", task=None, cookie=0))
    seen = Seen.parse(linux.maps["seen"].raw[(2).to_bytes(4, "little")])
    assert seen.pid_tgid == os.getpid() << 32 | threading.get_native_id()
    assert seen.cookie not in (0, 0xC0FFEE)
    decide(linux, "cgroup/connect4", call_of("cgroup/connect4", task=None))
    seen = Seen.parse(linux.maps["seen"].raw[(2).to_bytes(4, "little")])
    assert (seen.pid_tgid >> 32, seen.cookie) == (os.getpid(), 0xC0FFEE)
    decide(windows, "bind", SocketCall(Operation.BIND, 2, STREAM, 0, Address(HOST4, 80)))
    bound = Bound.parse(windows.maps["bound"].raw[bytes(4)])
    name = os.path.basename(os.path.realpath(sys.executable)).encode("utf-16-le")
    assert bound.process_id == os.getpid()
    assert bound.start_key != 0
    assert bound.thread_time != 0
    assert bound.admin in (0, 1)
    assert bound.app_id == name[:64].ljust(64, b"\0")


@pytest.mark.parametrize("section", ["cgroup/connect4", "cgroup/recv_accept4", "cgroup/bind4", "cgroup/listen4"])
def test_windows_sees_mapped_addresses_as_ipv4(windows, section):
    """A dual-stack socket's IPv4-mapped addresses reach the programs for IPv4, and those for IPv6 do not see them."""
    call = call_of(section)
    mapped = {
        name: Address(MAPPED + value.host, value.port)
        for name in ("address", "local")
        if (value := getattr(call, name)) is not None
    }
    decide(windows, section, replace(call, family=10, **mapped))
    seen = WindowsSeen.parse(windows.maps["seen"].raw[WINDOWS_NUMBERS[section].to_bytes(4, "little")])
    decide(windows, section, call)
    again = WindowsSeen.parse(windows.maps["seen"].raw[WINDOWS_NUMBERS[section].to_bytes(4, "little")])
    assert replace(again, calls=1) == seen
    six = section[:-1] + "6"
    decide(windows, six, replace(call, family=10, **mapped))
    assert WindowsSeen.parse(windows.maps["seen"].raw[WINDOWS_NUMBERS[six].to_bytes(4, "little")]).calls == 0


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts


@pytest.mark.parametrize(("number", "error"), [(80, 0), (7001, EACCES), (7002, 0), (7003, 0), (7004, EACCES)])
def test_bind_verdicts(windows, number, error):
    """DENY and unknown values fail the bind with EACCES; REDIRECT permits and changes nothing; UNBIND is past."""
    call = SocketCall(Operation.BIND, 2, STREAM, 0, Address(HOST4, number), None, TASK)
    decision = decide(windows, "bind", call)
    assert (decision.allowed, decision.error, decision.address) == (error == 0, error, call.address)
    assert decide(windows, "bind", replace(call, operation=Operation.UNBIND)).allowed


@pytest.mark.parametrize("section", WINDOWS_NUMBERS)
@pytest.mark.parametrize(("number", "allowed"), [(80, 1), (7001, 0), (7002, 1), (7003, 1), (7005, 0)])
def test_sock_addr_verdicts(windows, section, number, allowed):
    """REJECT and unknown values fail the call; only connect programs redirect, and others' changes are ignored."""
    call = call_of(section, number)
    decision = decide(windows, section, call)
    refused = ECONNABORTED if "recv_accept" in section else EACCES
    assert (decision.allowed, decision.error) == (bool(allowed), 0 if allowed else refused)
    moved = call.address
    if number == 7003 and section in ("cgroup/connect4", "cgroup/connect6"):
        moved = Address(OWN4[:3] + b"\2" if section[-1] == "4" else HOST6[:12] + b"\0\0\0\2", 7004)
    assert decision.address == moved


def test_windows_datagrams_are_connections(windows):
    """A datagram to an address meets connect programs, which redirect it; mapped addresses stay mapped."""
    call = call_of("cgroup/connect4", 7003, DGRAM, operation=Operation.SENDMSG)
    assert decide(windows, "cgroup/connect4", call).address == Address(OWN4[:3] + b"\2", 7004)
    mapped = replace(call, family=10, address=Address(MAPPED + HOST4, 7003, 5, 6))
    assert decide(windows, "cgroup/connect4", mapped).address == Address(MAPPED + OWN4[:3] + b"\2", 7004, 5, 6)


def test_redirect_contexts(windows):
    """What a connect program leaves with the connection is in the decision."""
    assert decide(windows, "cgroup/connect4", call_of("cgroup/connect4", 7006)).redirect_context == bytes(4)
    assert decide(windows, "cgroup/connect4", call_of("cgroup/connect4", 80)).redirect_context == b""


LINUX_VERDICTS = [
    ("cgroup/bind4", 7001, Decision(False, EPERM)),
    ("cgroup/bind6", 7002, Decision(False, ECONNREFUSED)),
    ("cgroup/bind4", 7003, Decision(True, 0, Address(OWN4[:3] + b"\2", 7004))),
    ("cgroup/bind6", 7003, Decision(True, 0, Address(OWN6, 7004))),
    ("cgroup/bind4", 7005, Decision(False, EACCES)),
    ("cgroup/bind4", 99, Decision(True, privileged=True)),
    ("cgroup/bind4", 98, Decision(False, EPERM)),
    ("cgroup/connect4", 7001, Decision(False, EPERM)),
    ("cgroup/connect6", 7003, Decision(True, 0, Address(OWN6, 7004))),
    ("cgroup/connect4", 7010, Decision(True, source=Address(OWN4[:3] + b"\3", 0))),
    ("cgroup/connect6", 7010, Decision(True, source=Address(OWN6, 0))),
    ("cgroup/sendmsg4", 7007, Decision(False, EINVAL)),
    ("cgroup/sendmsg6", 7009, Decision(False, ENOTSUPP)),
    ("cgroup/sendmsg4", 7008, Decision(True, source=Address(OWN4[:3] + b"\3", 999))),
    ("cgroup/post_bind4", 7021, Decision(False, EPERM)),
    ("cgroup/post_bind6", 7022, Decision(False, EACCES)),
]


@pytest.mark.parametrize(("section", "number", "wanted"), LINUX_VERDICTS)
def test_linux_verdicts(linux, section, number, wanted):
    """What Linux's programs return, set and write is what becomes of the call."""
    call = call_of(section, number)
    decision = decide(linux, section, call)
    assert decision == (wanted if wanted.address else replace(wanted, address=call.address))


@pytest.mark.parametrize("operation", [Operation.BIND, Operation.CONNECT, Operation.SENDMSG])
def test_raw_sockets_are_not_linux_programs_matter(linux, operation):
    """As in Linux, raw sockets' addresses meet no program."""
    hook = SocketHook()
    for section in ("cgroup/bind4", "cgroup/connect4", "cgroup/sendmsg4"):
        hook.attach(program_of(linux, section))
    assert hook.decide(SocketCall(operation, 2, RAW, 6, Address(HOST4, 7001))).allowed
    assert not any(link.stats.events for link in hook.links)


@pytest.mark.parametrize("family", [1, 16, 17])
def test_other_families_are_let_through(linux, windows, family):
    """Calls on sockets that are not the Internet's meet no program."""
    hook = SocketHook()
    for program in (*linux.programs.values(), *windows.programs.values()):
        hook.attach(program)
    assert hook.decide(SocketCall(Operation.SOCKET, family, STREAM, 0)) == Decision(True)
    assert hook.decide(SocketCall(Operation.BIND, family, STREAM, 0)) == Decision(True)
    assert not any(link.stats.events for link in hook.links)


# ---------------------------------------------------------------------------------------------------------------------
# Several programs

#: What each of a chain of three connect programs does; how many run; whether the call is allowed, redirected.
WINDOWS_CHAINS = [
    ("soft soft soft", 3, True, False),
    ("soft reject soft", 2, False, False),
    ("hard reject soft", 2, False, False),
    ("soft redirect reject", 2, True, True),
    ("redirect soft soft", 1, True, True),
    ("hard hard unknown", 3, False, False),
    ("reject soft soft", 1, False, False),
]
WINDOWS_ACTIONS = {
    "soft": "r0 = 1\nexit",
    "hard": "r0 = 2\nexit",
    "reject": "r0 = 0\nexit",
    "unknown": "r0 = 7\nexit",
    "redirect": "r2 = 0x0200007f\n*(u32 *)(r1 + 24) = r2\nr0 = 1\nexit",
}


@pytest.mark.parametrize(("actions", "runs", "allowed", "redirected"), WINDOWS_CHAINS)
def test_windows_arbitration(actions, runs, allowed, redirected):
    """Programs run until one rejects or redirects; a rejection outranks any permission."""
    hook = SocketHook()
    links = [
        hook.attach(load_assembly(WINDOWS_ACTIONS[action], "cgroup/connect4", platform="windows").programs["program"])
        for action in actions.split()
    ]
    call = call_of("cgroup/connect4")
    decision = hook.decide(call)
    assert decision.allowed == allowed
    assert (decision.address != call.address) == redirected
    assert [link.stats.events for link in links] == [1] * runs + [0] * (3 - runs)


LINUX_ACTIONS = {
    "allow": "r0 = 1\nexit",
    "deny": "r0 = 0\nexit",
    "error": "r1 = -13\ncall 187\nr0 = 1\nexit",
    "pardon": "r1 = 0\ncall 187\nr0 = 1\nexit",
    "move": "r2 = 0x0200007f\n*(u32 *)(r1 + 4) = r2\nr0 = 1\nexit",
    "deny unmoved": "r0 = *(u32 *)(r1 + 4)\nif r0 == 0x0200007f goto +2\nr0 = 0\nexit\nr0 = 1\nexit",
}
LINUX_CHAINS = [
    (("allow", "allow"), 0),
    (("deny", "allow"), EPERM),
    (("allow", "deny"), EPERM),
    (("error", "deny"), EACCES),
    (("deny", "error"), EACCES),
    (("deny", "pardon"), 0),
    (("pardon", "deny"), EPERM),
    (("move", "deny unmoved"), 0),
    (("deny unmoved", "move"), EPERM),
]


@pytest.mark.parametrize(("actions", "error"), LINUX_CHAINS)
def test_linux_programs_all_run(actions, error):
    """All programs run, whatever earlier ones returned; errors are set and taken back as in a control group."""
    hook = SocketHook()
    links = [
        hook.attach(load_assembly(LINUX_ACTIONS[a], "cgroup/connect4", platform="linux").programs["program"])
        for a in actions
    ]
    assert hook.decide(call_of("cgroup/connect4")).error == error
    assert [link.stats.events for link in links] == [1, 1]


def test_priority_orders_programs():
    """Of the programs of one attach type, lower priorities run earlier, whenever they were attached."""
    hook = SocketHook()
    late = hook.attach(load_assembly(LINUX_ACTIONS["deny unmoved"], "cgroup/connect4").programs["program"])
    early = hook.attach(load_assembly(LINUX_ACTIONS["move"], "cgroup/connect4").programs["program"], priority=1)
    assert hook.links == (early, late)
    assert hook.decide(call_of("cgroup/connect4")).allowed


def test_both_platforms_decide(linux, windows):
    """Windows' programs see what Linux's have made of the call; whoever denies first decides how it fails."""
    hook = SocketHook()
    for section in ("cgroup/connect4", "cgroup/connect_authorization4"):
        hook.attach(program_of(windows, section))
    hook.attach(program_of(linux, "cgroup/connect4"))
    decision = hook.decide(call_of("cgroup/connect4", 7003))
    assert decision.address == Address(OWN4[:3] + b"\2", 7004)
    seen = WindowsSeen.parse(windows.maps["seen"].raw[(2).to_bytes(4, "little")])
    assert (seen.user[:4], seen.user_port) == (OWN4[:3] + b"\2", port(7004))
    assert hook.decide(call_of("cgroup/connect4", 7005)).error == EACCES
    assert hook.decide(call_of("cgroup/connect4", 7001)).error == EPERM
    assert WindowsSeen.parse(windows.maps["seen"].raw[(2).to_bytes(4, "little")]).calls == 1


@pytest.mark.parametrize("section", ["bind", "cgroup/recv_accept4", "cgroup/listen6"])
def test_one_program_only(windows, section):
    """Where eBPF for Windows takes one program, the second is refused until the first is detached."""
    hook = SocketHook()
    link = hook.attach(program_of(windows, section))
    with pytest.raises(HookError, match="attached already"):
        hook.attach(program_of(windows, section))
    link.detach()
    hook.attach(program_of(windows, section)).detach()


# ---------------------------------------------------------------------------------------------------------------------
# Attaching


def test_operations_are_those_that_programs_see(linux, windows):
    """A source learns which calls to bring, and that none are wanted when the last program has gone."""
    hook = SocketHook()
    assert hook.operations == frozenset()
    links = [hook.attach(program_of(linux, "cgroup/connect4")), hook.attach(program_of(windows, "bind"))]
    assert hook.operations == {Operation.CONNECT, Operation.BIND, Operation.UNBIND}
    links[0].detach()
    assert hook.operations == {Operation.BIND, Operation.UNBIND}
    links[1].detach()
    assert hook.operations == frozenset()
    assert hook.decide(call_of("cgroup/connect4", 7001)).allowed


@pytest.mark.parametrize(
    ("section", "platform"), [("xdp", "linux"), ("cgroup/getpeername4", "linux"), ("xdp", "windows")]
)
def test_other_programs_are_refused(section, platform):
    """Programs that decide no socket calls are refused in one sentence, and nothing stays attached."""
    hook = SocketHook()
    program = load_assembly("r0 = 1\nexit", section, platform=platform).programs["program"]
    with pytest.raises(HookError, match="which the socket hook does not run"):
        hook.attach(program)
    assert hook.links == ()


def test_what_sources_take():
    """A source that brings only some operations takes the types that see one of them, and no others."""
    taken = {(one.platform, one.program_type): one.attach_types for one in accepted([Operation.UNBIND])}
    assert taken == {("windows", "bind"): ("bind",)}
    every = accepted(Operation)
    assert {one.program_type: len(one.attach_types) for one in every} == {
        "cgroup_sock_addr": 6, "cgroup_sock": 4, "bind": 1, "sock_addr": 10
    }  # fmt: skip


def test_a_program_that_faults_lets_calls_pass():
    """Fail-open: an unverified program that reads where it may not is counted, and the call goes on."""
    hook = SocketHook()
    source = "r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit"
    loaded = load_assembly(source, "cgroup/connect4", platform="linux", unverified=True)
    with hook.attach(loaded.programs["program"]) as link:
        assert hook.decide(call_of("cgroup/connect4")).allowed
        assert link.stats.errors == 1


def test_update_swaps_the_policy():
    """Updating a link changes what is decided from the next call on; another attach type's program is refused."""
    hook = SocketHook()
    allow, deny = (
        load_assembly(LINUX_ACTIONS[a], "cgroup/connect4", platform="linux").programs["program"]
        for a in ("allow", "deny")
    )
    with hook.attach(allow) as link:
        assert hook.decide(call_of("cgroup/connect4")).allowed
        link.update(deny)
        assert not hook.decide(call_of("cgroup/connect4")).allowed
        with pytest.raises(HookError):
            link.update(load_assembly(LINUX_ACTIONS["allow"], "cgroup/bind4", platform="linux").programs["program"])


def test_threads_decide_at_once(linux):
    """Many threads get their own calls' decisions, while programs come and go."""
    hook = SocketHook()
    hook.attach(program_of(linux, "cgroup/connect4"))
    wrong = []
    stop = threading.Event()

    def ask(number: int) -> None:
        for turn in range(300):
            host = bytes((10, number, turn % 256, 1))
            decision = hook.decide(SocketCall(Operation.CONNECT, 2, STREAM, 0, Address(host, 80), task=TASK))
            if decision != Decision(True, 0, Address(host, 80)):
                wrong.append(decision)

    def churn() -> None:
        program = load_assembly(LINUX_ACTIONS["allow"], "cgroup/connect4", platform="linux").programs["program"]
        while not stop.is_set():
            hook.attach(program, priority=1).detach()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    churning = threading.Thread(target=churn)
    churning.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    churning.join()
    assert wrong == []
    assert hook.links[0].stats.events == 1800


def test_programs_that_follow_kernel_sockets_are_refused():
    """A program that reads through ctx->sk would fault on every call and let it pass: it is not attached."""
    hook = SocketHook()
    source = "r2 = *(u64 *)(r1 + 64)\nr0 = *(u32 *)(r2 + 4)\nr0 &= 1\nexit"
    loaded = load_assembly(source, "cgroup/connect4", platform="linux", verified=True)
    with pytest.raises(HookError, match="ctx->sk"):
        hook.attach(loaded.programs["program"])


@pytest.mark.parametrize(
    ("sections", "shown"),
    [
        (("cgroup/connect4",), ()),
        (("cgroup/sendmsg6",), (Operation.SENDMSG,)),
        (("bind",), ()),
        (("cgroup/bind4", "cgroup/listen4"), (Operation.LISTEN,)),
        (("cgroup/connect6",), (Operation.CONNECT, Operation.SENDMSG)),
    ],
)
def test_sources_learn_whether_to_ask_for_the_sockets_own_address(linux, windows, sections, shown):
    """The socket's own address is wanted where a program's context shows it, and nowhere else."""
    hook = SocketHook()
    loaded = linux if shown == (Operation.SENDMSG,) or sections == ("cgroup/connect4",) else windows
    for section in sections:
        hook.attach(program_of(loaded, section))
    assert {operation for operation in Operation if hook.shows_local(operation)} == set(shown)
