"""Links every program with the subprograms that it calls.

A program's text is its own function first, then each function that it reaches, in the order of the first reference.
Calls get their distances; source lines, function types and CO-RE records move along with the code that they describe.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from anybpf.btf import Btf, SectionInfo
from anybpf.elf.file import ElfFile
from anybpf.elf.functions import Function, FunctionTable
from anybpf.elf.relocation import RelocatedCode
from anybpf.elf.types import ObjectTypes
from anybpf.spec import CoreRelocation, FunctionSpec, LineSpec, ProgramSpec, SourceLine

_IMM = struct.Struct("<i")
_RECORD_COST = 64  # bytes of memory that a source line or CO-RE record takes in a program


class Linker:
    """Makes programs of an object's functions.

    :param code: the relocated code by section.
    """

    def __init__(
        self, file: ElfFile, types: ObjectTypes, functions: FunctionTable, code: dict[int, RelocatedCode]
    ) -> None:
        self._file = file
        self._types = types
        self._functions = functions
        self._code = code
        self._lines: dict[tuple[int, int, int], SourceLine] = {}
        self._called = self._called_functions()
        # Many small functions that each call the next would link to the square of their size.
        self._limit = self._budget = 8 * len(file.data) + (1 << 20)

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
        """Return the program that begins with ``function``.

        :raises ObjectError: the programs of the file grow beyond all reason.
        """
        bases = {(function.section.index, function.start): 0}
        order = [function]
        end = (function.end - function.start) // 8
        inner: dict[int, str] = {}  # functions that begin in the middle of a linked one, by slot
        text = bytearray()
        calls: list[tuple[int, int]] = []
        for member in order:  # grows while it is walked
            self._spend(function, member.end - member.start)
            base = len(text) // 8
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
                calls.append((base + (at - member.start) // 8, target))
        for slot, target in calls:
            _IMM.pack_into(text, 8 * slot + 4, target - slot - 1)
        placed = [(member, bases[member.section.index, member.start]) for member in order]
        functions = [self._function_spec(member, slot) for member, slot in placed]
        functions += [FunctionSpec(name, slot) for slot, name in inner.items()]
        functions.sort(key=lambda f: f.slot)
        lines: list[LineSpec] = []
        core: list[CoreRelocation] = []
        for member, slot in placed:
            info = self._types.info.get(member.section.name)
            if info is not None:
                lines += self._lines_of(member, slot, info)
                core += self._core_of(member, slot, info)
        context_type = self._types.context_type(functions[0].btf_type)
        return ProgramSpec(
            function.name, function.section.name, bytes(text), tuple(functions), tuple(lines), tuple(core),
            context_type, is_subprogram,
        )  # fmt: skip

    def _spend(self, function: Function, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise self._file.error(
                f"linked with all that they call, the functions up to {function.name!r} take more than {self._limit} "
                "bytes; split the file",
                function.section,
            )

    def _function_spec(self, function: Function, slot: int) -> FunctionSpec:
        btf_type = self._types.function_type(function.section.name, function.start, function.name)
        return FunctionSpec(function.name, slot, btf_type, function.is_global)

    def _lines_of(self, function: Function, slot: int, info: SectionInfo) -> Iterator[LineSpec]:
        first, last = info.lines.find(function.start), info.lines.find(function.end)
        self._spend(function, _RECORD_COST * (last - first))
        for at, file, text, place in info.lines.between(first, last):
            yield LineSpec(slot + (at - function.start) // 8, self._source(self._types.table, file, text, place))

    def _core_of(self, function: Function, slot: int, info: SectionInfo) -> Iterator[CoreRelocation]:
        first, last = info.core.find(function.start), info.core.find(function.end)
        self._spend(function, _RECORD_COST * (last - first))
        for at, type_id, access, kind in info.core.between(first, last):
            yield CoreRelocation(slot + (at - function.start) // 8, kind, type_id, self._types.table.string(access))

    def _source(self, btf: Btf, file: int, text: int, place: int) -> SourceLine:
        key = file, text, place
        if key not in self._lines:
            self._lines[key] = SourceLine(btf.string(file), place >> 10, place & 0x3FF, btf.string(text))
        return self._lines[key]
