"""Lowering: from a program as the platform shows it to the form that the interpreter and the JIT run.

Reads: a program's text, and what the verifier proved of it (:class:`anybpf.verifier.Facts`); for a trusted program,
which nobody verified, what :mod:`~anybpf.runtime.context_flow` can follow by itself.
Gives: :class:`Lowered`, a pure function of those. Addresses of maps and helpers are bound later, so that machine code
can be kept on disk.

The one change to the text: a context shows packet pointers as fields of (on Linux) 32 bits, but pointers here have 64
and live in the event's header before the context (``struct ab_event`` in ``_engine/engine.h``). So loads of such fields
become 64-bit loads from there. Slots stay what they were.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from anybpf.errors import LoadError
from anybpf.isa import Instruction, Text, jump_target
from anybpf.isa import opcodes as op
from anybpf.platforms import Context, ContextField, FieldKind, MapKind
from anybpf.runtime.context_flow import ContextFlow

if TYPE_CHECKING:  # a bare program, which nobody verifies, is compiled without loading the verifier
    from anybpf.verifier.verdict import Facts

__all__ = ("PACKET_FIELDS", "Lowered", "kernel_pointers", "lower")

#: Context fields that hold packet pointers, and where the pointers stand in ``struct ab_event``, in bytes.
PACKET_FIELDS: Mapping[FieldKind, int] = {FieldKind.PACKET: 0, FieldKind.PACKET_END: 8, FieldKind.PACKET_META: 16}
EVENT_SIZE = 64  # bytes of struct ab_event, which ends where the context begins (checked by the engine's build)

#: Fields whose pointers a program follows without a test, and which nothing here can fill.
_KERNEL_FIELDS = (FieldKind.SOCKET, FieldKind.FLOW_KEYS, FieldKind.ARGUMENT)
_LOOKUP = "bpf_map_lookup_elem"
_ARRAYS = (MapKind.ARRAY, MapKind.PERCPU_ARRAY)
_SLOT = struct.Struct("<BBhi")


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program in the form that the engine runs.

    :param text: instructions by slot. :param code: the same as bytes, 8 a slot.
    :param functions: slots at which functions begin, ascending: 0, the targets of local calls and function references.
    :param helpers: ids of the helpers that it calls, ascending.
    :param array_lookups: slot of a call that looks up a key in an array map → index of that map.
    :param header_loads: whether packet fields are loaded from the event's header.
    """

    text: Text = field(repr=False)
    code: bytes = field(repr=False)
    functions: tuple[int, ...]
    helpers: tuple[int, ...]
    array_lookups: Mapping[int, int] = field(default_factory=dict)
    header_loads: bool = False


def lower(
    text: Text,
    code: bytes,
    context: Context,
    *,
    facts: Facts | None,
    trusted: bool,
    helper_names: Mapping[int, str],
    map_kinds: tuple[MapKind, ...],
    externs: tuple[str, ...] = (),
) -> Lowered:
    """Lower a program.

    :param code: the bytes of ``text``. :param context: what its first argument points to.
    :param facts: what the verifier proved; None for programs that it has not accepted.
    :param trusted: follow the context pointer without proof when there are no facts. Without facts and trust nothing is
        changed: only the checked interpreter can run the result.
    :param helper_names: by id. :param map_kinds, externs: by the index that the text uses.
    :raises LoadError: the program needs something of a kernel, or, when it is trusted, uses the context pointer in a
        way that only the verifier can follow.
    """
    loads: Mapping[int, int] = {}
    maps: Mapping[int, int] = {}
    changed: dict[int, Instruction] = {}
    if facts is not None:
        loads, maps = facts.context_loads, facts.helper_maps
        changed = {slot: _dead(i) for slot, i in enumerate(text) if i and slot not in facts.reached and _refers(i)}
    elif trusted:
        flow = ContextFlow(text, context)
        loads, maps = flow.context_loads, flow.helper_maps
    for slot, offset in loads.items():
        found = _field_loaded(text[slot], context, offset)
        if found is not None and found.kind in PACKET_FIELDS:
            changed[slot] = _header_load(text[slot], offset, PACKET_FIELDS[found.kind])
    if changed:
        text = tuple(changed.get(slot, instruction) for slot, instruction in enumerate(text))
        code = _patched(code, changed)
    _require_no_kernel(text, externs)
    return Lowered(
        text,
        code,
        functions_of(text),
        helpers_of(text, tuple(helper_names)),
        {
            slot: index
            for slot, index in maps.items()
            if map_kinds[index] in _ARRAYS and _calls(text[slot], lambda number: helper_names.get(number) == _LOOKUP)
        },
        facts is not None or trusted,
    )


def kernel_pointers(text: Text, context: Context, facts: Facts) -> bool:
    """Return whether a verified program takes pointers out of its context that only a kernel can give.

    Such a program is safe in a kernel and not here, except in the checked interpreter.
    """
    loaded = (_field_loaded(text[slot], context, offset) for slot, offset in facts.context_loads.items())
    return any(found is not None and found.kind in _KERNEL_FIELDS for found in loaded)


def functions_of(text: Text) -> tuple[int, ...]:
    """Return the slots at which functions begin: the entry, the targets of local calls and of function references."""
    starts = {0}
    for slot, instruction in enumerate(text):
        if instruction is not None and instruction.opcode in (op.OP_CALL, op.OP_LDDW):
            target = jump_target(instruction, slot)
            if target is not None:
                starts.add(target)
    return tuple(sorted(starts))


def helpers_of(text: Text, offered: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ids of the helpers that ``text`` may call: all ``offered`` ones when it calls by number (callx)."""
    called: set[int] = set()
    for instruction in text:
        if instruction is None:
            continue
        if instruction.opcode == op.OP_CALL and instruction.src == op.CALL_HELPER:
            called.add(instruction.imm)
        elif instruction.opcode == op.OP_CALLX:
            called.update(offered)
    return tuple(sorted(called))


def _field_loaded(instruction: Instruction | None, context: Context, offset: int) -> ContextField | None:
    return None if instruction is None else context.field_at(offset, op.SIZE_BYTES[instruction.opcode & 0x18])


def _refers(instruction: Instruction) -> bool:
    """Return whether an instruction refers to something outside the object."""
    if instruction.opcode == op.OP_CALL:
        return instruction.src != op.CALL_LOCAL
    return instruction.is_wide and instruction.src == op.LDDW_VARIABLE


def _dead(instruction: Instruction) -> Instruction:
    """Return what stands for an instruction that no path reaches: a move of 0 of the same length."""
    if instruction.is_wide:
        return replace(instruction, src=op.LDDW_IMMEDIATE, imm=0, next_imm=0)
    return Instruction(op.CLASS_ALU64 | op.ALU_MOV | op.SOURCE_K)


def _require_no_kernel(text: Text, externs: tuple[str, ...]) -> None:
    for slot, instruction in enumerate(text):
        if instruction is None:
            continue
        function = instruction.opcode == op.OP_CALL and instruction.src == op.CALL_KFUNC
        if function or (instruction.is_wide and instruction.src == op.LDDW_VARIABLE):
            what = "calls the kernel function" if function else "uses the kernel variable"
            name = externs[instruction.imm] if 0 <= instruction.imm < len(externs) else f"number {instruction.imm}"
            raise LoadError(f"instruction {slot} {what} {name}, and there is no kernel here")


def _calls(instruction: Instruction | None, chosen: Callable[[int], bool]) -> bool:
    return (
        instruction is not None
        and instruction.opcode == op.OP_CALL
        and instruction.src == op.CALL_HELPER
        and chosen(instruction.imm)
    )


def _header_load(instruction: Instruction | None, offset: int, member: int) -> Instruction:
    """Return the load of a pointer in the header that stands for a load of ``offset`` in the context."""
    assert instruction is not None
    distance = member - EVENT_SIZE - offset
    if not -0x8000 <= instruction.offset + distance <= 0x7FFF:
        raise LoadError(f"the load of a context field at offset {instruction.offset} cannot be lowered")
    return replace(instruction, opcode=op.CLASS_LDX | op.MODE_MEM | op.SIZE_DW, offset=instruction.offset + distance)


def _patched(code: bytes, changed: Mapping[int, Instruction]) -> bytes:
    patched = bytearray(code)
    for slot, new in changed.items():
        _SLOT.pack_into(patched, 8 * slot, new.opcode, new.src << 4 | new.dst, new.offset, new.imm)
    return bytes(patched)
