"""The worked example: policies that strangers upload decide on requests, and nothing that they do harms the service."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from anybpf.compile import compile_source
from anybpf.hooks import Service
from anybpf.runtime import Context
from anybpf.samples.request_policy import vetting
from anybpf.samples.request_policy.hook import LIMITS, declare
from compiling import require_clang

uvicorn = pytest.importorskip("uvicorn", reason="the extra `example` is not installed")
pytest.importorskip("starlette", reason="the extra `example` is not installed")

from anybpf.samples.request_policy.app import create_app, greet  # noqa: E402 - needs what is asked for above
from anybpf.samples.request_policy.middleware import PolicyMiddleware  # noqa: E402

EXAMPLE = Path(vetting.__file__).parent
#: Seconds after which something that ought to have happened is a failure.
PATIENCE = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the header for authors of policies."""
    require_clang()
    made = tmp_path_factory.mktemp("policies")
    (made / "http_request.h").write_text(declare().header(), encoding="utf-8")
    return made


@cache
def shipped(folder: Path, name: str, *defines: str) -> bytes:
    """The object of a policy that lies beside the example."""
    source = EXAMPLE / f"{name}.c"
    return compile_source(source, include_dirs=[folder], defines=defines, warnings=("all", "extra", "error"))


@cache
def written(folder: Path, body: str, section: str = "http_request", before: str = "") -> bytes:
    """The object of a policy with this body."""
    source = folder / f"policy{abs(hash((body, section, before)))}.c"
    text = f'{before}\nSEC("{section}")\nint policy(struct http_request *ctx)\n{{\n{body}\n}}\n'
    source.write_text(f'#include "http_request.h"\n{text}', encoding="utf-8")
    return compile_source(source, include_dirs=[folder])


def ask(
    service: Service, path: str = "/", client: str | None = "203.0.113.7", **scope: Any
) -> tuple[int, dict[str, str], str]:
    """The answer of the middleware to one request from anywhere: status, headers, text."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    peer = None if client is None else (client, 5)
    asked = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "client": peer}
    asyncio.run(PolicyMiddleware(greet, service)(asked | scope, receive, send))  # type: ignore[arg-type]
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]).decode()


@contextmanager
def in_force(upload: bytes) -> Iterator[tuple[Service, Any]]:
    """A hook with this policy attached, and what was loaded."""
    with Context(2) as context:
        service = declare(context)
        with service.load(upload, limits=LIMITS) as loaded:
            (program,) = loaded.programs.values()
            with program.attach(service):
                yield service, loaded


def test_the_guard_keeps_strangers_out_and_tells(folder: Path) -> None:
    """/admin is for the machine itself, by IPv4 and IPv6; others get a 403, and an event says so."""
    with in_force(shipped(folder, "guard")) as (service, loaded):
        assert ask(service, "/public")[0] == 200
        assert ask(service, "/admin", "127.0.0.1")[0] == 200
        assert ask(service, "/admin", "::1")[0] == 200
        assert loaded.maps["events"].drain() == []
        for client in ("203.0.113.7", "2001:db8::1", "fe80::1%eth0", "not an address"):
            assert ask(service, "/admin/users", client)[0] == 403
        assert len(loaded.maps["events"].drain()) == 4


def test_the_limiter_counts_for_each_address(folder: Path) -> None:
    """Beyond its number in a second an address is told to wait, and others are not."""
    with in_force(shipped(folder, "rate_limit", "ALLOWED=3")) as (service, loaded):
        answers = (ask(service) for _ in range(200))
        status, headers, _ = next(answer for answer in answers if answer[0] != 200)
        assert (status, headers["retry-after"]) == (429, "1")
        assert ask(service, client="198.51.100.1")[0] == 200
        assert loaded.maps["events"].drain()


def test_the_tagger_marks_by_user_agent(folder: Path) -> None:
    """The application and the client get the tag; without one there is no header."""
    with in_force(shipped(folder, "tag")) as (service, _):
        for agent, tag in (
            (b"curl/8.5", "1"),
            (b"Python-urllib/3.12", "2"),
            (b"Mozilla/5.0 (robot)", "3"),
            (b"", "none"),
        ):
            _, headers, text = ask(service, headers=[(b"user-agent", agent)])
            assert text == f"hello '/', tag {tag}\n"
            assert headers.get("x-policy-tag", "none") == tag


def test_whatever_a_client_sends_makes_a_request(folder: Path) -> None:
    """Odd methods, lengths, paths and clients reach the policy in some form and never raise."""
    seen = "ctx->tag = ctx->content_length == ~0ULL ? 7 : ctx->path_end - ctx->path; return ALLOW;"
    with in_force(written(folder, seen)) as (service, _):
        huge = [(b"content-length", b"9" * 4000)]
        assert ask(service, headers=huge)[1]["x-policy-tag"] == "7"
        assert ask(service, "/ü\udcff\ud800", method="ÄÖÜßéèêëïîôûù", headers=[(b"content-length", b"-1")])[0] == 200
        assert ask(service, "/" * 100_000)[1]["x-policy-tag"] == "100000"
        assert ask(service, client=None)[0] == 200


def test_websockets_are_requests_too(folder: Path) -> None:
    """A denied WebSocket is closed before it is accepted."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": [], "client": ("203.0.113.7", 5)}
    with in_force(written(folder, "return DENY;")) as (service, _):
        asyncio.run(PolicyMiddleware(greet, service)(scope, receive, send))  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.close"]


class Server:
    """The example under uvicorn, on a port of its own."""

    def __init__(self) -> None:
        config = uvicorn.Config(
            create_app, factory=True, host="127.0.0.1", port=0, log_level="warning", log_config=None
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until = time.monotonic() + PATIENCE
        while not self._server.started:
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.02)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        """End it, as Ctrl-C would."""
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is kept open."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Status and text of one response, as JSON where it is."""
        connection = self.connect()
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            text = response.read().decode()
            return response.status, json.loads(text) if "json" in response.headers.get_content_type() else text
        finally:
            connection.close()

    def install(self, upload: bytes) -> None:
        """Upload a policy that is taken."""
        status, said = self.request("PUT", "/policy", upload)
        assert status == 200, said


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """One server for all tests of this module."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Server:
    """The server, without a policy."""
    assert running.request("DELETE", "/policy")[0] == 204
    return running


def test_policies_come_and_go(folder: Path, server: Server) -> None:
    """A policy holds from its upload to its removal, is reported, and cannot lock its own removal out."""
    assert server.request("GET", "/policy") == (200, None)
    assert server.request("GET", "/x") == (200, "hello '/x', tag none\n")
    assert server.request("GET", "/header") == (200, declare().header())
    server.install(written(folder, "return DENY;"))
    assert server.request("GET", "/x") == (403, "denied by policy\n")
    status, report = server.request("GET", "/policy")
    assert (status, report["program"], report["verdicts"]) == (200, "policy", {"DENY": 1})
    assert server.request("DELETE", "/policy")[0] == 204
    assert server.request("GET", "/x")[0] == 200


def test_events_are_shown(folder: Path, server: Server) -> None:
    """What a policy tells through its ring buffer is to be seen, also what it told just before it was replaced."""
    server.install(shipped(folder, "rate_limit", "ALLOWED=1"))
    connection = server.connect()
    for _ in range(50):
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        if response.status == 429:
            break
    server.install(shipped(folder, "tag"))
    connection.close()
    events = server.request("GET", "/events")[1]
    assert {"code": 2, "value": 1, "note": "told to wait"}.items() <= events[-1].items()


def test_swapping_under_load_fails_no_request(folder: Path, server: Server) -> None:
    """Clients ask all the time while policies replace each other: each request meets one of them, or the next."""
    policies = [written(folder, f"ctx->tag = {tag}; return ALLOW;") for tag in (1, 2)]
    server.install(policies[0])
    stop = threading.Event()
    answers: list[tuple[int, str | None]] = []

    def ask_on() -> None:
        connection = server.connect()
        while not stop.is_set():
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            answers.append((response.status, response.headers["x-policy-tag"]))
        connection.close()

    clients = [threading.Thread(target=ask_on) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for swap in range(8):
            server.install(policies[(swap + 1) % 2])
            connection = server.connect()
            connection.request("GET", "/")
            assert connection.getresponse().headers["x-policy-tag"] == str((swap + 1) % 2 + 1)
            connection.close()
            enough, until = len(answers) + 8, time.monotonic() + PATIENCE
            while len(answers) < enough and time.monotonic() < until:
                time.sleep(0.005)
    finally:
        stop.set()
        for client in clients:
            client.join(PATIENCE)
    assert len(answers) >= 64
    assert set(answers) == {(200, "1"), (200, "2")}


def test_an_upload_that_breaks_off_is_no_error(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A client that goes away in the middle leaves no traceback and changes nothing."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(b"PUT /policy HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + bytes(100))
    assert server.request("GET", "/policy") == (200, None)
    time.sleep(0.1)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


UNSAFE = "return ctx->path[100] == 'x';"
SPINS = "for (volatile int i = 0; ; i++) if (i < 0) return ALLOW;"
GREEDY = """
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1 << 24);
    __type(key, int);
    __type(value, long);
} m SEC(".maps");
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (UNSAFE, "path"),
        ("return 9;", "returns"),
        ("ctx->content_length = 1; return ALLOW;", "content_length"),
        ("while (1) barrier();", "loop"),
        ("for (__u32 i = 0; i < 1000000; i++) barrier_var(i); return ALLOW;", "gave up"),
        ("static long (*const kill)(int) = (void *)109; return kill(9);", "109"),
    ],
    ids=["unsafe", "return value", "read-only field", "endless", "long", "helper"],
)
def test_hostile_programs_are_refused_with_reasons(folder: Path, server: Server, body: str, words: str) -> None:
    """What the verifier refuses is a 422 with its words, and the policy in force stays."""
    server.install(written(folder, "return DENY;"))
    status, said = server.request("PUT", "/policy", written(folder, body))
    assert status == 422
    assert words in said["reason"]
    assert said["failure"] is None or said["failure"]["suggestion"]
    assert server.request("GET", "/")[0] == 403


def test_hostile_files_are_refused_with_reasons(folder: Path, server: Server) -> None:
    """What is no object, too large, cut off, for another hook, or asks for too much, is refused by its own rule."""
    good = written(folder, "return ALLOW;")
    refused = {
        "no ELF": (400, "not an ELF file", os.urandom(1000)),
        "empty": (400, "", b""),
        "cut off": (400, "", good[: len(good) // 2]),
        "oversize": (413, "bytes", bytes(LIMITS.object_bytes + 1)),
        "another hook": (422, 'SEC("http_request")', written(folder, "return 0;", "xdp")),
        "memory": (
            422,
            "bytes of maps",
            written(folder, "int k = 0; return bpf_map_lookup_elem(&m, &k) != 0;", before=GREEDY),
        ),
        "two programs": (
            422,
            "2 programs",
            written(folder, "return 0;", before='SEC("http_request")\nint other(struct http_request *c) { return 0; }'),
        ),
    }
    for name, (expected, words, upload) in refused.items():
        status, said = server.request("PUT", "/policy", upload)
        assert (name, status) == (name, expected)
        assert words in said["reason"]
    damaged = bytearray(good)
    for at in range(64, len(good), max(1, len(good) // 12)):
        damaged[at] ^= 0xFF
        status, said = server.request("PUT", "/policy", bytes(damaged))
        assert status in (200, 400, 422), said
        damaged[at] ^= 0xFF
    assert server.request("GET", "/")[0] in (200, 403, 429)


def test_requests_go_on_while_an_upload_is_verified(folder: Path, server: Server) -> None:
    """The event loop serves others all the time that the verifier looks at a program it gives up on."""
    long = written(folder, "for (__u32 i = 0; i < 1000000; i++) barrier_var(i); return ALLOW;")
    said: list[Any] = []
    uploading = threading.Thread(target=lambda: said.append(server.request("PUT", "/policy", long)))
    uploading.start()
    served = 0
    while uploading.is_alive():
        assert server.request("GET", "/")[0] == 200
        served += 1
    assert said[0][0] == 422
    assert served >= 5


def children() -> set[str]:
    """Ids of this process's children; where /proc does not list them, none."""
    lists = Path("/proc/self/task").glob("*/children")
    return {child for each in lists for child in each.read_text(encoding="ascii").split()}


def test_a_verifier_that_takes_too_long_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its upload is refused, and no process stays."""
    monkeypatch.setattr(vetting, "PATIENCE", 0.01)

    async def vet() -> None:
        vetter = vetting.Vetter()
        for _ in range(2):
            refusal = await vetter.vet(written(folder, "return ALLOW;"))
            assert refusal is not None
            assert "took longer" in refusal.reason

    before = children()
    asyncio.run(vet())
    assert children() == before


@pytest.mark.linux_only
def test_the_readme_does_what_it_says(server: Server, tmp_path: Path) -> None:
    """Its commands print what it says."""
    require_clang()
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    blocks = (EXAMPLE / "README.md").read_text(encoding="utf-8").split("```")
    commands, expected = blocks[1].removeprefix("sh\n"), blocks[3].lstrip("\n")
    script = commands.replace("localhost:8000", f"127.0.0.1:{server.port}")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines(keepends=True) if not line.startswith("policy.o:")]
    assert "".join(printed).replace("}hello", "}\nhello") == expected
