"""What ``anybpf exec`` shows when the command has ended: how often each program decided what."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from anybpf.cli.map_entries import action_name, entries, top_entries
from anybpf.cli.output import console, encode, table
from anybpf.runtime import Link, Map

#: Entries of each map that the tables show; --json gives all.
TOP_ENTRIES = 10


def show(status: int, calls: int, links: Sequence[Link], maps: Sequence[Map], as_json: bool) -> None:
    """Print the summary on standard error, as tables or as one line of JSON (docs/exec.md lists the keys).

    :param status: what the command exited with, or the negative number of the signal that ended it.
    :param calls: system calls that were decided.
    """
    records = [as_record(link) for link in links]
    if as_json:
        held = {one.name: list(entries(one)) for one in maps}
        record = {"status": status, "calls": calls, "programs": records, "maps": held}
        print(json.dumps(record, ensure_ascii=False, default=encode), file=sys.stderr, flush=True)
        return
    out = console(error=True)
    columns = ["program", "hook", "returned", "times", "ns each"]
    rows = [
        (record["program"], record["hook"], name, count, record["ns_per_event"])
        for record in records
        for name, count in record["verdicts"].items()
    ]
    out.print(table(f"{calls} calls", columns, rows, numbers=["times", "ns each"]))
    for one in maps:
        top = top_entries(one, TOP_ENTRIES)
        if top and not one.spec.is_data:
            out.print()
            out.print(table(f"map {one.name}", ["key", "value"], [(entry["key"], entry["value"]) for entry in top]))


def as_record(link: Link) -> dict[str, Any]:
    """Return the JSON form of what one program decided."""
    program, stats = link.program, link.stats
    verdicts = sorted(stats.verdicts.items())
    return {
        "program": program.name,
        "hook": program.type.attach_type,
        "events": stats.events,
        "verdicts": {"other" if v < 0 else action_name(program.type, v): count for v, count in verdicts},
        "errors": stats.errors,
        "ns_per_event": round(stats.ns_per_event, 1),
    }
