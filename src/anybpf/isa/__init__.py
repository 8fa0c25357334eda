"""Instructions: decode and encode (RFC 9669), assemble and disassemble (LLVM's syntax)."""

from anybpf.isa import opcodes
from anybpf.isa.assembler import assemble
from anybpf.isa.codec import decode, encode, form_of, jump_target
from anybpf.isa.disassembler import DisassembledLine, Symbols, disassemble, format_instruction, listing
from anybpf.isa.forms import FORMS, Form
from anybpf.isa.instruction import Instruction, Text

__all__ = (
    "FORMS",
    "DisassembledLine",
    "Form",
    "Instruction",
    "Symbols",
    "Text",
    "assemble",
    "decode",
    "disassemble",
    "encode",
    "form_of",
    "format_instruction",
    "jump_target",
    "listing",
    "opcodes",
)
