"""The C headers that follow from the tables: helper declarations and numbers.

``python -m anybpf.platforms.headers`` writes them to their place beside the headers written by hand; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from anybpf.platforms.linux import linux
from anybpf.platforms.linux_attach import ATTACH_TYPES
from anybpf.platforms.model import Helper, Platform
from anybpf.platforms.windows import windows

__all__ = ("INCLUDE", "declarations", "enumeration", "generate", "map_types", "write")

#: The bundled headers: one directory a platform.
INCLUDE = Path(__file__).resolve().parent.parent / "compile" / "include"

_MADE_BY = "Made by anybpf.platforms.headers from the platform's tables: do not edit."
_STRUCT = re.compile(r"struct \w+")


def generate() -> dict[str, str]:
    """Return every generated header: path below :data:`INCLUDE` → text."""
    headers = {
        "linux/bpf/bpf_helper_defs.h": _declarations(linux.helpers.values(), "bpf/bpf_helper_defs.h"),
        "linux/linux/bpf_numbers.h": _guarded(
            "linux/bpf_numbers.h",
            "program, attach, map types and helpers by their numbers.",
            (*_program_types(linux), *_attach_types(), *map_types(linux), *_helper_numbers(linux)),
        ),
        "windows/bpf_helper_defs.h": _declarations(windows.helpers.values(), "bpf_helper_defs.h"),
        "windows/ebpf_numbers.h": _guarded(
            "ebpf_numbers.h",
            "map types and helpers by their numbers.",
            (*map_types(windows), *_helper_numbers(windows)),
        ),
    }
    for program_type in windows.program_types:
        if program_type.own_helpers:
            name = f"{program_type.name}_helper_defs.h"
            headers[f"windows/{name}"] = _declarations(program_type.own_helpers.values(), name)
    return headers


def write(directory: Path = INCLUDE) -> None:
    """Write every generated header below ``directory``."""
    for name, text in generate().items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8", newline="\n")


def _guarded(name: str, what: str, body: Iterable[str]) -> str:
    guard = f"ANYBPF_{re.sub('[^A-Z0-9]', '_', name.upper())}"
    head = [f"/* {name}: {what}", f" * {_MADE_BY} */", f"#ifndef {guard}", f"#define {guard}", ""]
    return "\n".join([*head, *body, "", "#endif", ""])


def _declarations(helpers: Iterable[Helper], name: str) -> str:
    return _guarded(name, "the helpers by their numbers.", declarations(helpers))


def declarations(helpers: Iterable[Helper]) -> list[str]:
    """Return lines that make each helper callable: a constant pointer whose value is the helper's number."""
    ordered = sorted(helpers, key=lambda helper: helper.id)
    structs = sorted({found for helper in ordered for found in _STRUCT.findall(helper.prototype)})
    lines = [f"{struct};" for struct in structs]
    lines += [""] * bool(structs)
    for helper in ordered:
        result, _, parameters = helper.prototype.partition(" (")
        result += "" if result.endswith("*") else " "
        lines.append(f"static {result}(*const {helper.name})({parameters} = (void *){helper.id};")
    return lines


def _program_types(platform: Platform) -> Iterator[str]:
    return _enumeration("bpf_prog_type", "BPF_PROG_TYPE", {t.name.upper(): t.number for t in platform.program_types})


def _attach_types() -> Iterator[str]:
    return _enumeration("bpf_attach_type", "BPF", {name.upper(): number for name, number in ATTACH_TYPES.items()})


def map_types(platform: Platform) -> Iterator[str]:
    """Yield the enumeration of map types: of two numbers for one kind, the lower."""
    numbers = {kind.name: number for number, kind in sorted(platform.map_types.items(), reverse=True)}
    return _enumeration("bpf_map_type", "BPF_MAP_TYPE", {"UNSPEC": 0, **numbers})


def _helper_numbers(platform: Platform) -> Iterator[str]:
    numbers = {helper.name.removeprefix("bpf_"): helper.id for helper in platform.helpers.values()}
    return _enumeration("bpf_func_id", "BPF_FUNC", numbers)


def _enumeration(tag: str, prefix: str, members: Mapping[str, int]) -> Iterator[str]:
    yield from enumeration(tag, {f"{prefix}_{name}": number for name, number in members.items()})


def enumeration(tag: str, members: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines of ``enum tag``, its members in the order of their values."""
    yield f"enum {tag} {{"
    for name, number in sorted(members.items(), key=lambda member: member[1]):
        yield f"    {name} = {number},"
    yield "};"


if __name__ == "__main__":
    write()
