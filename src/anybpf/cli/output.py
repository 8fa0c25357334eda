"""How the command line prints: one console, tables, JSON, errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES = {"error": "bold red", "rejected": "bold red", "warning": "yellow"}


class _Console(Console):
    """A console that leaves broken pipes to the boundary of the command line, where they are no error."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(*, error: bool = False) -> Console:
    """Return a console for standard output or standard error: colours and width only when it is a terminal."""
    stream = sys.stderr if error else sys.stdout
    # A pipe has no width: let tables be as wide as they need rather than cut at 80 columns. No markup: what is printed
    # comes from files, and may hold brackets.
    return _Console(file=stream, highlight=False, markup=False, soft_wrap=True, width=None if stream.isatty() else 200)


def report_error(kind: str, message: str) -> None:
    """Print ``kind: message`` on standard error."""
    text = Text.assemble((f"{kind}:", _STYLES.get(kind, "bold")), " ", message)
    console(error=True).print(text)


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON; bytes become hex text."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=encode))


def encode(value: Any) -> Any:
    """Return the JSON form of what JSON does not know: bytes as hex text, sets as sorted lists."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()
) -> Table:
    """Return a table; columns named in ``numbers`` are right-aligned, None is printed as nothing."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else cell if isinstance(cell, Text) else str(cell) for cell in row))
    return made
