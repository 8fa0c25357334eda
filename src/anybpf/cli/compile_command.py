"""``anybpf compile``: a C source to a BPF object."""

from __future__ import annotations

from pathlib import Path

import click

from anybpf.cli.inputs import json_option
from anybpf.cli.output import console, print_json
from anybpf.compile import compile_source


@click.command("compile")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Object file to write. Default: SOURCE with .o")
@click.option(
    "--platform",
    "platform_name",
    type=click.Choice(["linux", "windows"]),
    default="linux",
    show_default=True,
    help="Whose headers to compile against.",
)
@click.option(
    "-I", "include_dirs", multiple=True, type=click.Path(path_type=Path), help="Directory to search for headers."
)
@click.option("-D", "defines", multiple=True, metavar="NAME[=VALUE]", help="Macro to define.")
@json_option
def command(
    source: Path,
    output: Path | None,
    platform_name: str,
    include_dirs: tuple[Path, ...],
    defines: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compile SOURCE with clang (the system's, or the `clang` extra's) to a BPF object with debug information."""
    data = compile_source(source, platform=platform_name, include_dirs=include_dirs, defines=defines)
    output = output or source.with_suffix(".o")
    if output.resolve() == source.resolve():
        raise click.UsageError(f"{output} is the source itself; name another file with -o")
    output.write_bytes(data)
    if as_json:
        print_json({"source": str(source), "object": str(output), "platform": platform_name, "bytes": len(data)})
    else:
        console().print(f"{output}: {len(data)} bytes")
