"""``anybpf gen``: files that follow from a declaration in Python."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from anybpf.errors import HookError
from anybpf.hooks import Service


@click.group("gen")
def command() -> None:
    """Generate what the authors of programs for a service's hook need."""


@command.command("header")
@click.argument("hook", metavar="MODULE:HOOK")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write. Default: standard output.")
def header(hook: str, output: Path | None) -> None:
    """Write the C header for programs of a hook that a Python module declares, for instance `shop.policy:orders`.

    The module is imported, from the working directory or wherever Python finds it.
    """
    text = _found(hook).header()
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8", newline="\n")


def _found(reference: str) -> Service:
    """Import the service that ``module:name`` means."""
    module_name, colon, path = reference.partition(":")
    if not (module_name and colon and path):
        raise click.UsageError(f"{reference!r} names no hook; write MODULE:HOOK, for instance shop.policy:orders")
    sys.path.insert(0, "")  # as `python -m` would find it
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise HookError(
            f"{error.name} cannot be imported; is {module_name!r} in this directory or installed?"
        ) from None
    except Exception as error:  # whatever the module's own code raises
        raise HookError(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        for name in path.split("."):
            found = getattr(found, name)
    except AttributeError as error:
        raise HookError(f"{reference!r} cannot be found: {error}") from None
    if not isinstance(found, Service):
        raise HookError(f"{reference!r} is {found!r}, not an anybpf.hooks.Service")
    return found
