"""Instructions: decode and encode (RFC 9669), assemble and disassemble (LLVM's syntax)."""

from anybpf.isa import opcodes
from anybpf.isa.codec import decode, encode, form_of, jump_target
from anybpf.isa.forms import FORMS, Form
from anybpf.isa.instruction import Instruction, Text

__all__ = (
    "FORMS",
    "Form",
    "Instruction",
    "Text",
    "decode",
    "encode",
    "form_of",
    "jump_target",
    "opcodes",
)
