"""The reference pages of the platforms, made from their tables.

``python -m anybpf.platforms.reference DIRECTORY`` writes them; a test compares those in docs/reference with the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from anybpf.platforms.linux import linux
from anybpf.platforms.model import Arg, ArgKind, Context, Helper, Platform, ProgramType
from anybpf.platforms.windows import windows

__all__ = ("generate", "write")

_SHARED = "every program type"


def generate() -> dict[str, str]:
    """Return every page: file name → Markdown."""
    return {f"{platform.name}.md": "\n".join(_page(platform)) for platform in (linux, windows)}


def write(directory: Path) -> None:
    """Write every page into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in generate().items():
        (directory / name).write_text(text, encoding="utf-8", newline="\n")


def _page(platform: Platform) -> Iterator[str]:
    yield f"# The {platform.name} platform"
    yield ""
    yield "Made by `anybpf.platforms.reference` from the tables that the verifier and the runtime read."
    yield ""
    yield "## Program types"
    yield ""
    types = [
        (_code(t.name), str(t.number), _sections(t), _code(t.context.name), _returns(t)) for t in platform.program_types
    ]
    yield from _table(("Type", "Number", "Sections", "Context", "Return values"), types)
    yield from _attach_types(platform)
    yield "## Contexts"
    yield ""
    for context, users in _contexts(platform):
        yield from _context(context, users)
    yield "## Helpers"
    yield ""
    yield from _helpers(platform, platform.helpers.values())
    for program_type in platform.program_types:
        own = [h for h in program_type.own_helpers.values() if h.id not in platform.helpers]
        if own:
            yield f"### Only for `{program_type.name}`"
            yield ""
            yield from _table(("Number", "Declaration"), [(f"{h.id:#x}", _declaration(h)) for h in own])
    yield "## Map types"
    yield ""
    maps = [
        (str(number), _code(kind.value), *_map_rules(platform, number)) for number, kind in platform.map_types.items()
    ]
    yield from _table(("Number", "Kind", "Key bytes", "Value bytes", "Flags", "Flags it needs"), maps)


def _code(text: str) -> str:
    return f"`{text}`" if text else "–"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _sections(program_type: ProgramType) -> str:
    shown = [f"`{section.name}{'…' if section.prefix else ''}`" for section in program_type.sections]
    return " ".join(shown) or "–"


def _returns(program_type: ProgramType) -> str:
    bounds = "any" if program_type.returns is None else _range(program_type.returns)
    actions = ", ".join(f"{value} {name}" for value, name in program_type.actions.items())
    return f"{bounds}: {actions}" if actions else bounds


def _range(bounds: tuple[int, int]) -> str:
    low, high = bounds
    return str(low) if low == high else f"{low} to {high}"


def _attach_types(platform: Platform) -> Iterator[str]:
    yield "## Attach types"
    yield ""
    rows = []
    for program_type in platform.program_types:
        for name, number in program_type.attach_types.items():
            narrowed = program_type.for_attach_type(name)
            returns = (
                "" if narrowed.returns == program_type.returns else f"returns {_range(narrowed.returns or (0, 0))}"
            )
            more = sorted(narrowed.helpers - program_type.helpers)
            fewer = sorted(program_type.helpers - narrowed.helpers)
            notes = [returns, *(f"with `{h}`" for h in more), *(f"without `{h}`" for h in fewer)]
            rows.append((_code(name), str(number), _code(program_type.name), ", ".join(n for n in notes if n)))
    yield from _table(("Attach type", "Number", "Program type", "What differs"), rows)


def _contexts(platform: Platform) -> Iterator[tuple[Context, list[str]]]:
    """Yield each context once, with the program types that have it."""
    users: dict[Context, list[str]] = {}
    for program_type in platform.program_types:
        if program_type.context.fields:
            users.setdefault(program_type.context, []).append(program_type.name)
    yield from users.items()
    yield from ((structure, []) for structure in platform.structures.values())


def _context(context: Context, users: list[str]) -> Iterator[str]:
    of = f" of {', '.join(f'`{user}`' for user in users)}" if users else ""
    yield f"### {_code(context.name) if context.name else 'The context'}{of}, {context.size} bytes"
    yield ""
    rows = []
    for field in context.fields:
        loads = (
            [field.element] if not field.narrow else [w for w in (1, 2, 4, 8) if field.narrowest <= w <= field.element]
        )
        stores = [w for w in (1, 2, 4, 8) if field.allows(field.offset, w, write=True)]
        loads += [8] if field.wide and field.element == 4 else []
        rows.append(
            (
                _code(field.name),
                str(field.offset),
                str(field.size),
                field.kind.value,
                _widths(loads),
                _widths(stores),
                " ".join(_code(name) for name in sorted(field.attach_types)),
            )
        )
    yield from _table(("Field", "Offset", "Size", "Holds", "Loads of", "Stores of", "Only for"), rows)


def _widths(widths: list[int]) -> str:
    return ", ".join(map(str, widths)) or "–"


def _helpers(platform: Platform, helpers: Iterable[Helper]) -> Iterator[str]:
    rows = [
        (
            str(h.id),
            _declaration(h),
            ", ".join(_argument(a) for a in h.args) or "–",
            h.returns.value,
            _users(platform, h),
        )
        for h in helpers
    ]
    yield from _table(("Number", "Declaration", "Arguments", "Returns", "Who may call it"), rows)


def _declaration(helper: Helper) -> str:
    result, _, parameters = helper.prototype.partition(" (")
    return f"`{result}{'' if result.endswith('*') else ' '}{helper.name}({parameters}`"


def _argument(arg: Arg) -> str:
    text = arg.kind.value
    if arg.size:
        text += f" of {arg.size}"
    if arg.kind is ArgKind.MAP and arg.maps and len(arg.maps) <= 3:
        text += " " + "/".join(sorted(kind.value for kind in arg.maps))
    return text


def _users(platform: Platform, helper: Helper) -> str:
    """Return which program types may call a helper, under some attach type or in some section at least."""
    users = []
    for t in platform.program_types:
        offered = t.helpers | t.sleepable_helpers
        for rule in t.attach_rules.values():
            offered |= rule.more_helpers
        if helper.name in offered:
            users.append(t.name)
    notes = ["GPL only"] if helper.gpl_only else []
    if len(users) == len(platform.program_types):
        users = [_SHARED]
    return "; ".join([", ".join(users), *notes])


def _map_rules(platform: Platform, number: int) -> tuple[str, str, str, str]:
    rules = platform.map_rules[platform.map_types[number]]
    value = _range(rules.value_size) + (f" in {rules.value_multiple}s" if rules.value_multiple > 1 else "")
    return _range(rules.key_size), value, f"{rules.flags:#x}", f"{rules.needs_flags:#x}"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
