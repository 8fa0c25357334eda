"""Relocates the code of an object and links every program with the subprograms that it calls.

Each section is relocated once: references to maps, data and externs become the ISA's by-index forms, which do not
depend on where code ends up. References to functions stay open until a program is linked: its function first, then each
function that it reaches, in the order of the first reference.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass, field

from anybpf.btf import Btf
from anybpf.btf import types as t
from anybpf.elf.file import ElfFile, Relocation, Section, Symbol
from anybpf.elf.functions import Function, FunctionTable
from anybpf.elf.maps import MapTable
from anybpf.elf.maps_data import KCONFIG
from anybpf.elf.types import ObjectTypes
from anybpf.isa import opcodes as op
from anybpf.spec import CoreRelocation, ExternSpec, FunctionSpec, LineSpec, ProgramSpec, SourceLine

_IMM = struct.Struct("<i")
_KSYMS = ".ksyms"


@dataclass(frozen=True, slots=True)
class _Code:
    """A section's instructions with the relocations applied that do not depend on linking.

    :param references: (byte offset of the instruction, section and byte offset of the function meant), ascending.
    """

    text: bytearray
    references: list[tuple[int, int, int]] = field(default_factory=list)

    def references_between(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """Return the references of the instructions in bytes ``start`` to ``end``."""
        return self.references[bisect_left(self.references, (start,)) : bisect_left(self.references, (end,))]


class Linker:
    """Makes programs of an object's functions.

    :raises ObjectError: a relocation that means nothing; from :meth:`link`, more code than is reasonable.
    """

    def __init__(self, file: ElfFile, types: ObjectTypes, functions: FunctionTable, maps: MapTable) -> None:
        self._file = file
        self._types = types
        self._functions = functions
        self._maps = maps
        self._externs: list[ExternSpec] = []
        self._extern_index: dict[str, int] = {}
        self._extern_types = _extern_types(types.table)
        kconfig = next((i for i, s in enumerate(maps.specs) if s.name == KCONFIG and s.kconfig), None)
        self._kconfig = {} if kconfig is None else {v.name: (kconfig, v.offset) for v in maps.specs[kconfig].kconfig}
        self._lines: dict[tuple[int, int, int], SourceLine] = {}
        self._code: dict[int, _Code] = {}
        for function in functions.all:
            if function.section.index not in self._code:
                self._code[function.section.index] = self._relocate(function.section)
        self._called = self._called_functions()
        # Many small functions that each call the next would link to the square of their size.
        self._budget = 8 * len(file.data) + (1 << 20)

    @property
    def externs(self) -> tuple[ExternSpec, ...]:
        """The externs that the code refers to, by index."""
        return tuple(self._externs)

    def _relocate(self, section: Section) -> _Code:
        code = _Code(bytearray(section.data))
        relocated = set()
        for relocation in self._file.relocations(section):
            if relocation.offset % 8:
                raise self._file.error(f"a relocation at byte {relocation.offset}, inside an instruction", section)
            if self._functions.at(section.index, relocation.offset) is None:
                continue  # between functions, where nothing runs
            relocated.add(relocation.offset)
            symbol = self._file.symbols[relocation.symbol]
            opcode = section.data[relocation.offset]
            if opcode == op.OP_CALL:
                self._relocate_call(section, code, relocation, symbol)
            elif opcode == op.OP_LDDW and relocation.offset + 16 <= section.size:
                self._relocate_load(section, code, relocation, symbol)
            else:
                raise self._error(section, relocation.offset, "a relocation of an instruction that takes none")
        self._find_local_references(section, code, relocated)
        code.references.sort()
        return code

    def _relocate_call(self, section: Section, code: _Code, relocation: Relocation, symbol: Symbol) -> None:
        at = relocation.offset
        if symbol.is_undefined:
            index = self._extern(symbol, is_function=True)
            _set_reference(code.text, at, op.CALL_KFUNC, index)
            return
        # In place stands the distance in slots from the symbol, less one: -1 for the symbol itself.
        (imm,) = _IMM.unpack_from(section.data, at + 4)
        addend = relocation.addend if relocation.addend is not None else 8 * (imm + 1)
        self._refer(section, code, at, symbol, symbol.value + addend, op.CALL_LOCAL)

    def _relocate_load(self, section: Section, code: _Code, relocation: Relocation, symbol: Symbol) -> None:
        at = relocation.offset
        low, high = _IMM.unpack_from(section.data, at + 4)[0], _IMM.unpack_from(section.data, at + 12)[0]
        addend = relocation.addend if relocation.addend is not None else (high << 32 | low & 0xFFFFFFFF)
        place = symbol.value + addend
        if symbol.is_undefined:
            self._load_extern(code, at, symbol, addend)
        elif (data := self._maps.data(symbol.section)) is not None:
            if not 0 <= place <= self._maps.placed[data].size:
                raise self._error(section, at, f"{symbol.name or 'a place'!r} lies outside its data section")
            _set_reference(code.text, at, op.LDDW_MAP_INDEX_VALUE, data, place)
        elif self._maps.holds(symbol.section):
            index = self._maps.at(symbol.section, place)
            if index is None:
                holder = self._file.sections[symbol.section].name
                raise self._error(section, at, f"{symbol.name or 'a place'!r} in section {holder!r} is no map")
            _set_reference(code.text, at, op.LDDW_MAP_INDEX, index)
        else:
            self._refer(section, code, at, symbol, place, op.LDDW_FUNCTION)

    def _refer(self, section: Section, code: _Code, at: int, symbol: Symbol, place: int, source: int) -> None:
        """Note a reference to a function, to be resolved by linking."""
        if self._functions.at(symbol.section, place) is None:
            defined = symbol.section < len(self._file.sections)
            inside = repr(self._file.sections[symbol.section].name) if defined else "no section"
            raise self._error(
                section,
                at,
                f"refers to {symbol.name!r} (byte {place} of {inside}), which is no function, map or variable",
            )
        _set_reference(code.text, at, source, 0)
        code.references.append((at, symbol.section, place))

    def _find_local_references(self, section: Section, code: _Code, relocated: set[int]) -> None:
        """Note calls and function addresses that the assembler resolved itself: distances within the section."""
        opcodes = section.data[::8]
        for opcode, source in ((op.OP_CALL, op.CALL_LOCAL), (op.OP_LDDW, op.LDDW_FUNCTION)):
            slot = opcodes.find(opcode)
            while slot >= 0:
                at = slot * 8
                is_reference = section.data[at + 1] >> 4 == source and at not in relocated
                if is_reference and self._functions.at(section.index, at) is not None:
                    (imm,) = _IMM.unpack_from(section.data, at + 4)
                    place = 8 * (slot + 1 + imm)
                    if self._functions.at(section.index, place) is None:
                        raise self._error(section, at, f"calls slot {slot + 1 + imm}, where no function is")
                    code.references.append((at, section.index, place))
                slot = opcodes.find(opcode, slot + 1)

    def _load_extern(self, code: _Code, at: int, symbol: Symbol, addend: int) -> None:
        if symbol.name in self._kconfig:
            index, offset = self._kconfig[symbol.name]
            _set_reference(code.text, at, op.LDDW_MAP_INDEX_VALUE, index, offset + addend)
        elif symbol.is_weak:
            _set_reference(code.text, at, op.LDDW_IMMEDIATE, 0)
        else:
            _set_reference(code.text, at, op.LDDW_VARIABLE, self._extern(symbol, is_function=False))

    def _extern(self, symbol: Symbol, *, is_function: bool) -> int:
        index = self._extern_index.setdefault(symbol.name, len(self._externs))
        if index == len(self._externs):
            type_id, declared_function = self._extern_types.get(symbol.name, (0, is_function))
            self._externs.append(ExternSpec(symbol.name, declared_function, symbol.is_weak, type_id))
        return index

    def _called_functions(self) -> set[tuple[int, int]]:
        """Return (section, start) of every function that another one refers to."""
        called = set()
        for index, code in self._code.items():
            for at, section, place in code.references:
                caller, callee = self._functions.at(index, at), self._functions.at(section, place)
                if callee is not None and callee is not caller:
                    called.add((callee.section.index, callee.start))
        return called

    def is_called(self, function: Function) -> bool:
        """Whether another function of the file calls it or takes its address."""
        return (function.section.index, function.start) in self._called

    def link(self, function: Function, *, is_subprogram: bool) -> ProgramSpec:
        """Return the program that begins with ``function``."""
        bases = {(function.section.index, function.start): 0}
        end = (function.end - function.start) // 8
        order = [function]
        inner: dict[int, str] = {}  # entries in the middle of a linked function, by slot
        text = bytearray()
        patches = []
        for member in order:  # grows while it is walked
            base = bases[member.section.index, member.start]
            code = self._code[member.section.index]
            text += code.text[member.start : member.end]
            for at, section, place in code.references_between(member.start, member.end):
                callee = self._functions.at(section, place)
                if callee is None:
                    continue
                key = section, callee.start
                if key not in bases:
                    bases[key] = end
                    end += (callee.end - callee.start) // 8
                    order.append(callee)
                target = bases[key] + (place - callee.start) // 8
                if place != callee.start:
                    inner[target] = self._functions.label(callee.section, place)
                patches.append((base + (at - member.start) // 8, target))
            self._spend(function, member.end - member.start)
        for slot, target in patches:
            _IMM.pack_into(text, 8 * slot + 4, target - slot - 1)
        functions = [self._function_spec(member, bases[member.section.index, member.start]) for member in order]
        functions += [FunctionSpec(name, slot) for slot, name in inner.items()]
        functions.sort(key=lambda f: f.slot)
        lines, core = self._information(function, order, bases)
        return ProgramSpec(
            function.name, function.section.name, bytes(text), tuple(functions), lines, core,
            self._types.context_type(functions[0].btf_type), is_subprogram,
        )  # fmt: skip

    def _spend(self, function: Function, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            limit = 8 * len(self._file.data) + (1 << 20)
            raise self._file.error(
                f"linked with all that they call, the functions up to {function.name!r} take more than {limit} bytes; "
                "split the file",
                function.section,
            )

    def _function_spec(self, function: Function, slot: int) -> FunctionSpec:
        btf_type = self._types.function_type(function.section.name, function.start, function.name)
        return FunctionSpec(function.name, slot, btf_type, function.is_global)

    def _information(
        self, function: Function, order: list[Function], bases: dict[tuple[int, int], int]
    ) -> tuple[tuple[LineSpec, ...], tuple[CoreRelocation, ...]]:
        """Return the source lines and CO-RE relocations of the linked functions, by slot of the program."""
        btf = self._types.table
        lines: list[LineSpec] = []
        core: list[CoreRelocation] = []
        for member in order:
            info = self._types.info.get(member.section.name)
            if info is None:
                continue
            shift = bases[member.section.index, member.start] - member.start // 8
            first, last = info.lines.find(member.start), info.lines.find(member.end)
            self._spend(function, 64 * (last - first))
            for at, file, text, place in info.lines.between(first, last):
                lines.append(LineSpec(at // 8 + shift, self._source(btf, file, text, place)))
            first, last = info.core.find(member.start), info.core.find(member.end)
            self._spend(function, 64 * (last - first))
            for at, type_id, access, kind in info.core.between(first, last):
                core.append(CoreRelocation(at // 8 + shift, kind, type_id, btf.string(access)))
        return tuple(lines), tuple(core)

    def _source(self, btf: Btf, file: int, text: int, place: int) -> SourceLine:
        key = file, text, place
        if key not in self._lines:
            self._lines[key] = SourceLine(btf.string(file), place >> 10, place & 0x3FF, btf.string(text))
        return self._lines[key]

    def _error(self, section: Section, offset: int, reason: str) -> Exception:
        return self._file.error(reason, section, offset // 8)


def _set_reference(text: bytearray, at: int, source: int, imm: int, next_imm: int | None = None) -> None:
    """Write an instruction's source register and immediates; ``lddw`` gets its second one too."""
    text[at + 1] = text[at + 1] & 0x0F | source << 4
    _IMM.pack_into(text, at + 4, imm)
    if text[at] == op.OP_LDDW:
        struct.pack_into("<I", text, at + 12, (next_imm or 0) & 0xFFFFFFFF)


def _extern_types(btf: Btf) -> dict[str, tuple[int, bool]]:
    """Return (BTF id, whether it is a function) of each extern of ``.ksyms``."""
    section = btf.type(btf.find(_KSYMS, t.DataSection) or 0)
    if not isinstance(section, t.DataSection):
        return {}
    return {btf.type(v.type).name: (v.type, isinstance(btf.type(v.type), t.Function)) for v in section.variables}
