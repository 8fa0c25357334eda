"""Every number that anybpf claims, measured here and now: ``python benchmarks/run.py`` (``make bench``).

Figures are ratios against a peer in the same run where there is a peer; see measure.py for how things are timed. What
cannot be measured on this machine is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import batch
import exec as supervision
import gcc
import interpreter
import kernel
import latency
import live
import maps
import records
import request_policy
import service
import socket_calls
from measure import Figure
from rich.console import Console
from rich.table import Table
from toolchain import Unavailable

from anybpf.errors import AnyBpfError

FAILED = "failed"

Benchmark = Callable[[Path, int], Iterator[Figure]]
BENCHMARKS: dict[str, Benchmark] = {
    "machine-code": gcc.measure,
    "compilation": latency.compilation,
    "interpreter": interpreter.measure,
    "first-run": latency.first_run,
    "batch": batch.measure,
    "maps": maps.measure,
    "records": records.measure,
    "request-policy": request_policy.measure,
    "service": service.measure,
    "socket-calls": socket_calls.measure,
    "exec": supervision.measure,
    "live": live.measure,
    "kernel": kernel.measure,
}


def measured(names: list[str], rounds: int) -> Iterator[Figure]:
    """Run the benchmarks; one that is not possible here, or fails, ends with a figure without a value."""
    with tempfile.TemporaryDirectory(prefix="anybpf-bench-") as folder:
        for name in names:
            try:
                yield from BENCHMARKS[name](Path(folder), rounds)
            except Unavailable as reason:
                yield Figure(name, "not measured", "", None, note=str(reason))
            except AnyBpfError as error:
                yield Figure(name, FAILED, "", None, note=str(error))


def table(figures: list[Figure]) -> Table:
    """The figures for people; those that miss their target are marked."""
    shown = Table(title=f"anybpf on {platform.machine()}, {platform.system()} {platform.release()}")
    for heading, justify in (("", "left"), ("measured", "left"), ("value", "right"), ("target", "right"), ("", "left")):
        shown.add_column(heading, justify=justify)
    section = ""
    for figure in figures:
        if figure.section != section:
            shown.add_section()
        value = "-" if figure.value is None else f"{figure.value:.3g} {figure.unit}"
        target = "" if figure.target is None else f"≤ {figure.target:g}"
        if figure.value is not None and figure.target is not None and figure.value > figure.target:
            value = f"[red]{value} [/red]"
        shown.add_row("" if figure.section == section else figure.section, figure.name, value, target, figure.note)
        section = figure.section
    return shown


def main() -> None:
    """Parse the arguments, measure, print; exit 1 when something that ought to run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", nargs="*", choices=[*BENCHMARKS, []], help="which (default: all)")
    parser.add_argument("--json", action="store_true", help="print a list of figures instead of a table")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: faster, with more noise")
    arguments = parser.parse_args()
    figures = []
    console = Console(stderr=True)
    with console.status("measuring") as status:
        for figure in measured(arguments.benchmark or list(BENCHMARKS), 5 if arguments.quick else 25):
            status.update(f"measured {figure.section}: {figure.name}")
            figures.append(figure)
    if arguments.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
    else:
        Console(width=120).print(table(figures))
    sys.exit(any(figure.name == FAILED for figure in figures))


if __name__ == "__main__":
    main()
