"""The disassembler and the assembler: LLVM's syntax out, the same bytes back in."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybpf.errors import AssemblyError, InstructionError
from anybpf.isa import (
    FORMS,
    Instruction,
    Symbols,
    assemble,
    decode,
    disassemble,
    encode,
    format_instruction,
    listing,
)
from anybpf.isa import opcodes as op
from anybpf.spec import ExternSpec, FunctionSpec, LineSpec, MapSpec, ObjectSpec, ProgramSpec, SourceLine

#: Encodings (hexadecimal, as llvm-objdump shows them) and the text that LLVM prints; for references without one, ours.
KNOWN = [
    ("0f10000000000000", "r0 += r1"),
    ("0701000005000000", "r1 += 5"),
    ("1402000005000000", "w2 -= 5"),
    ("bc21000000000000", "w1 = w2"),
    ("b700000000000000", "r0 = 0"),
    ("b4000000ffffffff", "w0 = -1"),
    ("c701000003000000", "r1 s>>= 3"),
    ("6701000020000000", "r1 <<= 32"),
    ("3f10010000000000", "r0 s/= r1"),
    ("3f10000000000000", "r0 /= r1"),
    ("9c10010000000000", "w0 s%= w1"),
    ("bf21080000000000", "r1 = (s8)r2"),
    ("bf21200000000000", "r1 = (s32)r2"),
    ("bc21100000000000", "w1 = (s16)w2"),
    ("8700000000000000", "r0 = -r0"),
    ("8403000000000000", "w3 = -w3"),
    ("dc00000010000000", "r0 = be16 r0"),
    ("d400000040000000", "r0 = le64 r0"),
    ("d700000020000000", "r0 = bswap32 r0"),
    ("2d32000000000000", "if r2 > r3 goto +0"),
    ("5501000000000000", "if r1 != 0 goto +0"),
    ("c6010000f6ffffff", "if w1 s< -10 goto +0"),
    ("4d21000000000000", "if r1 & r2 goto +0"),
    ("0500000000000000", "goto +0"),
    ("0600000000000000", "gotol +0"),
    ("e500000000000000", "may_goto +0"),
    ("850000000c000000", "call 12"),
    ("8510000000000000", "call pc+0"),
    ("8520000007000000", "call kfunc[7]"),
    ("8d02000000000000", "callx r2"),
    ("9500000000000000", "exit"),
    ("6110040000000000", "r0 = *(u32 *)(r1 + 4)"),
    ("71a9000000000000", "r9 = *(u8 *)(r10 + 0)"),
    ("9110fcff00000000", "r0 = *(s8 *)(r1 - 4)"),
    ("7b1af8ff00000000", "*(u64 *)(r10 - 8) = r1"),
    ("7a0af8ff00000080", "*(u64 *)(r10 - 8) = -2147483648"),
    ("6b2a000000000000", "*(u16 *)(r10 + 0) = r2"),
    ("db21000000000000", "lock *(u64 *)(r1 + 0) += r2"),
    ("c321000050000000", "lock *(u32 *)(r1 + 0) &= w2"),
    ("db21000001000000", "r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)"),
    ("c3210000a1000000", "w2 = atomic_fetch_xor((u32 *)(r1 + 0), w2)"),
    ("db210000e1000000", "r2 = xchg_64(r1 + 0, r2)"),
    ("c3210000e1000000", "w2 = xchg32_32(r1 + 0, w2)"),
    ("db210000f1000000", "r0 = cmpxchg_64(r1 + 0, r0, r2)"),
    ("c321fcfff1000000", "w0 = cmpxchg32_32(r1 - 4, w0, w2)"),
    ("db10000000010000", "r0 = load_acquire((u64 *)(r1 + 0))"),
    ("d310000000010000", "w0 = load_acquire((u8 *)(r1 + 0))"),
    ("db21000010010000", "store_release((u64 *)(r1 + 0), r2)"),
    ("cb21000010010000", "store_release((u16 *)(r1 + 0), w2)"),
    ("300000000c000000", "r0 = *(u8 *)skb[12]"),
    ("5010000000000000", "r0 = *(u8 *)skb[r1]"),
    ("4010000002000000", "r0 = *(u32 *)skb[r1 + 2]"),
    ("18010000887766550000000044332211", "r1 = 0x1122334455667788 ll"),
    ("18010000ffffffff00000000ffffffff", "r1 = 0xffffffffffffffff ll"),
    ("18110000050000000000000000000000", "r1 = map_fd[5] ll"),
    ("18210000050000000000000008000000", "r1 = map_fd_value[5] + 8 ll"),
    ("18310000020000000000000000000000", "r1 = variable[2] ll"),
    ("18410000ffffffff0000000000000000", "r1 = function[-1] ll"),
    ("18510000030000000000000000000000", "r1 = map[3] ll"),
    ("186100000300000000000000fcffffff", "r1 = map_value[3] - 4 ll"),
]


@st.composite
def programs(draw):
    """A random valid program: any forms with any operands, whose references all point to an instruction."""
    chosen = draw(st.lists(st.sampled_from(FORMS), min_size=1, max_size=12))
    starts, slots = [], 0
    for form in chosen:
        starts.append(slots)
        slots += 2 if form.opcode == op.OP_LDDW else 1
    text = []
    for form, start in zip(chosen, starts, strict=True):
        fields = dict(form.fixed)
        for name in sorted(form.fields):
            if name == form.target:
                fields[name] = draw(st.sampled_from(starts)) - start - 1
            elif name in ("dst", "src"):
                fields[name] = draw(st.integers(0, 9 if form.writes == name else 10))
            else:
                bits = 15 if name == "offset" else 31
                fields[name] = draw(st.integers(-(1 << bits), (1 << bits) - 1))
        text += [Instruction(form.opcode, **fields), *([None] if form.opcode == op.OP_LDDW else [])]
    return tuple(text)


@given(programs())
def test_valid_programs_survive_both_round_trips(text):
    """Decode undoes encode, and assemble undoes disassemble, for every valid instruction."""
    code = encode(text)
    assert decode(code, indirect_calls=True) == text
    assert assemble(listing(disassemble(text))) == code
    assert assemble("\n".join(line.text for line in disassemble(code))) == code


@pytest.mark.parametrize(("code", "text"), KNOWN, ids=[text for _, text in KNOWN])
def test_known_encodings(code, text):
    """Known encodings read as LLVM prints them, and the text assembles to the same bytes."""
    program = bytes.fromhex(code) + bytes.fromhex("9500000000000000")
    assert next(iter(disassemble(program))).text == text
    assert assemble(f"{text}\nexit") == program


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("r0=r1", "r0 = r1"),
        ("  r0   =   -5 ", "r0 = -5"),
        ("r1 += 0x10", "r1 += 16"),
        ("w1 = 0xffffffff", "w1 = -1"),
        ("if w1 == 0xfffffffe goto +0", "if w1 == -2 goto +0"),
        ("w0 = *(u32 *)(r1 + 4)", "r0 = *(u32 *)(r1 + 4)"),
        ("*(u8*)(r10 + -1)=w3", "*(u8 *)(r10 - 1) = r3"),
        ("*(u8 *)(r10 - 0x10) = 1", "*(u8 *)(r10 - 16) = 1"),
        ("r1 = 5 ll", "r1 = 0x5 ll"),
        ("r1 = -1 ll", "r1 = 0xffffffffffffffff ll"),
        ("r1 = map[counts#3] ll", "r1 = map[3] ll"),
        ("call bpf_map_lookup_elem#1", "call 1"),
        ("r0 = 1 ; comment", "r0 = 1"),
        ("r0 = 1 // comment", "r0 = 1"),
        ("r0 = 1 # comment", "r0 = 1"),
        ("     7:\tr0 = 1", "r0 = 1"),
        ("0000000000000000 <main>:\nr0 = 1", "r0 = 1"),
        ("goto +0 <main+0x8>", "goto +0"),
        ("if r1 < r2 goto +0 <main>", "if r1 < r2 goto +0"),
    ],
)
def test_other_spellings_are_understood(text, canonical):
    """Blanks, hexadecimal numbers, LLVM's 32-bit loads, names and comments are read as the canonical text is."""
    code = assemble(f"{text}\nexit")
    assert code == assemble(f"{canonical}\nexit")
    assert next(iter(disassemble(code))).text == canonical


def test_labels():
    """Labels name the next instruction, forwards and backwards, in jumps, local calls and function addresses."""
    code = assemble(
        """
        start: r1 = 0 ll          ; two slots
        if r1 == 0 goto done
        if w1 s> 3 goto start
        gotol done
        may_goto start
        call sub
        r2 = function[sub] ll
        goto start
        done:
        exit
        sub:
        r0 = 0
        exit
        """
    )
    assert [line.text for line in disassemble(code)] == [
        "r1 = 0x0 ll",
        "if r1 == 0 goto +7",
        "if w1 s> 3 goto -4",
        "gotol +5",
        "may_goto -6",
        "call pc+4",
        "r2 = function[+3] ll",
        "goto -10",
        "exit",
        "r0 = 0",
        "exit",
    ]


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        ("", 1, "holds no instruction"),
        ("; nothing but comment", 1, "holds no instruction"),
        ("exit\nr0 = r1 r2", 2, "not an instruction"),
        ("r0 += ", 1, "not an instruction"),
        ("mov r0, 1", 1, "not an instruction"),
        ("r0 = w1", 1, "not an instruction"),
        ("r0 = 5 lll", 1, "not an instruction"),
        ("r0 = \u0663", 1, "not an instruction"),
        (f"r0 = {'9' * 5000}", 1, "not an instruction"),
        ("exit\n\nr11 = 1", 3, "register 11 does not exist"),
        ("r10 = 1\nexit", 1, "r10 is the frame pointer"),
        ("r0 = 2147483648", 1, "does not fit in 32 bits"),
        ("w0 = 4294967296", 1, "does not fit in 32 bits"),
        ("r0 = 0x10000000000000000 ll", 1, "does not fit in 64 bits"),
        ("r0 = *(u8 *)(r1 + 32768)", 1, "does not fit in 16 bits"),
        ("r1 = be16 r2", 1, "the same register"),
        ("r1 = -r2", 1, "the same register"),
        ("r2 = xchg_64(r1 + 0, r3)", 1, "the same register"),
        ("r1 = cmpxchg_64(r1 + 0, r1, r2)", 1, "works on r0"),
        ("r3 = *(u8 *)skb[12]", 1, "works on r0"),
        ("goto nowhere\nexit", 1, "no label 'nowhere'"),
        ("call bpf_map_lookup_elem\nexit", 1, "called by number"),
        ("a: exit\na: exit", 2, "defined twice"),
        ("goto: exit", 1, "a word of the language"),
        ("r1: exit", 1, "a word of the language"),
        ("exit\ngoto +1", 2, "outside the program"),
        ("r1 = 0 ll\ngoto -2\nexit", 2, "second slot of an lddw"),
    ],
)
def test_assembly_errors_name_line_and_reason(source, line, reason):
    """What cannot be assembled is refused with the line's number and the reason."""
    with pytest.raises(AssemblyError, match=re.escape(reason)) as caught:
        assemble(source)
    assert caught.value.line == line


@given(st.text(alphabet=st.sampled_from("r01w+-=*/%&|^<>!s()[]u3264 gotocalx:;#_\n\t.") | st.characters(), max_size=60))
def test_any_text_is_refused_or_assembles(source):
    """Whatever the text, assemble gives a valid program or raises AssemblyError."""
    try:
        code = assemble(source)
    except AssemblyError:
        return
    assert encode(decode(code, indirect_calls=True)) == code


def example_object():
    """An object whose program calls a helper, a subprogram and a kernel function, with line information."""
    code = assemble("r1 = map[0] ll\ncall 1\ncall sub\ncall kfunc[0]\nexit\nsub: r0 = 0\nexit")
    lines = (
        LineSpec(0, SourceLine("count.c", 7, 3, "\tvalue = bpf_map_lookup_elem(&counts, &key);")),
        LineSpec(3, SourceLine("count.c", 8, 3, "\tsub();")),
        LineSpec(6, SourceLine("evil\n0: exit.h", 1, 1, "int x;\nexit")),
    )
    functions = (FunctionSpec("main", 0), FunctionSpec("sub", 6))
    program = ProgramSpec("main", "xdp", code, functions, lines)
    maps = (MapSpec("counts", 1, 4, 8, 16),)
    return ObjectSpec("count.o", (program,), maps, (ExternSpec("bpf_thing", True),)), program


def test_listing_has_names_and_source_lines():
    """A listing interleaves functions and source lines, names what is known, and assembles to the same bytes."""
    spec, program = example_object()
    symbols = Symbols.of(spec, program, {1: "bpf_map_lookup_elem"})
    text = listing(disassemble(program.code, symbols=symbols, program=program))
    assert text == (
        "<main>:\n; count.c:7\n; \tvalue = bpf_map_lookup_elem(&counts, &key);\n".replace("\t", " ")
        + "       0:\tr1 = map[counts#0] ll\n"
        "       2:\tcall bpf_map_lookup_elem#1\n"
        "; count.c:8\n"
        ";  sub();\n"
        "       3:\tcall pc+2 <sub>\n"
        "       4:\tcall kfunc[bpf_thing#0]\n"
        "       5:\texit\n"
        "<sub>:\n"
        "; evil 0: exit.h:1\n"
        "; int x; exit\n"
        "       6:\tr0 = 0\n"
        "       7:\texit\n"
    )
    assert assemble(text) == program.code


def test_lines_are_structured():
    """Each disassembled line carries its slot, its instruction, its function and its source line."""
    spec, program = example_object()
    lines = list(disassemble(decode(program.code), symbols=Symbols.of(spec, program), program=program))
    assert [line.slot for line in lines] == [0, 2, 3, 4, 5, 6, 7]
    assert [line.function for line in lines] == ["main", "", "", "", "", "sub", ""]
    assert lines[1].instruction == Instruction(op.OP_CALL, imm=1)
    assert lines[1].source.line == 7
    assert lines[2].source.line == 8


def test_hostile_names_do_not_reach_the_text():
    """A name that could pass for syntax is left out, so that a listing cannot be forged by a file."""
    code = assemble("r1 = map[0] ll\ncall pc+0\nexit")
    symbols = Symbols(maps=("x] ll\nexit",), functions={3: "f>\nexit <"})
    assert assemble(listing(disassemble(code, symbols=symbols))) == code


def test_disassembly_of_an_invalid_program_is_refused():
    """Bytes that do not decode raise before any line is produced."""
    with pytest.raises(InstructionError, match="instruction 0"):
        disassemble(b"\xff" * 8)
    with pytest.raises(InstructionError, match="unknown opcode 0xff"):
        format_instruction(Instruction(0xFF))


def clang(source, tmp_path):
    """Assemble ``source`` with clang, or skip; returns the bytes of the .text section."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    pytest.importorskip("ziglang", reason="no ziglang (the 'clang' extra) to compare with")
    path = tmp_path / "text.s"
    path.write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "ziglang", "clang", "--target=bpf", "-mcpu=v4", "-c", "text.s", "-o", "text.o"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    with (tmp_path / "text.o").open("rb") as file:
        return elffile.ELFFile(file).get_section_by_name(".text").data()


def test_clang_assembles_every_form_to_the_same_bytes(tmp_path):
    """For each form that LLVM's assembler knows, clang and this assembler give the same bytes for the same text."""
    # LLVM writes these references as relocations; for packet loads it has no immediate beside a register.
    ours = ("call pc", "call kfunc", "map", "variable", "function", "{displacement}")
    text = []
    for form in FORMS:
        if any(word in form.syntax for word in ours):
            continue
        for register, offset, imm in ((1, 0, 1), (9, -8, -1), (3, 0x7FFF, 0x7FFFFFFF)):
            values = {"dst": register, "src": 10 - register, "offset": offset, "imm": imm, "next_imm": -imm}
            fields = {name: values[name] for name in form.fields}
            if form.opcode == op.OP_JA32:  # LLVM's assembler takes longer distances from labels only
                fields["imm"] = offset
            text.append(Instruction(form.opcode, **fields, **form.fixed))
    source = "".join(format_instruction(instruction) + "\n" for instruction in text)
    expected = b"".join(encode((i, None) if i.is_wide else (i,)) for i in text)
    assert clang(source, tmp_path) == expected


@pytest.mark.corpus
def test_programs_of_real_objects_survive_disassembly(corpus):
    """Executable sections that clang made come back from text as the same bytes."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    seen = 0
    for path in sorted(corpus.glob("objects/**/*.o")):
        if path.stat().st_size > 100_000 or path.name == "invalid-lddw.o":
            continue
        with path.open("rb") as file:
            for section in elffile.ELFFile(file).iter_sections():
                if section["sh_type"] == "SHT_PROGBITS" and section["sh_flags"] & 4 and section["sh_size"]:
                    seen += 1
                    assert assemble(listing(disassemble(section.data()))) == section.data()
    assert seen > 100


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.syntax)
def test_every_form_has_a_text_of_its_own(form):
    """Each form's text assembles to that form and no other, so reading a text back is never a guess."""
    fields = dict.fromkeys(form.fields, 7) | ({form.target: -1} if form.target else {})
    instruction = Instruction(form.opcode, **fields, **form.fixed)
    assert decode(assemble(f"{format_instruction(instruction)}\nexit"), indirect_calls=True)[0] == instruction
