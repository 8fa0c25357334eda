"""From the bytes of a BPF object file to an :class:`~anybpf.spec.ObjectSpec`."""

from __future__ import annotations

import builtins
import os
from pathlib import Path

from anybpf.elf.file import ElfFile
from anybpf.elf.functions import Function, FunctionTable
from anybpf.elf.linker import Linker
from anybpf.elf.maps import MapTable, initial_members
from anybpf.elf.maps_btf import btf_maps
from anybpf.elf.maps_data import data_maps, kconfig_map
from anybpf.elf.maps_legacy import legacy_maps
from anybpf.elf.relocation import Relocator
from anybpf.elf.types import ObjectTypes
from anybpf.errors import BtfError, ObjectError
from anybpf.spec import FunctionSpec, ObjectSpec, ProgramSpec


def parse(data: bytes, name: str) -> ObjectSpec:
    """Return what an ELF object file of eBPF programs says.

    Programs that can be entry points come first, in the file's order; functions that others call, or that sit in
    ``.text`` beside programs in sections of their own, follow with ``is_subprogram`` set.

    :param data: the bytes of the file. :param name: its name, for messages.
    :raises ObjectError: it is no usable object; the message says what is wrong, where, and what to do.
    """
    try:
        return _parse(ElfFile(data, name))
    except BtfError as error:
        raise BtfError(error.reason, file=name, section=error.section or ".BTF") from None


def _parse(file: ElfFile) -> ObjectSpec:
    types = ObjectTypes(file)
    functions = FunctionTable(file)
    placed = btf_maps(file, types.table) + legacy_maps(file, types.table, functions) + data_maps(file, types.table)
    kconfig = kconfig_map(file, types.table)
    maps = MapTable(placed + ([kconfig] if kconfig else []))
    names = {(p.section, p.offset): p.spec.name for p in maps.placed if not p.spec.is_data}
    names.update({(f.section.index, f.start): f.name for f in reversed(functions.all)})
    maps = maps.with_values(initial_members(file, maps, names))
    relocator = Relocator(file, types.table, functions, maps)
    code = {section.index: relocator.relocate(section) for section in file.sections if section.is_code}
    linker = Linker(file, types, functions, code)
    entries: list[Function] = []
    subprograms: list[Function] = []
    has_sections = any(f.section.name != ".text" for f in functions.all)
    for function in functions.all:
        is_subprogram = linker.is_called(function) or (has_sections and function.section.name == ".text")
        (subprograms if is_subprogram else entries).append(function)
    programs = [linker.link(f, is_subprogram=False) for f in entries]
    programs += [linker.link(f, is_subprogram=True) for f in subprograms]
    return ObjectSpec(
        file.name, tuple(programs), maps.specs, relocator.externs, types.data, _license(file), _version(file)
    )


def open(path: str | os.PathLike[str]) -> ObjectSpec:
    """Read an object file and return what it says; see :func:`parse`.

    :raises ObjectError: the file cannot be read, or is no usable object.
    """
    try:
        with builtins.open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise ObjectError(f"cannot be read: {error.strerror or error}", file=str(path)) from None
    return parse(data, Path(path).name)


def from_instructions(code: bytes, section: str, name: str) -> ObjectSpec:
    """Return an object with one program, made of bare instructions.

    :param code: the instructions, 8 bytes a slot, little endian. :param section: the ELF section name that says what
        kind of program it is (``"xdp"``). :param name: the program's name, and the object's.
    :raises ObjectError: ``code`` is empty or no whole number of slots.
    """
    if not code or len(code) % 8:
        raise ObjectError(f"{len(code)} bytes are no whole number of 8-byte instructions", file=name)
    program = ProgramSpec(name, section, bytes(code), (FunctionSpec(name, 0),))
    return ObjectSpec(name, (program,))


def _license(file: ElfFile) -> str:
    section = file.section("license")
    return section.data.split(b"\0")[0].decode("utf-8", "backslashreplace") if section else ""


def _version(file: ElfFile) -> int:
    section = file.section("version")
    return int.from_bytes(section.data[:4], "little") if section else 0
