"""What ``anybpf attach`` shows: a live table on a terminal, a line an update elsewhere, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Group
from rich.live import Live

from anybpf.cli.map_entries import action_name, top_entries
from anybpf.cli.output import console, encode, table
from anybpf.runtime import Link, LinkStats, Map

#: Entries of each map that the live table shows.
TOP_ENTRIES = 5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What had happened ``elapsed`` seconds after the program was attached; ``maps``: name → top entries."""

    elapsed: float
    stats: LinkStats
    maps: dict[str, list[dict[str, Any]]]

    @classmethod
    def of(cls, link: Link, elapsed: float, maps: Sequence[Map]) -> Snapshot:
        """Return what the link and the maps hold now."""
        return cls(elapsed, link.stats, {m.name: top for m in maps if (top := top_entries(m, TOP_ENTRIES))})


class View:
    """Shows snapshots of a link. A context manager; the terminal is given back at its end."""

    def __init__(self, link: Link, hook: str, as_json: bool) -> None:
        self._link = link
        self._hook = hook
        self._json = as_json
        self._before: Snapshot | None = None
        self._console = console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._on_screen = self._console.is_terminal and not as_json

    def __enter__(self) -> Self:
        if self._on_screen:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._on_screen:
            self._live.stop()

    def show(self, now: Snapshot) -> None:
        """Show what is so at the moment."""
        record = self._record(now)
        if self._json:
            self._print_json(record)
        elif self._on_screen:
            self._live.update(self._tables(record), refresh=True)
        else:
            verdicts = "  ".join(f"{name} {count}" for name, count in record["verdicts"].items())
            self._console.print(f"{record['elapsed']:8.1f} s  {record['rate']:>10} events/s  {verdicts}")
            self._flush()
        self._before = now

    def finish(self, now: Snapshot) -> None:
        """Show what it came to; rates are those of the whole time."""
        self._before = None
        record = self._record(now)
        self._stop()
        if self._json:
            self._print_json({**record, "detached": True})
        else:
            self._console.print(self._tables(record))
        self._flush()

    def _record(self, now: Snapshot) -> dict[str, Any]:
        """Return the JSON form (docs/command-line.md lists the keys)."""
        events, elapsed = now.stats.events, now.elapsed
        if self._before is not None:
            events, elapsed = events - self._before.stats.events, elapsed - self._before.elapsed
        verdicts = now.stats.verdicts.items()
        program = self._link.program
        return {
            "link": self._link.id,
            "program": program.name,
            "hook": self._hook,
            "parameters": dict(self._link.parameters),
            "elapsed": round(now.elapsed, 3),
            "events": now.stats.events,
            "rate": round(events / elapsed) if elapsed > 0 else 0,
            "verdicts": {"other" if v < 0 else action_name(program.type, v): count for v, count in sorted(verdicts)},
            "errors": now.stats.errors,
            "dropped": now.stats.dropped,
            "ns_per_event": round(now.stats.ns_per_event, 1),
            "maps": now.maps,
        }

    def _tables(self, record: dict[str, Any]) -> Group:
        total = record["events"]
        rows = [(name, count, f"{100 * count / total:.1f} %") for name, count in record["verdicts"].items()]
        where = " ".join(str(value) for value in record["parameters"].values())
        head = f"{record['program']} at {record['hook']} {where}".rstrip()
        facts = (
            f"{record['rate']} events/s, {record['ns_per_event']} ns each; {total} events in "
            f"{record['elapsed']:.1f} s, {record['errors']} errors, {record['dropped']} dropped by us"
        )
        shown: list[Any] = [table(head, ["returned", "events", "share"], rows, numbers=["events", "share"]), facts]
        for name, entries in record["maps"].items():
            held = [(entry["key"], entry["value"]) for entry in entries]
            shown += ["", table(f"map {name}", ["key", "value"], held)]
        return Group(*shown)

    def _print_json(self, record: dict[str, Any]) -> None:
        print(json.dumps(record, ensure_ascii=False, default=encode), flush=True)

    def _flush(self) -> None:
        self._console.file.flush()
