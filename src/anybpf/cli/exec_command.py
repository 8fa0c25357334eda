"""``anybpf exec``: a command whose socket calls are decided by programs."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import anybpf
from anybpf.cli.exec_summary import show
from anybpf.cli.inputs import choose_platform, platform_option, read_object
from anybpf.cli.output import report_error
from anybpf.errors import HookError, PlatformError, UnsupportedError
from anybpf.hooks.hook import Hook
from anybpf.platforms import Platform, ProgramType, program_type_for
from anybpf.runtime import Link, Object
from anybpf.spec import ObjectSpec

EXIT_CANNOT_EXECUTE = 126
EXIT_NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Attachment:
    """One ``--attach NAME=OBJECT[:PROGRAM]``."""

    hook: str
    path: Path
    program: str | None


class AttachmentType(click.ParamType[Attachment]):
    """Parses ``NAME=OBJECT[:PROGRAM]``."""

    name = "NAME=OBJECT[:PROGRAM]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Attachment:
        """Return the parts; the last colon parts the program's name off, unless there is a file of the whole name."""
        hook, equals, rest = str(value).partition("=")
        if not (hook and equals and rest):
            self.fail(f"{value!r} is not NAME=OBJECT, such as bind=policy.o or connect4=policy.o:redirect", param, ctx)
        path, colon, program = rest.rpartition(":")
        if not colon or Path(rest).exists():
            return Attachment(hook, Path(rest), None)
        return Attachment(hook, Path(path), program)


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--attach",
    "attachments",
    type=AttachmentType(),
    multiple=True,
    required=True,
    help="Decide by this program: bind, connect4, cgroup/connect4, sendmsg6, post_bind4, sock_create, listen4 …",
)
@platform_option
@click.option("--stats", is_flag=True, help="When the command has ended, show on standard error what was decided.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, on standard error as well.")
@click.argument("command_line", metavar="COMMAND [ARGUMENT]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    attachments: tuple[Attachment, ...],
    platform_name: str | None,
    stats: bool,
    as_json: bool,
    command_line: tuple[str, ...],
) -> None:
    """Run COMMAND, and whatever it starts, with its socket calls decided by eBPF programs.

    Ends as COMMAND does. Before it is started: 1 when a program was rejected, 2 for bad usage or input, 127 when there
    is no such command, 126 when it cannot be executed; then, and only then, the last line says error or rejected.
    """
    if not sys.platform.startswith("linux"):
        raise UnsupportedError(f"anybpf exec needs seccomp, which Linux has; this is {sys.platform}")
    from anybpf.hooks import seccomp_job
    from anybpf.hooks.seccomp import CommandError, Seccomp

    job = seccomp_job.divide()
    with ExitStack() as resources:
        objects = load_objects(attachments, platform_name, resources)
        hook = Seccomp()
        links = [attach(hook, one, *objects[one.path]) for one in attachments]
        for link in links:
            resources.enter_context(link)
        job.outlast_keys()
        try:
            process, supervisor = hook.start(command_line)
        except CommandError as failed:
            report_error("error", str(failed))
            sys.exit(EXIT_NOT_FOUND if failed.error == errno.ENOENT else EXIT_CANNOT_EXECUTE)

        def ended(status: int) -> None:
            if stats or as_json:
                maps = [held for _, _, loaded in objects.values() for held in loaded.maps.values()]
                show(os.waitstatus_to_exitcode(status), supervisor.answered, links, maps, as_json)

        with supervisor:
            job.run(process, supervisor, ended)


def load_objects(
    attachments: tuple[Attachment, ...], platform_name: str | None, resources: ExitStack
) -> dict[Path, tuple[Platform, ObjectSpec, Object]]:
    """Load each object once, with the programs asked for, so that its programs share its maps."""
    loaded = {}
    for path in dict.fromkeys(one.path for one in attachments):
        spec = read_object(path, None)
        platform = choose_platform(platform_name, spec)
        loaded[path] = (platform, spec, resources.enter_context(anybpf.load(spec, platform=platform)))
    return loaded


def attach(hook: Hook, wanted: Attachment, platform: Platform, spec: ObjectSpec, loaded: Object) -> Link:
    """Attach the program that ``wanted`` names, or the object's only one of its kind.

    :raises HookError: there is none, there are several, or the name means nothing.
    """
    types = {entry.name: program_type_for(platform, entry, spec=spec) for entry in spec.entries}
    kind = hook_type(platform, wanted.hook, types)
    fitting = [name for name, one in types.items() if (one.name, one.attach_type) == (kind.name, kind.attach_type)]
    there = ", ".join(types) or "no programs"
    if wanted.program is not None:
        if wanted.program not in types:
            raise HookError(f"{wanted.path} has no program called {wanted.program!r}; it has {there}")
        if wanted.program not in fitting:
            raise HookError(f"program {wanted.program!r} of {wanted.path} is not a {wanted.hook} program")
        fitting = [wanted.program]
    if len(fitting) != 1:
        problem = f"has several {wanted.hook} programs; name one" if fitting else f"has no {wanted.hook} program"
        raise HookError(f"{wanted.path} {problem}, as in --attach {wanted.hook}={wanted.path}:PROGRAM; it has {there}")
    link: Link = hook.attach(loaded.programs[fitting[0]])
    return link


def hook_type(platform: Platform, name: str, types: dict[str, ProgramType]) -> ProgramType:
    """Return the program type that ``name`` means: a section, with or without ``cgroup/``."""
    for section in (name, f"cgroup/{name}"):
        for program_type in platform.program_types:
            matched = next((one for one in program_type.sections if one.name == section), None)
            if matched is not None:
                return program_type.for_section(matched)
    raise PlatformError(
        f"{platform.name} has no hook called {name!r}; its programs have sections such as bind, cgroup/connect4"
    )
