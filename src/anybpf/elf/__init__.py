"""Object files: from ELF to :class:`~anybpf.spec.ObjectSpec`."""

from anybpf.elf.object import from_instructions, open, parse

__all__ = ("from_instructions", "open", "parse")
