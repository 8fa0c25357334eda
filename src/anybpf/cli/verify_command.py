"""``anybpf verify``: are the programs of an object safe to run, and if not, why not."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from anybpf import verifier
from anybpf.cli.app import EXIT_REJECTED
from anybpf.cli.inputs import (
    choose_platform,
    choose_program,
    json_option,
    object_argument,
    platform_option,
    program_option,
    read_object,
    type_option,
)
from anybpf.cli.output import console, print_json, report_error, table
from anybpf.verifier import Failure, Verdict


@click.command("verify")
@object_argument
@program_option
@platform_option
@type_option
@click.option("-v", "--verbose", is_flag=True, help="Also say what the analysis cost and proved.")
@json_option
def command(
    object_path: Path,
    program: str | None,
    platform_name: str | None,
    type_name: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Verify the programs of OBJECT. Exits with 1 when any of them is rejected."""
    spec = read_object(object_path, type_name)
    platform = choose_platform(platform_name, spec)
    if program is not None:
        choose_program(spec, program)  # for its message when there is no such program
    verdicts = verifier.verify(spec, platform=platform, program=program, type_name=type_name)
    if as_json:
        print_json([as_record(str(object_path), verdict) for verdict in verdicts.values()])
    else:
        for verdict in verdicts.values():
            print_verdict(verdict, verbose=verbose)
        if not verdicts:
            report_error("warning", f"{object_path} holds no program")
    if not all(verdict.ok for verdict in verdicts.values()):
        sys.exit(EXIT_REJECTED)


def as_record(object_name: str, verdict: Verdict) -> dict[str, Any]:
    """Return the JSON form of a verdict (docs/command-line.md lists the keys)."""
    return {
        "object": object_name,
        "section": verdict.section,
        "program": verdict.program,
        "type": verdict.program_type,
        "platform": verdict.platform,
        "verdict": "accept" if verdict.ok else "reject",
        "instructions": verdict.instructions,
        "visited": verdict.visited,
        "time_ms": round(verdict.time_ms, 3),
        "failure": None if verdict.failure is None else failure_record(verdict.failure),
    }


def failure_record(failure: Failure) -> dict[str, Any]:
    """Return the JSON form of a failure."""
    return {**dataclasses.asdict(failure), "registers": dict(failure.registers)}


def print_verdict(verdict: Verdict, *, verbose: bool = False) -> None:
    """Print one verdict: a line, and below it the explanation of a failure."""
    word = Text("accepted", "bold green") if verdict.ok else Text("rejected", "bold red")
    line = Text.assemble(word, f"  {verdict.program}", (f"  ({verdict.platform} {verdict.program_type},", "dim"))
    line.append(f" {verdict.instructions} instructions, {verdict.visited} visited, {verdict.time_ms:.1f} ms)", "dim")
    out = console()
    out.print(line)
    if verdict.failure is not None:
        out.print(Text(verifier.render(verdict.failure)))
    elif verbose:
        facts = verdict.facts
        rows = [
            ("stack", f"{facts.stack_depth} bytes in the deepest chain of calls"),
            ("reached", f"{len(facts.reached)} of {verdict.instructions} instruction slots"),
            ("context loads", ", ".join(f"{s}: +{o}" for s, o in sorted(facts.context_loads.items())) or "none"),
            ("map of each call", ", ".join(f"{s}: #{m}" for s, m in sorted(facts.helper_maps.items())) or "none"),
        ]
        out.print(table("", ["proved", ""], rows))
