"""Forking while other threads run programs: the child has one thread, and must find nothing half way in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from anybpf.runtime import Context
from helpercalls import Helpers
from producing import ring
from running import load

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

LONG = "r0 = 100000000\nr0 += -1\nif r0 != 0 goto -2\nexit"


def run_in_child(work) -> int:
    """Fork; return how a child ends that does ``work`` within 20 seconds: 0, or the number of what stopped it."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_can_run_programs_whatever_its_parents_threads_did():
    """With the only cpu slot in use at the time of the fork, the child runs programs, and the parent goes on."""
    with Context(cpus=1) as context:
        long, short = (load(source, context=context).programs["program"] for source in (LONG, "r0 = 7\nexit"))
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(long.test_run(b"", mode="interpreter").retval))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.05)  # the first is under way, most likely; in any case the outcome must be the same
        assert run_in_child(lambda: short.test_run(b"")) == 0
        assert short.test_run(b"").retval == 7
        for thread in threads:
            thread.join()
        assert results == [0, 0]


def test_forks_among_busy_threads():
    """Threads that run programs and work on maps all the time neither stop the forks nor their children."""
    source = "r0 = 0\nexit"
    with Context(cpus=2) as context:
        program = load(source, context=context).programs["program"]
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                program.test_run(b"")

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            ends = [run_in_child(lambda: [program.test_run(b"") for _ in range(5)]) for _ in range(15)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert ends == [0] * 15


def test_a_child_leaves_its_parents_links_alone():
    """When a forked child ends, only links of its own are detached; the parent's are its parent's to end."""
    script = """
import os, sys
import anybpf
from anybpf.elf import from_instructions
from anybpf.isa import assemble
from anybpf.runtime import AttachPoint

program = anybpf.load(from_instructions(assemble("r0 = 1\\nexit"), "xdp", "program")).programs["program"]
point = AttachPoint(program.context, program.type)
say = lambda who: lambda: print(who, "detached in", "parent" if os.getpid() == parent else "child", flush=True)
parent = os.getpid()
point.attach(program, None, on_detach=say("parent's"))
if os.fork():
    os.wait()
else:
    point.attach(program, None, on_detach=say("child's"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["child's detached in child", "parent's detached in parent"], done.stderr


def test_forks_while_another_thread_reads():
    """Whatever another thread did with a reader at the time of the fork, the child can read with it, and close it."""
    helpers = Helpers()
    records = ring(helpers.engine, 1 << 16)
    reader = records.records()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            helpers.ringbuf_output(records.native.handle, bytes(64), 64, 0)

    threads = [threading.Thread(target=write), threading.Thread(target=lambda: [None for _ in reader])]
    for thread in threads:
        thread.start()

    def read() -> None:
        reader.read(0)
        reader.close()

    try:
        ends = [run_in_child(read) for _ in range(30)]
    finally:
        stop.set()
        threads[0].join()
        reader.close()
        threads[1].join()
        helpers.close()
    assert ends == [0] * 30
