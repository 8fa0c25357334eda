"""Commands under ``anybpf exec``, for tests: policies compiled on the spot, commands run and watched."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anybpf.compile import compile_source
from compiling import require_clang

_HEADERS = {
    "linux": "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_endian.h>\n",
    "windows": '#include "bpf_helpers.h"\n#include "bpf_endian.h"\n',
}
PYTHON = ("-I", "-S", "-c")


def policy(folder: Path, source: str, platform: str = "linux") -> Path:
    """An object made of the source of some programs."""
    require_clang()
    path = folder / f"policy{len(list(folder.glob('policy*.c')))}.c"
    path.write_text(_HEADERS[platform] + textwrap.dedent(source), encoding="utf-8")
    made = path.with_suffix(".o")
    made.write_bytes(compile_source(path, platform=platform, warnings=("all", "error")))
    return made


def exec_command(*attachments: str, options: tuple[str, ...] = ()) -> list[str]:
    """The beginning of a command line that supervises what follows."""
    attach = [part for one in attachments for part in ("--attach", one)]
    return [sys.executable, "-m", "anybpf", "exec", *attach, *options, "--"]


def run(*attachments: str, command: list[str], options: tuple[str, ...] = (), **more: Any) -> Any:
    """Run a command to its end under programs."""
    line = exec_command(*attachments, options=options) + command
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, **more)


def python(source: str, *arguments: object) -> list[str]:
    """A command that runs some Python."""
    return [sys.executable, *PYTHON, textwrap.dedent(source), *map(str, arguments)]


@contextlib.contextmanager
def started(*attachments: str, command: list[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A supervised command in the background; it and the supervisor are gone afterwards."""
    line = exec_command(*attachments) + command
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more}
    with subprocess.Popen(line, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], pattern: str, seconds: float = 60) -> re.Match[str]:
    """Read what a process prints until a line matches."""
    assert process.stdout is not None
    killer = threading.Timer(seconds, process.kill)
    killer.start()
    try:
        for line in process.stdout:
            if found := re.search(pattern, line):
                return found
    finally:
        killer.cancel()
    errors = process.stderr.read() if process.stderr is not None else ""
    raise AssertionError(f"no line matched {pattern!r}; standard error: {errors}")


def wait_for(condition: Any, seconds: float = 60) -> Any:
    """Wait until ``condition()`` is true; gives its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


def children_of(process: int) -> list[int]:
    """Process ids of the children that a process has now."""
    with contextlib.suppress(FileNotFoundError):
        return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def compiled_c(folder: Path, source: str, *flags: str) -> str:
    """A native program made of C source."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (Debian package gcc)")
    path = folder / f"native{len(list(folder.glob('native*.c')))}.c"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    made = path.with_suffix("")
    subprocess.run([compiler, "-O1", "-o", str(made), str(path), *flags], check=True, timeout=60)
    return str(made)


def require(program: str, package: str) -> str:
    """The path of a program, or skip the test naming the package that brings it."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"needs {program} (Debian package {package})")
    return found


DENY_BIND = 'SEC("cgroup/bind4") int deny_bind(struct bpf_sock_addr *ctx) { return 0; }'
ALLOW_BIND = 'SEC("cgroup/bind4") int allow_bind(struct bpf_sock_addr *ctx) { return 1; }'
DENY_CONNECT = 'SEC("cgroup/connect4") int deny_connect(struct bpf_sock_addr *ctx) { return 0; }'


def deny_port(hook: str, port: int) -> str:
    """A program that denies one port."""
    name = hook.rpartition("/")[2]
    return (
        f'SEC("{hook}") int {name}_but_{port}(struct bpf_sock_addr *ctx)\n'
        f"{{ return ctx->user_port != bpf_htons({port}); }}\n"
    )


def redirect_connect(port: int) -> str:
    """A program that sends every connection to ``port`` of 127.0.0.1."""
    return f"""
        SEC("cgroup/connect4") int redirect(struct bpf_sock_addr *ctx)
        {{
            ctx->user_ip4 = bpf_htonl(0x7f000001);
            ctx->user_port = bpf_htons({port});
            return 1;
        }}
        """


def move_bind(port: int) -> str:
    """A program that binds everything to ``port`` of 127.0.0.1."""
    return redirect_connect(port).replace("connect4", "bind4").replace("int redirect", "int move")


def windows_bind(condition: str, denied: str = "BIND_DENY") -> str:
    """A bind program of eBPF for Windows that denies where ``condition`` (of ``port`` and ``ctx``) holds."""
    return f"""
        SEC("bind") bind_action_t policy(bind_md_t *ctx)
        {{
            uint16_t port = (uint16_t)(*(uint64_t *)ctx->socket_address >> 16);
            return {condition} ? {denied} : BIND_PERMIT_SOFT;
        }}
        """
