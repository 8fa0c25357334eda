"""What a decision on a socket call costs, and what the audit hook adds to Python's own calls, in a Python of its own.

The peer is the same policy written in Python in an audit hook of its own: a dictionary of ports, and a count.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import Figure, alternate, cpu_milliseconds
from toolchain import PROGRAMS

import anybpf
from anybpf.compile import compile_source
from anybpf.hooks.socket_call import Address, Operation, SocketCall, Task
from anybpf.hooks.socket_hook import SocketHook

SECTION = "socket-calls"
COUNT = 5_000
NOTHING = "benchmark.nothing"  # an audit event that nobody decides


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Time decisions, and connections of a datagram socket with the policy in eBPF, in Python, and without any."""
    command = [sys.executable, __file__, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        yield Figure(SECTION, "failed", "", None, note=done.stderr.strip().splitlines()[-1])
        return
    found: dict[str, float] = json.loads(done.stdout)
    yield Figure(SECTION, "a decision, own thread's call", "µs", found["own"], 5, "context, program, verdict")
    yield Figure(SECTION, "a decision, another task's call", "µs", found["task"], 5)
    added, peer = found["audited"] - found["bare"], found["python"] - found["bare"]
    yield Figure(SECTION, "Audit: added to a connect", "µs", added, None, f"connect alone: {found['bare']:.3g} µs")
    yield Figure(SECTION, "Audit / policy in Python", "×", added / peer, None, f"policy in Python adds {peer:.2g} µs")
    idle = (found["idle"] - found["no hook"]) * 1000
    yield Figure(SECTION, "Audit, detached: added to any audit event", "ns", idle, 500)


def each(call: Callable[[], object]) -> Callable[[], float]:
    """Time COUNT calls; gives microseconds of one."""

    def timed() -> float:
        def repeat() -> None:
            for _ in range(COUNT):
                call()

        return cpu_milliseconds(repeat) * 1000 / COUNT

    return timed


def decisions(program: anybpf.runtime.Program, rounds: int) -> tuple[float, float]:
    """Microseconds of a decision on this thread's call, and on another task's."""
    own = SocketCall(Operation.CONNECT, 2, 1, 0, Address(b"\x7f\0\0\1", 443))
    task = SocketCall(Operation.CONNECT, 2, 1, 0, own.address, None, Task(70, 71, 1000, 1000, b"worker", "worker"), 7)
    hook = SocketHook()
    with hook.attach(program):
        first, second = alternate([each(lambda: hook.decide(own)), each(lambda: hook.decide(task))], rounds)
    return first, second


def policy() -> Callable[[str, tuple[object, ...]], None]:
    """The policy in Python."""
    denied: dict[int, None] = {}
    count = [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect":
            _, address = arguments
            count[0] += 1
            if address[1] in denied:  # type: ignore[index]
                raise PermissionError

    return hook


def main() -> None:
    """Measure in this interpreter, whose audit hooks stay; print the figures as JSON."""
    from anybpf.hooks.audit import Audit

    rounds = int(sys.argv[1])
    found: dict[str, float] = {}
    with anybpf.load(compile_source(PROGRAMS / "socket_calls.c")) as loaded:
        program = loaded.programs["to_port"]
        program.compile()
        found["own"], found["task"] = decisions(program, rounds)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connect, event = each(lambda: client.connect(("127.0.0.1", 9))), each(lambda: sys.audit(NOTHING))
        found["bare"], found["no hook"] = alternate([connect, event], rounds)
        audit = Audit()
        with audit.attach(program):
            (found["audited"],) = alternate([connect], rounds)
        (found["idle"],) = alternate([event], rounds)
        idle_connect = alternate([connect], rounds)[0] - found["bare"]
        sys.addaudithook(policy())
        found["python"] = alternate([connect], rounds)[0] - idle_connect
    print(json.dumps(found))


if __name__ == "__main__":
    main()
