"""The .BTF.ext section: which function, source line and CO-RE relocation belongs to which instruction.

Offsets are bytes from the start of an ELF section, as in the file (Linux Documentation/bpf/btf.rst §4.2).
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from anybpf.btf.table import MAGIC, Btf
from anybpf.btf.types import Function
from anybpf.errors import BtfError

_HEADER = struct.Struct("<HBBIIIII")
_CORE_HEADER = struct.Struct("<II")
_BLOCK = struct.Struct("<II")


class Records:
    """Records of four 32-bit numbers, kept in 16 bytes each as in the file; once sorted, they ascend by the first."""

    def __init__(self) -> None:
        self._words = array("I")

    def extend(self, records: Iterable[tuple[int, ...]]) -> None:
        """Add records at the end."""
        for record in records:
            self._words.extend(record)

    def sort(self) -> None:
        """Put the records in order, which compilers have done already."""
        starts = self._words[::4]
        if any(one > other for one, other in pairwise(starts)):
            everything = sorted(self.between(0, len(self)), key=lambda record: record[0])
            self._words = array("I", (word for record in everything for word in record))

    def __len__(self) -> int:
        """The number of records."""
        return len(self._words) // 4

    def find(self, start: int) -> int:
        """Return the index of the first record whose first number is at least ``start``."""
        return bisect_left(range(len(self)), start, key=lambda index: self._words[4 * index])

    def between(self, first: int, last: int) -> Iterator[tuple[int, int, int, int]]:
        """Iterate over the records with index ``first`` to ``last - 1``."""
        words = iter(self._words[4 * first : 4 * last])
        return zip(words, words, words, words, strict=True)


@dataclass(frozen=True, slots=True)
class SectionInfo:
    """What .BTF.ext says about one ELF section.

    :param functions: id of the FUNC by byte offset of its first instruction.
    :param lines: (byte offset, file name, line text, line << 10 | column), the two texts as string offsets.
    :param core: (byte offset, root type, string offset of the access, kind).
    """

    functions: dict[int, int] = field(default_factory=dict)
    lines: Records = field(default_factory=Records)
    core: Records = field(default_factory=Records)


def parse_extension(data: bytes, btf: Btf) -> dict[str, SectionInfo]:
    """Return what the bytes of a .BTF.ext section say, by ELF section name.

    :param btf: the .BTF section beside it, which holds the strings.
    :raises BtfError: it is malformed.
    """
    if len(data) < _HEADER.size:
        raise BtfError(".BTF.ext is cut short")
    magic, version, _, header_size, func_offset, func_size, line_offset, line_size = _HEADER.unpack_from(data)
    if magic != MAGIC or version != 1 or header_size < _HEADER.size or header_size > len(data):
        raise BtfError(".BTF.ext has no valid header; rebuild the object with clang -g")
    core_offset = core_size = 0
    if header_size >= _HEADER.size + _CORE_HEADER.size:
        core_offset, core_size = _CORE_HEADER.unpack_from(data, _HEADER.size)
    found: dict[str, SectionInfo] = {}

    def section(name_offset: int) -> SectionInfo:
        return found.setdefault(btf.string(name_offset), SectionInfo())

    for name, records in _blocks(data, header_size + func_offset, func_size, 2, "function"):
        section(name).functions.update((r[0], r[1]) for r in records)
    for name, records in _blocks(data, header_size + line_offset, line_size, 4, "line"):
        section(name).lines.extend(records)
    for name, records in _blocks(data, header_size + core_offset, core_size, 4, "CO-RE"):
        section(name).core.extend(records)
    for info in found.values():
        info.lines.sort()
        info.core.sort()
        for type_id in info.functions.values():
            if not isinstance(btf.type(type_id), Function):
                raise BtfError(f"the function information of .BTF.ext names type {type_id}, which is no function")
    return found


def _blocks(
    data: bytes, start: int, size: int, words: int, what: str
) -> Iterator[tuple[int, Iterator[tuple[int, ...]]]]:
    """Yield (string offset of the ELF section's name, records) for each block of one kind of information."""
    if size == 0:
        return
    end = start + size
    if size < 4 or end > len(data):
        raise BtfError(f"the {what} information of .BTF.ext lies outside the section")
    (record_size,) = struct.unpack_from("<I", data, start)
    if record_size < 4 * words or record_size % 4:
        raise BtfError(f"the {what} information of .BTF.ext has records of {record_size} bytes, not {4 * words}")
    record = struct.Struct(f"<{words}I{record_size - 4 * words}x")
    position = start + 4
    while position < end:
        if position + _BLOCK.size > end:
            raise BtfError(f"the {what} information of .BTF.ext is cut short")
        name, count = _BLOCK.unpack_from(data, position)
        position += _BLOCK.size
        block_end = position + count * record_size
        if count == 0 or block_end > end:
            raise BtfError(f"a block of {count} records of {what} information does not fit into .BTF.ext")
        yield name, record.iter_unpack(data[position:block_end])
        position = block_end
