"""What all live hooks share: who may attach, when the event source opens and closes, how its end is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

import anybpf
from anybpf.elf import from_instructions
from anybpf.errors import HookError
from anybpf.hooks.hook import Accepts, LiveHook
from anybpf.isa import assemble
from anybpf.platforms import linux
from anybpf.runtime import AttachPoint, Context, Event, Program, layout_of

DROP, PASS = 1, 2


class Button(LiveHook):
    """An event source that gives an event when it is pressed."""

    name = "button"
    takes = (Accepts("linux", "xdp", ("xdp",)), Accepts("windows", "xdp"))

    def __init__(self, broken: str = "") -> None:
        super().__init__()
        self.broken = broken
        self.opened = self.closed = 0

    @property
    def dropped(self) -> int:
        """Always the same, to be found again in the statistics."""
        return 3

    def _open(self, point: AttachPoint) -> None:
        if self.broken:
            raise HookError(self.broken)
        self.opened += 1
        self.point = point

    def _close(self) -> None:
        self.closed += 1

    def press(self) -> int:
        """The verdict on one packet."""
        with Event(layout_of(self.point.program_type), 64) as event:
            return self.point.run(event, bytes(64))

    def jam(self) -> None:
        """End, as when an interface goes away."""
        self._fail(HookError("the button is stuck; pull it out"))


@pytest.fixture
def context() -> Iterator[Context]:
    """An execution context of the test's own."""
    with Context(cpus=2) as made:
        yield made


def program(context: Context, value: int, section: str = "xdp") -> Program:
    """A program that returns ``value``."""
    spec = from_instructions(assemble(f"r0 = {value}\nexit"), section, "p")
    return anybpf.load(spec, context=context, platform=linux).programs["p"]


def test_the_source_is_open_while_a_program_is_attached(context: Context) -> None:
    """The first program opens the source, the last to go closes it, and it may be opened again."""
    button = Button()
    first = program(context, PASS).attach(button)
    second = program(context, DROP).attach(button, priority=60)
    assert (button.opened, button.closed, button.press()) == (1, 0, DROP)
    second.detach()
    assert (button.closed, button.press(), button.wait(0)) == (0, PASS, False)
    first.detach()
    first.detach()
    assert (button.opened, button.closed, button.wait(0)) == (1, 1, True)
    with program(context, DROP).attach(button):
        assert (button.opened, button.press(), button.wait(0)) == (2, DROP, False)
    assert button.closed == 2


def test_what_cannot_be_opened_leaves_nothing(context: Context) -> None:
    """When opening fails, no link remains, and the same hook works once the cause is gone."""
    button = Button("somebody sits on the button")
    with pytest.raises(HookError, match="sits on"):
        program(context, PASS).attach(button)
    assert (context.links, button.closed) == ({}, 0)
    button.broken = ""
    with program(context, DROP).attach(button):
        assert button.press() == DROP


def test_programs_of_other_types_are_told_what_fits(context: Context) -> None:
    """A program of a type or attach type that the hook has no events for is refused, and the message says what fits."""
    message = r"'p' is a linux sched_cls program, which the button hook does not run; it runs linux xdp and windows xdp"
    with pytest.raises(HookError, match=message):
        program(context, 0, "tc").attach(Button())
    with pytest.raises(HookError, match=r"xdp \(xdp_devmap\)"):
        program(context, PASS, "xdp/devmap").attach(Button())


def test_the_end_of_the_source_is_told_to_who_waits(context: Context) -> None:
    """wait raises what ended the source, at once, and detaching works all the same."""
    button = Button()
    with program(context, PASS).attach(button) as link:
        threading.Timer(0.05, button.jam).start()
        with pytest.raises(HookError, match="is stuck; pull it out"):
            button.wait(30)
    assert (link.attached, button.closed, link.stats.dropped) == (False, 1, 3)


def test_closing_the_context_detaches(context: Context) -> None:
    """A context that is closed leaves no hook open."""
    button = Button()
    with Context() as other:
        link = program(other, PASS).attach(button)
    assert (link.attached, button.closed) == (False, 1)


def test_the_end_of_the_process_detaches(tmp_path: Path) -> None:
    """A process that ends with a program attached closes the hook first, and ends well, whatever it still holds."""
    script = tmp_path / "service.py"
    script.write_text(
        dedent("""\
        import anybpf
        from anybpf.elf import from_instructions
        from anybpf.isa import assemble
        from test_hook import Button

        class Loud(Button):
            def _close(self):
                print("closed")

        loaded = anybpf.load(from_instructions(assemble("r0 = 1\\nexit"), "xdp", "p"))
        button = Loud()
        link = loaded.programs["p"].attach(button)
        print(button.press())
        """)
    )
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, script],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["1", "closed"], "")
