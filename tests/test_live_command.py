"""`anybpf attach` on real interfaces: what it prints while packets pass, and what it leaves behind however it ends."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anybpf.samples.build import SAMPLES, build
from compiling import require_clang
from netlab import Lab, lab, require
from traffic import ping, wait_until

pytestmark = pytest.mark.linux_only

HOOKS = ("inline", "queue", "tap")


def place(net: Lab, hook: str) -> tuple[list[str], list[str]]:
    """Where a command for a hook must run (what stands before it), and its options."""
    if hook == "inline":
        return [], ["--inline", f"{net.left},{net.right}"]
    if hook == "queue":
        return net.b.command(), ["--queue", "3,input"]
    return net.a.command(), ["--tap", "t0"]


def surroundings(net: Lab, hook: str) -> list[str]:
    """The hosts' interfaces, and what nftables has in the namespace that a hook is in."""
    before, _ = place(net, hook)
    shown = []
    for host in (net.a, net.b):
        shown += [one["ifname"] for one in json.loads(host.run("ip", "-j", "link").stdout)]
    if hook == "queue" and shutil.which("nft"):
        shown += subprocess.run([*before, "nft", "list", "ruleset"], capture_output=True, text=True).stdout.splitlines()
    return shown


@pytest.fixture(params=HOOKS)
def hook(request: pytest.FixtureRequest) -> str:
    """Each hook in turn."""
    require("ping")
    return request.param


@contextlib.contextmanager
def attached(net: Lab, hook: str, program: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``anybpf attach`` at work, printing JSON; killed at the end if it still runs."""
    before, where = place(net, hook)
    command = [*before, sys.executable, "-m", "anybpf", "attach", "xdp", str(program), *where, "--json", *options]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **streams) as child:
        try:
            line = child.stdout.readline()  # it is attached
            if not line and "kernel" in (said := child.stderr.read()):  # one without netfilter queues
                pytest.skip(said)
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("end", ["SIGINT", "SIGKILL"])
def test_nothing_is_left(hook, end):
    """However the command is ended, interfaces and rules are as before; asked to end, it says what it has seen."""
    with lab(whole=hook != "inline") as net:
        was = surroundings(net, hook)
        with attached(net, hook, SAMPLES / "count.o", "--interval", "0.1") as child:
            if hook != "tap":
                assert ping(net.a, net.b.address, 3) == {1, 2, 3}
            else:
                assert "t0" in surroundings(net, hook)
            number = getattr(signal, end)
            child.send_signal(number)
            output, errors = child.communicate(timeout=60)
            if end == "SIGKILL":
                assert child.returncode == -number
            else:
                assert child.returncode == 0, errors
                last = json.loads(output.splitlines()[-1])
                assert last["detached"]
                assert last["verdicts"].get("XDP_PASS", 0) == last["events"] >= (0 if hook == "tap" else 3)
        wait_until(lambda: surroundings(net, hook) == was)
        assert ping(net.a, net.b.address, patience=0.5) == (set() if hook == "inline" else {1})


def test_ping_is_counted(tmp_path):
    """The lines of JSON show the maps: each echo that passed is in the last one."""
    require("ping")
    require_clang()
    program = tmp_path / "ping_filter.o"
    program.write_bytes(build("ping_filter"))
    with lab() as net, attached(net, "inline", program, "--interval", "0.1") as child:
        assert ping(net.a, net.b.address, 7) == set(range(1, 8))
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=60)
    maps = json.loads(output.splitlines()[-1])["maps"]
    assert {"key": 0, "value": 7} in maps["echoes"]


def test_an_interface_that_goes_ends_it():
    """When an interface goes while the command runs, one sentence says so, and the exit code is 2."""
    require("ping")
    with lab() as net, attached(net, "inline", SAMPLES / "count.o", "--interval", "0.1") as child:
        subprocess.run(["ip", "link", "del", net.left], check=True)
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 2
        assert errors.strip().splitlines() == [f"error: interface '{net.left}' has gone; attach again when it is back"]
