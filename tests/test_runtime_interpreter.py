"""The interpreter, fast and checked: every instruction, calls, limits; random programs, on which all tiers agree."""

from __future__ import annotations

import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybpf.errors import ProgramFault
from anybpf.isa import FORMS, Form, Instruction, encode
from anybpf.isa import opcodes as op
from running import MASK, TIERS, program
from test_jit_instructions import CONDITIONS, EDGES, alu, instructions_of, taken

EXIT = Instruction(op.OP_EXIT)
ARITHMETIC = [f for f in FORMS if f.opcode & 7 in (op.CLASS_ALU, op.CLASS_ALU64)]
INTERPRETERS = ("checked", "interpreter")


@pytest.mark.parametrize("mode", INTERPRETERS)
@pytest.mark.parametrize("form", ARITHMETIC, ids=lambda form: form.syntax)
def test_arithmetic_equals_the_reference(form: Form, mode: str) -> None:
    """Each arithmetic form, on operands at the edges, leaves what RFC 9669 says."""
    instructions = instructions_of(form)
    text = [Instruction(0x79, 4, 1, 0), Instruction(0x79, 5, 1, 8)]
    for number, instruction in enumerate(instructions):
        text += [Instruction(0xBF, 2, 4), Instruction(0xBF, 3, 5), instruction]
        text.append(Instruction(0x7B, 1, 2, 16 + 8 * number))
    text += [Instruction(0xB7, 0), EXIT]
    loaded = program(encode(text))
    for number, a in enumerate(EDGES):
        for b in (*EDGES[number % 3 :: 3], 0, MASK):
            memory = struct.pack("<QQ", a, b) + bytes(8 * len(instructions))
            found = struct.unpack_from(f"<{len(instructions)}Q", loaded.test_run(memory, mode=mode).data, 16)
            assert found == tuple(alu(i, a, b) for i in instructions), (hex(a), hex(b))


@pytest.mark.parametrize("mode", INTERPRETERS)
@pytest.mark.parametrize("form", CONDITIONS, ids=lambda form: form.syntax)
def test_conditions_equal_the_reference(form: Form, mode: str) -> None:
    """Each conditional jump, on operands at the edges, goes where RFC 9669 says."""
    instructions = [Instruction(i.opcode, i.dst, i.src, 1, i.imm) for i in instructions_of(form)]
    text = [Instruction(0x79, 2, 1, 0), Instruction(0x79, 3, 1, 8)]
    for number, instruction in enumerate(instructions):
        text += [Instruction(0xB7, 4, 0, 0, 1), instruction, Instruction(0xB7, 4)]
        text.append(Instruction(0x73, 1, 4, 16 + number))
    text += [Instruction(0xB7, 0), EXIT]
    loaded = program(encode(text))
    for number, a in enumerate(EDGES):
        for b in (*EDGES[number % 5 :: 5], a, (a + 1) & MASK):
            memory = struct.pack("<QQ", a, b) + bytes(len(instructions))
            found = loaded.test_run(memory, mode=mode).data[16:]
            assert list(found) == [taken(i, a, b) for i in instructions], (hex(a), hex(b))


@pytest.mark.parametrize("mode", TIERS)
def test_memory_accesses_of_every_width(mode: str) -> None:
    """Loads extend with zeros or the sign; stores write their width and nothing else; addresses need no alignment."""
    source = """
        r2 = *(u8 *)(r1 + 1)
        r3 = *(s8 *)(r1 + 1)
        r4 = *(u16 *)(r1 + 1)
        r5 = *(s16 *)(r1 + 1)
        *(u64 *)(r1 + 16) = r2
        *(u64 *)(r1 + 24) = r3
        *(u64 *)(r1 + 32) = r4
        *(u64 *)(r1 + 40) = r5
        r2 = *(u32 *)(r1 + 1)
        r3 = *(s32 *)(r1 + 1)
        r4 = *(u64 *)(r1 + 1)
        *(u64 *)(r1 + 48) = r2
        *(u64 *)(r1 + 56) = r3
        *(u64 *)(r1 + 64) = r4
        *(u8 *)(r1 + 72) = r4
        *(u16 *)(r1 + 81) = r4
        *(u32 *)(r1 + 91) = r4
        *(u8 *)(r1 + 96) = -2
        *(u16 *)(r1 + 97) = -2
        *(u32 *)(r1 + 99) = -2
        *(u64 *)(r1 + 103) = -2
        r0 = 0
        exit
    """
    start = bytes.fromhex("00f1f2f3f4f5f6f7f8") + bytes(7)
    result = program(source).test_run(start + bytes(96), mode=mode).data
    value = 0xF8F7F6F5F4F3F2F1

    def extended(bits: int) -> int:
        return (value & (1 << bits) - 1) | MASK >> bits << bits

    expected = (value & 0xFF, extended(8), value & 0xFFFF, extended(16), value & 0xFFFFFFFF, extended(32), value)
    assert struct.unpack_from("<7Q", result, 16) == expected
    stores = bytes([0xF1, *bytes(8), 0xF1, 0xF2, *bytes(8), 0xF1, 0xF2, 0xF3, 0xF4, 0])
    assert result[72:96] == stores
    assert result[96:111] == b"\xfe" + b"\xfe\xff" + b"\xfe\xff\xff\xff" + b"\xfe" + b"\xff" * 7


@pytest.mark.parametrize("mode", TIERS)
def test_atomics_return_the_old_value(mode: str) -> None:
    """Fetching atomics return what was there; 32-bit ones touch four bytes and clear the upper half of the register."""
    source = """
        r2 = 5
        lock *(u64 *)(r1 + 0) += r2
        r2 = 3
        r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)
        *(u64 *)(r1 + 16) = r2
        r2 = 0xff
        w2 = atomic_fetch_xor((u32 *)(r1 + 8), w2)
        *(u64 *)(r1 + 24) = r2
        r2 = 0x77
        r2 = xchg_64(r1 + 0, r2)
        *(u64 *)(r1 + 32) = r2
        r0 = 0x77
        r2 = 0x99
        r0 = cmpxchg_64(r1 + 0, r0, r2)
        *(u64 *)(r1 + 40) = r0
        r0 = 0x77
        r0 = cmpxchg_64(r1 + 0, r0, r2)
        *(u64 *)(r1 + 48) = r0
        w2 = load_acquire((u16 *)(r1 + 8))
        *(u64 *)(r1 + 56) = r2
        store_release((u8 *)(r1 + 9), w2)
        r0 = 0
        exit
    """
    memory = struct.pack("<QQ", 10, 0xAABBCCDD_11223344) + bytes(48)
    data = program(source).test_run(memory, mode=mode).data
    assert struct.unpack("<8Q", data) == (
        0x99, 0xAABBCCDD_1122BBBB, 15, 0x11223344, 18, 0x77, 0x99, 0x33BB,
    )  # fmt: skip


def test_atomics_of_several_threads_lose_nothing() -> None:
    """Threads that add to one cell through different programs' runs, each in its own cpu slot, lose no addition."""
    source = """
        r3 = 0
    again:
        r2 = 1
        lock *(u64 *)(r1 + 0) += r2
        r4 = 1
        r4 = atomic_fetch_add((u64 *)(r1 + 8), r4)
        r3 += 1
        if r3 != 20000 goto again
        r0 = *(u64 *)(r1 + 0)
        exit
    """
    import anybpf
    from anybpf.runtime._engine import ffi, lib

    memory = ffi.new("uint64_t[2]")
    with anybpf.Context(cpus=4) as context:
        loaded = program(source, context=context)

        def run() -> None:
            state = ffi.new("ab_run *", {"mode": lib.AB_MODE_INTERPRETER, "repeat": 1})
            lib.ab_program_test(loaded.handle, ffi.NULL, ffi.cast("uint8_t *", memory), 16, state)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert list(memory) == [80_000, 80_000]


@pytest.mark.parametrize("mode", TIERS)
def test_calls_keep_the_callers_registers_and_frame(mode: str) -> None:
    """A local call returns r0, restores r6 to r9 and has a frame of its own; a pointer lets it write the caller's."""
    source = """
        r6 = 60
        *(u64 *)(r10 - 8) = 1
        *(u64 *)(r10 - 16) = 2
        r1 = r10
        r1 += -16
        r2 = 7
        call pc+5
        r0 += r6
        r1 = *(u64 *)(r10 - 16)
        r0 += r1
        r1 = *(u64 *)(r10 - 8)
        goto +5
        r6 = 1000
        *(u64 *)(r10 - 8) = r6
        *(u64 *)(r1 + 0) = r2
        r0 = r2
        exit
        r0 += r1
        exit
    """
    assert program(source).test_run(mode=mode).retval == 7 + 60 + 7 + 1


@pytest.mark.parametrize("mode", TIERS)
def test_calls_go_eight_frames_deep(mode: str) -> None:
    """Eight frames are allowed."""
    frames = ["call pc+1", "exit"] * 7 + ["r0 = 8", "exit"]
    assert program("\n".join(frames)).test_run(mode=mode).retval == 8


def test_a_ninth_frame_stops_the_program() -> None:
    """The checked interpreter reports calls that go deeper than any verified program's; the fast one stops."""
    source = "call pc-1\nexit"
    with pytest.raises(ProgramFault, match="too many calls"):
        program(source).test_run(mode="checked")
    assert program(source).test_run(mode="interpreter").retval == 0


@pytest.mark.parametrize("mode", TIERS)
def test_may_goto_ends_a_loop(mode: str) -> None:
    """may_goto falls through 8 Mi times and then jumps, so a loop around it ends."""
    source = """
        r0 = 0
    again:
        r0 += 1
        may_goto +1
        goto again
        exit
    """
    assert program(source).test_run(mode=mode).retval == 8 * 1024 * 1024 + 1


@pytest.mark.parametrize("mode", TIERS)
def test_long_jumps_and_wide_immediates(mode: str) -> None:
    """gotol reaches beyond 16 bits; lddw loads all 64 bits and counts as two slots in jumps."""
    filler = [Instruction(op.OP_JA)] * 40_000
    text = [
        Instruction(op.OP_JA32, imm=len(filler)),
        *filler,
        Instruction(op.OP_LDDW, 0, imm=-2, next_imm=0x12345678),
        None,
        Instruction(op.OP_JA, offset=2),
        Instruction(op.OP_LDDW, 0, imm=0),
        None,
        EXIT,
    ]
    assert program(encode(text)).test_run(mode=mode).retval == 0x12345678FFFFFFFE


REGISTERS = st.integers(0, 9)
OPERANDS = st.sampled_from(EDGES) | st.integers(0, MASK)


@st.composite
def texts(draw: st.DrawFn) -> list[Instruction | None]:
    """A program that ends: arithmetic on all registers, forward branches, loads and stores in r1's memory."""
    text: list[Instruction | None] = [Instruction(0xBF, 9, 1)]  # r9: the memory
    for register in range(9):
        value = draw(OPERANDS)
        low, high = (part - (1 << 32) if part >> 31 else part for part in (value & 0xFFFFFFFF, value >> 32))
        text += [Instruction(op.OP_LDDW, register, imm=low, next_imm=high), None]
    length = draw(st.integers(1, 60))
    targets = st.integers(0, length)
    body: list[Instruction] = []
    for position in range(length):
        kind = draw(st.integers(0, 9))
        dst, src = draw(st.integers(0, 8)), draw(st.integers(0, 8))
        imm = draw(st.integers(-(2**31), 2**31 - 1) | st.integers(-70, 70))
        if kind < 6:
            form = draw(st.sampled_from(ARITHMETIC))
            fixed = {name: value for name, value in form.fixed.items() if name in ("offset", "imm")}
            uses = form.fields
            body.append(
                Instruction(
                    form.opcode,
                    dst,
                    src if "src" in uses else 0,
                    fixed.get("offset", 0),
                    imm if "imm" in uses else fixed.get("imm", 0),
                )
            )
        elif kind < 8:
            form = draw(st.sampled_from(CONDITIONS))
            away = max(draw(targets) - position - 1, 0)
            body.append(
                Instruction(
                    form.opcode, dst, src if "src" in form.fields else 0, away, imm if "imm" in form.fields else 0
                )
            )
        else:
            size = draw(st.sampled_from(sorted(op.SIZE_BYTES)))
            place = draw(st.integers(0, 64 - op.SIZE_BYTES[size]))
            load = draw(st.booleans())
            opcode = (op.CLASS_LDX if load else op.CLASS_STX) | op.MODE_MEM | size
            body.append(Instruction(opcode, dst, 9, place) if load else Instruction(opcode, 9, src, place))
    text += body
    for register in range(1, 9):
        text.append(Instruction(0x0F, 0, register))
    return [*text, EXIT]


@settings(max_examples=120, deadline=None)
@given(texts(), st.binary(min_size=64, max_size=64))
def test_all_tiers_agree(text: list[Instruction | None], memory: bytes) -> None:
    """On random programs the checked and the fast interpreter and machine code leave the same r0 and memory."""
    with program(encode(text)) as loaded:
        results = [loaded.test_run(memory, mode=mode) for mode in TIERS]
    assert len({(r.retval, r.data) for r in results}) == 1
