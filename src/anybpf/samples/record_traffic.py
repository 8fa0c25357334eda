"""Record ``traffic.pcap``: two network namespaces' TCP/IP stacks, talking through a panel that writes down every frame.

Each host has two interfaces. One is a plain wire to the other host; the other is an access port of VLAN 100, so the
panel, like a switch, carries its frames tagged: the capture shows the trunk. Run as root on Linux with iproute2 and
ethtool, from the repository::

    python src/anybpf/samples/record_traffic.py src/anybpf/samples/traffic.pcap
"""

from __future__ import annotations

import ctypes
import http.server
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable

import dpkt

VLAN = 100
CLONE_NEWNET = 0x40000000
HOSTS = ("client", "server")
ADDRESSES = {  # (host, wire): addresses
    ("client", "plain"): ("10.1.0.1/24", "fd00:1::1/64"),
    ("server", "plain"): ("10.1.0.2/24", "fd00:1::2/64"),
    ("client", "vlan"): ("10.2.0.1/24",),
    ("server", "vlan"): ("10.2.0.2/24",),
}
NO_OFFLOADS = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")


def run(*command: str) -> None:
    """Run a command; stop at the first that fails."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def lay_wires() -> None:
    """Make the namespaces and their interfaces, with every offload off, so that frames look as on a wire."""
    for host in HOSTS:
        run("ip", "netns", "add", f"any-{host}")
        run("ip", "-n", f"any-{host}", "link", "set", "lo", "up")
        for wire in ("plain", "vlan"):
            inside, panel = f"{host[0]}-{wire}", f"p-{host[0]}-{wire}"
            run("ip", "link", "add", panel, "type", "veth", "peer", "name", inside, "netns", f"any-{host}")
            run("ip", "netns", "exec", f"any-{host}", "ethtool", "-K", inside, *NO_OFFLOADS)
            run("ethtool", "-K", panel, *NO_OFFLOADS)
            for address in ADDRESSES[host, wire]:
                extra = ["nodad"] if ":" in address else []
                run("ip", "-n", f"any-{host}", "addr", "add", address, "dev", inside, *extra)
            run("ip", "-n", f"any-{host}", "link", "set", inside, "up")
            run("ip", "link", "set", panel, "up")


def remove_wires() -> None:
    """Delete the namespaces; their interfaces go with them."""
    for host in HOSTS:
        subprocess.run(["ip", "netns", "del", f"any-{host}"], check=False, stderr=subprocess.DEVNULL)


def inside(host: str, action: Callable[[], None]) -> int:
    """Run ``action`` in a child process inside the host's network namespace; return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        with open(f"/run/netns/any-{host}", "rb") as namespace:
            enter_namespace(namespace.fileno())
        action()
    except BaseException as error:
        print(f"{host}: {error!r}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


def enter_namespace(descriptor: int) -> None:
    """Enter a network namespace (os.setns exists from Python 3.12 on only)."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Panel(threading.Thread):
    """The patch panel: joins the hosts' wires, tags the VLAN's frames, and writes every frame to a capture."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self.ports: dict[tuple[str, str], socket.socket] = {}
        for wire in ("plain", "vlan"):
            for host in HOSTS:
                port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
                port.bind((f"p-{host[0]}-{wire}", 0))
                self.ports[host, wire] = port
        self.file = open(path, "wb")  # noqa: SIM115 - closed by close()
        self.writer = dpkt.pcap.Writer(self.file)
        self.stopping = False

    def run(self) -> None:
        """Forward until told to stop."""
        ends = {port: (name, self.ports[HOSTS[1 - HOSTS.index(name[0])], name[1]]) for name, port in self.ports.items()}
        while not self.stopping:
            for port in select.select(list(ends), [], [], 0.1)[0]:
                frame, address = port.recvfrom(65536)
                if address[2] == socket.PACKET_OUTGOING:
                    continue
                (_, wire), other = ends[port]
                other.send(frame)
                if wire == "vlan":
                    frame = frame[:12] + b"\x81\x00" + VLAN.to_bytes(2, "big") + frame[12:]
                self.writer.writepkt(frame, time.time())

    def close(self) -> None:
        """Stop, and finish the file."""
        self.stopping = True
        self.join()
        self.file.close()


def serve() -> None:
    """The server host: HTTP on port 8080 (both families) and DNS on port 53."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            body = f"you asked for {self.path}\n".encode() * 40
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class DualStack(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6

    server = DualStack(("::", 8080), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("10.1.0.2", 53))
    while True:
        question, client = names.recvfrom(512)
        answer = dpkt.dns.DNS(question)
        answer.qr = dpkt.dns.DNS_R
        address = bytes([10, 1, 0, 2])
        answer.an = [dpkt.dns.DNS.RR(name=answer.qd[0].name, type=1, cls=1, ttl=60, rlen=4, rdata=address, ip=address)]
        names.sendto(bytes(answer), client)


def browse() -> None:
    """The client host: ping, DNS, HTTP over IPv4, IPv6 and the VLAN, and a burst of connections to a closed port."""

    def ping(target: str, sequence: int) -> None:
        echo = dpkt.icmp.ICMP.Echo(id=7, seq=sequence, data=b"are you there?" * 4)
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        sock.settimeout(2)
        sock.sendto(bytes(dpkt.icmp.ICMP(type=8, data=echo)), (target, 0))
        sock.recv(1500)

    def ping6(target: str, sequence: int) -> None:
        body = bytes([128, 0, 0, 0, 0, 7, 0, sequence]) + b"are you there?" * 4
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        sock.settimeout(2)
        sock.sendto(body, (target, 0))  # the kernel fills in the checksum
        sock.recv(1500)

    def resolve(name: str) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(2)
        sock.sendto(bytes(dpkt.dns.DNS(id=len(name), qd=[dpkt.dns.DNS.Q(name=name, type=1, cls=1)])), ("10.1.0.2", 53))
        sock.recv(512)

    for sequence in range(5):
        ping("10.1.0.2", sequence)
        ping6("fd00:1::2", sequence)
        ping("10.2.0.2", sequence)
    for name in ("www.example.org", "mail.example.org", "a.rather.long.name.example.org", "example.net"):
        resolve(name)
    for base in ("http://10.1.0.2:8080", "http://[fd00:1::2]:8080", "http://10.2.0.2:8080"):
        for page in range(6):
            urllib.request.urlopen(f"{base}/page/{page}", timeout=3).read()
    for _ in range(60):
        with socket.socket() as knock:
            knock.settimeout(1)
            knock.connect_ex(("10.1.0.2", 4444))
    empty = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(12):
        empty.sendto(b"", ("10.1.0.2", 53535))
        time.sleep(0.01)


def main(path: str) -> None:
    """Lay the wires, record one conversation, clean up."""
    remove_wires()
    lay_wires()
    panel = Panel(path)
    server = 0
    try:
        panel.start()
        server = inside("server", serve)
        time.sleep(1)
        _, status = os.waitpid(inside("client", browse), 0)
        time.sleep(0.5)
    finally:
        panel.close()
        if server:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)
        remove_wires()
    if status:
        sys.exit("the client host failed; the capture is not complete")


if __name__ == "__main__":
    main(sys.argv[1])
