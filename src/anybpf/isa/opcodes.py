"""Numbers of the instruction set, named as in RFC 9669 §3–§5 (and, for later additions, as in Linux's headers)."""

from __future__ import annotations

from typing import Final

# Instruction classes (RFC 9669 §3.1): the low three bits of the opcode.
CLASS_LD: Final = 0x00
CLASS_LDX: Final = 0x01
CLASS_ST: Final = 0x02
CLASS_STX: Final = 0x03
CLASS_ALU: Final = 0x04
CLASS_JMP: Final = 0x05
CLASS_JMP32: Final = 0x06
CLASS_ALU64: Final = 0x07

# Source operand (§3.2): immediate or register.
SOURCE_K: Final = 0x00
SOURCE_X: Final = 0x08

# Arithmetic operations (§4.1): the high four bits.
ALU_ADD: Final = 0x00
ALU_SUB: Final = 0x10
ALU_MUL: Final = 0x20
ALU_DIV: Final = 0x30  # offset 1: signed
ALU_OR: Final = 0x40
ALU_AND: Final = 0x50
ALU_LSH: Final = 0x60
ALU_RSH: Final = 0x70
ALU_NEG: Final = 0x80
ALU_MOD: Final = 0x90  # offset 1: signed
ALU_XOR: Final = 0xA0
ALU_MOV: Final = 0xB0  # offset 8, 16, 32: sign-extending
ALU_ARSH: Final = 0xC0
ALU_END: Final = 0xD0

# Jumps (§4.3): the high four bits.
JMP_JA: Final = 0x00
JMP_JEQ: Final = 0x10
JMP_JGT: Final = 0x20
JMP_JGE: Final = 0x30
JMP_JSET: Final = 0x40
JMP_JNE: Final = 0x50
JMP_JSGT: Final = 0x60
JMP_JSGE: Final = 0x70
JMP_CALL: Final = 0x80
JMP_EXIT: Final = 0x90
JMP_JLT: Final = 0xA0
JMP_JLE: Final = 0xB0
JMP_JSLT: Final = 0xC0
JMP_JSLE: Final = 0xD0
JMP_JCOND: Final = 0xE0  # may_goto (Linux 6.8)

# Memory access sizes (§5): bits 3 and 4.
SIZE_W: Final = 0x00
SIZE_H: Final = 0x08
SIZE_B: Final = 0x10
SIZE_DW: Final = 0x18
SIZE_BYTES: Final = {SIZE_B: 1, SIZE_H: 2, SIZE_W: 4, SIZE_DW: 8}

# Memory access modes (§5): the high three bits.
MODE_IMM: Final = 0x00
MODE_ABS: Final = 0x20
MODE_IND: Final = 0x40
MODE_MEM: Final = 0x60
MODE_MEMSX: Final = 0x80
MODE_ATOMIC: Final = 0xC0

# Atomic operations (§5.3), in the immediate.
ATOMIC_ADD: Final = 0x00
ATOMIC_OR: Final = 0x40
ATOMIC_AND: Final = 0x50
ATOMIC_XOR: Final = 0xA0
ATOMIC_FETCH: Final = 0x01
ATOMIC_XCHG: Final = 0xE1
ATOMIC_CMPXCHG: Final = 0xF1
ATOMIC_LOAD_ACQUIRE: Final = 0x100  # Linux 6.14
ATOMIC_STORE_RELEASE: Final = 0x110

# Whole opcodes that other modules compare with.
OP_LDDW: Final = CLASS_LD | MODE_IMM | SIZE_DW  # 0x18
OP_CALL: Final = CLASS_JMP | JMP_CALL  # 0x85
OP_CALLX: Final = (
    CLASS_JMP | JMP_CALL | SOURCE_X
)  # 0x8d, calls the helper whose number a register holds; reserved in RFC 9669
OP_EXIT: Final = CLASS_JMP | JMP_EXIT  # 0x95
OP_JA: Final = CLASS_JMP | JMP_JA  # 0x05
OP_JA32: Final = CLASS_JMP32 | JMP_JA  # 0x06, gotol
OP_MAY_GOTO: Final = CLASS_JMP | JMP_JCOND  # 0xe5

# What the source register of lddw means (§5.4).
LDDW_IMMEDIATE: Final = 0
LDDW_MAP_FD: Final = 1
LDDW_MAP_VALUE: Final = 2
LDDW_VARIABLE: Final = 3
LDDW_FUNCTION: Final = 4
LDDW_MAP_INDEX: Final = 5
LDDW_MAP_INDEX_VALUE: Final = 6

# What the source register of call means (§4.3.1, §4.3.2).
CALL_HELPER: Final = 0
CALL_LOCAL: Final = 1
CALL_KFUNC: Final = 2

STACK_SIZE: Final = 512  # bytes of a frame
MAX_CALL_DEPTH: Final = 8  # frames
MAX_TAIL_CALLS: Final = 33
