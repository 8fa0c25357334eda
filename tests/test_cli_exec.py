"""`anybpf exec` from a shell's side: real programs under policies, exit statuses, signals, streams, messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import anybpf
from supervised import (
    ALLOW_BIND,
    DENY_BIND,
    DENY_CONNECT,
    alive,
    children_of,
    compiled_c,
    deny_port,
    exec_command,
    free_port,
    move_bind,
    policy,
    python,
    read_until,
    redirect_connect,
    require,
    run,
    started,
    wait_for,
    windows_bind,
)

pytestmark = pytest.mark.linux_only
UNSAFE = Path(anybpf.__file__).parent / "samples" / "droppacket_unsafe.o"
SERVER = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1"]
BIND = "import socket, sys; socket.socket().bind(('127.0.0.1', int(sys.argv[1]))); print('bound')"


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Policies that many tests use."""
    folder = tmp_path_factory.mktemp("policies")
    return {
        "allow": policy(folder, ALLOW_BIND),
        "deny": policy(folder, DENY_BIND + DENY_CONNECT),
        "windows-deny": policy(folder, windows_bind("port != 1"), "windows"),
    }


def page(port: int) -> bytes:
    """What a local web server answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as reply:
        return bytes(reply.read())


class TestHttpServer:
    def test_allowed(self, objects: dict[str, Path], tmp_path: Path) -> None:
        """A server that may bind serves, and ends by the signal that the shell's process is sent."""
        (tmp_path / "index.html").write_text("hello")
        with started(f"bind4={objects['allow']}", command=[*SERVER, "0"], cwd=tmp_path) as server:
            assert page(int(read_until(server, r"port (\d+)")[1])) == b"hello"
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == -signal.SIGTERM

    @pytest.mark.parametrize(("name", "error"), [("bind4=deny", "[Errno 1]"), ("bind=windows-deny", "[Errno 13]")])
    def test_denied(self, objects: dict[str, Path], name: str, error: str) -> None:
        """A bind that is denied fails as the platform says: EPERM on Linux, EACCES for eBPF for Windows."""
        hook, _, wanted = name.partition("=")
        done = run(f"{hook}={objects[wanted]}", command=[*SERVER, str(free_port())])
        assert done.returncode == 1
        assert f"PermissionError: {error}" in done.stderr

    def test_moved(self, tmp_path: Path) -> None:
        """A program that rewrites the port moves the server."""
        port = free_port()
        with started(f"bind4={policy(tmp_path, move_bind(port))}", command=[*SERVER, "1"]) as server:
            assert int(read_until(server, r"port (\d+)")[1]) == port
            assert page(port)


class TestCurl:
    def test_redirected(self, tmp_path: Path) -> None:
        """curl asks an address where nobody is, and the policy takes it to the server that is elsewhere."""
        curl = require("curl", "curl")
        (tmp_path / "index.html").write_text("elsewhere")
        line = [*SERVER, "0"]
        with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
            try:
                port = int(read_until(server, r"port (\d+)")[1])
                redirected = policy(tmp_path, redirect_connect(port))
                asked = [curl, "-sS", "-m", "60", "http://192.0.2.1:81/"]
                assert run(f"connect4={redirected}", command=asked).stdout == "elsewhere"
            finally:
                server.kill()

    def test_denied(self, objects: dict[str, Path]) -> None:
        """curl fails to connect, with its own exit status for that."""
        curl = require("curl", "curl")
        asked = [curl, "-sS", "-m", "60", f"http://127.0.0.1:{free_port()}/"]
        assert run(f"connect4={objects['deny']}", command=asked).returncode == 7


class TestNginx:
    def configuration(self, folder: Path, port: int, *, daemon: bool) -> list[str]:
        """The command of a web server of its own in a folder."""
        nginx = require("nginx", "nginx-light")
        (folder / "index.html").write_text("from nginx")
        user = "user root;" if os.getuid() == 0 else ""
        paths = "".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"{user} worker_processes 2; daemon {'on' if daemon else 'off'}; pid {folder}/nginx.pid; "
            f"error_log {folder}/error.log; events {{}} "
            f"http {{ access_log off; {paths} server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"
        )
        return [nginx, "-c", f"{folder}/nginx.conf", "-p", str(folder), "-e", f"{folder}/error.log"]

    def test_a_daemon_outlives_its_command(self, tmp_path: Path) -> None:
        """The command returns when nginx has gone to the background; its calls are decided as long as it lives."""
        asked, port = free_port(), free_port()
        moved = policy(tmp_path, move_bind(port))
        command = self.configuration(tmp_path, asked, daemon=True)
        done = run(f"bind4={moved}", command=command)
        assert done.returncode == 0, done.stderr
        master = int(wait_for((tmp_path / "nginx.pid").read_text))
        supervisor = int(Path(f"/proc/{master}/stat").read_text().rpartition(")")[2].split()[1])
        try:
            assert page(port) == b"from nginx"
            # It reads its configuration anew, and binds anew: that is decided as well.
            text = (tmp_path / "nginx.conf").read_text()
            (tmp_path / "nginx.conf").write_text(text.replace(str(asked), str(free_port())))
            os.kill(master, signal.SIGHUP)
            wait_for(lambda: "still could not bind" in (tmp_path / "error.log").read_text() or page(port))
            assert page(port) == b"from nginx"
        finally:
            os.kill(master, signal.SIGTERM)
        wait_for(lambda: not alive(supervisor))

    def test_denied(self, objects: dict[str, Path], tmp_path: Path) -> None:
        """nginx reports the error that the policy gave."""
        command = self.configuration(tmp_path, free_port(), daemon=False)
        done = run(f"bind4={objects['deny']}", command=command)
        assert done.returncode == 1
        assert "(1: Operation not permitted)" in done.stderr


class TestPrograms:
    def test_a_static_binary(self, objects: dict[str, Path], tmp_path: Path) -> None:
        """A binary without a C library to intercept is supervised like any other."""
        rustc = require("rustc", "rustc")
        source = tmp_path / "server.rs"
        source.write_text(
            'fn main() { match std::net::TcpListener::bind("127.0.0.1:0") {\n'
            '  Ok(l) => println!("bound {}", l.local_addr().unwrap().port()),\n'
            '  Err(e) => println!("refused {}", e.raw_os_error().unwrap()) } }\n'
        )
        binary = tmp_path / "server"
        built = subprocess.run(
            [rustc, "-C", "target-feature=+crt-static", "-o", str(binary), str(source)],
            capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert built.returncode == 0, built.stderr
        assert run(f"bind4={objects['deny']}", command=[str(binary)]).stdout == "refused 1\n"
        assert run(f"bind4={objects['allow']}", command=[str(binary)]).stdout.startswith("bound")

    def test_a_binary_of_system_calls_alone(self, objects: dict[str, Path], tmp_path: Path) -> None:
        """So is one without any library at all."""
        binary = compiled_c(
            tmp_path,
            """
            #include <sys/syscall.h>
            static long call(long n, long a, long b, long c) {
            #if defined(__x86_64__)
                long r; __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
            #else
                register long r __asm__("x0") = a; register long y __asm__("x1") = b; register long z __asm__("x2") = c;
                register long w __asm__("x8") = n;
                __asm__ volatile("svc 0" : "+r"(r) : "r"(y), "r"(z), "r"(w) : "memory");
            #endif
                return r;
            }
            void _start(void) {
                struct { unsigned short family, port; unsigned address, zero[2]; } a = {2, 0, 0x0100007f, {0, 0}};
                call(SYS_exit, -call(SYS_bind, call(SYS_socket, 2, 1, 0), (long)&a, sizeof a), 0, 0);
            }
            """,
            "-static", "-nostdlib", "-fno-stack-protector",
        )  # fmt: skip
        assert run(f"bind4={objects['deny']}", command=[binary]).returncode == 1
        assert run(f"bind4={objects['allow']}", command=[binary]).returncode == 0

    def test_children_of_children(self, tmp_path: Path) -> None:
        """Whatever a command starts is under the same policy."""
        port = free_port()
        denied = policy(tmp_path, deny_port("cgroup/bind4", port))
        script = tmp_path / "inner.sh"
        script.write_text(f'{sys.executable} -ISc "{BIND}" {port}\nexit $?\n')
        done = run(f"bind4={denied}", command=["sh", "-c", f"sh -c 'sh {script}; exit $?'"])
        assert "PermissionError" in done.stderr, done

    def test_another_user(self, objects: dict[str, Path], tmp_path: Path) -> None:
        """No privilege is needed."""
        if os.getuid() != 0:
            pytest.skip("runs as an ordinary user already, and so do all other tests")
        interpreter = next(
            (path for path in (sys.executable, "/usr/bin/python3") if runs_as_nobody(path)), None
        )
        if interpreter is None:
            pytest.skip("needs a Python interpreter that user nobody may execute")
        objects["deny"].chmod(0o644)
        for folder in (objects["deny"].parent, *objects["deny"].parent.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
        line = [interpreter, *exec_command(f"bind4={objects['deny']}")[1:], interpreter, "-ISc", BIND, "0"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=120, check=False, user=65534, group=65534, extra_groups=(),
            env=environment, cwd="/",
        )  # fmt: skip
        assert "PermissionError: [Errno 1]" in done.stderr, done


def runs_as_nobody(interpreter: str) -> bool:
    """Whether user nobody can run anybpf with this interpreter."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            [interpreter, "-m", "anybpf", "--version"], capture_output=True, timeout=60, check=False, user=65534,
            group=65534, extra_groups=(), env=environment, cwd="/",
        )  # fmt: skip
    except OSError:
        return False
    return done.returncode == 0


class TestStatus:
    @pytest.mark.parametrize("code", [0, 1, 2, 77])
    def test_exit_status(self, objects: dict[str, Path], code: int) -> None:
        """The command's exit status is ours, and we say nothing."""
        done = run(f"bind4={objects['allow']}", command=["sh", "-c", f"echo out; echo err >&2; exit {code}"])
        assert (done.returncode, done.stdout, done.stderr) == (code, "out\n", "err\n")

    def test_death_by_signal(self, objects: dict[str, Path]) -> None:
        """We die of the signal that the command died of."""
        done = run(f"bind4={objects['allow']}", command=["sh", "-c", "kill -USR1 $$"])
        assert done.returncode == -signal.SIGUSR1

    @pytest.mark.parametrize(
        ("attach", "command", "status", "message"),
        [
            ("bind4={allow}", ["no-such-command"], 127, "error: no-such-command: No such file or directory"),
            ("bind4={allow}", ["/etc/passwd"], 126, "error: /etc/passwd: Permission denied"),
            ("xdp={unsafe}", ["true"], 1, "rejected: program 'drop_packet'"),
            ("connect4={allow}", ["true"], 2, "has no connect4 program"),
            ("nonsense={allow}", ["true"], 2, "linux has no hook called 'nonsense'"),
            ("bind4={allow}:other", ["true"], 2, "has no program called 'other'"),
            ("bind4=/no/such.o", ["true"], 2, "No such file"),
            ("bind4", ["true"], 2, "is not NAME=OBJECT"),
            ("bind4={allow}", [], 2, "Missing argument"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, objects: dict[str, Path], attach: str, command: list[str], status: int, message: str
    ) -> None:
        """Before the command starts, a mistake is one message and a status of ours; nothing runs."""
        done = run(attach.format(allow=objects["allow"], unsafe=UNSAFE), command=command)
        assert done.returncode == status
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""

    def test_supervision_does_not_nest(self, objects: dict[str, Path]) -> None:
        """A second supervisor for the same process is refused in a sentence."""
        attach = f"bind4={objects['allow']}"
        done = run(attach, command=[*exec_command(attach), "true"])
        assert done.returncode == 2
        assert "supervised already" in done.stderr

    def test_summary(self, objects: dict[str, Path]) -> None:
        """--json says at the end how the command ended and what was decided; --stats shows it."""
        done = run(f"bind4={objects['deny']}", command=python(BIND, 0), options=("--json",))
        record = json.loads(done.stderr.splitlines()[-1])
        assert record["status"] == 1
        assert record["calls"] == 1
        (program,) = record["programs"]
        assert program["verdicts"] == {"deny": 1}
        shown = run(f"bind4={objects['deny']}", command=python(BIND, 0), options=("--stats",))
        assert "deny_bind" in shown.stderr


class TestProcesses:
    def test_pipes_are_the_commands_alone(self, objects: dict[str, Path]) -> None:
        """Whoever reads the command's output sees its end when the command closes it, not when the command ends."""
        command = ["sh", "-c", "echo said; exec 1>&-; read forever"]
        with started(f"bind4={objects['allow']}", command=command, stdin=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.read() == "said\n"
            assert process.poll() is None

    def test_closed_streams(self, objects: dict[str, Path]) -> None:
        """Without standard streams it works as well."""
        line = [*exec_command(f"bind4={objects['allow']}"), "sh", "-c", "exit 7"]
        script = 'exec "$@" <&- >&- 2>&-'
        done = subprocess.run(["sh", "-c", script, "sh", *line], timeout=60, check=False)
        assert done.returncode == 7

    def test_signals_are_passed_on(self, objects: dict[str, Path]) -> None:
        """A signal sent to the process that the shell knows reaches the command, which decides."""
        command = ["sh", "-c", "trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.05; done"]
        with started(f"bind4={objects['allow']}", command=command) as process:
            read_until(process, "ready")
            process.send_signal(signal.SIGUSR1)
            read_until(process, "caught")
            assert process.wait(60) == 5

    def test_a_killed_stand_in_takes_the_command_along(self, objects: dict[str, Path]) -> None:
        """SIGKILL for the process that the shell knows is SIGKILL for the command."""
        with started(f"bind4={objects['allow']}", command=["sh", "-c", "echo $$; exec sleep 1000"]) as process:
            command = int(read_until(process, r"(\d+)")[1])
            supervisor = children_of(process.pid)[0]
            process.kill()
            process.wait(60)
            wait_for(lambda: not alive(command))
            wait_for(lambda: not alive(supervisor))

    def test_a_killed_supervisor_hangs_nobody(self, objects: dict[str, Path]) -> None:
        """Without a supervisor the calls it decided fail at once, all else goes on, and the status still arrives."""
        source = """
            import socket, sys
            print("ready", flush=True)
            sys.stdin.readline()
            try:
                socket.socket().bind(("127.0.0.1", 0))
            except OSError as error:
                sys.exit(error.errno)
            """
        with started(f"bind4={objects['allow']}", command=python(source), stdin=subprocess.PIPE) as process:
            read_until(process, "ready")
            os.kill(children_of(process.pid)[0], signal.SIGKILL)
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait(60) == 38  # ENOSYS

    def test_nothing_is_left(self, objects: dict[str, Path]) -> None:
        """When the command and its children are gone, so are stand-in and supervisor."""
        with started(f"bind4={objects['allow']}", command=["sh", "-c", "sleep 1000 & echo $!; exit 3"]) as process:
            background = int(read_until(process, r"(\d+)")[1])
            (supervisor,) = children_of(process.pid)
            assert process.wait(60) == 3
            assert alive(supervisor)
            os.kill(background, signal.SIGKILL)
            wait_for(lambda: not alive(supervisor))
