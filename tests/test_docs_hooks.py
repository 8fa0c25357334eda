"""docs/hooks.md and docs/samples.md are executed: their commands run among their hosts, and print what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from anybpf.compile import find_clang
from anybpf.errors import CompileError
from netlab import Lab, lab, require
from traffic import wait_until

pytestmark = pytest.mark.linux_only

PAGES = Path(__file__).resolve().parent.parent / "docs"
FENCE = re.compile(r"^```(?P<kind>\w+)(?: (?P<argument>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?P<host>a?)\$ ", re.MULTILINE)
# What differs from run to run; both sides are rewritten the same way.
VARYING = re.compile(r"\b[\d./]+(?= ?(?:ms|ns|s|bytes|events/s)\b)")
ATTACHED = "(attached)\n"
HERE, ADDRESSES = "10.0.0.254", {"a": "10.0.0.1", "b": "10.0.0.2"}


@pytest.fixture
def here() -> Iterator[tuple[Lab, str]]:
    """A namespace, by name, ``eth1`` and ``eth2`` of which lead to two hosts, with the page's names and addresses."""
    require("ping", "nft")
    try:
        find_clang()
    except CompileError as error:
        pytest.skip(str(error))
    with lab() as made:
        name = f"doc{os.getpid()}"
        ip("netns", "add", name)
        try:
            for interface, shown in ((made.left, "eth1"), (made.right, "eth2")):
                ip("link", "set", interface, "netns", name, "name", shown)
                ip("-n", name, "link", "set", shown, "up")
            ip("-n", name, "link", "set", "lo", "up")
            for letter, host in (("a", made.a), ("b", made.b)):
                host.sysctl(net__ipv6__conf__eth0__disable_ipv6=1)  # it would send frames of its own, now and then
                host.ip("addr", "flush", "dev", "eth0")
                host.ip("addr", "add", f"{ADDRESSES[letter]}/24", "dev", "eth0")
            # The page counts frames: ARP's shall not be among them.
            made.a.ip("neigh", "replace", ADDRESSES["b"], "lladdr", made.b.mac, "dev", "eth0")
            made.b.ip("neigh", "replace", ADDRESSES["a"], "lladdr", made.a.mac, "dev", "eth0")
            yield made, name
        finally:
            subprocess.run(["ip", "netns", "del", name], check=False)


def ip(*arguments: str) -> None:
    """Run iproute2."""
    subprocess.run(["ip", *arguments], check=True, timeout=30)


def normal(text: str) -> str:
    """``text`` without what varies, and without trailing space."""
    text = VARYING.sub("N", re.sub(r"\d+ events/s", "N events/s", text))
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def launched(command: str, prefix: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start a command of the page."""
    program, *arguments = shlex.split(command)
    names = {"anybpf": [sys.executable, "-m", "anybpf"], "python": [sys.executable]}
    arguments = [sys.executable if argument == "python" else argument for argument in arguments]
    return subprocess.Popen(
        [*prefix, *names.get(program, [program]), *arguments],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def parts(body: str) -> Iterator[tuple[str, str, str]]:
    """Split a console block: host, command, what it prints."""
    starts = [*COMMAND.finditer(body)]
    for found, following in zip(starts, [*starts[1:], None], strict=True):
        command, _, shown = body[found.end() : following.start() if following else None].partition("\n")
        yield found["host"], command, shown


def listening(namespace: str, sockets: int) -> bool:
    """Whether so many packet sockets and netfilter queues are open in a namespace."""
    files = ("/proc/net/packet", "/proc/net/netfilter/nfnetlink_queue")
    command = ["ip", "netns", "exec", namespace, "cat", *files]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.splitlines()
    return sum("Type" not in line for line in lines) == sockets


def check(process: subprocess.Popen[str], command: str, shown: str) -> None:
    """Wait for a command; it must have printed ``shown`` and ended as the page says."""
    printed, _ = process.communicate(timeout=120)
    status = 0
    if match := re.search(r"^\(exit status (\d+)\)\n?\Z", shown, re.MULTILINE):
        status, shown = int(match[1]), shown[: match.start()]
    assert process.returncode == status, f"{command}\n{printed}"
    assert normal(printed) == normal(shown), command


def run_page(page: Path, made: Lab, name: str, folder: Path) -> int:
    """Run the commands of a page in order in one folder, here or at host a; gives how many there are."""
    ran = 0
    blocks = [*FENCE.finditer(page.read_text(encoding="utf-8"))]
    for block in blocks:
        if block["kind"] in ("c", "python") and block["argument"]:
            (folder / block["argument"]).write_text(block["body"], encoding="utf-8")
    for block in blocks:
        if block["kind"] != "console":
            continue
        body, _, summary = block["body"].partition(ATTACHED)
        attached = None
        for host, command, shown in parts(body):
            ran += 1
            if command.startswith("anybpf attach"):
                queue = "queue" in command
                if queue:
                    ip("-n", name, "addr", "add", f"{HERE}/24", "dev", "eth1")
                attached = launched(command, ["ip", "netns", "exec", name], folder), command
                wait_until(partial(listening, name, 1 if queue else 2))
                time.sleep(0.3)  # the thread that serves them starts just after
                continue
            prefix = made.a.command() if host else ["ip", "netns", "exec", name]
            check(launched(command, prefix, folder), command, shown)
        if attached is not None:
            check(*attached, summary)
    return ran


def test_every_command_of_the_page_prints_what_it_says(here: tuple[Lab, str], tmp_path: Path) -> None:
    """The commands of docs/hooks.md print what the page shows."""
    assert run_page(PAGES / "hooks.md", *here, tmp_path) >= 11


def test_the_samples_do_what_their_page_says(here: tuple[Lab, str], tmp_path: Path) -> None:
    """The commands of docs/samples.md, the demonstrations of eBPF for Windows, print what the page shows."""
    assert run_page(PAGES / "samples.md", *here, tmp_path) == 5
