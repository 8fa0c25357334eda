"""Type information (BTF): what the types of an object or kernel are, and CO-RE relocations against them."""

from anybpf.btf.extension import SectionInfo, parse_extension
from anybpf.btf.table import EMPTY, Btf, load, with_section_sizes
from anybpf.btf.validation import check

__all__ = ("EMPTY", "Btf", "SectionInfo", "check", "load", "parse_extension", "with_section_sizes")
