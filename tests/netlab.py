"""Two hosts and the wire between them, cut open: network namespaces for tests on live traffic. Needs Linux and root.

Each host is a namespace with one interface, ``eth0``. The other ends of their cables lie in this process's namespace,
where a hook joins them (or not)::

    host a                              here                              host b
    eth0  ------------------------  left      right  -----------------------  eth0

Offloads stay at their defaults, so what arrives at ``left`` and ``right`` is what Linux hands its interfaces: segments
of 64 KiB, and checksums that nobody has computed yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import flood

_CLONE_NEWNET = 0x40000000
_PREFIX = 24
_numbers = itertools.count()

#: The Debian package of each tool that tests run.
PACKAGES = {
    "ip": "iproute2",
    "ping": "iputils-ping",
    "curl": "curl",
    "iperf3": "iperf3",
    "iptables": "iptables",
    "nft": "nftables",
}


def require(*tools: str) -> None:
    """Skip the test where network namespaces cannot be made, or one of ``tools`` (keys of PACKAGES) is missing."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs Linux's network namespaces")
    for tool in ("ip", *tools):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (Debian package {PACKAGES[tool]})")
    if problem := _obstacle():
        pytest.skip(f"needs network namespaces with veth interfaces: {problem}")


@functools.cache
def _obstacle() -> str:
    """Why this process cannot make namespaces and interfaces, in the words of ``ip``; "" when it can."""
    name = f"any{os.getpid()}probe"
    try:
        for command in (("ip", "netns", "add", name), ("ip", "-n", name, "link", "add", "type", "veth")):
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            if done.returncode:
                return done.stderr.strip()
        return ""
    finally:
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


@dataclass(frozen=True)
class Host:
    """A network namespace with one interface, ``eth0``.

    :param namespace: its name, for ``ip netns``. :param address: IPv4. :param address6: IPv6. :param mac: of ``eth0``.
    """

    namespace: str
    address: str
    address6: str
    mac: str

    def command(self, *command: str) -> list[str]:
        """The command line that runs ``command`` in this host."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def run(self, *command: str, timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in this host to its end; with ``check``, AssertionError with its output when it fails."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def ip(self, *command: str) -> None:
        """Run ``ip`` in this host, such as ``ip("route", "add", ...)``."""
        _run("ip", "-n", self.namespace, *command)

    def sysctl(self, **values: object) -> None:
        """Set variables of the kernel in this host; ``__`` in their names stands for a point."""
        with self.entered():
            for name, value in values.items():
                Path("/proc/sys", *name.split("__")).write_text(str(value), encoding="ascii")

    @contextlib.contextmanager
    def process(self, *command: str, ready: str = "") -> Iterator[subprocess.Popen[str]]:
        """Run a command in this host as long as the context lasts; it and its children are then killed.

        :param ready: wait until it prints a line with this text.
        """
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if ready else {}
        with subprocess.Popen(self.command(*command), text=True, start_new_session=True, **streams) as child:
            try:
                printed = []
                while ready and not (printed and ready in printed[-1]):
                    printed.append(child.stdout.readline())
                    assert printed[-1], f"{command} ended: {''.join(printed)}"
                yield child
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in this host's network: what the calling thread opens or starts meanwhile belongs there."""
        with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{self.namespace}", "rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def counters(self, device: str = "eth0") -> dict[str, int]:
        """What an interface has counted: ``rx_packets``, ``tx_packets``, ``tx_dropped``, and its other statistics."""
        shown = json.loads(self.run("ip", "-j", "-s", "-s", "link", "show", device).stdout)[0]["stats64"]
        return {f"{way}_{name}": value for way, values in shown.items() for name, value in values.items()}

    @contextlib.contextmanager
    def flood(
        self, frames: list[bytes], folder: Path, *, rate: int = 0, count: int = 0, device: str = "eth0"
    ) -> Iterator[Flood]:
        """Send frames from an interface in turn as long as the context lasts, or until ``count`` (0: no end) are sent.

        :param folder: where to write the frames down. :param rate: frames a second; 0: as fast as they go.
        """
        listed = folder / f"{self.namespace}.frames"
        listed.write_text("\n".join(map(bytes.hex, frames)), encoding="ascii")
        command = (sys.executable, flood.__file__, device, str(listed), str(rate), str(count))
        with self.process(*command, ready="sending") as child:
            yield Flood(child)


@dataclass(frozen=True)
class Flood:
    """A generator at work."""

    child: subprocess.Popen[str]

    def finish(self, *, stop: bool = False, timeout: float = 60) -> int:
        """Wait until it has sent its frames, or ``stop`` it; gives how many it has sent."""
        if stop:
            self.child.terminate()
        return int(self.child.communicate(timeout=timeout)[0])


@dataclass(frozen=True)
class Lab:
    """Two hosts; ``left`` and ``right`` are the interfaces in this namespace that lead to ``a`` and to ``b``."""

    a: Host
    b: Host
    left: str
    right: str


@contextlib.contextmanager
def lab(*, whole: bool = False) -> Iterator[Lab]:
    """Make two hosts that could talk if only ``left`` and ``right`` were joined; removed at the end, whatever happens.

    Each knows the other's hardware address, so there is no ARP before the first packet unless a test deletes the entry.

    :param whole: the cable between the hosts is not cut; ``left`` and ``right`` are "".
    """
    name = f"any{os.getpid()}n{next(_numbers)}"
    subnet = os.getpid() % 250
    hosts = [
        Host(f"{name}{letter}", f"10.213.{subnet}.{i}", f"fd13::{subnet:x}:{i}", f"02:0a:00:{subnet:02x}:00:0{i}")
        for i, letter in enumerate("ab", 1)
    ]
    a, b = hosts
    made = Lab(a, b, "", "") if whole else Lab(a, b, f"v{name[3:]}l", f"v{name[3:]}r")
    try:
        for host in hosts:
            _run("ip", "netns", "add", host.namespace)
        ends = [("name", "eth0", "address", host.mac, "netns", host.namespace) for host in hosts]
        if whole:
            _run("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        else:
            for inner, end in zip((made.left, made.right), ends, strict=True):
                _run("ip", "link", "add", inner, "type", "veth", "peer", *end)
                _quiet(inner)
        for host, other in ((a, b), (b, a)):
            _batch(
                host.namespace,
                "link set lo up",
                "link set eth0 addrgenmode none",
                f"addr add {host.address}/{_PREFIX} dev eth0",
                f"addr add {host.address6}/64 dev eth0 nodad",
                "link set eth0 up",
                f"neigh replace {other.address} lladdr {other.mac} dev eth0",
                f"neigh replace {other.address6} lladdr {other.mac} dev eth0",
            )
        for host in hosts:
            _wait_for_carrier(host)
        yield made
    finally:
        for host in hosts:
            if Path("/run/netns", host.namespace).exists():
                subprocess.run(["ip", "netns", "del", host.namespace], timeout=30, check=False)


@contextlib.contextmanager
def cable() -> Iterator[tuple[str, str]]:
    """Make two interfaces in this namespace that are the ends of one cable; give their names."""
    name = f"v{os.getpid()}n{next(_numbers)}"
    _run("ip", "link", "add", f"{name}x", "type", "veth", "peer", "name", f"{name}y")
    try:
        _quiet(f"{name}x")
        _quiet(f"{name}y")
        yield f"{name}x", f"{name}y"
    finally:
        subprocess.run(["ip", "link", "del", f"{name}x"], stderr=subprocess.DEVNULL, check=False)


def _quiet(interface: str) -> None:
    """Bring an interface up that only a hook uses: this machine itself shall send nothing there."""
    _run("ip", "link", "set", interface, "addrgenmode", "none")
    with open(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6", "w", encoding="ascii") as setting:
        setting.write("1")
    _run("ip", "link", "set", interface, "up")


def _wait_for_carrier(host: Host) -> None:
    """Wait until Linux has noticed that the interface has a carrier, before which it drops what is to be sent."""
    for _ in range(1000):
        if json.loads(host.run("ip", "-j", "link", "show", "eth0").stdout)[0]["operstate"] == "UP":
            return
        time.sleep(0.01)
    raise AssertionError(f"{host.namespace}: no carrier")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _batch(namespace: str, *commands: str) -> None:
    done = subprocess.run(
        ["ip", "-n", namespace, "-batch", "-"],
        input="\n".join(commands), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _enter(descriptor: int) -> None:
    """Move the calling thread to a network namespace (os.setns exists from Python 3.12 on only)."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
