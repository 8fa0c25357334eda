"""Binding: a lowered program becomes the engine's, its references the addresses of this process.

The platform's word on helper arguments and context fields goes along, in the terms of ``_engine/api_program.h``: that
is what the checked interpreter enforces. (:mod:`anybpf.runtime.jit_bindings` is the same for machine code.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from anybpf.errors import InstructionError, LoadError
from anybpf.platforms import Arg, ArgKind, Callback, Context, FieldKind, Helper, MapKind, ProgramType, ReturnKind
from anybpf.runtime._engine import ffi, lib
from anybpf.runtime.lowering import Lowered

__all__ = ("create_program", "helper_address", "map_kind_number")

_ENOMEM, _EXDEV = 12, 18

_ARGUMENT = {
    ArgKind.ANYTHING: lib.AB_ARG_ANYTHING,
    ArgKind.SCALAR: lib.AB_ARG_ANYTHING,
    ArgKind.SIZE: lib.AB_ARG_ANYTHING,
    ArgKind.SIZE_OR_ZERO: lib.AB_ARG_ANYTHING,
    ArgKind.ALLOC_SIZE: lib.AB_ARG_ANYTHING,
    ArgKind.CALLBACK_CONTEXT: lib.AB_ARG_ANYTHING,
    ArgKind.CONTEXT: lib.AB_ARG_CONTEXT,
    ArgKind.MAP: lib.AB_ARG_MAP,
    ArgKind.MAP_KEY: lib.AB_ARG_MEMORY,
    ArgKind.MAP_VALUE: lib.AB_ARG_MEMORY,
    ArgKind.MAP_VALUE_OR_NULL: lib.AB_ARG_MEMORY,
    ArgKind.MAP_VALUE_OUT: lib.AB_ARG_MEMORY,
    ArgKind.MEMORY: lib.AB_ARG_MEMORY,
    ArgKind.MEMORY_OR_NULL: lib.AB_ARG_MEMORY,
    ArgKind.MEMORY_INOUT: lib.AB_ARG_MEMORY,
    ArgKind.MEMORY_OUT: lib.AB_ARG_MEMORY,
    ArgKind.MEMORY_OUT_OR_NULL: lib.AB_ARG_MEMORY,
    ArgKind.SPIN_LOCK: lib.AB_ARG_MEMORY,
    ArgKind.TIMER: lib.AB_ARG_MEMORY,
    ArgKind.STRING: lib.AB_ARG_STRING,
    ArgKind.CALLBACK: lib.AB_ARG_CALLBACK,
    ArgKind.RECORD: lib.AB_ARG_RECORD,
}
_FLAGS = {
    ArgKind.MAP_VALUE_OR_NULL: lib.AB_ARG_NULLABLE,
    ArgKind.MAP_VALUE_OUT: lib.AB_ARG_WRITES,
    ArgKind.MEMORY_OR_NULL: lib.AB_ARG_NULLABLE,
    ArgKind.MEMORY_INOUT: lib.AB_ARG_WRITES,
    ArgKind.MEMORY_OUT: lib.AB_ARG_WRITES,
    ArgKind.MEMORY_OUT_OR_NULL: lib.AB_ARG_WRITES | lib.AB_ARG_NULLABLE,
    ArgKind.SPIN_LOCK: lib.AB_ARG_IN_MAP,
    ArgKind.TIMER: lib.AB_ARG_IN_MAP,
}
_SHAPED = {
    ArgKind.MAP_KEY: lib.AB_SIZE_KEY,
    ArgKind.MAP_VALUE: lib.AB_SIZE_VALUE,
    ArgKind.MAP_VALUE_OR_NULL: lib.AB_SIZE_VALUE,
    ArgKind.MAP_VALUE_OUT: lib.AB_SIZE_VALUE,
}
_FIXED = {ArgKind.SPIN_LOCK: 4, ArgKind.TIMER: 16}
_RETURNS = {
    ReturnKind.MAP_VALUE_OR_NULL: lib.AB_RETURNS_MAP_VALUE,
    ReturnKind.MAP_VALUE: lib.AB_RETURNS_MAP_VALUE,
    ReturnKind.RECORD_OR_NULL: lib.AB_RETURNS_RECORD,
    ReturnKind.MEMORY_OR_NULL: lib.AB_RETURNS_MEMORY,
    ReturnKind.NO_RETURN_ON_SUCCESS: lib.AB_RETURNS_TAIL_CALL,
}
_FIELDS = {
    FieldKind.PACKET: lib.AB_FIELD_DATA,
    FieldKind.PACKET_END: lib.AB_FIELD_DATA_END,
    FieldKind.PACKET_META: lib.AB_FIELD_DATA_META,
    FieldKind.BUFFER: lib.AB_FIELD_BUFFER,
    FieldKind.BUFFER_END: lib.AB_FIELD_BUFFER_END,
}


@cache
def map_kind_number(kind: MapKind) -> int | None:
    """Return the engine's number of a kind of map, or None when the engine has no such maps."""
    number = lib.ab_map_kind_named(kind.value.encode())
    return None if number < 0 else int(number)


def helper_address(helper: Helper) -> int:
    """Return the address of the C function that is ``helper``, 0 when the engine offers none."""
    return helper.address or int(lib.ab_helper_address((helper.implementation or helper.name).encode()))


def create_program(
    engine: Any,
    name: str,
    lowered: Lowered,
    program_type: ProgramType,
    helpers: Mapping[int, Helper],
    addresses: Mapping[int, int],
    maps: Sequence[Any],
    *,
    checked_only: bool = False,
    instruction_limit: int = 0,
) -> Any:
    """Create the engine's program.

    :param helpers: what the platform says of the helpers that the program calls, by id.
    :param addresses: where they are. :param maps: ``ab_map *`` by index.
    :param checked_only: never run it outside the checked interpreter, not even by a tail call.
    :param instruction_limit: of checked runs; 0: none.
    :returns: an ``ab_program *``, to be given to ``lib.ab_program_destroy``.
    :raises LoadError: memory is short, or a reference makes no sense here.
    """
    fields = list(_context_fields(program_type.context))
    code = ffi.from_buffer("uint8_t[]", lowered.code)
    held = [
        ffi.new("ab_map *[]", list(maps)),
        ffi.new("ab_helper[]", [_helper(h, addresses[n]) for n, h in sorted(helpers.items())]),
        ffi.new("uint32_t[]", list(lowered.functions)),
        ffi.new("ab_context_field[]", fields),
    ]
    config = ffi.new(
        "ab_program_config *",
        {
            "code": code,
            "slots": len(lowered.text),
            "lowered": lowered.header_loads,
            "packet_writable": program_type.packet_writable,
            "checked_only": checked_only,
            "type": hash((program_type.name, program_type.context)) & 0xFFFFFFFFFFFFFFFF,
            "maps": held[0],
            "map_count": len(maps),
            "helpers": held[1],
            "helper_count": len(helpers),
            "functions": held[2],
            "function_count": len(lowered.functions),
            "fields": held[3],
            "field_count": len(fields),
            "instruction_limit": instruction_limit,
        },
    )
    error, slot = ffi.new("int32_t *"), ffi.new("uint32_t *")
    program = lib.ab_program_create(engine, config, error, slot)
    if program == ffi.NULL:
        if error[0] == -_ENOMEM:
            raise LoadError(f"no memory for program {name!r}")
        if error[0] == -_EXDEV:
            raise LoadError(f"program {name!r}: a map that was given belongs to another execution context")
        raise LoadError(f"program {name!r}: {InstructionError('the engine cannot run this instruction', slot[0])}")
    return program


def _helper(helper: Helper, address: int) -> dict[str, Any]:
    size_from, size = _allocation(helper)
    return {
        "function": address,
        "id": helper.id,
        "returns": _RETURNS.get(helper.returns, lib.AB_RETURNS_NUMBER),
        "callback": lib.AB_CALLBACK_ELEMENT
        if helper.callback is Callback.FOR_EACH_MAP_ELEMENT
        else lib.AB_CALLBACK_NUMBER,
        "size_from": size_from,
        "size": size,
        "arguments": [_argument(arg, number) for number, arg in enumerate(helper.args, start=1)],
    }


def _allocation(helper: Helper) -> tuple[int, int]:
    """Say where the size of the memory stands that the helper returns."""
    for number, arg in enumerate(helper.args, start=1):
        if arg.kind is ArgKind.ALLOC_SIZE:
            return lib.AB_SIZE_ARGUMENT, number
    return lib.AB_SIZE_FIXED, helper.returns_size


def _argument(arg: Arg, number: int) -> dict[str, Any]:
    kind = _ARGUMENT.get(arg.kind, lib.AB_ARG_REFUSED)
    size_from, size = _SHAPED.get(arg.kind, lib.AB_SIZE_FIXED), arg.size or _FIXED.get(arg.kind, 0)
    if kind == lib.AB_ARG_MEMORY and size_from == lib.AB_SIZE_FIXED and not size:
        size_from, size = lib.AB_SIZE_ARGUMENT, number + 1
    return {
        "kind": kind,
        "flags": _FLAGS.get(arg.kind, 0),
        "size_from": size_from,
        "size": size,
        "maps": _kinds(arg),
    }


def _kinds(arg: Arg) -> int:
    """Return a bit for each kind of map that the argument may be; 0 means any, so a bit of no kind stands for none."""
    bits = sum(1 << number for number in map(map_kind_number, arg.maps) if number is not None)
    return bits or (1 << 63 if arg.maps else 0)


def _context_fields(context: Context) -> Iterable[dict[str, int]]:
    for field in context.fields:
        if field.readable or field.writable:
            yield {
                "offset": field.offset,
                "size": field.size,
                "kind": _FIELDS.get(field.kind, lib.AB_FIELD_NUMBER),
                "writable": field.writable or field.buffer_writable,
            }
