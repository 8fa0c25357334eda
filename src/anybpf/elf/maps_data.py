"""Global variables as maps: an array of one element for each data section, and one for the externs of ``.kconfig``."""

from __future__ import annotations

from anybpf.btf import Btf
from anybpf.btf import types as t
from anybpf.elf.file import SHT_NOBITS, SHT_PROGBITS, ElfFile
from anybpf.elf.maps import ARRAY, PlacedMap
from anybpf.errors import BtfError
from anybpf.spec import KconfigSpec, MapSpec

KCONFIG = ".kconfig"
_READ_ONLY_PROGRAM = 1 << 7  # the flag BPF_F_RDONLY_PROG
_LIMIT = 0xFFFFFFFF


def data_maps(file: ElfFile, btf: Btf) -> list[PlacedMap]:
    """Return a map for each ``.data*``, ``.rodata*`` and ``.bss*`` section that is not empty.

    :raises ObjectError: a section is larger than a map's value can be.
    """
    placed = []
    for section in file.sections:
        kind = section.name.split(".")[1] if section.name.startswith(".") else ""
        if kind not in ("data", "rodata", "bss") or section.type not in (SHT_PROGBITS, SHT_NOBITS) or section.size == 0:
            continue
        if section.size > _LIMIT:
            raise file.error(f"{section.size} bytes of data; a map value holds at most {_LIMIT}", section)
        described = btf.find(section.name, t.DataSection) or 0
        read_only = kind == "rodata"
        spec = MapSpec(
            section.name, ARRAY, 4, section.size, 1, _READ_ONLY_PROGRAM if read_only else 0, value_type=described,
            contents=section.data, is_data=True, read_only=read_only, section=section.name,
        )  # fmt: skip
        placed.append(PlacedMap(spec, section.index, 0, section.size))
    return placed


def kconfig_map(file: ElfFile, btf: Btf) -> PlacedMap | None:
    """Return the map of the ``.kconfig`` externs, None when there are none.

    The variables are laid out by falling alignment, then size, then name, as libbpf does; values come from the machine.
    """
    section_id = btf.find(KCONFIG, t.DataSection) or 0
    declared = btf.type(section_id)
    if not isinstance(declared, t.DataSection):
        return None
    weak = {symbol.name for symbol in file.symbols if symbol.is_undefined and symbol.is_weak}
    found = []
    for held in declared.variables:
        variable = btf.type(held.type)
        if not isinstance(variable, t.Variable):
            raise BtfError(f"{variable.name!r} is no variable", section=KCONFIG)
        size = btf.size_of(variable.type)
        found.append((max(btf.alignment_of(variable.type), 1), size, variable.name, held.type))
    variables = []
    end = 0
    for alignment, size, name, type_id in sorted(found, key=lambda v: (-v[0], v[1], v[2])):
        end += -end % alignment
        variables.append(KconfigSpec(name, end, size, name in weak, type_id))
        end += size
    if not 0 < end <= _LIMIT:
        raise BtfError(f"{end} bytes of variables", section=KCONFIG)
    spec = MapSpec(
        KCONFIG, ARRAY, 4, end, 1, _READ_ONLY_PROGRAM, value_type=section_id, contents=b"", is_data=True,
        read_only=True, section=KCONFIG, kconfig=tuple(variables),
    )  # fmt: skip
    return PlacedMap(spec, -1, 0, end)
