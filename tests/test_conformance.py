"""The public BPF conformance cases, in every tier and through the runner's plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from anybpf.conformance import HELPERS
from anybpf.runtime.bare import MODES, run

EXIT = "9500000000000000"


def cases(path: Path) -> list[tuple[str, bytes, bytes, int]]:
    """Read the cases: name, program, memory, expected r0."""
    return [
        (c["name"], bytes.fromhex(c["program"]), bytes.fromhex(c["memory"].replace(" ", "")), int(c["result"], 16))
        for c in json.loads(path.read_text(encoding="utf-8"))
    ]


def plugin(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the plugin as the conformance runner does."""
    command = [sys.executable, "-m", "anybpf.conformance", *arguments]
    return subprocess.run(command, input=program, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("mode", MODES)
def test_every_case_passes(conformance_cases: Path, mode: str) -> None:
    """Each of the public cases leaves the expected r0."""
    wrong = [
        name
        for name, code, memory, expected in cases(conformance_cases)
        if run(code, memory, mode, HELPERS) != expected
    ]
    assert wrong == []


def test_a_sample_passes_through_the_plugin(conformance_cases: Path) -> None:
    """Twenty cases, spread over all, give the expected r0 as text on standard output."""
    everything = cases(conformance_cases)
    for name, code, memory, expected in everything[:: len(everything) // 20][:20]:
        result = plugin(code.hex(), *([memory.hex()] if memory else []))
        assert (result.returncode, result.stdout.strip()) == (0, f"{expected:x}"), (name, result.stderr)


@pytest.mark.parametrize("mode", MODES)
def test_the_plugin_takes_a_tier(mode: str) -> None:
    """--interpreter, --checked and --jit choose the tier; memory stands in r1 and its length in r2."""
    result = plugin("6110000000000000 0f20000000000000" + EXIT, "01000000aabbccdd", f"--{mode}")
    assert (result.returncode, result.stdout) == (0, "9\n"), result.stderr


@pytest.mark.parametrize(
    ("program", "arguments", "status", "message"),
    [
        ("b700000000000000", ["--checked"], 1, "ran past its last instruction"),
        ("ff00000000000000" + EXIT, [], 1, "unknown opcode 0xff"),
        ("8500000063000000" + EXIT, [], 1, "instruction 0"),
        ("6110000000000000" + EXIT, [], 1, "it may not read"),
        ("6100000000000000" + EXIT, ["--checked"], 1, "r0, which has no usable value"),
        ("not hex", [], 2, "non-hexadecimal"),
        (EXIT, ["--fast"], 2, "at most one of"),
        (EXIT, ["00", "11"], 2, "at most one memory"),
    ],
)
def test_the_plugin_refuses_with_a_message(program: str, arguments: list[str], status: int, message: str) -> None:
    """What cannot run gives one line on standard error and an exit status that is not zero, never a traceback."""
    result = plugin(program, *arguments)
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.startswith("anybpf.conformance: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="processes start under wine as slowly as nowhere else")
def test_the_plugin_starts_quickly() -> None:
    """Starting, running and ending takes under 150 ms of processor time in the interpreter, the best of five."""
    timed = """
import runpy, sys, time
sys.argv[1:] = []
try:
    runpy.run_module("anybpf.conformance", run_name="__main__")
finally:
    print(time.process_time(), file=sys.stderr)
"""
    times = []
    for _ in range(5):
        command = [sys.executable, "-c", timed]
        text = "b700000002000000" + EXIT
        result = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=True)
        assert result.stdout == "2\n"
        times.append(float(result.stderr))
    assert min(times) < 0.15
