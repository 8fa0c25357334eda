"""What programs left behind, in words: names of return values, typed entries of maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from rich.text import Text

from anybpf.cli.output import console, table
from anybpf.platforms import MapKind, ProgramType
from anybpf.runtime import Map, Program

__all__ = ("action_name", "entries", "is_zero", "print_map", "top_entries")

RINGS = frozenset({MapKind.RINGBUF, MapKind.PERF_EVENT_ARRAY})
QUEUES = frozenset({MapKind.QUEUE, MapKind.STACK})
#: Entries of a map that the tables show; --json gives all.
SHOWN_ENTRIES = 20
#: Larger maps are not put in order: that would cost more than the programs do.
MOST_RANKED = 20_000


def action_name(program_type: ProgramType, number: int) -> str:
    """Return the name of a return value, such as XDP_PASS, or the number as text."""
    signed = number - (1 << 32) if number >= 1 << 31 else number
    return program_type.actions.get(number) or program_type.actions.get(signed) or str(signed)


def entries(held: Map) -> Iterator[dict[str, Any]]:
    """Yield the entries of a map as typed keys and values, by key; rings, queues and stacks are emptied, in order."""
    if held.kind in RINGS:
        values: Iterable[Any] = held.drain()
    elif held.kind in QUEUES:
        values = emptied(held)
    elif held.kind is MapKind.BLOOM_FILTER:
        values = ()  # nobody can list what a bloom filter has seen
    else:
        for key, value in sorted(held.items(), key=lambda entry: rank(entry[0])):
            yield {"key": key, "value": value.name if isinstance(value, (Program, Map)) else value}
        return
    for number, value in enumerate(values):
        yield {"key": number, "value": value}


def rank(key: Any) -> Any:
    """Return what sorts typed keys of one map: numbers by value, structs by their members in order."""
    if isinstance(key, Mapping):
        return [rank(member) for member in key.values()]
    return [rank(element) for element in key] if isinstance(key, (list, tuple)) else key


def emptied(queue: Map) -> Iterator[Any]:
    """Yield what a queue or stack holds, taking it out."""
    with suppress(KeyError):
        while True:
            yield queue.pop()


def print_map(name: str, kind: str, held: list[dict[str, Any]]) -> None:
    """Print the first entries of a map that are not all zero."""
    telling = [entry for entry in held if not is_zero(entry["value"])]
    rows = [(entry["key"], entry["value"]) for entry in telling[:SHOWN_ENTRIES]]
    note = f", {len(held) - len(telling)} of them zero" if len(telling) < len(held) else ""
    numbers = [c for n, c in enumerate(("key", "value")) if all(isinstance(row[n], int) for row in rows)]
    title = f"map {name} ({kind}): {len(held)} {'entry' if len(held) == 1 else 'entries'}{note}"
    console().print()
    console().print(table(title, ["key", "value"], rows, numbers=numbers) if rows else Text(title, "bold"))
    if len(telling) > SHOWN_ENTRIES:
        console().print(f"… and {len(telling) - SHOWN_ENTRIES} more; --json lists them all")


def is_zero(value: Any) -> bool:
    """Whether a typed value is zero in all its parts."""
    if isinstance(value, Mapping):
        return all(map(is_zero, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_zero, value))
    return not any(value) if isinstance(value, bytes) else value == 0


def top_entries(held: Map, count: int) -> list[dict[str, Any]]:
    """Return the ``count`` entries with the largest values that are not zero, without taking anything out.

    Rings, queues, filters, maps of programs or maps, and very large maps have none to show.
    """
    if held.spec.is_data or held.kind in RINGS | QUEUES | {MapKind.BLOOM_FILTER} or len(held) > MOST_RANKED:
        return []
    typed = ((key, value) for key, value in held.items() if not isinstance(value, (Program, Map)))
    telling = sorted(((size(value), key, value) for key, value in typed), key=lambda entry: (-entry[0], rank(entry[1])))
    return [{"key": key, "value": value} for weight, key, value in telling[:count] if weight]


def size(value: Any) -> int:
    """Return the sum of all numbers in a typed value: what puts entries in order of importance."""
    if isinstance(value, Mapping):
        return sum(map(size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(size, value))
    return int(any(value)) if isinstance(value, (bytes, str)) else int(value)
