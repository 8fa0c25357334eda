"""``anybpf attach``: a program on live events, until it is told to stop."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

import anybpf
from anybpf.cli.attach_view import Snapshot, View
from anybpf.cli.inputs import (
    choose_platform,
    json_option,
    object_argument,
    platform_option,
    program_option,
    read_object,
)
from anybpf.errors import HookError, PlatformError
from anybpf.hooks.hook import LiveHook
from anybpf.hooks.registry import find
from anybpf.platforms import Platform, program_type_for
from anybpf.runtime import Object
from anybpf.spec import ObjectSpec

#: Hooks with an option of their own → what its argument looks like.
SHORTHANDS = {"inline": "A,B", "tap": "NAME", "queue": "NUMBER"}


class Seconds(click.FloatRange):
    """A finite number of seconds; FloatRange lets "nan" through."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a usage error when it is out of range, infinite or none."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number of seconds", param, ctx)
        return number


@click.command("attach")
@click.argument("type_name", metavar="TYPE")
@object_argument
@click.option("--inline", metavar=SHORTHANDS["inline"], help="Between two interfaces: a bump in the wire.")
@click.option("--tap", metavar=SHORTHANDS["tap"], help="On an interface of our own, made for as long as this runs.")
@click.option("--queue", metavar=SHORTHANDS["queue"], help="On a netfilter queue of this host.")
@click.option("--hook", metavar="NAME[:ARGUMENT]", help="On any hook that is installed, by name.")
@program_option
@platform_option
@click.option("--priority", default=50, show_default=True, help="Lower ones see an event earlier.")
@click.option("--mode", type=click.Choice(["interpreter", "checked", "jit"]), help="How to run. Default: automatic.")
@click.option("--duration", type=Seconds(min=0, min_open=True), metavar="SECONDS", help="Stop by itself.")
@click.option("--interval", default=1.0, show_default=True, type=Seconds(min=0.1), help="Seconds between updates.")
@json_option
def command(
    type_name: str,
    object_path: Path,
    inline: str | None,
    tap: str | None,
    queue: str | None,
    hook: str | None,
    program: str | None,
    platform_name: str | None,
    priority: int,
    mode: Literal["interpreter", "checked", "jit"] | None,
    duration: float | None,
    interval: float,
    as_json: bool,
) -> None:
    """Verify OBJECT and run its program of TYPE (xdp, bind …) on live events, until Ctrl-C.

    A table shows what happens; --json prints a line of JSON an update instead.
    """
    source = choose_hook({"inline": inline, "tap": tap, "queue": queue}, hook)
    spec = read_object(object_path, type_name)
    platform = choose_platform(platform_name, spec)
    name = choose_program_of_type(spec, platform, type_name, program)
    with stopped_by_signals(), anybpf.load(spec, platform=platform, mode=mode) as loaded:
        watch(loaded, name, source, priority, interval, duration, as_json)


def choose_hook(shorthands: dict[str, str | None], named: str | None) -> LiveHook:
    """Return the one hook that the options ask for.

    :raises click.UsageError: there are none or several. :raises HookError: it cannot be made.
    """
    asked = [(name, argument) for name, argument in shorthands.items() if argument is not None]
    if named is not None:
        name, _, argument = named.partition(":")
        asked.append((name, argument))
    if len(asked) != 1:
        options = ", ".join(f"--{name} {argument}" for name, argument in SHORTHANDS.items())
        raise click.UsageError(f"say where to attach, once: {options} or --hook NAME[:ARGUMENT]")
    name, argument = asked[0]
    made = find(name)(argument)
    if not isinstance(made, LiveHook):
        raise HookError(f"hook {name!r} has no live events; use it from Python")
    return made


def choose_program_of_type(spec: ObjectSpec, platform: Platform, type_name: str, name: str | None) -> str:
    """Return the name of the program to attach: ``name``, else the first whose type or section ``type_name`` names.

    :raises HookError: the object has no such program.
    """
    types = {entry.name: program_type_for(platform, entry, spec=spec) for entry in spec.entries}
    there = ", ".join(f"{entry} ({kind.name})" for entry, kind in types.items()) or "no programs"
    try:
        wanted = program_type_for(platform, spec.entries[0], type_name) if spec.entries else None
    except PlatformError:
        raise HookError(
            f"{spec.name} is for {platform.name}, which has no program type {type_name!r}; it holds {there}"
        ) from None
    fitting = [entry for entry, kind in types.items() if wanted is not None and kind.name == wanted.name]
    if name is not None and name in fitting:
        return name
    if name is not None or not fitting:
        called = f" called {name!r}" if name is not None else ""
        raise HookError(f"{spec.name} holds no {type_name} program{called}; it holds {there}")
    return fitting[0]


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM, and the terminal's end, end the block as Ctrl-C does, so that what is attached is detached."""
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = [(number, signal.getsignal(number)) for number in numbers]
    for number, handler in before:
        if handler is not signal.SIG_IGN:  # as nohup has set it
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def watch(
    loaded: Object, name: str, source: LiveHook, priority: int, interval: float, duration: float | None, as_json: bool
) -> None:
    """Attach the program and show what happens until it is over: a signal, the duration, the end of the events."""
    program = loaded.programs[name]
    maps = tuple(loaded.maps.values())
    with program.attach(source, priority=priority) as link, View(link, source.name, as_json) as view:
        start = time.monotonic()
        due = interval
        try:
            while not source.wait(min(due, duration or due) - (time.monotonic() - start)):
                elapsed = time.monotonic() - start
                if duration is not None and elapsed >= duration:
                    break
                view.show(Snapshot.of(link, elapsed, maps))
                due = max(due + interval, elapsed)
        except KeyboardInterrupt:
            pass
        finally:
            link.detach()
            view.finish(Snapshot.of(link, time.monotonic() - start, maps))
