"""WinDivert's socket events: the same tests on WinDivert where it is, and on its imitation where Linux has that."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import anybpf
from anybpf.errors import HookError, UnsupportedError
from anybpf.hooks.socket_call import Address, Operation
from anybpf.hooks.windivert_events import block_filter, to_call
from anybpf.hooks.windivert_sockets import Scope, WinDivertSockets
from anybpf.runtime import Link, Program
from compiling import compiled, require_clang, sample
from divertdrivers import Drivers, drivers, opened, until

BIND, CONNECT, LISTEN, ACCEPT, CLOSE = range(3, 8)  # WINDIVERT_EVENT_SOCKET_*
MAPPED = 0xFFFF
PORT = 24211
#: Connections to one port are rejected; `calls` counts them all.
CONNECTIONS = """
#include "bpf_helpers.h"
#include "bpf_endian.h"

uint32_t calls;
uint32_t closed_port;

SEC("cgroup/connect4")
int connections(bpf_sock_addr_t *ctx)
{
    __sync_fetch_and_add(&calls, 1);
    return ctx->user_port == bpf_htons(closed_port) ? BPF_SOCK_ADDR_VERDICT_REJECT : BPF_SOCK_ADDR_VERDICT_PROCEED_SOFT;
}
"""


@pytest.fixture(params=drivers())
def driver(request: pytest.FixtureRequest) -> Iterator[Drivers]:
    """A driver."""
    with opened(request.param) as made:
        yield made


def attach(driver: Drivers, program: Program, scope: Scope = "address") -> Link:
    """Attach to the calls of this process; skips the test where there is no such driver."""
    hook = WinDivertSockets(
        f"processId == {os.getpid()}", scope=scope, open=driver.events, image_name=driver.image_name
    )
    try:
        return hook.attach(program)
    except UnsupportedError as error:
        pytest.skip(str(error))


def bind(port: int) -> socket.socket:
    """A UDP socket bound to a port of the loopback interface; OSError when it may not be."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.bind(("127.0.0.1", port))
    except BaseException:
        made.close()
        raise
    return made


def refused(port: int) -> bool:
    """Whether a bind to the port is refused."""
    try:
        bind(port).close()
    except PermissionError:
        return True
    return False


def test_a_quota_of_ports(driver: Drivers) -> None:
    """The bind monitor holds a process to its quota, one call late, and closing a socket gives a port back."""
    loaded = anybpf.load(sample("bind_monitor"))
    loaded.maps["limits_map"][0] = 2
    held = loaded.maps["process_map"]

    def ports() -> int:
        return held[os.getpid()]["ports"] if os.getpid() in held else 0

    with (
        driver.here(),
        attach(driver, loaded.programs["bind_monitor"], "process") as link,
        contextlib.ExitStack() as own,
    ):
        first = bind(PORT)
        own.enter_context(bind(PORT + 1))
        until(lambda: ports() == 2)
        own.enter_context(bind(PORT + 2))  # denied, but it was under way
        until(lambda: refused(PORT + 3))
        first.close()
        until(lambda: ports() == 1)
        until(lambda: not refused(PORT + 3))
        until(lambda: ports() == 1)  # that socket was closed again
        (counted,) = loaded.maps["app_map"].values()
        assert counted["refused"] >= 2
        assert counted["granted"] - counted["returned"] == 1
        (name,) = loaded.maps["app_map"]
        assert bytes(name).decode("utf-16-le").startswith(driver.image_name(os.getpid())[:31])
    until(lambda: not refused(PORT + 3))
    assert link.stats.errors == 0


def test_connections_to_a_closed_port(driver: Drivers, tmp_path: Path) -> None:
    """A denied connection is blocked from its second attempt on, others are not, until the program allows it."""
    require_clang()
    loaded = anybpf.load(compiled(tmp_path, CONNECTIONS, "windows"))
    state = loaded.maps[".bss"]
    with driver.here(), contextlib.ExitStack() as own:
        servers = [own.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096)) for _ in range(2)]
        closed, other = (server.getsockname()[1] for server in servers)

        def connects(port: int) -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=20).close()
            except PermissionError:
                return False
            return True

        with attach(driver, loaded.programs["connections"]) as link:
            state[0] = {"calls": 0, "closed_port": closed}
            assert connects(closed)
            until(lambda: not connects(closed))
            assert connects(other)
            state[0] = {"calls": 0, "closed_port": 0}
            until(lambda: connects(closed))
            until(lambda: state[0]["calls"] >= 2)
            state[0] = {"calls": 0, "closed_port": closed}
            assert connects(closed)
            until(lambda: not connects(closed))
        assert connects(closed)
        assert set(link.stats.verdicts) == {0, 1}
        assert link.hook.wait(0) is True


def event(kind: int, local: str, remote: str = "", *, v6: bool = False, protocol: int = 6) -> bytes:
    """A WINDIVERT_ADDRESS of the socket layer, addresses given as ``host port``."""

    def words(text: str) -> tuple[list[int], int]:
        if not text:
            return [0, 0, 0, 0], 0
        host, port = text.split()
        if v6:
            return list(reversed(struct.unpack(">4I", socket.inet_pton(socket.AF_INET6, host)))), int(port)
        return [struct.unpack(">I", socket.inet_aton(host))[0], MAPPED, 0, 0], int(port)

    (here, own_port), (there, port) = words(local), words(remote)
    flags = 3 | kind << 8 | v6 << 20
    return struct.pack("<qII QQI 4I 4I HHB", 0, flags, 0, 99, 0, 1234, *here, *there, own_port, port, protocol).ljust(
        80
    )


@pytest.mark.parametrize(
    ("told", "operation", "address", "local", "blocks"),
    [
        (
            event(BIND, "127.0.0.1 80"), Operation.BIND, "127.0.0.1 80", "",
            "protocol == 6 and localPort == 80 and localAddr == 127.0.0.1",
        ),
        (
            event(BIND, "0.0.0.0 53", protocol=17), Operation.BIND, "0.0.0.0 53", "",
            "protocol == 17 and localPort == 53",
        ),
        (
            event(CONNECT, "10.0.0.1 4000", "10.0.0.2 80"), Operation.CONNECT, "10.0.0.2 80", "10.0.0.1 4000",
            "protocol == 6 and remoteAddr == 10.0.0.2 and remotePort == 80",
        ),
        (
            event(LISTEN, "fe80::1 80", v6=True), Operation.LISTEN, "", "fe80::1 80",
            "protocol == 6 and localPort == 80 and localAddr == fe80::1",
        ),
        (
            event(ACCEPT, "::1 80", "::2 4000", v6=True), Operation.ACCEPT, "::2 4000", "::1 80",
            "protocol == 6 and remoteAddr == ::2 and localPort == 80 and localAddr == ::1",
        ),
        (event(CLOSE, "127.0.0.1 80"), Operation.UNBIND, "127.0.0.1 80", "", None),
    ],
)  # fmt: skip
def test_events_are_calls(told: bytes, operation: Operation, address: str, local: str, blocks: str | None) -> None:
    """Each event is one call, with the addresses that such a call has; a filter can name its like."""
    call = to_call(told, lambda pid: f"{pid}.exe")
    assert call is not None
    assert call.task is not None
    assert (call.operation, show(call.address), show(call.local)) == (operation, address, local)
    assert (call.task.pid, call.task.app, call.task.comm, call.cookie) == (1234, "1234.exe", b"1234.exe", 99)
    assert call.family == (10 if ":" in address + local else 2)
    assert call.type == (2 if call.protocol == 17 else 1)
    if blocks is not None:
        whole = f"event == {operation.name} and processId == 1234"
        assert block_filter(call, whole_process=True) == whole
        assert block_filter(call, whole_process=False) == f"{whole} and {blocks}"


def show(address: Address | None) -> str:
    """An address as ``host port``."""
    if address is None:
        return ""
    family = socket.AF_INET if len(address.host) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, address.host)} {address.port}"


@pytest.mark.parametrize("told", [event(CLOSE, "10.0.0.1 4000", "10.0.0.2 80"), event(1, "10.0.0.1 1"), event(77, "")])
def test_other_events_are_none(told: bytes) -> None:
    """The end of a connection, and events that the socket layer does not have, are no calls."""
    assert to_call(told, str) is None


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", [BIND, CONNECT, LISTEN, ACCEPT])
def test_filters_are_understood(kind: int, whole: bool) -> None:
    """WinDivert's own compiler, which pydivert has on every system, takes each filter that may be made."""
    pydivert = pytest.importorskip("pydivert", reason="needs the package pydivert")
    for told in (event(kind, "1.1.1.1 1", "2.2.2.2 2"), event(kind, "1::1 1", "2::2 2", v6=True)):
        call = to_call(told, str)
        assert call is not None
        made = block_filter(call, whole_process=whole)
        valid, position, message = pydivert.Divert.check_filter(made, pydivert.Layer.SOCKET)
        assert valid, f"{made!r} is wrong at {position}: {message}"


def test_the_program_of_a_process() -> None:
    """Windows tells the name of a process's executable, and nothing where there is no such process."""
    if sys.platform != "win32":
        pytest.skip("asks Windows")
    from anybpf.hooks.windivert_process import image_name

    assert image_name(os.getpid()).lower() == os.path.basename(sys.executable).lower()
    assert image_name(1) == ""  # process ids are multiples of four


def test_elsewhere() -> None:
    """On other systems the hook says in one sentence what there is instead, and nothing is left attached."""
    if sys.platform == "win32":
        pytest.skip("this is Windows")
    hook = WinDivertSockets()
    program = anybpf.load(sample("bind_monitor")).programs["bind_monitor"]
    with pytest.raises(UnsupportedError, match=r"^WinDivert is a driver of Windows; .*"):
        hook.attach(program)
    assert hook.links == ()


def test_a_bad_scope() -> None:
    """What may be blocked is one of two things."""
    with pytest.raises(HookError, match="choose 'address' or 'process'"):
        WinDivertSockets(scope="machine")  # type: ignore[arg-type]
