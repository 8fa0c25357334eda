"""Arguments that several commands share: object files, platform, program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from anybpf import elf, platforms
from anybpf.errors import ObjectError
from anybpf.platforms import Platform
from anybpf.spec import ObjectSpec, ProgramSpec

Command = TypeVar("Command", bound=Callable[..., Any])

ELF_MAGIC = b"\x7fELF"

object_argument = click.argument("object_path", metavar="OBJECT", type=click.Path(path_type=Path))
program_option = click.option("--program", metavar="NAME", help="Only this program (a function's name).")
platform_option = click.option(
    "--platform",
    "platform_name",
    type=click.Choice(["linux", "windows", "raw"]),
    help="Whose helpers, contexts and maps the program uses. Default: told from the object.",
)
type_option = click.option(
    "--type",
    "type_name",
    metavar="SECTION",
    help="Program type, by any section name that means it (xdp, tc, bind …); required for files of raw instructions.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def read_object(path: Path, type_name: str | None) -> ObjectSpec:
    """Read an ELF object, or, when ``type_name`` is given, a file of raw instructions (8 bytes each, little endian).

    :raises ObjectError: the file is neither. :raises OSError: it cannot be read.
    """
    data = path.read_bytes()
    if data.startswith(ELF_MAGIC):
        return elf.parse(data, str(path))
    if type_name is None:
        raise ObjectError(
            "not an ELF file; if it holds raw instructions, say what they are with --type (for example --type xdp)",
            file=str(path),
        )
    return elf.from_instructions(data, section=type_name, name=str(path))


def choose_platform(name: str | None, spec: ObjectSpec) -> Platform:
    """Return the platform called ``name``, or the one that the object's types tell."""
    return platforms.by_name(name) if name else platforms.recognise(spec)


def choose_program(spec: ObjectSpec, name: str | None) -> ProgramSpec:
    """Return the program called ``name``, or the first entry program of the object.

    :raises ObjectError: there is none.
    """
    if name is None:
        if not spec.entries:
            raise ObjectError("the object holds no program", file=spec.name)
        return spec.entries[0]
    try:
        return spec[name]
    except KeyError as error:
        raise ObjectError(str(error.args[0])) from None


__all__ = (
    "choose_platform",
    "choose_program",
    "json_option",
    "object_argument",
    "platform_option",
    "program_option",
    "read_object",
    "type_option",
)
