"""CO-RE: fits a compiled program to the types of the kernel, or other target, that it is to run on.

The compiler leaves a record for each instruction that depends on how types are laid out. :func:`relocate` finds the
type in the target (by name, up to a ``___flavor`` suffix), finds what the record asks about it, and patches the number
into the instruction. The rules are libbpf's (tools/lib/bpf/relo_core.c); so is what happens when there is no answer:
questions ("does it exist?") are answered 0, and any other instruction is replaced by a call of helper :data:`POISON`,
which no platform has, so that a program is refused only if it can get there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache

from anybpf.btf import types as t
from anybpf.btf.access import (
    Access,
    enumerator_access,
    field_access,
    find_enumerator,
    find_field,
    type_access,
)
from anybpf.btf.compatibility import essential_name, same_kind, types_compatible, types_match
from anybpf.btf.table import Btf
from anybpf.errors import BtfError
from anybpf.isa import opcodes as op
from anybpf.spec import CoreRelocation, ProgramSpec

#: The helper number that an instruction calls in place of what could not be relocated; libbpf's.
POISON = 0xBAD2310
_POISONED = struct.pack("<BBhi", op.OP_CALL, 0, 0, POISON)
_INSTRUCTION = struct.Struct("<BBhi")
_SIZE_CODES = {size: code for code, size in op.SIZE_BYTES.items()}


class Kind(IntEnum):
    """What a relocation asks (enum bpf_core_relo_kind)."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


_ABOUT_TYPES = {Kind.TYPE_ID_LOCAL, Kind.TYPE_ID_TARGET, Kind.TYPE_EXISTS, Kind.TYPE_SIZE, Kind.TYPE_MATCHES}
_ABOUT_ENUMERATORS = {Kind.ENUMVAL_EXISTS, Kind.ENUMVAL_VALUE}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one side (the object's types, or the target's) answers.

    :param value: None when there is nothing to answer with. :param exact: the compiler must have computed the same.
    :param size: bytes of the field, for offsets only: memory accesses are widened or narrowed to it.
    :param type: the field's type, for offsets only.
    """

    value: int | None
    exact: bool = True
    size: int = 0
    type: int = 0


def relocate(program: ProgramSpec, local: Btf, target: Btf) -> ProgramSpec:
    """Return the program with its CO-RE relocations applied.

    :param local: the types of the program's object. :param target: the types to fit it to; the same table leaves every
        layout as it was compiled.
    :raises BtfError: a record is malformed, or candidates in the target disagree.
    """
    if not program.core:
        return program
    code = bytearray(program.code)
    for relocation in program.core:
        try:
            _apply(code, relocation, local, target)
        except BtfError as error:
            raise BtfError(
                f"CO-RE relocation: {error.reason}", section=program.section, instruction=relocation.slot
            ) from None
    return replace(program, code=bytes(code), core=())


def _apply(code: bytearray, relocation: CoreRelocation, local: Btf, target: Btf) -> None:
    try:
        kind = Kind(relocation.kind)
    except ValueError:
        raise BtfError(f"kind {relocation.kind} is unknown") from None
    if not 0 <= relocation.slot < len(code) // 8:
        raise BtfError("it lies outside the program")
    access = _parse(kind, local, relocation)
    compiled = _answer(kind, access)
    if kind is Kind.TYPE_ID_LOCAL or target is local:
        _patch(code, relocation.slot, compiled, compiled, local, local)
    else:
        _patch(code, relocation.slot, compiled, _ask_target(kind, access, target), local, target)


def _parse(kind: Kind, local: Btf, relocation: CoreRelocation) -> Access:
    if kind in _ABOUT_TYPES:
        return type_access(local, relocation.type_id, relocation.access)
    if kind in _ABOUT_ENUMERATORS:
        return enumerator_access(local, relocation.type_id, relocation.access)
    return field_access(local, relocation.type_id, relocation.access)


def _ask_target(kind: Kind, access: Access, target: Btf) -> _Answer:
    """Return the answer that all candidates in the target agree on."""
    agreed: tuple[int, _Answer] | None = None
    for candidate in _candidates(access, target):
        found = _find(kind, access, target, candidate)
        if found is None:
            continue
        answer = _answer(kind, found)
        if agreed is None:
            agreed = found.bit_offset, answer
        elif agreed[0] != found.bit_offset or agreed[1].value != answer.value:
            name = access.btf.type(access.root).name
            raise BtfError(f"types called {name!r} in the target disagree; it cannot be told which is meant")
    return agreed[1] if agreed is not None else _answer(kind, None)


def _candidates(access: Access, target: Btf) -> tuple[int, ...]:
    """Return the ids of the target's types that bear the root's name, flavors aside, and are of its kind."""
    wanted = access.btf.type(access.root)
    if not wanted.name:
        raise BtfError("it is about a type without a name")
    name = essential_name(wanted.name)
    named = [*target.ids(name), *_flavors(target).get(name, ())]
    return tuple(type_id for type_id in named if same_kind(wanted, target.type(type_id)))


@lru_cache(maxsize=4)
def _flavors(target: Btf) -> dict[str, list[int]]:
    """Return the ids of types with a flavor in their name, by the name without it."""
    found: dict[str, list[int]] = {}
    for name in target.names():
        if "___" in name and (essential := essential_name(name)) != name:
            found.setdefault(essential, []).extend(target.ids(name))
    return found


def _find(kind: Kind, access: Access, target: Btf, candidate: int) -> Access | None:
    """Return what the access means in the candidate, None when it has no such thing."""
    if kind in _ABOUT_ENUMERATORS:
        return find_enumerator(access, target, candidate)
    if kind not in _ABOUT_TYPES:
        return find_field(access, target, candidate)
    compare = types_match if kind is Kind.TYPE_MATCHES else types_compatible
    return Access(target, candidate) if compare(access.btf, access.root, target, candidate) else None


def _answer(kind: Kind, found: Access | None) -> _Answer:
    """Return what a relocation of ``kind`` gives for ``found``, None standing for "the target has no such thing"."""
    match kind:
        case Kind.FIELD_EXISTS | Kind.TYPE_EXISTS | Kind.TYPE_MATCHES | Kind.ENUMVAL_EXISTS:
            return _Answer(int(found is not None))
        case Kind.TYPE_ID_LOCAL | Kind.TYPE_ID_TARGET:
            return _Answer(found.root if found else 0, exact=False)  # linking may have renumbered the types
        case Kind.TYPE_SIZE:
            return _Answer(found.btf.size_of(found.root) if found else 0)
        case Kind.ENUMVAL_VALUE:
            return _Answer(_enumerator(found) if found else None)
        case _:
            return _field_answer(kind, found) if found else _Answer(None)


def _enumerator(found: Access) -> int:
    enum = found.btf.type(found.steps[0].type)
    return enum.values[found.steps[0].index].value if isinstance(enum, t.Enum) else 0


def _field_answer(kind: Kind, found: Access) -> _Answer:
    btf = found.btf
    last = found.steps[-1]
    struct = btf.type(last.type)
    if last.name is None or not isinstance(struct, t.Struct):  # an element of an array
        size = btf.size_of(last.type)
        if kind is Kind.FIELD_BYTE_OFFSET:
            return _Answer(found.bit_offset // 8, size=size, type=last.type)
        if kind is Kind.FIELD_BYTE_SIZE:
            return _Answer(size)
        raise BtfError(f"{kind.name} of an array element")
    member = struct.members[last.index]
    field_type = btf.strip(member.type)
    field = btf.type(field_type)
    size = btf.size_of(field_type)
    offset, bits = found.bit_offset // 8, 8 * size
    if member.bit_size:
        bits = member.bit_size
        offset, size = _bitfield_storage(found.bit_offset, bits, size)
    # Which bytes hold a bitfield is the reader's choice, so the compiler's need not be the same.
    exact = not member.bit_size
    match kind:
        case Kind.FIELD_BYTE_OFFSET:
            if member.bit_size:
                return _Answer(offset, exact=False)
            while isinstance(field, t.Array):
                field_type = btf.strip(field.type)
                field = btf.type(field_type)
            return _Answer(offset, size=btf.size_of(field_type), type=field_type)
        case Kind.FIELD_BYTE_SIZE:
            return _Answer(size, exact)
        case Kind.FIELD_SIGNED:
            return _Answer(int(isinstance(field, t.Integer | t.Enum) and field.is_signed))
        case Kind.FIELD_LSHIFT_U64:
            return _Answer(64 - (found.bit_offset + bits - 8 * offset), exact)
        case _:
            return _Answer(64 - bits)


def _bitfield_storage(bit_offset: int, bits: int, size: int) -> tuple[int, int]:
    """Return (byte offset, bytes) of the smallest aligned load, of ``size`` at least, that holds a bitfield."""
    while True:
        if not size:
            raise BtfError("a bitfield of a type without a size")
        offset = bit_offset // 8 // size * size
        if bit_offset + bits <= 8 * (offset + size):
            return offset, size
        if size >= 8:
            raise BtfError("a bitfield that no load of 8 bytes can hold")
        size *= 2


def _patch(code: bytearray, slot: int, compiled: _Answer, wanted: _Answer, local: Btf, target: Btf) -> None:
    """Write the answer into the instruction, or poison it.

    :raises BtfError: the instruction does not hold what the compiler must have put there, or cannot hold the answer.
    """
    at = 8 * slot
    opcode, registers, offset, imm = _INSTRUCTION.unpack_from(code, at)
    is_wide = opcode == op.OP_LDDW
    if is_wide and at + 16 > len(code):
        raise BtfError("half an lddw instruction")
    if wanted.value is None or compiled.value is None:
        code[at : at + 8 * (1 + is_wide)] = _POISONED * (1 + is_wide)
        return
    value = wanted.value
    match opcode & 0x07:
        case op.CLASS_ALU | op.CLASS_ALU64 if opcode & op.SOURCE_X == op.SOURCE_K:
            _expect(compiled, imm, 32)
            _INSTRUCTION.pack_into(code, at, opcode, registers, offset, _signed(value, 32))
        case op.CLASS_LDX | op.CLASS_ST | op.CLASS_STX:
            _expect(compiled, offset, 16)
            if value > 0x7FFF:
                raise BtfError(f"the offset {value} does not fit into the instruction")
            if compiled.size != wanted.size:
                if not _may_resize(local.type(compiled.type), target.type(wanted.type)):
                    code[at : at + 8] = _POISONED
                    return
                size = op.SIZE_BYTES[opcode & 0x18]
                if size != compiled.size or wanted.size not in _SIZE_CODES:
                    raise BtfError(
                        f"an access of {size} bytes to a field of {compiled.size} bytes, {wanted.size} there"
                    )
                opcode = opcode & ~0x18 | _SIZE_CODES[wanted.size]
            _INSTRUCTION.pack_into(code, at, opcode, registers, value, imm)
        case op.CLASS_LD if is_wide and registers >> 4 == op.LDDW_IMMEDIATE:
            high = struct.unpack_from("<I", code, at + 12)[0]
            _expect(compiled, high << 32 | imm & 0xFFFFFFFF, 64)
            struct.pack_into("<I", code, at + 4, value & 0xFFFFFFFF)
            struct.pack_into("<I", code, at + 12, value >> 32 & 0xFFFFFFFF)
        case _:
            raise BtfError(f"an instruction that takes none (opcode {opcode:#04x})")


def _expect(compiled: _Answer, found: int, bits: int) -> None:
    """Check that an instruction holds the value that the compiler's types give."""
    if compiled.exact and _signed(found, bits) != _signed(compiled.value or 0, bits):
        raise BtfError(f"the instruction holds {found}, where the object's types give {compiled.value}")


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _may_resize(one: t.Type, other: t.Type) -> bool:
    """Whether reading a field of another size gives the same number: pointers, and integers without a sign."""
    if isinstance(one, t.Pointer) and isinstance(other, t.Pointer):
        return True
    return isinstance(one, t.Integer) and isinstance(other, t.Integer) and not (one.is_signed or other.is_signed)
