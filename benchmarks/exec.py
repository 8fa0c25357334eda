"""What `anybpf exec` costs: a supervised bind and connect, and everything else that a command does.

The same program runs with and without, in turn, and measures itself, so that starting up is not in the figures: calls
by the median of many, whole programs by the processor time that they took.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from measure import Figure
from toolchain import Unavailable

from anybpf.compile import compile_source

CALLS = 2000
LIMIT_US = 60.0
LIMIT_RATIO = 1.02

POLICIES = {
    "linux": """
        #include <linux/bpf.h>
        #include <bpf/bpf_helpers.h>
        SEC("cgroup/bind4") int on_bind(struct bpf_sock_addr *ctx) { return ctx->user_port != 1; }
        SEC("cgroup/connect4") int on_connect(struct bpf_sock_addr *ctx) { return ctx->user_port != 1; }
        """,
    "windows": """
        #include "bpf_helpers.h"
        SEC("bind") bind_action_t on_bind(bind_md_t *ctx) { return ctx->protocol ? BIND_PERMIT_SOFT : BIND_DENY; }
        """,
}

#: Prints the median time of a bind or a connect, in nanoseconds.
LOOP = """
    #include <arpa/inet.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>
    static int order(const void *a, const void *b) { return (*(long *)a > *(long *)b) - (*(long *)a < *(long *)b); }
    int main(int argc, char **argv) {
        int count = atoi(argv[2]), connects = strcmp(argv[1], "connect") == 0, server = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)}, to = any;
        socklen_t size = sizeof to;
        long *times = malloc(sizeof *times * count);
        if (listen(server, 128) || getsockname(server, (void *)&to, &size)) return 1;
        to.sin_addr = any.sin_addr;
        for (int i = 0; i < count; i++) {
            struct timespec a, b;
            int s = socket(AF_INET, SOCK_STREAM, 0);
            clock_gettime(CLOCK_MONOTONIC, &a);
            int error = connects ? connect(s, (void *)&to, sizeof to) : bind(s, (void *)&any, sizeof any);
            clock_gettime(CLOCK_MONOTONIC, &b);
            if (error) return 1;
            times[i] = (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec;
            close(s);
            if (connects) close(accept(server, NULL, NULL));
        }
        qsort(times, count, sizeof *times, order);
        printf("%ld\\n", times[count / 2]);
        return argc < 3;
    }
    """
#: Runs a command under the least of all seccomp filters, which lets everything through.
EMPTY_FILTER = """
    #include <linux/filter.h>
    #include <linux/seccomp.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    int main(int argc, char **argv) {
        struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        struct sock_fprog program = {1, &allow};
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        long error = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program);
        return argc < 2 || error ? 1 : execv(argv[1], argv + 1);
    }
    """
#: Prints the processor time of a command, in nanoseconds.
TIMED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, "
    "stderr=subprocess.DEVNULL); used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    "print(int((used.ru_utime + used.ru_stime) * 1e9))"
)


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Yield what a call costs more, and by what factor whole programs are slower."""
    if not sys.platform.startswith("linux"):
        raise Unavailable("anybpf exec is for Linux")
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("needs a C compiler")
    objects = {}
    for platform, source in POLICIES.items():
        (folder / f"{platform}.c").write_text(source)
        objects[platform] = folder / f"{platform}.o"
        objects[platform].write_bytes(compile_source(folder / f"{platform}.c", platform=platform))
    for name, source in (("loop", LOOP), ("empty", EMPTY_FILTER)):
        (folder / f"{name}.c").write_text(source)
        subprocess.run([compiler, "-O2", "-o", str(folder / name), str(folder / f"{name}.c")], check=True)

    linux = [f"bind4={objects['linux']}", f"connect4={objects['linux']}"]
    for what, hooks, name in (
        ("bind", linux, "cgroup/bind4"),
        ("connect", linux, "cgroup/connect4"),
        ("bind", [f"bind={objects['windows']}"], "bind of eBPF for Windows, closing watched"),
    ):
        command = [str(folder / "loop"), what, str(CALLS)]
        without, supervised = alternate([command, supervise(hooks, command)], max(3, rounds // 3))
        note = f"{supervised / 1e3:.1f} us supervised, {without / 1e3:.1f} us without"
        yield Figure("exec", f"added to a {what}, {name}", "us", (supervised - without) / 1e3, LIMIT_US, note)
    programs = {
        "find /usr": ["find", "/usr", "-xdev", "-size", "+1000000k"],
        "compile C": [compiler, "-O2", "-c", "-o", str(folder / "loop.o"), str(folder / "loop.c")],
    }
    for name, program in programs.items():
        command = [sys.executable, "-ISc", TIMED, *program]
        lines = [command, [str(folder / "empty"), *command], supervise(linux, command)]
        without, empty, supervised = alternate(lines, rounds)
        note = f"{without / 1e6:.0f} ms of processor time without; an empty seccomp filter {empty / without:.3f} ×"
        yield Figure("exec", name, "×", supervised / without, LIMIT_RATIO, note)


def supervise(hooks: Sequence[str], command: Sequence[str]) -> list[str]:
    """Return the command line that runs a command under programs."""
    attached = [part for hook in hooks for part in ("--attach", hook)]
    return [sys.executable, "-m", "anybpf", "exec", *attached, "--", *command]


def alternate(lines: Sequence[Sequence[str]], rounds: int) -> list[float]:
    """Run command lines in turn; return the median of the number that each printed."""
    printed: list[list[float]] = [[] for _ in lines]
    for _ in range(rounds):
        for line, numbers in zip(lines, printed, strict=True):
            done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=300)
            numbers.append(float(done.stdout))
    return [statistics.median(numbers) for numbers in printed]
