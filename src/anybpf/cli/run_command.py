"""``anybpf run``: a program over captured traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

import anybpf
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
from anybpf.cli.map_entries import action_name, entries, print_map
from anybpf.cli.output import console, print_json, table
from anybpf.cli.verify_command import failure_record
from anybpf.errors import VerificationError
from anybpf.hooks import Pcap, Totals
from anybpf.hooks.pcap import Progress as ProgressCallback
from anybpf.runtime import Map, Object, Program
from anybpf.verifier import Failure

#: Captures smaller than this are done before a progress bar could be read.
PROGRESS_BYTES = 20_000_000


@click.command("run")
@object_argument
@click.option(
    "--pcap", "capture", required=True, type=click.Path(path_type=Path), help="Capture to replay (pcap, pcapng)."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the packets that pass to this pcap file.")
@program_option
@platform_option
@type_option
@click.option("--mode", type=click.Choice(["interpreter", "checked", "jit"]), help="How to run. Default: automatic.")
@click.option("--trust", is_flag=True, help="Do not verify; run at full speed all the same. For programs of your own.")
@click.option(
    "--unverified", is_flag=True, help="Do not verify; run in the checked interpreter, which stops at bad accesses."
)
@json_option
def command(
    object_path: Path,
    capture: Path,
    out: Path | None,
    program: str | None,
    platform_name: str | None,
    type_name: str | None,
    mode: Literal["interpreter", "checked", "jit"] | None,
    trust: bool,
    unverified: bool,
    as_json: bool,
) -> None:
    """Verify OBJECT, load it, and run one of its programs on every packet of a capture."""
    if trust and unverified:
        raise click.UsageError("--trust and --unverified exclude each other")
    spec = read_object(object_path, type_name)
    name = choose_program(spec, program).name
    platform = choose_platform(platform_name, spec)
    try:
        loaded = anybpf.load(
            spec, platform=platform, type_name=type_name, trust=trust, unverified=unverified, mode=mode
        )
    except VerificationError as error:
        if as_json and isinstance(error.failure, Failure):
            print_json(rejected_record(str(object_path), name, error.failure, mode))
        raise
    with loaded:
        chosen = loaded.programs[name]
        with chosen.attach(Pcap(capture, out)) as link, progress_bar(capture) as progress:
            totals = link.run(progress=progress)
        record = as_record(str(object_path), loaded, chosen, totals, mode)
        if as_json:
            print_json(record)
        else:
            print_record(record, loaded.maps.values())


def as_record(object_name: str, loaded: Object, program: Program, totals: Totals, mode: str | None) -> dict[str, Any]:
    """Return the JSON form of a run (docs/command-line.md lists the keys)."""
    verdict = program.verdict
    return {
        "object": object_name,
        "program": program.name,
        "mode": "checked" if program.checked_only else mode or "automatic",
        "packets": totals.packets,
        "returns": {action_name(program.type, number): count for number, count in totals.returns.items()},
        "maps": {name: list(entries(held)) for name, held in loaded.maps.items()},
        "ns_per_packet": round(totals.ns_per_packet, 1),
        "verdict": None if verdict is None else "accept" if verdict.ok else "reject",
    }


def rejected_record(object_name: str, program: str, failure: Failure, mode: str | None) -> dict[str, Any]:
    """Return the JSON form of a run that did not happen, because a program was rejected."""
    return {
        "object": object_name,
        "program": program,
        "mode": mode or "automatic",
        "packets": 0,
        "returns": {},
        "maps": {},
        "ns_per_packet": 0.0,
        "verdict": "reject",
        "failure": failure_record(failure),
    }


def print_record(record: dict[str, Any], maps: Iterable[Map]) -> None:
    """Print a run: how many packets ended how, what the maps hold, what a packet cost."""
    out = console()
    total = record["packets"]
    rows = [(name, count, f"{100 * count / total:.1f} %") for name, count in record["returns"].items()]
    out.print(
        table(
            f"{record['program']}: {total} packets",
            ["returned", "packets", "share"],
            rows,
            numbers=["packets", "share"],
        )
    )
    for held in maps:
        if held.name in record["maps"] and not held.spec.is_data:
            print_map(held.name, held.kind.value, record["maps"][held.name])
    out.print(f"\n{record['ns_per_packet']} ns a packet ({record['mode']})")


@contextmanager
def progress_bar(capture: Path) -> Iterator[ProgressCallback | None]:
    """Show a progress bar on standard error for a large capture when somebody is looking; yield what moves it."""
    size = capture.stat().st_size
    screen = console(error=True)
    if size < PROGRESS_BYTES or not screen.is_terminal:
        yield None
        return
    columns = (TextColumn("replaying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("replaying", total=size)
        yield lambda done, _size: bar.update(task, completed=done)
