"""Calls that are made to measure: firing a service's hook, and packing a record, with its fields as parameters.

A context of eight fields is to cost no more than a microsecond, which generic steps over a description of the fields
would take alone. So, as dataclasses do, the functions are written as Python text for the one declaration and compiled
when the service is declared. Names were checked by then (:mod:`anybpf.hooks.service_fields`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from anybpf.errors import EventError
from anybpf.hooks.service_fields import Bytes, Field, Integer, Layout

__all__ = ("compile_fire", "compile_pack")

_FIRE = """\
def fire(_service, *, {parameters}):
    try:
{checks}\
        _data = {data}
        _context = _pack({values})
    except (_Error, _TypeError) as problem:
        raise _invalid({fields}) from problem
    try:
        _turn = _pop()
    except _IndexError:
        _turn = _make()
    _verdict = _fire(_turn[0], _data, _len(_data), _context)
    _outcome = _outcomes(_verdict)
    if _outcome is None:
        return _other(_turn, _verdict, _context, _data)
    _push(_turn)
    return _outcome
"""
_PACK = """\
def pack(_service, *, {parameters}):
    try:
{checks}\
        return _pack({values}) + ({data})
    except (_Error, _TypeError) as problem:
        raise _invalid({fields}) from problem
"""


def compile_fire(layout: Layout, names: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the method that fires the hook.

    :param names: what the text calls: ``fire`` (``lib.ab_fire``); ``pop``, ``make`` and ``push``, which give and take
        back turns, each a tuple that begins with an ``ab_fire_turn *``; ``outcomes``, which gives the outcome of a
        verdict; ``other``, called with the turn, the verdict, the context and the data when something was changed or
        has failed.
    """
    return _compiled(layout, _FIRE, "fire", names)


def compile_pack(layout: Layout) -> Callable[..., bytes]:
    """Return the method that makes a record of the fields: the context, and behind it the buffers' bytes."""
    return _compiled(layout, _PACK, "pack", {})


def _compiled(layout: Layout, template: str, name: str, names: Mapping[str, Any]) -> Callable[..., Any]:
    lengths = [f"_len({buffer.name})" for buffer in layout.buffers]
    text = template.format(
        parameters=", ".join(_parameter(field) for field in layout.fields),
        checks="".join(
            f"        if _len({field.name}) > {field.size}: raise _TypeError\n"
            for field in layout.scalars
            if isinstance(field, Bytes)
        ),
        data=_data(layout),
        values=", ".join([*lengths, *(scalar.name for scalar in layout.scalars)]),
        fields=", ".join(f"{field.name}={field.name}" for field in layout.fields),
    )

    def invalid(**values: object) -> EventError:
        return _invalid(layout, values)

    # Fields may have the names of builtins, so the text finds these by others.
    space: dict[str, Any] = {f"_{one.__name__}": one for one in (len, bytes, TypeError, IndexError)}
    space |= {"_pack": layout.record.pack, "_Error": struct.error, "_invalid": invalid}
    space |= {f"_{key}": value for key, value in names.items()}
    exec(compile(text, f"<{layout.context.name}>", "exec"), space)
    made: Callable[..., Any] = space[name]
    return made


def _data(layout: Layout) -> str:
    """Return the expression for the buffers' bytes, one behind the other."""
    names = [buffer.name for buffer in layout.buffers]
    if not names:
        return 'b""'
    joined = f'b"".join(({", ".join(names)},))'  # takes whatever is bytes-like, and nothing else
    return f"{names[0]} if {names[0]}.__class__ is _bytes else {joined}" if len(names) == 1 else joined


def _parameter(field: Field) -> str:
    """Return how a field stands among the parameters: what programs may write need not be given."""
    if not field.writable:
        return field.name
    return f"{field.name}=0" if isinstance(field, Integer) else f'{field.name}=b""'


def _invalid(layout: Layout, values: Mapping[str, object]) -> EventError:
    """Return the error that says which of the values does not fit its field."""
    for field in layout.fields:
        value = values[field.name]
        where = f"{layout.context.name}.{field.name}"
        if isinstance(field, Integer):
            if not isinstance(value, int):
                return EventError(f"{where} is {value!r}; give an int")
            if not field.least <= value <= field.most:
                return EventError(f"{where} is {value}; it holds {field.least} to {field.most}")
        elif not isinstance(value, bytes | bytearray | memoryview):
            return EventError(f"{where} is {value!r}; give bytes")
        elif isinstance(field, Bytes) and len(value) > field.size:
            return EventError(f"{where} has {len(value)} bytes; it holds {field.size}")
    return EventError(f"no event of {layout.context.name} can be made of {dict(values)}")
