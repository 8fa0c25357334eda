"""Supervised socket calls: what programs see and decide of each kind of call, and what callers get."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import anybpf
from anybpf.errors import HookError
from anybpf.hooks.seccomp import CommandError, Seccomp
from supervised import (
    ALLOW_BIND,
    children_of,
    compiled_c,
    deny_port,
    free_port,
    policy,
    python,
    redirect_connect,
    run,
)

pytestmark = pytest.mark.linux_only

EPERM, EINTR, EACCES, ENOSYS, EADDRINUSE, EOPNOTSUPP = 1, 4, 13, 38, 98, 95

DENY_ALL = 'SEC("cgroup/bind4") int deny_all(struct bpf_sock_addr *ctx) { return 0; }'
DENY_SEND = 'SEC("cgroup/sendmsg4") int deny_send(struct bpf_sock_addr *ctx) { return 0; }'
#: Begins the Python of supervised commands: attempt(f, …) gives what f gives, or the error number.
ATTEMPT = """
import errno, json, os, signal, socket, sys, threading, time
def attempt(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return error.errno
def local(kind=socket.SOCK_STREAM):
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    return made
"""


def prelude(source: str, *arguments: object) -> list[str]:
    """A command that runs some Python after ATTEMPT."""
    return python(ATTEMPT + textwrap.dedent(source), *arguments)


def output(*attachments: str, source: str, arguments: tuple[object, ...] = ()) -> Any:
    """What a supervised Python program prints as JSON."""
    done = run(*attachments, command=prelude(source, *arguments))
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def summary(*attachments: str, source: str, arguments: tuple[object, ...] = ()) -> tuple[Any, Any]:
    """The same, and the summary of what was decided."""
    done = run(*attachments, command=prelude(source, *arguments), options=("--json",))
    assert done.returncode == 0, done
    return json.loads(done.stdout), json.loads(done.stderr.splitlines()[-1])


def record(folder: Path, sections: dict[str, str], platform: str = "linux") -> Path:
    """An object with a map ``seen`` and a program a section whose body may count events in it: count(key)."""
    context = "struct bpf_sock_addr" if platform == "linux" else "bpf_sock_addr_t"
    types = {"cgroup/post": "struct bpf_sock", "cgroup/sock_": "struct bpf_sock", "bind": "bind_md_t"}
    programs = "".join(
        f'SEC("{section}") int program{number}({types.get(section[:11], types.get(section, context))} *ctx)\n'
        f"{{ {body} }}\n"
        for number, (section, body) in enumerate(sections.items())
    )
    integers = {"linux": ("__u64", "__u64"), "windows": ("uint64_t", "uint64_t")}[platform]
    return policy(
        folder,
        f"""
        struct {{
            __uint(type, BPF_MAP_TYPE_HASH);
            __type(key, {integers[0]});
            __type(value, {integers[1]});
            __uint(max_entries, 256);
        }} seen SEC(".maps");
        static inline __attribute__((unused)) void count({integers[0]} key)
        {{
            {integers[1]} one = 1, *counted = bpf_map_lookup_elem(&seen, &key);
            if (counted)
                *counted += 1;
            else
                bpf_map_update_elem(&seen, &key, &one, 0);
        }}
        """
        + programs,
        platform,
    )


def seen(summary: Any) -> dict[int, int]:
    """The map ``seen`` in a summary."""
    return {entry["key"]: entry["value"] for entry in summary["maps"]["seen"]}


class TestBind:
    def test_other_families_are_left_alone(self, tmp_path: Path) -> None:
        """Unix sockets are bound, connected and used as ever, and nobody is asked."""
        source = """
            server = socket.socket(socket.AF_UNIX)
            server.bind(sys.argv[1]); server.listen()
            client = socket.socket(socket.AF_UNIX)
            client.connect(sys.argv[1])
            accepted, _ = server.accept()
            socket.send_fds(client, [b"with a file"], [0])
            print(json.dumps([accepted.recv(99).decode(), server.getsockname() == sys.argv[1]]))
            """
        path = policy(tmp_path, redirect_connect(1) + ALLOW_BIND + DENY_SEND)
        accept = policy(
            tmp_path,
            'SEC("cgroup/recv_accept4") int policy(bpf_sock_addr_t *ctx) { return 0; }',
            "windows",
        )
        hooks = [f"bind4={path}", f"connect4={path}", f"sendmsg4={path}", f"recv_accept4={accept}"]
        done, record = summary(*hooks, source=source, arguments=(tmp_path / "socket",))
        assert done == ["with a file", True]
        assert [program["events"] for program in record["programs"]] == [0, 0, 0, 0]

    def test_ipv6_and_datagrams(self, tmp_path: Path) -> None:
        """bind6 programs decide IPv6 sockets, TCP and UDP; IPv4 is not theirs."""
        denied = policy(tmp_path, 'SEC("cgroup/bind6") int deny(struct bpf_sock_addr *ctx) { return 0; }')
        source = """
            results = []
            for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    results.append(attempt(socket.socket(family, kind).bind, (host, 0)))
            print(json.dumps(results))
            """
        assert output(f"bind6={denied}", source=source) == [EPERM, EPERM, None, None]

    def test_a_closed_socket_is_closed_for_good(self, tmp_path: Path) -> None:
        """We hold no socket longer than its owner: its port is free again as soon as that has closed it."""
        source = """
            with local() as probe:
                port = probe.getsockname()[1]
            results = set()
            for _ in range(300):
                made = socket.socket(); results.add(attempt(made.bind, ("127.0.0.1", port))); made.close()
            print(json.dumps(list(results)))
            """
        assert output(f"bind4={policy(tmp_path, ALLOW_BIND)}", source=source) == [None]

    def test_errors_are_the_kernels_own(self, tmp_path: Path) -> None:
        """What is wrong with a call is reported as without us."""
        port = free_port()
        source = """
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            def raw(descriptor, address, length):
                return 0 if libc.bind(descriptor, address, length) == 0 else ctypes.get_errno()
            taken = socket.socket(); taken.bind(("127.0.0.1", int(sys.argv[1])))
            made = socket.socket()
            address = bytes([2, 0, 0, 0, 127, 0, 0, 1]) + bytes(8)
            print(json.dumps([
                attempt(made.bind, ("127.0.0.1", int(sys.argv[1]))),
                attempt(made.bind, ("192.0.2.1", 0)),
                raw(made.fileno(), address, 8),
                raw(made.fileno(), None, 16),
                raw(made.fileno(), address, -1),
                raw(999, address, 16),
                raw(0, address, 16),
                raw(made.fileno(), bytes([1]) + address[1:], 16),
                raw(made.fileno(), bytes(1) + address[1:4] + bytes(12), 16),
            ]))
            """
        command = prelude(source, port)
        free = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        held = run(f"bind4={policy(tmp_path, ALLOW_BIND)}", command=command)
        assert json.loads(held.stdout) == json.loads(free.stdout)

    def test_windows_programs_see_who_binds_what_and_when_it_is_closed(self, tmp_path: Path) -> None:
        """bind_md_t has process, program name, address, protocol; UNBIND comes when the last descriptor is closed."""
        path = record(
            tmp_path,
            {
                "bind": """
                    uint16_t port = (uint16_t)(*(uint64_t *)ctx->socket_address >> 16);
                    uint32_t host = (uint32_t)(*(uint64_t *)ctx->socket_address >> 32);
                    uint8_t *name = ctx->app_id_start;
                    if (name + 2 <= ctx->app_id_end && host == 0x7f000001 && ctx->protocol == 6)
                        count((uint64_t)ctx->operation << 32 | (uint64_t)name[0] << 16 | (port != 0));
                    count(1ull << 63 | ctx->process_id);
                    return BIND_PERMIT_SOFT;
                    """
            },
            "windows",
        )
        source = """
            first, second, third = local(), local(), local()
            copy = os.dup(first.fileno())
            first.close(); second.close()     # first lives on through its copy, third to the end
            fourth = local()
            print(json.dumps(os.getpid()))
            """
        pid, done = summary(f"bind={path}", source=source)
        name = ord(Path(sys.executable).resolve().name[0])
        counted = seen(done)
        assert counted.pop(name << 16) == 4  # BIND to port 0
        assert counted.pop(2 << 32 | name << 16 | 1) == 4  # UNBIND of the port that it got
        assert counted == {1 << 63 | pid: 8}

    def test_a_program_that_executes_another_has_its_name(self, tmp_path: Path) -> None:
        """The name is that of the program that runs now, though the process is the same."""
        body = """
            uint8_t *name = ctx->app_id_start;
            if (name + 2 <= ctx->app_id_end && ctx->operation == BIND_OPERATION_BIND) count(name[0]);
            return BIND_PERMIT_SOFT;
            """
        path = record(tmp_path, {"bind": body}, "windows")
        first = compiled_c(
            tmp_path,
            """
            #include <netinet/in.h>
            #include <sys/socket.h>
            #include <unistd.h>
            int main(int argc, char **argv) {
                struct sockaddr_in any = {.sin_family = AF_INET};
                if (bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&any, sizeof any)) return 1;
                return argc > 1 ? execv(argv[1], argv + 1) : 0;
            }
            """,
        )
        second = tmp_path / "zweites"
        second.write_bytes(Path(first).read_bytes())
        second.chmod(0o755)
        done = run(f"bind={path}", command=[first, str(second)], options=("--json",))
        assert seen(json.loads(done.stderr.splitlines()[-1])) == {ord("n"): 1, ord("z"): 1}

    def test_a_quota_counts_what_is_open(self, tmp_path: Path) -> None:
        """A closed socket is reported before the next bind is decided, so that a limit of open ports is exact."""
        path = record(
            tmp_path,
            {
                "bind": """
                    uint64_t key = 0, none = 0, *open = bpf_map_lookup_elem(&seen, &key);
                    if (!open) { bpf_map_update_elem(&seen, &key, &none, 0); open = bpf_map_lookup_elem(&seen, &key); }
                    if (!open) return BIND_DENY;
                    if (ctx->operation == BIND_OPERATION_UNBIND) { *open -= 1; return BIND_PERMIT_SOFT; }
                    if (*open == 2) return BIND_DENY;
                    *open += 1;
                    return BIND_PERMIT_SOFT;
                    """
            },
            "windows",
        )
        source = """
            results, held = [], []
            def bind():
                made = socket.socket()
                results.append(attempt(made.bind, ("127.0.0.1", 0)))
                if results[-1] is None:
                    held.append(made)
            for _ in range(3):
                bind()
            for _ in range(20):
                held.pop(0).close()
                bind()
            print(json.dumps(results))
            """
        results = output(f"bind={path}", source=source)
        assert results[:3] == [None, None, EACCES]
        assert results[3:] == [None] * 20

    def test_post_bind_is_asked_before_the_port_is_taken(self, tmp_path: Path) -> None:
        """post_bind4 sees the port that a socket gets, also where the kernel would choose; a veto leaves it free."""
        port = free_port()
        path = record(
            tmp_path,
            {"cgroup/post_bind4": f"count(ctx->src_port); return ctx->src_port != {port} && ctx->src_ip4 != 0;"},
        )
        source = """
            port = int(sys.argv[1])
            denied = socket.socket()
            results = [attempt(denied.bind, ("127.0.0.1", port)), denied.getsockname()[1]]
            free = socket.socket(); free.bind(("127.0.0.1", 0))
            print(json.dumps([*results, free.getsockname()[1]]))
            """
        (error, nothing, chosen), done = summary(f"post_bind4={path}", source=source, arguments=(port,))
        assert (error, nothing) == (EPERM, 0)
        assert chosen > 0
        assert {port, chosen} <= set(seen(done))


class TestConnect:
    def test_redirected_and_denied(self, tmp_path: Path) -> None:
        """A rewritten address is where the connection goes; a denied one goes nowhere."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            path = policy(
                tmp_path,
                f"""
                SEC("cgroup/connect4") int redirect(struct bpf_sock_addr *ctx)
                {{
                    if (ctx->user_port == bpf_htons(9))
                        return 0;
                    ctx->user_ip4 = bpf_htonl(0x7f000001);
                    ctx->user_port = bpf_htons({port});
                    return 1;
                }}
                """,
            )
            source = """
                made, other = socket.socket(), socket.socket()
                print(json.dumps([attempt(other.connect, ("127.0.0.1", 9)), attempt(made.connect, ("192.0.2.1", 80)),
                                  made.getpeername()]))
                """
            assert output(f"connect4={path}", source=source) == [EPERM, None, ["127.0.0.1", port]]

    def test_without_blocking(self, tmp_path: Path) -> None:
        """A socket that does not block is connected in the background, and says how that went."""
        path = policy(tmp_path, deny_port("cgroup/connect4", 9))
        with socket.create_server(("127.0.0.1", 0)) as server:
            source = """
                import select
                made = socket.socket(); made.setblocking(False)
                begun = attempt(made.connect, ("127.0.0.1", int(sys.argv[1])))
                select.select([], [made], [], 30)
                error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                print(json.dumps([begun in (None, errno.EINPROGRESS), error]))
                """
            done = output(f"connect4={path}", source=source, arguments=(server.getsockname()[1],))
            assert done == [True, 0]

    def test_a_slow_connection_holds_up_nobody_else(self, tmp_path: Path) -> None:
        """While a thread waits for a connection, others connect; a signal interrupts it, and the wait has an end."""
        path = policy(tmp_path, deny_port("cgroup/connect4", 9))
        with full_server() as full, socket.create_server(("127.0.0.1", 0)) as server:
            source = """
                class Alarm(Exception): pass
                def rung(*_): raise Alarm
                signal.signal(signal.SIGALRM, rung)
                full, free = (("127.0.0.1", int(port)) for port in sys.argv[1:])
                others = []
                def connect_many():
                    for _ in range(50):
                        made = socket.socket(); made.connect(free); made.close(); others.append(1)
                thread = threading.Thread(target=connect_many)
                begin = time.monotonic()
                signal.setitimer(signal.ITIMER_REAL, 3)
                thread.start()
                interrupted = False
                try:
                    socket.socket().connect(full)
                except Alarm:
                    interrupted = True
                done = len(others)
                patient = socket.socket()
                patient.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, (1).to_bytes(8, "little") + bytes(8))
                late = attempt(patient.connect, full)
                thread.join()
                print(json.dumps([interrupted, done, late, time.monotonic() - begin < 30]))
                """
            arguments = (full.getsockname()[1], server.getsockname()[1])
            done = output(f"connect4={path}", source=source, arguments=arguments)
            assert done == [True, 50, 115, True]  # EINPROGRESS: what a connection that takes too long fails with

    def test_fast_open_is_no_way_round(self, tmp_path: Path) -> None:
        """Sending with MSG_FASTOPEN connects, and is refused where connections are decided."""
        path = policy(tmp_path, deny_port("cgroup/connect4", 9))
        source = """
            made = socket.socket()
            print(json.dumps([attempt(made.sendto, b"x", 0x20000000, ("127.0.0.1", 9)),
                              attempt(made.sendmsg, [b"x"], [], 0x20000000, ("127.0.0.1", 9))]))
            """
        assert output(f"connect4={path}", source=source) == [EOPNOTSUPP, EOPNOTSUPP]


class full_server:
    """A server whose queue is full: connections to it are not answered."""

    def __enter__(self) -> socket.socket:
        self.server = socket.socket()
        self.server.bind(("127.0.0.1", 0))
        self.server.listen(0)
        self.clients = []
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(self.server.getsockname())
            self.clients.append(client)
        return self.server

    def __exit__(self, *raised: object) -> None:
        for made in (*self.clients, self.server):
            made.close()


class TestDatagrams:
    def test_decided_where_they_name_an_address(self, tmp_path: Path) -> None:
        """sendto and sendmsg are redirected and denied by where they send to; connected sockets are not asked."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(30)
            port = receiver.getsockname()[1]
            path = policy(
                tmp_path,
                f"""
                SEC("cgroup/sendmsg4") int redirect(struct bpf_sock_addr *ctx)
                {{
                    if (ctx->user_port == bpf_htons(9))
                        return 0;
                    ctx->user_ip4 = bpf_htonl(0x7f000001);
                    ctx->user_port = bpf_htons({port});
                    return 1;
                }}
                """,
            )
            source = """
                made, peer = local(socket.SOCK_DGRAM), local(socket.SOCK_DGRAM)
                other = local(socket.SOCK_DGRAM); other.connect(peer.getsockname())
                tcp = socket.create_server(("127.0.0.1", 0))
                client = socket.create_connection(tcp.getsockname())
                print(json.dumps([
                    attempt(made.sendto, b"one", ("192.0.2.1", 53)),
                    attempt(made.sendmsg, [b"tw", b"o"], [], 0, ("192.0.2.1", 53)),
                    attempt(made.sendto, b"no", ("127.0.0.1", 9)),
                    attempt(other.send, b"four"), attempt(other.sendmsg, [b"fi", b"ve!"]), peer.recv(99).decode(),
                    attempt(client.sendmsg, [b"x" * 100000, b"y"]) > 0, client.send(b"z"),
                ]))
                """
            done = output(f"sendmsg4={path}", source=source)
            assert done == [3, 3, EPERM, 4, 5, "four", True, 1]
            assert [receiver.recv(99), receiver.recv(99)] == [b"one", b"two"]

    def test_sendmmsg_sends_what_is_allowed(self, tmp_path: Path) -> None:
        """Of several messages one is sent at a time, each decided; lengths are reported where the caller reads them."""
        path = policy(tmp_path, deny_port("cgroup/sendmsg4", 9).replace("return", "return ctx->user_port &&"))
        program = compiled_c(
            tmp_path,
            """
            #define _GNU_SOURCE
            #include <arpa/inet.h>
            #include <stdio.h>
            #include <sys/socket.h>
            int main(void) {
                int receiver = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET, SOCK_DGRAM, 0);
                struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)}, bad = to;
                socklen_t length = sizeof to;
                bind(receiver, (void *)&to, sizeof to);
                getsockname(receiver, (void *)&to, &length);
                bad.sin_port = htons(9);
                struct iovec parts[3] = {{"a", 1}, {"bb", 2}, {"ccc", 3}};
                struct mmsghdr messages[3] = {0};
                for (int i = 0; i < 3; i++) {
                    messages[i].msg_hdr.msg_name = i < 2 ? &to : &bad;
                    messages[i].msg_hdr.msg_namelen = sizeof to;
                    messages[i].msg_hdr.msg_iov = &parts[i];
                    messages[i].msg_hdr.msg_iovlen = 1;
                }
                int sent = 0, more;
                while (sent < 3 && (more = sendmmsg(sender, messages + sent, 3 - sent, 0)) > 0) sent += more;
                perror("sendmmsg");
                char text[9];
                printf("%d %u %u %zd ", sent, messages[0].msg_len, messages[1].msg_len, recv(receiver, text, 9, 0));
                printf("%zd\\n", recv(receiver, text, 9, 0));
                return 0;
            }
            """,
        )
        done = run(f"sendmsg4={path}", command=[program])
        assert done.stdout == "2 1 2 1 2\n"
        assert "not permitted" in done.stderr


class TestServers:
    def test_windows_programs_decide_listening(self, tmp_path: Path) -> None:
        """listen4 programs of eBPF for Windows let a socket listen, or not (EACCES)."""
        port = free_port()
        path = policy(
            tmp_path,
            f"""
            SEC("cgroup/listen4") int policy(bpf_sock_addr_t *ctx)
            {{ return ctx->user_port == bpf_htons({port}) ? BPF_SOCK_ADDR_VERDICT_REJECT
                                                          : BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT; }}
            """,
            "windows",
        )
        source = """
            denied, allowed = socket.socket(), local()
            denied.bind(("127.0.0.1", int(sys.argv[1])))
            print(json.dumps([attempt(denied.listen), attempt(allowed.listen)]))
            """
        assert output(f"listen4={path}", source=source, arguments=(port,)) == [EACCES, None]

    @pytest.mark.parametrize("blocking", [True, False])
    def test_windows_programs_decide_what_is_accepted(self, tmp_path: Path, blocking: bool) -> None:
        """recv_accept4 programs turn connections away before the server sees them; others arrive with their peer."""
        unwelcome = free_port()
        path = policy(
            tmp_path,
            f"""
            SEC("cgroup/recv_accept4") int policy(bpf_sock_addr_t *ctx)
            {{ return ctx->msg_src_port == bpf_htons({unwelcome}) ? BPF_SOCK_ADDR_VERDICT_REJECT
                                                                  : BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT; }}
            """,
            "windows",
        )
        source = """
            import select
            server = socket.create_server(("127.0.0.1", 0))
            blocking = sys.argv[2] == "True"
            server.setblocking(blocking)
            first, second = socket.socket(), local()
            first.bind(("127.0.0.1", int(sys.argv[1])))
            def connect():
                time.sleep(0.2)
                for client in (first, second):
                    client.connect(server.getsockname())
            nothing = None if blocking else attempt(server.accept)
            thread = threading.Thread(target=connect); thread.start()
            while True:
                if not blocking:
                    select.select([server], [], [], 30)
                got = attempt(server.accept)
                if got != errno.EAGAIN:
                    break
            made, peer = got
            thread.join()
            made.sendall(b"welcome")
            print(json.dumps([nothing, second.recv(99).decode(), peer[1] == second.getsockname()[1],
                              attempt(first.recv, 1), made.get_inheritable()]))
            """
        nothing = None if blocking else 11  # EAGAIN
        done = output(f"recv_accept4={path}", source=source, arguments=(unwelcome, blocking))
        assert done == [nothing, "welcome", True, 104, False]  # ECONNRESET for the other

    def test_an_interrupted_accept_loses_no_connection(self, tmp_path: Path) -> None:
        """A server that a timer interrupts all the time gets every connection, once."""
        path = policy(
            tmp_path,
            'SEC("cgroup/recv_accept4") int policy(bpf_sock_addr_t *ctx) { return 1; }',
            "windows",
        )
        source = """
            signal.signal(signal.SIGALRM, lambda *_: None)
            server = socket.create_server(("127.0.0.1", 0), backlog=64)
            def connect():
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
                for number in range(40):
                    with socket.create_connection(server.getsockname()) as client:
                        client.sendall(bytes([number]))
                    time.sleep(0.002)
            thread = threading.Thread(target=connect); thread.start()
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            got = []
            while len(got) < 40:
                made, _ = server.accept()
                got.append(made.recv(1)[0])
            signal.setitimer(signal.ITIMER_REAL, 0)
            thread.join()
            print(json.dumps(got))
            """
        assert sorted(output(f"recv_accept4={path}", source=source)) == list(range(40))


class TestSockets:
    def test_making_sockets_is_decided(self, tmp_path: Path) -> None:
        """sock_create programs see family and type; what is no Internet socket is not theirs."""
        path = policy(
            tmp_path, 'SEC("cgroup/sock_create") int policy(struct bpf_sock *ctx) { return ctx->type != 2; }'
        )
        source = """
            from socket import AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM
            kinds = (AF_INET, SOCK_DGRAM), (AF_INET, SOCK_STREAM), (AF_UNIX, SOCK_DGRAM)
            print(json.dumps([attempt(lambda: socket.socket(*kind).close()) for kind in kinds]))
            """
        assert output(f"sock_create={path}", source=source) == [EPERM, None, None]

    def test_what_cannot_be_seen_is_refused(self, tmp_path: Path) -> None:
        """A sock_release program has no events here, and is told so."""
        path = policy(tmp_path, 'SEC("cgroup/sock_release") int policy(struct bpf_sock *ctx) { return 1; }')
        done = run(f"sock_release={path}", command=["true"])
        assert done.returncode == 2
        assert "does not run" in done.stderr


class TestHook:
    def test_what_is_held_up_is_settled_when_the_command_starts(self, tmp_path: Path) -> None:
        """Programs may be swapped while the command runs, and others attached, but for calls that are held up only."""
        with anybpf.load(policy(tmp_path, ALLOW_BIND + deny_port("cgroup/connect4", 9) + DENY_ALL)) as loaded:
            allow, connect = loaded.programs["allow_bind"], loaded.programs["connect4_but_9"]
            hook = Seccomp()
            with hook.attach(allow) as link:
                binder = "import socket, sys; sys.stdin.readline(); socket.socket().bind(('127.0.0.1', 0))"
                reader, writer = os.pipe()
                kept = os.dup(0)
                os.dup2(reader, 0)
                try:
                    process, supervisor = hook.start([sys.executable, "-ISc", binder])
                finally:
                    os.dup2(kept, 0)
                    os.close(kept)
                    os.close(reader)
                with supervisor:
                    with pytest.raises(HookError, match="runs already"):
                        hook.attach(connect)
                    assert hook.links == (link,)
                    link.update(loaded.programs["deny_all"])
                    os.write(writer, b"\n")
                    os.close(writer)
                    supervisor.serve()
                    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 1
                assert link.stats.verdicts == {0: 1}

    def test_a_command_that_cannot_be_executed(self, tmp_path: Path) -> None:
        """The error says why, and nothing is left: no process, no descriptor."""
        before = len(os.listdir("/proc/self/fd")), children_of(os.getpid())
        with anybpf.load(policy(tmp_path, ALLOW_BIND)) as loaded:
            hook = Seccomp()
            with hook.attach(loaded.programs["allow_bind"]):
                with pytest.raises(CommandError) as missing:
                    hook.start(["./no-such-command"])
                with pytest.raises(CommandError) as directory:
                    hook.start(["/tmp"])
        assert (missing.value.error, directory.value.error) == (2, EACCES)
        assert (len(os.listdir("/proc/self/fd")), children_of(os.getpid())) == before

    def test_scripts_that_do_not_say_what_runs_them(self, tmp_path: Path) -> None:
        """A file of commands without `#!` is run by the shell, as shells do."""
        script = tmp_path / "script"
        script.write_text("echo $1; exit 4\n")
        script.chmod(0o755)
        done = run(f"bind4={policy(tmp_path, ALLOW_BIND)}", command=[str(script), "argument"])
        assert (done.returncode, done.stdout) == (4, "argument\n")
