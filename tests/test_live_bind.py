"""The bind monitor end to end, as eBPF for Windows shows it: load, limit, leak ports, see who holds them, unload."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest

import anybpf
from anybpf.errors import UnsupportedError
from anybpf.runtime import Object
from anybpf.samples.build import build
from compiling import require_clang, sample
from traffic import wait_until

PERMIT, DENY = 0, 1


@pytest.fixture(scope="module")
def port_leak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A native program that opens ports as it is told."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (Debian package gcc)")
    made = tmp_path_factory.mktemp("native") / "port_leak"
    source = Path(__file__).with_name("port_leak.c")
    subprocess.run([compiler, "-O1", "-o", str(made), str(source)], check=True, timeout=60)
    return made


class Leak:
    """A running port_leak, spoken to through a pair of named pipes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.pipes = folder / "commands", folder / "answers"
        for pipe in self.pipes:
            os.mkfifo(pipe)
        self._commands: TextIO | None = None

    def open(self) -> None:
        """Wait until it has opened its ends."""
        self._commands, self._answers = self.pipes[0].open("w"), self.pipes[1].open()

    def ask(self, command: str) -> tuple[int, int]:
        """Give a command; how many ports it then holds, and the number of the error or 0."""
        self._commands.write(command + "\n")
        self._commands.flush()
        held, error = self._answers.readline().split()
        return int(held), int(error)

    def close(self) -> None:
        """Let it end."""
        for stream in (self._commands, self._answers):
            stream.close()


def seccomp() -> Any:
    """The hook for a command; imported here, since the module is there on Linux only."""
    from anybpf.hooks.seccomp import Seccomp

    return Seccomp()


@contextmanager
def supervised(hook: Any, port_leak: Path, folder: Path, count: int) -> Iterator[list[Leak]]:
    """So many port_leaks as one command, as long as the context lasts; it then ends well."""
    leaks = [Leak(folder / str(n)) for n in range(count)]
    runs = [f"'{port_leak}' <'{leak.pipes[0]}' >'{leak.pipes[1]}' &" for leak in leaks]
    try:
        process, supervisor = hook.start(["sh", "-c", " ".join([*runs, "wait"])])
    except UnsupportedError as error:
        pytest.skip(str(error))
    with supervisor:
        thread = threading.Thread(target=supervisor.serve, daemon=True)
        thread.start()
        with ExitStack() as stack:
            for leak in leaks:
                leak.open()
                stack.callback(leak.close)
            yield leaks
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        thread.join(60)
        assert not thread.is_alive()


def holders(loaded: Object) -> list[tuple[int, str]]:
    """Of each process that holds ports how many, and its name; most first."""
    values = loaded.maps["process_map"].raw.values()
    return sorted(((int.from_bytes(v[:4], sys.byteorder), text(v[4:])) for v in values), reverse=True)


def applications(loaded: Object) -> dict[str, tuple[int, int, int]]:
    """Of each executable how many ports it was granted, refused, and has given back."""
    return {text(key): struct.unpack("3Q", value) for key, value in loaded.maps["app_map"].raw.items()}


def text(app_id: bytes) -> str:
    """An application's name as the program keeps it."""
    return app_id.decode("utf-16-le").rstrip("\0")


@pytest.mark.linux_only
def test_quota_of_a_command(port_leak, tmp_path):
    """Each process of a command gets as many ports as the map allows at that time, counting what it has given back."""
    with anybpf.load(sample("bind_monitor")) as loaded:
        hook = seccomp()
        loaded.maps["limits_map"][0] = 20
        link = loaded.programs["bind_monitor"].attach(hook)
        with supervised(hook, port_leak, tmp_path, 2) as (first, second):
            assert first.ask("leak 500") == (20, errno.EACCES)
            assert second.ask("leak 5") == (5, 0)
            assert holders(loaded) == [(20, "port_leak"), (5, "port_leak")]
            assert applications(loaded)["port_leak"] == (25, 1, 0)
            loaded.maps["limits_map"][0] = 30
            assert first.ask("leak 500") == (30, errno.EACCES)
            assert first.ask("return 4") == (26, 0)
            wait_until(lambda: holders(loaded)[0] == (26, "port_leak"))
            assert first.ask("leak 500") == (30, errno.EACCES)
        wait_until(lambda: holders(loaded) == [])
        assert applications(loaded) == {"port_leak": (39, 3, 39)}
        assert link.stats.verdicts == {PERMIT: 39 + 39, DENY: 3}


@pytest.mark.linux_only
def test_without_the_program_there_is_no_quota(port_leak, tmp_path):
    """Once the program is detached, the command that is still running binds as it likes."""
    with anybpf.load(sample("bind_monitor")) as loaded:
        hook = seccomp()
        loaded.maps["limits_map"][0] = 3
        link = loaded.programs["bind_monitor"].attach(hook)
        with supervised(hook, port_leak, tmp_path, 1) as (leak,):
            assert leak.ask("leak 10") == (3, errno.EACCES)
            link.detach()
            assert leak.ask("leak 10") == (13, 0)


@pytest.mark.linux_only
def test_statistics_on_the_command_line(port_leak, tmp_path):
    """`anybpf exec --json` shows, when the command has ended, what it was granted and has given back."""
    require_clang()
    monitor = tmp_path / "bind_monitor.o"
    monitor.write_bytes(build("bind_monitor"))
    command = [sys.executable, "-m", "anybpf", "exec", "--attach", f"bind={monitor}", "--json", "--", str(port_leak)]
    done = subprocess.run(
        command, input="leak 50\nreturn 10\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "50 0\n40 0\n"), done.stderr
    shown = json.loads(done.stderr)
    (entry,) = shown["maps"]["app_map"]
    assert entry["value"] == {"granted": 50, "refused": 0, "returned": 50}
    assert shown["programs"][0]["verdicts"]["BIND_PERMIT_SOFT"] == 100


AUDITED = """
import errno, socket, sys
import anybpf
from anybpf.hooks.audit import Audit

def leak(held):
    try:
        while True:
            held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            held[-1].bind(("127.0.0.1", 0))
    except PermissionError as error:
        held.pop().close()
        print(len(held), error.errno == errno.EACCES)

held = []
with anybpf.load(sys.argv[1]) as loaded, loaded.programs["bind_monitor"].attach(Audit()) as link:
    loaded.maps["limits_map"][0] = 12
    leak(held)
    for _ in range(4):
        held.pop().close()
    leak(held)
    (entry,) = loaded.maps["process_map"].raw.values()
    print(int.from_bytes(entry[:4], sys.byteorder), entry[4:].decode("utf-16-le").rstrip(chr(0)))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
    free.bind(("127.0.0.1", 0))
"""


def test_quota_of_this_process(tmp_path):
    """The same object, put on Python's own socket calls, holds the quota, counting what was closed, until detached."""
    require_clang()
    monitor = tmp_path / "bind_monitor.o"
    monitor.write_bytes(build("bind_monitor"))
    command = [sys.executable, "-c", AUDITED, str(monitor)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    app = Path(os.path.realpath(sys.executable)).name[:32]
    assert done.stdout.splitlines() == ["12 True", "12 True", f"12 {app}"]
