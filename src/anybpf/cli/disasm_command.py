"""``anybpf disasm``: a program's instructions, between the source lines that they come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from anybpf.cli.inputs import (
    choose_platform,
    choose_program,
    json_option,
    object_argument,
    platform_option,
    program_option,
    read_object,
    type_option,
)
from anybpf.cli.output import console, print_json
from anybpf.errors import InstructionError, ObjectError
from anybpf.isa import DisassembledLine, Symbols, disassemble, listing
from anybpf.platforms import program_type_for


@click.command("disasm")
@object_argument
@program_option
@platform_option
@type_option
@json_option
def command(
    object_path: Path, program: str | None, platform_name: str | None, type_name: str | None, as_json: bool
) -> None:
    """Disassemble the programs of OBJECT, with source lines where the object has them."""
    spec = read_object(object_path, type_name)
    platform = choose_platform(platform_name, spec)
    chosen = [choose_program(spec, program)] if program else spec.programs
    records = []
    for one in chosen:
        known = platform.helpers_of(program_type_for(platform, one, type_name, spec=spec))
        helpers = {number: helper.name for number, helper in known.items()}
        try:
            lines = list(disassemble(one.code, symbols=Symbols.of(spec, one, helpers), program=one))
        except InstructionError as error:
            raise ObjectError(error.reason, file=spec.name, section=one.section, instruction=error.index) from None
        if as_json:
            records.append({"program": one.name, "section": one.section, "instructions": [_record(x) for x in lines]})
        else:
            console().print(Text(f"{one.section}/{one.name}", "bold"))
            click.echo(listing(lines))
    if as_json:
        print_json(records)


def _record(line: DisassembledLine) -> dict[str, Any]:
    source = dataclasses.asdict(line.source) if line.source else None
    return {"slot": line.slot, "text": line.text, "function": line.function or None, "source": source}
