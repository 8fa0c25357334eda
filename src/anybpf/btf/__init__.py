"""Type information (BTF): what the types of an object or kernel are.

:func:`load` and :func:`open` give a :class:`Btf`, which decodes types (:mod:`anybpf.btf.types`) when asked;
:mod:`anybpf.btf.core` fits programs to the types of another kernel.
"""

from anybpf.btf.extension import SectionInfo, parse_extension
from anybpf.btf.kernel import kernel, open
from anybpf.btf.table import EMPTY, Btf, load, with_section_sizes
from anybpf.btf.validation import check
from anybpf.btf.writer import write

__all__ = (
    "EMPTY",
    "Btf",
    "SectionInfo",
    "check",
    "kernel",
    "load",
    "open",
    "parse_extension",
    "with_section_sizes",
    "write",
)
