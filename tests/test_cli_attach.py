"""``anybpf attach``: on a hook that another package brings, with good input and with bad."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import anybpf

SAMPLES = Path(anybpf.__file__).parent / "samples"

#: A hook of a third party: it fires the same packet, again and again, from a thread of its own.
METRONOME = """
import threading
from anybpf.errors import HookError
from anybpf.hooks.hook import Accepts, LiveHook
from anybpf.runtime import Event, layout_of


class Metronome(LiveHook):
    name = "metronome"
    takes = (Accepts("linux", "xdp"),)

    def __init__(self, beats):
        super().__init__()
        self.beats = beats

    parameters = property(lambda self: {"beats": self.beats})

    def _open(self, point):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(point,))
        self._thread.start()

    def _run(self, point):
        packet = bytes(12) + b"\\x08\\x00" + bytes(50)
        with Event(layout_of(point.program_type), 64) as event:
            for _ in range(self.beats):
                if self._stop.wait(0.001):
                    return
                point.run(event, packet)
        if self.beats < 1000:
            self._fail(HookError(f"the metronome has run down after {self.beats} beats; wind it up"))

    def _close(self):
        self._stop.set()
        self._thread.join()


def from_argument(argument):
    if not argument.isdigit():
        raise HookError(f"a metronome beats a number of times, and {argument!r} is no number")
    return Metronome(int(argument))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import from that holds an installed third-party package with one hook."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "metronome.py").write_text(METRONOME)
    record = folder / "metronome-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: metronome\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text(
        dedent("""\
        [anybpf.hooks]
        metronome = metronome:from_argument
        broken = metronome:nothing_of_the_kind
        """)
    )
    return folder


def command(package: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start ``anybpf attach`` where the third-party package is installed."""
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "anybpf", "attach", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path},
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command that ends."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_a_program_runs_on_the_hook_that_was_named(package: Path) -> None:
    """The command attaches for the time given, prints what came of it, and exits with 0."""
    status, out, err = finished(
        command(package, "xdp", SAMPLES / "count.o", "--hook", "metronome:1000000", "--duration", "1.5")
    )
    assert (status, err) == (0, "")
    assert "count at metronome 1000000" in out
    assert "XDP_PASS" in out
    assert "events/s" in out


def test_json_is_a_line_an_update(package: Path) -> None:
    """--json prints one object a line; the last one says that the program is detached, and counts agree."""
    status, out, _ = finished(
        command(
            package, "xdp", SAMPLES / "count.o", "--hook", "metronome:1000000", "--duration", "1", "--interval", "0.2",
            "--json",
        )
    )  # fmt: skip
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert len(lines) >= 2
    assert [line.get("detached", False) for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    assert last["events"] == sum(last["verdicts"].values()) > 0
    assert last["verdicts"].keys() == {"XDP_PASS"}
    assert last["parameters"] == {"beats": 1000000}
    assert sum(entry["value"] for entry in last["maps"]["per_proto"]) <= last["events"]
    assert (last["errors"], last["dropped"], last["hook"], last["program"]) == (0, 0, "metronome", "count")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_a_signal_detaches(package: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGHUP end the command as the duration does: the summary is printed, the status is 0."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such signals to send to one process")
    process = command(package, "xdp", SAMPLES / "count.o", "--hook", "metronome:1000000", "--interval", "0.1", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    status, out, err = finished(process)
    assert (status, err) == (0, "")
    assert json.loads(out.splitlines()[-1])["detached"] is True


def test_events_that_end_by_themselves_are_an_error(package: Path) -> None:
    """When the event source ends, the command says why, in one sentence, with status 2, after its summary."""
    status, out, err = finished(command(package, "xdp", SAMPLES / "count.o", "--hook", "metronome:20", "--json"))
    assert status == 2
    assert err == "error: the metronome has run down after 20 beats; wind it up\n"
    assert json.loads(out.splitlines()[-1])["events"] == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hook", "metronome:often"], "error: a metronome beats a number of times, and 'often' is no number"),
        (["--hook", "harp:3"], "error: there is no hook called 'harp'; installed are"),
        (["--hook", "broken"], "error: hook 'broken' (metronome:nothing_of_the_kind) cannot be imported: "),
        ([], "say where to attach, once"),
        (["--hook", "metronome:1", "--hook", "metronome:2", "--tap", "t0"], "say where to attach, once"),
        (["--hook", "metronome:1", "--duration", "nan"], "Invalid value for '--duration': nan is no number of seconds"),
        (["--hook", "metronome:1", "--interval", "inf"], "Invalid value for '--interval': inf is no number of seconds"),
        (
            ["--hook", "metronome:1", "--program", "nobody"],
            "holds no xdp program called 'nobody'; it holds count (xdp)",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(package: Path, arguments: list[str], message: str) -> None:
    """Whatever is wrong with the request is said in one sentence, with status 2 and without a traceback."""
    status, out, err = finished(command(package, "xdp", SAMPLES / "count.o", *arguments))
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_program_of_another_type_is_refused(package: Path) -> None:
    """An object without a program of the wanted type is refused by name."""
    status, _, err = finished(command(package, "bind", SAMPLES / "count.o", "--hook", "metronome:1"))
    assert status == 2
    assert err == f"error: {SAMPLES / 'count.o'} is for linux, which has no program type 'bind'; it holds count (xdp)\n"
    status, _, err = finished(command(package, "tc", SAMPLES / "count.o", "--hook", "metronome:1"))
    assert status == 2
    assert "holds no tc program; it holds count (xdp)" in err


def test_a_reader_that_goes_away_is_no_error(package: Path) -> None:
    """When what the output is piped to has read enough, the command detaches and ends with 0, without a word."""
    process = command(package, "xdp", SAMPLES / "count.o", "--hook", "metronome:1000000", "--interval", "0.1")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == ""
    assert process.wait(60) == 0


def test_a_rejected_program_is_not_attached(package: Path) -> None:
    """What the verifier refuses is reported as by verify, with status 1."""
    status, out, err = finished(
        command(package, "xdp", SAMPLES / "droppacket_unsafe.o", "--hook", "metronome:1000000", "--duration", "1")
    )
    assert (status, out) == (1, "")
    assert err.startswith("rejected: ")
