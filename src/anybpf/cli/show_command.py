"""``anybpf show``: what an object holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from anybpf import platforms
from anybpf.cli.inputs import choose_platform, json_option, object_argument, platform_option, read_object, type_option
from anybpf.cli.output import console, print_json, table
from anybpf.errors import PlatformError
from anybpf.platforms import Platform
from anybpf.spec import MapSpec, ObjectSpec, ProgramSpec


@click.command("show")
@object_argument
@platform_option
@type_option
@json_option
def command(object_path: Path, platform_name: str | None, type_name: str | None, as_json: bool) -> None:
    """Show the sections, programs, maps and externs of OBJECT."""
    spec = read_object(object_path, type_name)
    platform = choose_platform(platform_name, spec)
    record = as_record(spec, platform, type_name)
    if as_json:
        print_json(record)
        return
    out = console()
    facts = [f"platform {platform.name}", f"licence {spec.license or 'none'}", "BTF" if spec.btf else "no BTF"]
    out.print(f"{spec.name}: {', '.join(facts)}\n")
    for title in ("programs", "maps", "externs"):
        rows = record[title]
        if rows:
            columns = [column for column in rows[0] if any(row[column] not in (None, "", False) for row in rows)]
            numbers = [column for column in columns if all(type(row[column]) in (int, type(None)) for row in rows)]
            cells = ([_cell(row[column]) for column in columns] for row in rows)
            out.print(
                table(
                    title, [c.replace("_", " ") for c in columns], cells, numbers=[c.replace("_", " ") for c in numbers]
                )
            )
            out.print()


def as_record(spec: ObjectSpec, platform: Platform, type_name: str | None) -> dict[str, Any]:
    """Return the JSON form of what the object holds."""
    return {
        "object": spec.name,
        "platform": platform.name,
        "license": spec.license,
        "version": spec.version,
        "btf": spec.btf is not None,
        "programs": [_program(spec, program, platform, type_name) for program in spec.programs],
        "maps": [row for declared in spec.maps for row in _maps(declared, platform)],
        "externs": [
            {"name": extern.name, "kind": "function" if extern.is_function else "variable", "weak": extern.weak}
            for extern in spec.externs
        ],
    }


def _program(spec: ObjectSpec, program: ProgramSpec, platform: Platform, type_name: str | None) -> dict[str, Any]:
    try:
        kind: str | None = platforms.program_type_for(platform, program, type_name, spec=spec).name
    except PlatformError:
        if type_name is not None:
            raise  # the user's own mistake; a section that means nothing is merely shown without a type
        kind = None
    return {
        "section": program.section,
        "name": program.name,
        "type": kind,
        "context": program.context_type,
        "instructions": program.slots,
        "functions": len(program.functions),
        "subprogram": program.is_subprogram,
        "core_relocations": len(program.core),
    }


def _maps(declared: MapSpec, platform: Platform) -> Iterator[dict[str, Any]]:
    kind = platform.map_types.get(declared.type)
    yield {
        "name": declared.name,
        "kind": kind.value if kind else f"type {declared.type}",
        "key": declared.key_size,
        "value": declared.value_size,
        "entries": declared.max_entries,
        "flags": f"{declared.flags:#x}" if declared.flags else "",
        "inner": declared.inner.name if declared.inner else "",
        "pinned": "by name" if declared.pinning else "",
        "read_only": declared.read_only,
    }


def _cell(value: object) -> object:
    return {True: "yes", False: ""}[value] if isinstance(value, bool) else value
