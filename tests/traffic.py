"""Real programs at both ends of a lab's wire: what tests of live hooks send through it, and who answers."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from netlab import Host

SO_RCVBUFFORCE = 33  # beyond what the system lets users ask for


def ping(host: Host, target: str, count: int = 1, *, patience: float = 2) -> set[int]:
    """Ping from a host; gives the sequence numbers, from 1 on, of the requests answered within ``patience`` seconds."""
    done = host.run("ping", "-n", "-c", str(count), "-i", "0.02", "-W", str(patience), target, check=False)
    return set(map(int, re.findall(r"icmp_seq=(\d+) ttl", done.stdout)))


def fetch(host: Host, target: Host, *options: str, seconds: float = 20) -> bytes | None:
    """The body of a page, or None when curl could not get it within so many seconds."""
    command = host.command("curl", "-sS", "-m", str(seconds), *options, f"http://{target.address}/")
    done = subprocess.run(command, capture_output=True, timeout=seconds + 30, check=False)
    return done.stdout if done.returncode == 0 else None


@dataclass
class Website:
    """A web server on port 80: GET gives ``body``, POST the SHA-256 of what was sent. ``clients``: who has asked."""

    body: bytes
    clients: list[str] = field(default_factory=list)


@contextlib.contextmanager
def website(host: Host, body: bytes = b"hello\n") -> Iterator[Website]:
    """Serve from a host as long as the context lasts; HTTP/1.0, so that each request is a connection."""
    site = Website(body)

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self, content: bytes) -> None:
            site.clients.append(self.client_address[0])
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:  # the name that http.server calls
            self.reply(site.body)

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(hashlib.sha256(sent).hexdigest().encode())

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingTCPServer):  # http.server's own would look up the host's name
        allow_reuse_address = True
        request_queue_size = 1024
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # clients that a test cuts off

    with host.entered():
        server = Server((host.address, 80), Handler)
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def client_socket(host: Host) -> socket.socket:
    """A UDP socket in a host."""
    with host.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(20)
    return client


@contextlib.contextmanager
def echo_server(host: Host, port: int) -> Iterator[list[Any]]:
    """Answer each datagram with itself, as long as the context lasts; gives the list of who has sent one."""
    clients: list[Any] = []
    with host.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((host.address, port))
    server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
    server.settimeout(0.1)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                data, client = server.recvfrom(2000)
                clients.append(client)
                server.sendto(data, client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield clients
    finally:
        ended.set()
        thread.join()
        server.close()


def ask(client: socket.socket, server: Host, question: bytes) -> None:
    """Ask an echo server on port 53 as a resolver does: again when there is no answer; AssertionError without any."""
    client.settimeout(1)
    for _ in range(20):
        client.sendto(question, (server.address, 53))
        with contextlib.suppress(TimeoutError):
            while client.recv(2000) != question:
                pass  # late answers to what was asked before
            return
    raise AssertionError("no answer to any of 20 questions")


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until a condition holds; AssertionError when it does not within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.05)
