"""The ``anybpf`` command: its group of commands, and the boundary at which errors become messages and exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import warnings
from typing import NoReturn

import click

from anybpf.cli.output import report_error
from anybpf.errors import AnyBpfError, VerificationError

#: Command name → module under :mod:`anybpf.cli` that holds it as ``command``; imported only when it is asked for.
COMMANDS = {
    "compile": "compile_command",
    "gen": "gen_command",
    "show": "show_command",
    "disasm": "disasm_command",
    "verify": "verify_command",
    "run": "run_command",
    "attach": "attach_command",
    "exec": "exec_command",
    "demo": "demo_command",
}

EXIT_REJECTED = 1
EXIT_BAD_INPUT = 2


class CommandGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which one uses them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command called ``cmd_name``, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"anybpf.cli.{COMMANDS[cmd_name]}").command
        return command


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="anybpf")
def group() -> None:
    """eBPF that runs anywhere: compile, inspect, verify and run programs with no kernel, driver or root."""


def open_closed_streams() -> None:
    """Open stand-ins for standard streams that were closed before we started (``>&-``): nothing else takes their place.

    They are closed again in a command that is executed, as it would find them without us.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


def leave_to_nobody() -> NoReturn:
    """Exit where the reader (head, less) went away: that is no error of ours, and there is nobody left to tell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def main() -> NoReturn:
    """Run the command line and exit (see the module for the exit codes). Never shows a traceback for bad input."""
    open_closed_streams()
    warnings.showwarning = lambda message, *_args, **_kwargs: report_error("warning", str(message))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # Windows code pages lack the table lines
    try:
        group.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        report_error("error", "interrupted")
        sys.exit(130)
    except VerificationError as error:
        report_error("rejected", str(error))
        sys.exit(EXIT_REJECTED)
    except BrokenPipeError:
        leave_to_nobody()
    except AnyBpfError as error:
        report_error("error", str(error))
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:
        if sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None:
            leave_to_nobody()  # what writing to a pipe without a reader is there
        where = f"{error.filename}: " if error.filename is not None else ""
        report_error("error", f"{where}{error.strerror or error}")
        sys.exit(EXIT_BAD_INPUT)
    sys.exit(0)
