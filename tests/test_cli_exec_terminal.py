"""`anybpf exec` on a terminal, as a job of an interactive shell."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervised import ALLOW_BIND, alive, exec_command, policy, require, wait_for

pytestmark = pytest.mark.linux_only
CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"


class Terminal:
    """An interactive shell on a terminal of its own: what is typed, and what is shown."""

    def __init__(self, shell: str) -> None:
        import pty  # Windows, where this file is only looked at, does not have it

        self.shell, self.screen = pty.fork()
        if self.shell == 0:
            os.environ.update(PS1="READY> ", TERM="dumb")
            os.environ.pop("PROMPT_COMMAND", None)
            os.execv(shell, [shell, "--norc", "--noprofile", "--noediting", "-i"])
        self.shown = ""
        self.expect("READY> ")

    def type(self, text: str) -> None:
        """Type; a line ends with a newline."""
        os.write(self.screen, text.encode())

    def expect(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait until the pattern is shown, and forget all before its end."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < end, f"{pattern!r} was not shown, but: {self.shown!r}"
            if select.select([self.screen], [], [], 0.2)[0]:
                self.shown += os.read(self.screen, 4096).decode(errors="replace")
        self.shown = self.shown[found.end() :]
        return found

    def close(self) -> None:
        """Hang up."""
        os.close(self.screen)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.shell, signal.SIGKILL)
        os.waitpid(self.shell, 0)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal with bash on it."""
    opened = Terminal(require("bash", "bash"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def supervise(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The beginning of a command line."""
    path: Path = policy(tmp_path_factory.mktemp("policies"), ALLOW_BIND)
    return shlex.join(exec_command(f"bind4={path}"))


def test_keys_stop_continue_and_end_a_job(terminal: Terminal, supervise: str) -> None:
    """Ctrl-Z stops the job, fg continues it, it reads what is typed then, and Ctrl-C ends it."""
    terminal.type(f"{supervise} sh -c 'echo begun; exec cat'\n")
    terminal.expect("begun\r\n")
    terminal.type(CTRL_Z)
    terminal.expect("Stopped")
    terminal.expect("READY> ")
    terminal.type("echo between\n")
    terminal.expect("between\r\nREADY> ")
    terminal.type("fg\n")
    terminal.expect("exec cat'\r\n")
    terminal.type("typed\n")
    terminal.expect("typed\r\ntyped\r\n")
    terminal.type(CTRL_C)
    terminal.expect("READY> ")
    terminal.type("echo status $?\n")
    assert terminal.expect(r"status (\d+)")[1] == "130"


def test_the_command_decides_about_interrupts(terminal: Terminal, supervise: str) -> None:
    """A command that handles Ctrl-C itself gets it once, and goes on."""
    script = 'trap "echo in""terrupted" INT; echo begun; while read line; do :; done; exit 9'
    terminal.type(f"{supervise} bash -c {shlex.quote(script)}\n")
    terminal.expect("begun\r\n")
    terminal.type(CTRL_C)
    terminal.expect("interrupted\r\n")
    terminal.type(CTRL_D)
    terminal.expect("READY> ")
    assert "interrupted" not in terminal.shown
    terminal.type("echo status $?\n")
    assert terminal.expect(r"status (\d+)")[1] == "9"


def test_a_job_in_the_background_stops_when_it_reads(terminal: Terminal, supervise: str) -> None:
    """A background job that reads the terminal is stopped by it; fg lets it read; bg and kill work."""
    terminal.type(f"{supervise} cat &\n")
    pid = int(terminal.expect(r"\[1\] (\d+)")[1])
    wait_for(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    terminal.type("fg\n")
    terminal.expect("cat\r\n")
    terminal.type("typed\n")
    terminal.expect("typed\r\ntyped\r\n")
    terminal.type(CTRL_Z)
    terminal.expect("Stopped")
    terminal.type("kill %1; bg; wait; echo status $?\n")
    terminal.expect("Terminated")
    wait_for(lambda: not alive(pid))


def test_hanging_up_ends_the_job(terminal: Terminal, supervise: str) -> None:
    """When the terminal goes away, the command gets the hangup, and nothing is left."""
    terminal.type(f"{supervise} sh -c 'echo pid $$; exec sleep 1000'\n")
    pid = int(terminal.expect(r"pid (\d+)")[1])
    supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    master, terminal.screen = terminal.screen, os.open(os.devnull, os.O_RDWR)
    os.close(master)
    wait_for(lambda: not alive(pid))
    wait_for(lambda: not alive(supervisor))
