"""Decoding and encoding: what is valid comes back unchanged, what is not is refused with slot and reason."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybpf.errors import InstructionError
from anybpf.isa import FORMS, Form, Instruction, decode, encode, form_of, jump_target
from anybpf.isa import opcodes as op

EXIT = Instruction(op.OP_EXIT)
EXIT_CODE = struct.pack("<BBhi", op.OP_EXIT, 0, 0, 0)


def slot(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    """The bytes of one slot, packed independently of the codec."""
    return struct.pack("<BBhi", opcode, src << 4 | dst, offset, imm)


def instruction_of(form: Form, **operands: int) -> Instruction:
    """An instruction of ``form``, with 1 in each operand field that is not given."""
    fields = {name: operands.get(name, 1) for name in form.fields}
    if form.target:
        fields[form.target] = operands.get(form.target, 0)
    return Instruction(form.opcode, **fields, **form.fixed)


def program_of(instruction: Instruction) -> tuple[Instruction | None, ...]:
    """A program with ``instruction`` at slot 0 and an exit behind it."""
    return (instruction, None, EXIT, EXIT) if instruction.is_wide else (instruction, EXIT, EXIT)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.syntax)
def test_every_form_survives_the_round_trip(form):
    """Encoding one instruction of each form and decoding it gives the same instruction, and finds the same form."""
    text = program_of(instruction_of(form))
    if form.target:
        text = program_of(instruction_of(form, **{form.target: 1}))
    assert decode(encode(text), indirect_calls=True) == text
    assert form_of(text[0]) is form


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.syntax)
def test_every_reserved_field_must_be_zero(form):
    """Each field that a form does not use is refused with any value that gives no other form of the opcode."""
    others = [other for other in FORMS if other.opcode == form.opcode]
    values = {"dst": range(1, 11), "src": range(1, 11), "offset": (1, 2, 7, 8, 16, 32, -1), "imm": (1, 16, 0x1F0, -1)}
    for name in values.keys() - form.fields:
        for value in values[name]:
            fields = {**form.fixed, name: value}
            if any(name in other.fields or dict(other.fixed) == fields for other in others):
                continue
            code = bytearray(encode(program_of(instruction_of(form))))
            wrong = Instruction(form.opcode, **{**dict.fromkeys(form.fields, 0), **fields})
            code[:8] = slot(wrong.opcode, wrong.dst, wrong.src, wrong.offset, wrong.imm)
            with pytest.raises(InstructionError) as caught:
                decode(bytes(code), indirect_calls=True)
            assert caught.value.index == 0


@pytest.mark.parametrize("form", [f for f in FORMS if f.writes], ids=lambda form: form.syntax)
def test_r10_is_never_written(form):
    """An instruction that writes a register refuses r10 there, whatever its class."""
    with pytest.raises(InstructionError, match="instruction 0: r10 is the frame pointer"):
        decode(encode(program_of(instruction_of(form, **{form.writes: 10}))))


@pytest.mark.parametrize("register", ["dst", "src"])
def test_registers_above_r10_do_not_exist(register):
    """Registers 11 to 15 are refused in every form that uses the field."""
    for form in FORMS:
        if register in form.fields:
            for number in range(11, 16):
                with pytest.raises(InstructionError, match=f"register r{number} does not exist"):
                    decode(encode(program_of(instruction_of(form, **{register: number}))))


def test_opcodes_are_those_of_the_standard():
    """The set of opcodes equals RFC 9669's, may_goto and callx included, and every other byte is refused as unknown."""
    arithmetic = {code << 4 | source | class_ for code in range(0xD) for source in (0, 8) for class_ in (4, 7)}
    arithmetic -= {0x8C, 0x8F}  # negation takes no source register
    swaps = {0xD4, 0xDC, 0xD7}
    compare = [*range(0x1, 0x8), *range(0xA, 0xE)]
    jumps = {code << 4 | source | class_ for code in compare for source in (0, 8) for class_ in (5, 6)}
    jumps |= {0x05, 0x06, 0x85, 0x8D, 0x95, 0xE5}
    memory = {0x61, 0x69, 0x71, 0x79, 0x62, 0x6A, 0x72, 0x7A, 0x63, 0x6B, 0x73, 0x7B, 0x81, 0x89, 0x91}
    atomic = {0xC3, 0xCB, 0xD3, 0xDB}
    loads = {0x18, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50}
    valid = arithmetic | swaps | jumps | memory | atomic | loads
    assert {form.opcode for form in FORMS} == valid
    for opcode in set(range(256)) - valid:
        with pytest.raises(InstructionError, match=f"instruction 0: unknown opcode {opcode:#04x}"):
            decode(slot(opcode) + EXIT_CODE)


@pytest.mark.parametrize(
    ("code", "index", "reason"),
    [
        (b"", None, "the program is empty"),
        (EXIT_CODE[:7], None, "7 bytes long"),
        (EXIT_CODE + b"\0", None, "9 bytes long"),
        (slot(0x07, 1, 0, 1, 5), 0, "takes offset 0, not 0x1"),  # r1 += 5 has no offset
        (slot(0x37, 1, 0, 2, 5), 0, "takes offset 0 or 1"),  # division: signed or not
        (slot(0xBF, 1, 2, 24), 0, "takes offset 0 or 8 or 16 or 32"),
        (slot(0xBC, 1, 2, 32), 0, "takes offset 0 or 8 or 16, not"),  # no 32-bit sign extension into 32 bits
        (slot(0xB7, 1, 0, 8, 5), 0, "takes offset 0"),  # an immediate is never sign-extended
        (slot(0xD7, 1, 0, 0, 8), 0, "takes immediate 16 or 32 or 64"),
        (slot(0xDF, 1, 0, 0, 16), 0, "unknown opcode 0xdf"),  # ALU64 END with the source bit is reserved
        (slot(0x99, 1, 2), 0, "unknown opcode 0x99"),  # a 64-bit load has no sign to extend
        (slot(0xC3, 1, 2, 0, 0x10), 0, "takes immediate 0 or 1 or 64"),
        (slot(0xD3, 1, 2, 0, 0x00), 0, "takes immediate 0x100 or 0x110"),  # atomic add of a byte
        (slot(0xCB, 1, 2, 0, 0xE1), 0, "takes immediate 0x100 or 0x110"),  # exchange of 16 bits
        (slot(0x85, 0, 3, 0, 1), 0, "takes source register field 0 or 1 or 2"),
        (slot(0x85, 0, 2, 4, 1), 0, "takes offset 0"),
        (slot(0xE5, 0, 1), 0, "takes source register field 0"),
        (slot(0x8D, 2), 0, "indirect calls"),
        (slot(0x07, 10, imm=1), 0, "r10 is the frame pointer"),
        (slot(0xBC, 10, 1), 0, "r10 is the frame pointer"),
        (slot(0xDC, 10, imm=16), 0, "r10 is the frame pointer"),
        (slot(0x79, 10, 1), 0, "r10 is the frame pointer"),
        (slot(0x91, 10, 1), 0, "r10 is the frame pointer"),
        (slot(0x18, 10), 0, "r10 is the frame pointer"),
        (slot(0xDB, 1, 10, imm=0x01), 0, "r10 is the frame pointer"),  # fetch-and-add returns in its source
        (slot(0xC3, 1, 10, imm=0xE1), 0, "r10 is the frame pointer"),
        (slot(0xDB, 10, 1, imm=0x100), 0, "r10 is the frame pointer"),
        (slot(0x18, 1, 7), 0, "takes source register field 0 or 1"),
        (EXIT_CODE + slot(0x18, 1), 1, "ends after the first"),
        (slot(0x18, 1) + EXIT_CODE, 1, "second slot of lddw"),
        (slot(0x18, 1) + slot(0, 1), 1, "second slot of lddw"),
        (slot(0x18, 1) + slot(0, 0, 0, 1), 1, "second slot of lddw"),
        (slot(0x18, 1, 1, 0, 3) + slot(0, imm=1) + EXIT_CODE, 1, "takes no second immediate"),
        (slot(0x18, 1, 5, 0, 3) + slot(0, imm=-1) + EXIT_CODE, 1, "takes no second immediate"),
    ],
)
def test_invalid_encodings_are_refused(code, index, reason):
    """Each rule has its own reason, and the slot of the offending instruction."""
    with pytest.raises(InstructionError, match=reason) as caught:
        decode(code)
    assert caught.value.index == index


BRANCHES = {
    "goto": Instruction(op.OP_JA, offset=99),
    "gotol": Instruction(op.OP_JA32, imm=99),
    "may_goto": Instruction(op.OP_MAY_GOTO, offset=99),
    "if": Instruction(op.CLASS_JMP32 | op.JMP_JEQ, dst=1, offset=99),
    "call": Instruction(op.OP_CALL, src=op.CALL_LOCAL, imm=99),
    "function": Instruction(op.OP_LDDW, dst=1, src=op.LDDW_FUNCTION, imm=99),
}


@pytest.mark.parametrize("kind", BRANCHES)
def test_targets_stay_inside_the_text(kind):
    """A jump, a local call or a function's address may reach the first and the last slot, none before or after it."""
    template = BRANCHES[kind]
    fields = {name: getattr(template, name) for name in ("opcode", "dst", "src", "offset", "imm")}
    field = form_of(template).target
    lead, tail = 3, (EXIT, EXIT)

    def program(distance):
        branch = Instruction(**{**fields, field: distance})
        return (EXIT,) * lead + ((branch, None) if branch.is_wide else (branch,)) + tail

    slots = len(program(0))
    for target in (0, slots - 1):
        text = program(target - lead - 1)
        assert jump_target(text[lead], lead) == target
        assert decode(encode(text)) == text
    for target in (-1, slots, -4000, 4000):
        with pytest.raises(InstructionError, match=f"instruction 3: target {target} is outside"):
            decode(encode(program(target - lead - 1)))


@pytest.mark.parametrize("kind", BRANCHES)
def test_targets_are_never_the_middle_of_lddw(kind):
    """No reference may point to the second slot of an lddw."""
    template = BRANCHES[kind]
    fields = {name: getattr(template, name) for name in ("opcode", "dst", "src")}
    branch = Instruction(**fields, **{form_of(template).target: -2})
    text = (Instruction(op.OP_LDDW, dst=1), None, branch, *((None,) if branch.is_wide else ()), EXIT)
    with pytest.raises(InstructionError, match="instruction 2: target 1 is the second slot of an lddw"):
        decode(encode(text))


def test_only_references_have_a_target():
    """jump_target is None for instructions that refer to no slot: helper calls, constants, arithmetic, exit."""
    for text in (
        Instruction(op.OP_CALL, imm=5),
        Instruction(op.OP_CALL, src=op.CALL_KFUNC, imm=5),
        Instruction(op.OP_LDDW, dst=1, imm=5),
        Instruction(op.CLASS_ALU64 | op.ALU_ADD, dst=1, imm=5),
        EXIT,
    ):
        assert jump_target(text, 10) is None


def test_text_is_indexed_by_slot():
    """The second slot of lddw is None, and its immediate is in the first slot's instruction, with its sign."""
    code = slot(0x18, 3, 0, 0, -2) + slot(0, imm=-1) + EXIT_CODE
    text = decode(code)
    assert text == (Instruction(0x18, 3, 0, 0, -2, -1), None, EXIT)
    assert text[0].imm64 == 0xFFFFFFFF_FFFFFFFE
    assert encode(text) == code


def test_indirect_calls_are_taken_on_request_only():
    """callx decodes only when the caller asks for it, and comes back unchanged."""
    code = slot(0x8D, 2) + EXIT_CODE
    with pytest.raises(InstructionError, match="instruction 0: indirect calls"):
        decode(code)
    assert encode(decode(code, indirect_calls=True)) == code


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ((Instruction(op.OP_LDDW),), 0),
        ((Instruction(op.OP_LDDW), EXIT), 1),
        ((EXIT, None), 1),
        ((EXIT, Instruction(0x07, dst=16)), 1),
        ((EXIT, Instruction(0x07, dst=-1)), 1),
        ((Instruction(0x07, imm=1 << 31),), 0),
        ((Instruction(0x05, offset=1 << 15),), 0),
        ((Instruction(256),), 0),
        ((Instruction(0x07, next_imm=1),), 0),
        ((Instruction(op.OP_LDDW, next_imm=1 << 31), None), 0),
    ],
)
def test_encode_refuses_what_bytes_cannot_hold(text, index):
    """A field that does not fit, and a misplaced second slot, are refused with their slot."""
    with pytest.raises(InstructionError) as caught:
        encode(text)
    assert caught.value.index == index


@given(st.data())
def test_any_bytes_are_refused_or_come_back(data):
    """Whatever the bytes, decode either raises InstructionError or gives a text that encodes to the same bytes."""
    opcodes = st.sampled_from(sorted({form.opcode for form in FORMS})) | st.integers(0, 255)
    small = st.sampled_from([0, 1, 2, 8, 16, 32, 64, 0xE1, 0x100, -1]) | st.integers(-(1 << 31), (1 << 31) - 1)
    field = st.integers(0, 15)
    offset = st.sampled_from([0, 0, 1, 8, -1]) | st.integers(-(1 << 15), (1 << 15) - 1)
    code = b"".join(slot(*data.draw(st.tuples(opcodes, field, field, offset, small))) for _ in range(3)) + EXIT_CODE
    try:
        text = decode(code)
    except InstructionError:
        return
    assert encode(text) == code


@pytest.mark.corpus
def test_executable_sections_of_real_objects_come_back(corpus):
    """Every executable section that clang made decodes, and encodes to the same bytes."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    sections = refused = 0
    for path in sorted(corpus.glob("objects/**/*.o")):
        with path.open("rb") as file:
            for section in elffile.ELFFile(file).iter_sections():
                if section["sh_type"] != "SHT_PROGBITS" or not section["sh_flags"] & 4 or not section["sh_size"]:
                    continue
                sections += 1
                try:
                    text = decode(section.data())
                except InstructionError:
                    refused += 1
                    assert path.name == "invalid-lddw.o"  # made to be refused
                else:
                    assert encode(text) == section.data()
    assert sections > 250
    assert refused == 1
