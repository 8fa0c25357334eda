"""What the authors of programs need of a service: a C header that stands alone, and the same as type information.

The context struct carries ``preserve_access_index``: programs find its fields by name when they are loaded, so objects
that were compiled earlier go on working when the service declares more fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from anybpf import btf
from anybpf.btf import types as t
from anybpf.compile import include_dir
from anybpf.hooks.service_fields import Buffer, Bytes, Field, Integer, Layout
from anybpf.platforms import Helper, Platform
from anybpf.platforms.headers import declarations, enumeration, map_types

__all__ = ("btf_of", "header_of")

#: Bundled headers that become part of the header, what stands before and behind the declarations of helpers.
_BEFORE: Final = ("linux/types.h", "bpf/bpf_endian.h", "linux/bpf_maps.h")
_BEHIND: Final = ("bpf/bpf_helpers.h",)
_INCLUDE: Final = re.compile(r"^#include .*\n+", re.MULTILINE)


def header_of(layout: Layout, returns: Mapping[str, int], platform: Platform, helpers: Iterable[Helper]) -> str:
    """Return the header for programs of the service whose context is ``layout``.

    It holds the context, the names of return values, the helpers, and what bpf_helpers.h offers: include nothing else.
    """
    name = layout.context.name
    guard = f"{name.upper()}_H"
    lines = [
        f'/* {name}.h: programs for the hook {name!r}: SEC("{name}") int f(struct {name} *ctx).',
        " * Made by `anybpf gen header` from the declaration of the hook: do not edit. Include no other BPF header. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        *map(_bundled, _BEFORE),
        *map_types(platform),
        "",
        *declarations(helpers),
        "",
        *map(_bundled, _BEHIND),
        "/* ---- the hook ---- */",
        "",
        "/* What programs return. */",
        *enumeration(f"{name}_verdict", returns),
        "",
        *_struct(layout),
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def _bundled(name: str) -> str:
    text = (include_dir("linux") / name).read_text(encoding="utf-8")
    return _INCLUDE.sub("", text)


def _struct(layout: Layout) -> Iterator[str]:
    pointers = [line for buffer in layout.buffers for line in _pointers(buffer)]
    scalars = [_declared(scalar) for scalar in layout.scalars]
    yield f"struct {layout.context.name} {{"
    yield from (f"    {line}" for line in [*pointers, *scalars])
    yield "} __attribute__((preserve_access_index));"


def _pointers(buffer: Buffer) -> Iterator[str]:
    element, note = ("__u8", " /* may be written */") if buffer.writable else ("const __u8", "")
    yield f"{element} *{buffer.name};{note}"
    yield f"{element} *{buffer.end};"


def _declared(field: Integer | Bytes) -> str:
    note = " /* may be written */" if field.writable else ""
    if isinstance(field, Integer):
        return f"{_c_name(field)} {field.name};{note}"
    alignment = f" __attribute__((aligned({field.alignment})))" if field.alignment > 1 else ""
    return f"__u8 {field.name}[{field.size}]{alignment};{note}"


def _c_name(field: Integer) -> str:
    return f"__{'s' if field.signed else 'u'}{8 * field.size}"


class _Types:
    """Types under construction, each once."""

    def __init__(self) -> None:
        self.types: list[t.Type] = []

    def add(self, found: t.Type) -> int:
        """Return the id of a type."""
        if found not in self.types:
            self.types.append(found)
        return self.types.index(found) + 1

    def integer(self, size: int, signed: bool = False) -> int:
        """Return the id of an integer of ``size`` bytes, by the name that the header gives it."""
        kept = self.add(t.Integer(f"{'' if signed else 'unsigned '}{_C_INTEGERS[size]}", size, 8 * size, 0, signed))
        return self.add(t.Typedef(f"__{'s' if signed else 'u'}{8 * size}", kept))

    def of(self, field: Field) -> int:
        """Return the id of a field's type."""
        if isinstance(field, Integer):
            return self.integer(field.size, field.signed)
        byte = self.integer(1)
        if isinstance(field, Bytes):
            return self.add(t.Array(byte, self.integer(4), field.size))
        return self.add(t.Pointer(byte if field.writable else self.add(t.Modifier(byte, "const"))))


_C_INTEGERS: Final = {1: "char", 2: "short", 4: "int", 8: "long long"}


def btf_of(layout: Layout, returns: Mapping[str, int]) -> bytes:
    """Return a ``.BTF`` section with the context struct, the enum of return values and the type of a program."""
    made = _Types()
    declared: dict[str, Field] = {scalar.name: scalar for scalar in layout.scalars}
    for buffer in layout.buffers:
        declared |= {buffer.name: buffer, buffer.end: buffer}
    name = layout.context.name
    members = tuple(t.Member(f.name, made.of(declared[f.name]), 8 * f.offset) for f in layout.context.fields)
    context = made.add(t.Pointer(made.add(t.Struct(name, layout.context.size, members))))
    made.add(t.Enum(f"{name}_verdict", 4, tuple(t.Enumerator(n, value) for n, value in returns.items())))
    result = made.add(t.Integer("int", 4, 32, 0, True))
    prototype = made.add(t.Prototype(result, (t.Parameter("ctx", context),)))
    made.add(t.Function(f"{name}_program", prototype, t.LINKAGE_GLOBAL))
    return btf.write(made.types)
