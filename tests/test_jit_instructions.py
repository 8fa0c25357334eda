"""Every instruction in machine code, against a reference written straight from RFC 9669."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybpf.errors import LoadError
from anybpf.isa import FORMS, Form, Instruction, encode
from anybpf.isa import opcodes as op
from anybpf.runtime.jit_bindings import Bindings
from anybpf.runtime.jit_symbols import CALL_BY_NUMBER
from machine_code import MASK, address, helper, program, run

EDGES = (
    0, 1, 2, 3, 7, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
    0x100000000, 0x123456789ABCDEF0, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFF80000000, MASK - 1, MASK,
)  # fmt: skip
IMMEDIATES = (0, 1, -1, 2, 3, 31, 33, 63, 65, 0x7FFFFFFF, -0x80000000, -100)
EXIT = Instruction(op.OP_EXIT)


def signed(value: int, bits: int) -> int:
    """Read the low bits as a two's complement number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def alu(instruction: Instruction, dst: int, src: int) -> int:
    """The new value of the destination (RFC 9669 §4.1, §4.2)."""
    bits = 64 if instruction.class_ == op.CLASS_ALU64 else 32
    mask = (1 << bits) - 1
    code = instruction.opcode & 0xF0
    if code == op.ALU_END:
        data = (dst & ((1 << instruction.imm) - 1)).to_bytes(instruction.imm // 8, sys.byteorder)
        order = "big" if instruction.opcode & op.SOURCE_X else "little"
        if bits == 64:
            order = "big" if sys.byteorder == "little" else "little"
        return int.from_bytes(data, order)
    a, b = dst & mask, (src if instruction.opcode & op.SOURCE_X else instruction.imm) & mask
    x, y = signed(a, bits), signed(b, bits)
    is_signed = instruction.offset == 1
    match code:
        case op.ALU_ADD:
            result = a + b
        case op.ALU_SUB:
            result = a - b
        case op.ALU_MUL:
            result = a * b
        case op.ALU_DIV if b == 0:
            result = 0
        case op.ALU_MOD if b == 0:
            result = a
        case op.ALU_DIV if is_signed:
            result = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        case op.ALU_MOD if is_signed:
            result = abs(x) % abs(y) * (-1 if x < 0 else 1)
        case op.ALU_DIV:
            result = a // b
        case op.ALU_MOD:
            result = a % b
        case op.ALU_OR:
            result = a | b
        case op.ALU_AND:
            result = a & b
        case op.ALU_XOR:
            result = a ^ b
        case op.ALU_LSH:
            result = a << (b & (bits - 1))
        case op.ALU_RSH:
            result = a >> (b & (bits - 1))
        case op.ALU_ARSH:
            result = x >> (b & (bits - 1))
        case op.ALU_NEG:
            result = -a
        case op.ALU_MOV:
            result = signed(b, instruction.offset) if instruction.offset else b
        case _:
            raise AssertionError(code)
    return result & mask


def taken(instruction: Instruction, dst: int, src: int) -> bool:
    """Whether a conditional jump is taken (RFC 9669 §4.3)."""
    bits = 64 if instruction.class_ == op.CLASS_JMP else 32
    mask = (1 << bits) - 1
    a, b = dst & mask, (src if instruction.opcode & op.SOURCE_X else instruction.imm) & mask
    x, y = signed(a, bits), signed(b, bits)
    return {
        op.JMP_JEQ: a == b, op.JMP_JNE: a != b, op.JMP_JGT: a > b, op.JMP_JGE: a >= b, op.JMP_JLT: a < b,
        op.JMP_JLE: a <= b, op.JMP_JSGT: x > y, op.JMP_JSGE: x >= y, op.JMP_JSLT: x < y, op.JMP_JSLE: x <= y,
        op.JMP_JSET: bool(a & b),
    }[instruction.opcode & 0xF0]  # fmt: skip


def instructions_of(form: Form) -> list[Instruction]:
    """The form with r2 and r3 as its registers and each of the immediates it may have."""
    fixed = dict(form.fixed)
    if "imm" in form.fields:
        return [Instruction(form.opcode, 2, fixed.get("src", 0), fixed.get("offset", 0), imm) for imm in IMMEDIATES]
    return [Instruction(form.opcode, 2, 3 if "src" in form.fields else 0, fixed.get("offset", 0), fixed.get("imm", 0))]


ARITHMETIC = [f for f in FORMS if f.opcode & 7 in (op.CLASS_ALU, op.CLASS_ALU64)]
CONDITIONS = [f for f in FORMS if "if " in f.syntax]


@pytest.mark.parametrize("form", ARITHMETIC, ids=lambda form: form.syntax)
def test_arithmetic_equals_the_reference(form: Form) -> None:
    """Each arithmetic form, on operands at the edges, leaves what RFC 9669 says."""
    instructions = instructions_of(form)
    pairs = [(a, b) for i, a in enumerate(EDGES) for b in (*EDGES[i % 3 :: 3], 0, MASK)]
    text = [Instruction(0xBF, 9, 1), Instruction(0xBF, 8, 1), Instruction(0x0F, 8, 2)]  # from r9 to r8
    width = 16 + 8 * len(instructions)
    loop = len(text)
    for number, instruction in enumerate(instructions):
        text += [Instruction(0x79, 2, 9, 0), Instruction(0x79, 3, 9, 8), instruction]
        text.append(Instruction(0x7B, 9, 2, 16 + 8 * number))
    text.append(Instruction(0x07, 9, 0, 0, width))
    text += [Instruction(0xAD, 9, 8, loop - len(text) - 1), EXIT]
    memory = bytearray().join(struct.pack("<QQ", *pair).ljust(width, b"\xaa") for pair in pairs)
    run(encode(text), memory)
    for row, (a, b) in enumerate(pairs):
        found = struct.unpack_from(f"<{len(instructions)}Q", memory, row * width + 16)
        assert found == tuple(alu(i, a, b) for i in instructions), (hex(a), hex(b), instructions)


@pytest.mark.parametrize("form", CONDITIONS, ids=lambda form: form.syntax)
def test_conditions_equal_the_reference(form: Form) -> None:
    """Each conditional jump, on operands at the edges, goes where RFC 9669 says."""
    instructions = [Instruction(i.opcode, i.dst, i.src, 1, i.imm) for i in instructions_of(form)]
    zero, one = Instruction(0xB7, 4, 0, 0, 0), Instruction(0xB7, 4, 0, 0, 1)
    pairs = [(a, b) for i, a in enumerate(EDGES) for b in (*EDGES[i % 5 :: 5], a, (a + 1) & MASK)]
    text = [Instruction(0xBF, 9, 1), Instruction(0xBF, 8, 1), Instruction(0x0F, 8, 2)]
    width = 16 + len(instructions)
    loop = len(text)
    for number, instruction in enumerate(instructions):
        text += [Instruction(0x79, 2, 9, 0), Instruction(0x79, 3, 9, 8), one, instruction, zero]
        text.append(Instruction(0x73, 9, 4, 16 + number))
    text.append(Instruction(0x07, 9, 0, 0, width))
    text += [Instruction(0xAD, 9, 8, loop - len(text) - 1), EXIT]
    memory = bytearray().join(struct.pack("<QQ", *pair).ljust(width, b"\xaa") for pair in pairs)
    run(encode(text), memory)
    for row, (a, b) in enumerate(pairs):
        found = memory[row * width + 16 : (row + 1) * width]
        assert list(found) == [taken(i, a, b) for i in instructions], (hex(a), hex(b), instructions)


@st.composite
def computations(draw: st.DrawFn) -> list[Instruction]:
    """Straight-line arithmetic over r0 and r2 to r5."""
    registers = st.sampled_from((0, 2, 3, 4, 5))
    forms = draw(st.lists(st.sampled_from(ARITHMETIC), min_size=1, max_size=30))
    text = []
    for form in forms:
        fixed = dict(form.fixed)
        src = draw(registers) if "src" in form.fields else fixed.get("src", 0)
        imm = draw(st.sampled_from(IMMEDIATES) | st.integers(-(2**31), 2**31 - 1)) if "imm" in form.fields else 0
        text.append(Instruction(form.opcode, draw(registers), src, fixed.get("offset", 0), fixed.get("imm", imm)))
    return text


@settings(max_examples=60, deadline=None)
@given(computations(), st.lists(st.sampled_from(EDGES) | st.integers(0, MASK), min_size=5, max_size=5))
def test_sequences_equal_the_reference(text: list[Instruction], values: list[int]) -> None:
    """Long chains of arithmetic, where forms of a value are reused and folded, still give the reference's registers."""
    loads = [Instruction(0x79, r, 1, 8 * n) for n, r in enumerate((0, 2, 3, 4, 5))]
    stores = [Instruction(0x7B, 1, r, 8 * n) for n, r in enumerate((0, 2, 3, 4, 5))]
    memory = bytearray(struct.pack("<5Q", *values))
    run(encode([*loads, *text, *stores, EXIT]), memory)
    registers = dict(zip((0, 2, 3, 4, 5), values, strict=True))
    for instruction in text:
        source = registers.get(instruction.src, 0)
        registers[instruction.dst] = alu(instruction, registers[instruction.dst], source)
    assert list(struct.unpack("<5Q", memory)) == [registers[r] for r in (0, 2, 3, 4, 5)]


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_loads_and_stores(bits: int) -> None:
    """Loads extend with zeros or the sign, stores write their own bytes only, at any alignment."""
    size = bits // 8
    content = 0x8182838485868788
    for offset in (0, 1, 3, 5):
        memory = bytearray(offset) + struct.pack("<Q", content) + bytes(24)
        signed_load = f"r3 = *(s{bits} *)(r1 + {offset})" if bits < 64 else f"r3 = *(u64 *)(r1 + {offset})"
        run(
            f"""
            r2 = *(u{bits} *)(r1 + {offset})
            {signed_load}
            *(u64 *)(r1 + {offset + 8}) = r2
            *(u64 *)(r1 + {offset + 16}) = r3
            r4 = 0x1122334455667788 ll
            *(u{bits} *)(r1 + {offset}) = r4
            *(u{bits} *)(r1 + {offset + 24 - size}) = -2
            exit""",
            memory,
        )
        low = content & ((1 << bits) - 1)
        stored = (0x1122334455667788 & ((1 << bits) - 1)).to_bytes(size, "little")
        assert memory[offset : offset + 8] == stored + struct.pack("<Q", content)[size:]
        assert struct.unpack_from("<Q", memory, offset + 8) == (low,)
        wide = struct.pack("<q", signed(low, bits))
        assert memory[offset + 16 : offset + 24] == wide[: 8 - size] + b"\xfe" + b"\xff" * (size - 1)


ATOMICS = {
    op.ATOMIC_ADD: lambda a, b: a + b, op.ATOMIC_OR: lambda a, b: a | b, op.ATOMIC_AND: lambda a, b: a & b,
    op.ATOMIC_XOR: lambda a, b: a ^ b,
}  # fmt: skip


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("code", ATOMICS)
@pytest.mark.parametrize("fetch", [0, op.ATOMIC_FETCH])
def test_atomic_arithmetic(code: int, fetch: int, bits: int) -> None:
    """The memory gets the sum (or, and, xor); with fetch the source gets what was there, zero-extended."""
    mask = (1 << bits) - 1
    before, operand = 0xF0F1F2F3F4F5F6F7, 0x8FFFFFFF8123456B
    memory = bytearray(struct.pack("<QQ", before, operand))
    size = op.SIZE_DW if bits == 64 else op.SIZE_W
    atomic = Instruction(op.CLASS_STX | op.MODE_ATOMIC | size, 1, 2, 0, code | fetch)
    r0 = run(encode([Instruction(0x79, 2, 1, 8), atomic, Instruction(0xBF, 0, 2), EXIT]), memory)
    after = ATOMICS[code](before & mask, operand & mask) & mask
    assert struct.unpack_from("<Q", memory) == ((before & ~mask) | after,)
    assert r0 == (before & mask if fetch else operand)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("equal", [True, False])
def test_exchanges(bits: int, equal: bool) -> None:
    """xchg swaps; cmpxchg stores only where r0 was there; both leave the old value, zero-extended."""
    mask = (1 << bits) - 1
    before, operand = 0xF0F1F2F3F4F5F6F7, 0x8FFFFFFF8123456B
    size = op.SIZE_DW if bits == 64 else op.SIZE_W
    opcode = op.CLASS_STX | op.MODE_ATOMIC | size
    memory = bytearray(struct.pack("<QQ", before, operand))
    load = Instruction(0x79, 2, 1, 8)
    text = [load, Instruction(opcode, 1, 2, 0, op.ATOMIC_XCHG), Instruction(0xBF, 0, 2), EXIT]
    assert run(encode(text), memory) == before & mask
    assert struct.unpack_from("<Q", memory) == ((before & ~mask) | (operand & mask),)
    expected = before if equal else before ^ 1
    memory = bytearray(struct.pack("<QQQ", before, operand, expected))
    text = [load, Instruction(0x79, 0, 1, 16), Instruction(opcode, 1, 2, 0, op.ATOMIC_CMPXCHG), EXIT]
    assert run(encode(text), memory) == before & mask
    assert struct.unpack_from("<Q", memory) == ((before & ~mask) | (operand & mask) if equal else before,)


@pytest.mark.parametrize("size", [op.SIZE_B, op.SIZE_H, op.SIZE_W, op.SIZE_DW])
def test_acquire_and_release(size: int) -> None:
    """load_acquire zero-extends what store_release wrote, at each size."""
    bits = 8 * op.SIZE_BYTES[size]
    opcode = op.CLASS_STX | op.MODE_ATOMIC | size
    memory = bytearray(struct.pack("<QQ", 0x1112131415161718, 0xA1A2A3A4A5A6A7A8))
    text = [
        Instruction(0x79, 2, 1, 8),
        Instruction(opcode, 1, 2, 0, op.ATOMIC_STORE_RELEASE),
        Instruction(opcode, 0, 1, 0, op.ATOMIC_LOAD_ACQUIRE),
        EXIT,
    ]
    low = (1 << bits) - 1
    assert run(encode(text), memory) == 0xA1A2A3A4A5A6A7A8 & low
    assert struct.unpack_from("<Q", memory) == ((0x1112131415161718 & ~low) | (0xA1A2A3A4A5A6A7A8 & low),)


@pytest.mark.parametrize("sign", ["<<=", ">>=", "s>>="])
def test_shifts_by_more_than_the_width_that_llvm_can_foresee(sign: str) -> None:
    """Amounts are taken modulo the width also where LLVM knows the amount and would call such a shift undefined."""
    source = "r0 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 0)\nr3 &= 0\nr3 |= 68\n"
    memory = struct.pack("<Q", 0x8000000000000123)
    for left, right, width in (("r0", "r3", 64), ("w0", "w3", 32)):
        instruction = program(f"{left} {sign} {right}\nexit").text[0]
        assert instruction is not None
        assert run(f"{source}{left} {sign} {right}\nexit", memory) == alu(instruction, 0x8000000000000123, 68), width


def test_may_goto_ends_an_endless_loop() -> None:
    """may_goto falls through 8 Mi times in one activation of a function, then jumps."""
    assert run("r0 = 0\nloop:\nmay_goto out\nr0 += 1\ngoto loop\nout:\nexit") == 8 * 1024 * 1024


def test_registers_start_at_zero() -> None:
    """A register that is read before it is written is 0, so that a run depends on its input alone."""
    assert run("r0 = r6\nr0 |= r3\nr0 |= r9\nr0 |= r0\nexit") == 0


def test_text_without_an_end_is_refused() -> None:
    """Code that can run past its last instruction never becomes machine code."""
    with pytest.raises(LoadError, match="run past instruction 1"):
        run(encode([Instruction(0xB7, 0), Instruction(0x07, 0)]))


def test_all_conformance_cases(conformance_cases: Path) -> None:
    """Every case of the public conformance suite gives its r0 in machine code."""
    unwind = helper(lambda *_: 0)
    bindings = Bindings(helpers={5: address(unwind)}, engine={CALL_BY_NUMBER: address(unwind)})
    wrong = []
    cases = json.loads(conformance_cases.read_text(encoding="utf-8"))
    for case in cases:
        found = run(program(bytes.fromhex(case["program"])), bytes.fromhex(case["memory"]), bindings)
        if found != int(case["result"], 16):
            wrong.append((case["name"], hex(found), case["result"]))
    assert not wrong
    assert len(cases) == 250
