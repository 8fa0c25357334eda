"""``anybpf demo``: the whole line on sample programs, from C source to packets counted."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import click
from rich.text import Text

import anybpf
from anybpf import elf, verifier
from anybpf.cli.inputs import json_option
from anybpf.cli.output import console, print_json
from anybpf.cli.run_command import as_record as run_record
from anybpf.cli.run_command import print_record
from anybpf.cli.verify_command import as_record as verify_record
from anybpf.cli.verify_command import print_verdict
from anybpf.compile import compile_source
from anybpf.errors import CompileError
from anybpf.hooks import Pcap
from anybpf.platforms import by_name
from anybpf.spec import ObjectSpec

SAMPLES = files("anybpf") / "samples"
CAPTURE = "traffic.pcap"


@dataclass(frozen=True)
class Sample:
    """A sample program: its source's name, the platform whose headers it uses, and what it shows."""

    name: str
    platform: str
    purpose: str


ACCEPTED = (
    Sample("count", "linux", "counts packets per protocol"),
    Sample("droppacket", "windows", "drops empty UDP datagrams; written for eBPF for Windows"),
)
REJECTED = Sample("droppacket_unsafe", "windows", "the same with a bounds check forgotten")


@click.command("demo")
@json_option
def command(as_json: bool) -> None:
    """Compile sample programs, verify them, show one being rejected, and run the others over recorded traffic."""
    records = {"rejected": reject(quiet=as_json), "runs": [run(sample, quiet=as_json) for sample in ACCEPTED]}
    if as_json:
        print_json(records)


def reject(*, quiet: bool) -> dict[str, Any]:
    """Verify the unsafe sample and show why it is refused."""
    spec = build(REJECTED, quiet=quiet)
    verdict = next(iter(verifier.verify(spec, platform=by_name(REJECTED.platform)).values()))
    if not quiet:
        print_verdict(verdict)
    return verify_record(REJECTED.name, verdict)


def run(sample: Sample, *, quiet: bool) -> dict[str, Any]:
    """Verify a sample, run it over the capture, and show what it counted."""
    spec = build(sample, quiet=quiet)
    with as_file(SAMPLES / CAPTURE) as capture, anybpf.load(spec, platform=sample.platform) as loaded:
        program = next(iter(loaded.programs.values()))
        verdict = program.verdict
        if verdict is not None and not quiet:
            print_verdict(verdict)
        with program.attach(Pcap(capture)) as link:
            totals = link.run()
        record = run_record(sample.name, loaded, program, totals, None)
        if not quiet:
            print_record(record, loaded.maps.values())
    return record


def build(sample: Sample, *, quiet: bool) -> ObjectSpec:
    """Compile a sample, or take the object that is shipped with the package when there is no clang."""
    if not quiet:
        console().print(Text.assemble("\n", (f"{sample.name}.c", "bold"), f"  {sample.purpose}"))
    with as_file(SAMPLES / f"{sample.name}.c") as source:
        try:
            data, origin = compile_source(Path(source), platform=sample.platform), "compiled"
        except CompileError as error:
            data, origin = (SAMPLES / f"{sample.name}.o").read_bytes(), f"shipped object, as {error}"
    if not quiet:
        console().print(f"{sample.name}.o: {len(data)} bytes ({origin})\n")
    return elf.parse(data, f"{sample.name}.o")
