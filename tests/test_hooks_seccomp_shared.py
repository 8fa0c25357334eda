"""Supervised commands with several threads: their Unix and netlink sockets work as ever."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from typing import Any

import pytest

from supervised import ALLOW_BIND, policy, python, require, run

pytestmark = pytest.mark.linux_only

EACCES, EPERM = 13, 1
ALLOW_CONNECT = 'SEC("cgroup/connect4") int allow_connect(struct bpf_sock_addr *ctx) { return 1; }'
ALLOW_SEND = 'SEC("cgroup/sendmsg4") int allow_send(struct bpf_sock_addr *ctx) { return 1; }'
ALLOW_WINDOWS = 'SEC("cgroup/{0}4") int {0}(bpf_sock_addr_t *ctx) {{ return BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT; }}'

#: Begins the Python of supervised commands, which then have a second thread; the end of standard input ends it.
THREADED = """
import array, errno, json, os, signal, socket, struct, sys, tempfile, threading, time
def attempt(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return error.errno
def in_background(call):
    made = threading.Thread(target=call, daemon=True)
    made.start()
    return made
in_background(threading.Event().wait)
def as_nobody(folder):
    os.chown(folder, 65534, 65534)
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
folder = tempfile.mkdtemp()
os.chdir(folder)
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Hooks that hold up all calls, and allow them."""
    folder = tmp_path_factory.mktemp("policies")
    linux = policy(folder, ALLOW_BIND + ALLOW_CONNECT + ALLOW_SEND)
    accepts = ALLOW_WINDOWS.format("recv_accept") + ALLOW_WINDOWS.format("listen")
    windows = policy(folder, accepts, "windows")
    return (
        *(f"{hook}={linux}" for hook in ("bind4", "connect4", "sendmsg4")),
        *(f"{hook}={windows}" for hook in ("recv_accept4", "listen4")),
    )


def output(hooks: tuple[str, ...], source: str) -> Any:
    """What a supervised Python program with threads prints as JSON."""
    done = run(*hooks, command=python(THREADED + textwrap.dedent(source)))
    assert done.returncode == 0, done
    return json.loads(done.stdout)


class TestUnixSockets:
    def test_names(self, everything: tuple[str, ...]) -> None:
        """Paths, relative and absolute, abstract names and no names: as bound, so seen, and connected to."""
        source = """
            seen, servers = [], []
            for name in ("here", folder + "/there", b"\\0abstract%d" % os.getpid()):
                server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
                server.bind(name); server.listen(); servers.append(server)
                client.connect(name)
                accepted, peer = server.accept()
                client.sendall(b"hello")
                same = [server.getsockname() == name, accepted.getsockname() == name, client.getpeername() == name]
                seen.append([*same, peer, accepted.recv(9).decode()])
            os.mkdir("sub"); os.chdir("sub")
            seen.append(attempt(socket.socket(socket.AF_UNIX).connect, "here"))
            seen.append(attempt(socket.socket(socket.AF_UNIX).connect, "../here"))
            nameless = socket.socket(socket.AF_UNIX); nameless.bind("")
            print(json.dumps([*seen, len(nameless.getsockname())]))
            """
        right = [True, True, True, "", "hello"]
        assert output(everything, source) == [right, right, right, 2, None, 6]

    def test_umask_and_credentials(self, everything: tuple[str, ...]) -> None:
        """A socket's file has the caller's owner and umask, and its peer sees the caller's user."""
        source = """
            os.umask(0o027)
            server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
            server.bind("here"); server.listen(); client.connect("here")
            status = os.stat("here")
            accepted, _ = server.accept()
            ids = [struct.unpack("3i", made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:]
                   for made in (client, accepted)]
            print(json.dumps([oct(status.st_mode & 0o777), [status.st_uid, status.st_gid], *ids,
                              [os.getuid(), os.getgid()]]))
            """
        mode, *ids = output(everything, source)
        assert mode == "0o750"
        assert ids == [ids[0]] * 4

    def test_one_thread_calls_by_itself(self, everything: tuple[str, ...]) -> None:
        """What no program is asked about is the kernel's as long as a process has one thread, even later on."""
        source = """
            import json, os, socket, struct, sys, threading
            def seen():
                server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
                server.bind(""); server.listen(); client.connect(server.getsockname())
                accepted, _ = server.accept()
                who = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                return struct.unpack("3i", who)[0] == os.getpid()
            stop = threading.Event()
            results = [seen()]
            thread = threading.Thread(target=stop.wait); thread.start()
            results.append(seen())
            stop.set(); thread.join()
            while len(os.listdir("/proc/self/task")) > 1: pass
            print(json.dumps([*results, seen()]))
            """
        done = run(*everything, command=python(source))
        assert json.loads(done.stdout) == [True, False, True], done

    def test_as_another_user(self, everything: tuple[str, ...]) -> None:
        """A caller that root's supervisor acts for is who it is: it owns what it makes, and gets nowhere else."""
        if os.getuid() != 0:
            pytest.skip("needs root, to become another user")
        source = """
            private = socket.socket(socket.AF_UNIX); private.bind("private"); private.listen()
            os.chmod("private", 0o600)
            os.mkdir("closed", 0o700)
            receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            receiver.bind("open"); os.chmod("open", 0o777)
            as_nobody(folder)
            def run():
                server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
                server.bind("mine"); server.listen(); client.connect("mine")
                accepted, _ = server.accept()
                peer = struct.unpack("3i", accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:]
                new = lambda: socket.socket(socket.AF_UNIX)
                refused = [attempt(call, path) for call, path in
                           ((new().connect, "private"), (new().bind, "closed/a"), (new().bind, "/etc/a"))]
                sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                sender.sendto(b"hi", "open")
                _, (( _, _, told),), _, _ = receiver.recvmsg(9, 99)
                return [os.stat("mine").st_uid, os.stat("mine").st_gid, peer, refused, struct.unpack("3i", told)[1:]]
            print(json.dumps(run()))
            """
        nobody = [65534, 65534]
        assert output(everything, source) == [*nobody, nobody, [EACCES] * 3, nobody]

    def test_descriptors_go_along(self, everything: tuple[str, ...]) -> None:
        """sendmsg hands descriptors on; it says who sent no one but the sender."""
        source = """
            here, there = socket.socketpair()
            read, write = os.pipe()
            socket.send_fds(here, [b"file"], [write, write])
            text, files, _, _ = socket.recv_fds(there, 9, 2)
            os.write(files[1], b"through")
            def claim(*ids):
                claimed = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", *ids))
                return attempt(here.sendmsg, [b"x"], [claimed])
            print(json.dumps([text.decode(), len(files), os.read(read, 9).decode(),
                              attempt(socket.send_fds, here, [b"x"], [9999]),
                              claim(os.getpid(), os.getuid(), os.getgid()), claim(1, 0, 0)]))
            """
        assert output(everything, source) == ["file", 2, "through", 9, 1, EPERM]

    def test_blocking_calls_wait(self, everything: tuple[str, ...]) -> None:
        """What does not fit is sent when there is room, connections wait for a place, datagrams for a reader."""
        source = """
            data = b"0123456789" * 200000
            def received(made, total):
                parts = b""
                while len(parts) < total:
                    time.sleep(0.001); parts += made.recv(total)
                return parts
            results = []
            tcp = socket.create_server(("127.0.0.1", 0))
            pairs = [socket.socketpair(), (socket.create_connection(tcp.getsockname()), tcp.accept()[0])]
            for here, there in pairs:
                sent = []
                sender = in_background(lambda: sent.append(here.sendmsg([data[:5], data[5:]])))
                whole = received(there, len(data)) == data
                sender.join()
                results.append([whole, sent == [len(data)]])
                here.setblocking(False)
                results.append(0 < here.sendmsg([data]) < len(data))
            server = socket.socket(socket.AF_UNIX); server.bind("here"); server.listen(0)
            clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
            first, late = (socket.socket(socket.AF_UNIX) for _ in range(2))
            first.connect("here")
            late.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("qq", 0, 300000))
            results.append(attempt(late.connect, "here"))
            server.accept()
            connects = [in_background(lambda made=made: made.connect("here")) for made in clients]
            accepted = [server.accept()[0] for _ in clients]
            [one.join() for one in connects]
            results.append(len({made.fileno() for made in accepted}))
            receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); receiver.bind("box")
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            many = in_background(lambda: [sender.sendto(b"%d" % i, "box") for i in range(60)])
            results.append([int(receiver.recv(9)) for _ in range(60)] == list(range(60)))
            print(json.dumps(results))
            """
        assert output(everything, source) == [[True, True], True, [True, True], True, 11, 4, True]

    def test_a_broken_pipe(self, everything: tuple[str, ...]) -> None:
        """Sending to nobody fails, and brings the signal that it brings elsewhere."""
        source = """
            here, there = socket.socketpair(); there.close()
            ignored = attempt(here.sendmsg, [b"x"])
            caught = []
            signal.signal(signal.SIGPIPE, lambda *_: caught.append(1))
            quiet = attempt(here.sendmsg, [b"x"], [], socket.MSG_NOSIGNAL), len(caught)
            loud = attempt(here.sendmsg, [b"x"])
            while not caught:
                time.sleep(0.001)
            print(json.dumps([ignored, quiet, loud]), flush=True)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            here.sendmsg([b"x"])
            """
        done = run(*everything, command=python(THREADED + textwrap.dedent(source)))
        assert (done.returncode, json.loads(done.stdout)) == (-signal.SIGPIPE, [32, [32, 0], 32]), done

    def test_elsewhere_among_files(self, everything: tuple[str, ...]) -> None:
        """A path is refused where it would mean another file to us; what is no path is not."""
        if os.getuid() != 0:
            pytest.skip("needs root, for chroot")
        source = """
            os.chroot(folder); os.chdir("/")
            named = attempt(socket.socket(socket.AF_UNIX).bind, "here")
            abstract = attempt(socket.socket(socket.AF_UNIX).bind, b"\\0%d" % os.getpid())
            print(json.dumps([named, os.listdir("/"), abstract]))
            """
        assert output(everything, source) == [EACCES, [], None]


class TestNetlink:
    def test_names_and_interfaces(self, everything: tuple[str, ...]) -> None:
        """The C library asks netlink for addresses, in a thread as elsewhere."""
        source = """
            found = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
            route = socket.socket(16, socket.SOCK_RAW, 0)
            route.bind((0, 0))
            question = struct.pack("=IHHIIB15x", 32, 18, 0x301, 1, 0, 0)
            route.sendto(question, (0, 0))
            kind = struct.unpack_from("=IH", route.recv(1 << 16))[1]
            other = attempt(socket.socket(16, socket.SOCK_RAW, 0).sendmsg, [question])
            print(json.dumps([len(found) > 0, kind, route.getsockname()[0] != 0, other]))
            """
        assert output(everything, source) == [True, 16, True, 32]

    def test_ip_addr(self, everything: tuple[str, ...]) -> None:
        """A program of one thread uses netlink as ever."""
        ip = require("ip", "iproute2")
        done = run(*everything, command=[ip, "-br", "addr", "show", "lo"])
        assert done.returncode == 0, done
        assert done.stdout.startswith("lo ")
