"""Relocates the code of an object, each section once.

References to maps, data and externs become the ISA's by-index forms, which do not depend on where code ends up.
References to functions are noted, and stay open until a program is linked (:mod:`anybpf.elf.linker`).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass, field

from anybpf.btf import Btf
from anybpf.btf import types as t
from anybpf.elf.file import ElfFile, Relocation, Section, Symbol
from anybpf.elf.functions import FunctionTable
from anybpf.elf.maps import MapTable
from anybpf.elf.maps_data import KCONFIG
from anybpf.errors import ObjectError
from anybpf.isa import opcodes as op
from anybpf.spec import ExternSpec

_IMM = struct.Struct("<i")
_KSYMS = ".ksyms"


@dataclass(frozen=True, slots=True)
class RelocatedCode:
    """A section's instructions, complete but for the distances to functions.

    :param references: (byte offset of the instruction, section and byte offset of the function meant), ascending.
    """

    text: bytearray
    references: list[tuple[int, int, int]] = field(default_factory=list)

    def references_between(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """Return the references of the instructions in bytes ``start`` to ``end``."""
        return self.references[bisect_left(self.references, (start,)) : bisect_left(self.references, (end,))]


class Relocator:
    """Relocates sections of code, and numbers the externs that they refer to.

    :raises ObjectError: a relocation means nothing; it is named by section and slot.
    """

    def __init__(self, file: ElfFile, types: Btf, functions: FunctionTable, maps: MapTable) -> None:
        self._file = file
        self._functions = functions
        self._maps = maps
        self._externs: list[ExternSpec] = []
        self._extern_index: dict[str, int] = {}
        self._extern_types = _extern_types(types)
        kconfig = next((i for i, s in enumerate(maps.specs) if s.name == KCONFIG and s.kconfig), None)
        self._kconfig = {} if kconfig is None else {v.name: (kconfig, v.offset) for v in maps.specs[kconfig].kconfig}

    @property
    def externs(self) -> tuple[ExternSpec, ...]:
        """The externs that the code relocated so far refers to, by index."""
        return tuple(self._externs)

    def relocate(self, section: Section) -> RelocatedCode:
        """Return the instructions of a section, relocated."""
        code = RelocatedCode(bytearray(section.data))
        relocated = set()
        for relocation in self._file.relocations(section):
            at = relocation.offset
            if self._functions.at(section.index, at & ~7) is None:
                continue  # between functions, where nothing runs
            relocated.add(at)
            symbol = self._file.symbols[relocation.symbol]
            opcode = section.data[at]
            if at % 8 == 0 and opcode == op.OP_CALL:
                self._relocate_call(section, code, relocation, symbol)
            elif at % 8 == 0 and opcode == op.OP_LDDW and at + 16 <= section.size:
                self._relocate_load(section, code, relocation, symbol)
            else:
                raise self._error(section, at, f"a relocation at byte {at}, where no call and no lddw begins")
        self._find_local_references(section, code, relocated)
        code.references.sort()
        return code

    def _relocate_call(self, section: Section, code: RelocatedCode, relocation: Relocation, symbol: Symbol) -> None:
        at = relocation.offset
        if symbol.is_undefined:
            _set_reference(code.text, at, op.CALL_KFUNC, self._extern(symbol, is_function=True))
            return
        # In place stands the distance in slots from the symbol, less one: -1 for the symbol itself.
        (imm,) = _IMM.unpack_from(section.data, at + 4)
        addend = relocation.addend if relocation.addend is not None else 8 * (imm + 1)
        self._refer(section, code, at, symbol, symbol.value + addend, op.CALL_LOCAL)

    def _relocate_load(self, section: Section, code: RelocatedCode, relocation: Relocation, symbol: Symbol) -> None:
        at = relocation.offset
        low, high = _IMM.unpack_from(section.data, at + 4)[0], _IMM.unpack_from(section.data, at + 12)[0]
        addend = relocation.addend if relocation.addend is not None else (high << 32 | low & 0xFFFFFFFF)
        place = symbol.value + addend
        if symbol.is_undefined:
            self._load_extern(code, at, symbol, addend)
        elif (data := self._maps.data(symbol.section)) is not None:
            if not 0 <= place <= self._maps.placed[data].size:
                raise self._error(section, at, f"refers to byte {place} of a smaller section ({symbol.name!r})")
            _set_reference(code.text, at, op.LDDW_MAP_INDEX_VALUE, data, place)
        elif (index := self._maps.at(symbol.section, place)) is not None:
            _set_reference(code.text, at, op.LDDW_MAP_INDEX, index)
        else:
            self._refer(section, code, at, symbol, place, op.LDDW_FUNCTION)

    def _load_extern(self, code: RelocatedCode, at: int, symbol: Symbol, addend: int) -> None:
        if symbol.name in self._kconfig:
            index, offset = self._kconfig[symbol.name]
            _set_reference(code.text, at, op.LDDW_MAP_INDEX_VALUE, index, offset + addend)
        elif symbol.is_weak:
            _set_reference(code.text, at, op.LDDW_IMMEDIATE, 0)
        else:
            _set_reference(code.text, at, op.LDDW_VARIABLE, self._extern(symbol, is_function=False))

    def _refer(self, section: Section, code: RelocatedCode, at: int, symbol: Symbol, place: int, source: int) -> None:
        """Note a reference to a function."""
        if self._functions.at(symbol.section, place) is None:
            defined = symbol.section < len(self._file.sections)
            where = f"byte {place} of {self._file.sections[symbol.section].name!r}" if defined else "in no section"
            raise self._error(
                section, at, f"refers to {symbol.name!r} ({where}), which is no function, map or variable"
            )
        _set_reference(code.text, at, source, 0)
        code.references.append((at, symbol.section, place))

    def _find_local_references(self, section: Section, code: RelocatedCode, relocated: set[int]) -> None:
        """Note calls and function addresses that the assembler resolved itself: distances within the section."""
        opcodes = section.data[::8]
        for opcode, source in ((op.OP_CALL, op.CALL_LOCAL), (op.OP_LDDW, op.LDDW_FUNCTION)):
            slot = opcodes.find(opcode)
            while slot >= 0:
                at = 8 * slot
                is_reference = section.data[at + 1] >> 4 == source and at not in relocated
                if is_reference and self._functions.at(section.index, at) is not None:
                    (imm,) = _IMM.unpack_from(section.data, at + 4)
                    place = 8 * (slot + 1 + imm)
                    if self._functions.at(section.index, place) is None:
                        raise self._error(section, at, f"refers to slot {slot + 1 + imm}, where no function is")
                    code.references.append((at, section.index, place))
                slot = opcodes.find(opcode, slot + 1)

    def _extern(self, symbol: Symbol, *, is_function: bool) -> int:
        index = self._extern_index.setdefault(symbol.name, len(self._externs))
        if index == len(self._externs):
            type_id, declared_function = self._extern_types.get(symbol.name, (0, is_function))
            self._externs.append(ExternSpec(symbol.name, declared_function, symbol.is_weak, type_id))
        return index

    def _error(self, section: Section, offset: int, reason: str) -> ObjectError:
        return self._file.error(reason, section, offset // 8)


def _set_reference(text: bytearray, at: int, source: int, imm: int, next_imm: int = 0) -> None:
    """Write an instruction's source register and immediates; ``lddw`` has two of these."""
    text[at + 1] = text[at + 1] & 0x0F | source << 4
    _IMM.pack_into(text, at + 4, imm)
    if text[at] == op.OP_LDDW:
        struct.pack_into("<I", text, at + 12, next_imm & 0xFFFFFFFF)


def _extern_types(btf: Btf) -> dict[str, tuple[int, bool]]:
    """Return (BTF id, whether it is a function) of each extern of ``.ksyms``."""
    section = btf.type(btf.find(_KSYMS, t.DataSection) or 0)
    if not isinstance(section, t.DataSection):
        return {}
    return {btf.type(v.type).name: (v.type, isinstance(btf.type(v.type), t.Function)) for v in section.variables}
