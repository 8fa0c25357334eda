"""Programs of object files: sections, names, linking of subprograms, relocations of code."""

import struct

import pytest

from anybpf import elf
from anybpf.errors import ObjectError
from anybpf.isa import decode
from anybpf.isa import opcodes as op
from anybpf.spec import ExternSpec, FunctionSpec
from btfwriter import EXTERN, STATIC, BtfWriter, ExtensionWriter
from elfwriter import (
    EXIT,
    LOCAL,
    R_BPF_64_32,
    R_BPF_NONE,
    WEAK,
    ElfWriter,
    call,
    helper,
    lddw,
    mov,
)

PASS = mov(0, 2) + EXIT


def instruction(code: bytes, slot: int) -> tuple[int, int, int]:
    """Return (opcode, source register, immediate) of a slot."""
    opcode, registers, _, imm = struct.unpack_from("<BBhi", code, 8 * slot)
    return opcode, registers >> 4, imm


def callees(spec, name: str) -> dict[int, str | None]:
    """Return the function that each local call or function address of a program refers to, by slot."""
    program = spec[name]
    found = {}
    for slot in range(program.slots):
        opcode, source, imm = instruction(program.code, slot)
        if (opcode, source) in ((op.OP_CALL, op.CALL_LOCAL), (op.OP_LDDW, op.LDDW_FUNCTION)):
            target = [f.name for f in program.functions if f.slot == slot + 1 + imm]
            found[slot] = target[0] if target else None
    return found


def test_one_program():
    """A function symbol in a section of its own is a program of that name, with its code unchanged."""
    writer = ElfWriter()
    writer.function("drop", writer.code("xdp", PASS), 0, 16)
    writer.section("license", b"GPL\0")
    writer.section("version", struct.pack("<I", 0x60612))
    spec = elf.parse(writer.bytes(), "drop.o")
    (program,) = spec
    assert (program.name, program.section, program.code, program.slots) == ("drop", "xdp", PASS, 2)
    assert program.functions == (FunctionSpec("drop", 0, 0, True),)
    assert not program.is_subprogram
    assert (spec.name, spec.license, spec.version, spec.btf, spec.maps) == ("drop.o", "GPL", 0x60612, None, ())


@pytest.mark.parametrize(
    "section", ["2/7", "classifier", "xdp_prog", "socket/1", "kprobe/sys_open", "1/0x1010", ".text"]
)
def test_section_without_function_symbols(section):
    """Code without function symbols is one program, named like its section, whatever that name is."""
    writer = ElfWriter()
    writer.symbol("entry", writer.code(section, PASS), 0)
    (program,) = elf.parse(writer.bytes(), "old.o")
    assert (program.name, program.section, program.code) == (section, section, PASS)


def test_several_programs_in_one_section():
    """Each function symbol of a section is a program of its own; symbols without a size end where the next begins."""
    writer = ElfWriter()
    section = writer.code("tc", PASS + mov(0, 1) + EXIT + mov(0, 3) + EXIT)
    writer.function("third", section, 32, 16)
    writer.function("first", section, 0, 0)
    writer.function("second", section, 16, 0)
    spec = elf.parse(writer.bytes(), "three.o")
    assert [(p.name, instruction(p.code, 0)[2], p.slots) for p in spec] == [
        ("first", 2, 2),
        ("second", 1, 2),
        ("third", 3, 2),
    ]


def test_equal_names_are_told_apart():
    """The second function of a name gets its section after an @, the third of them a number too."""
    writer = ElfWriter()
    writer.function("run", writer.code("xdp", PASS), 0, 16)
    tc = writer.code("tc", PASS + PASS)
    writer.function("run", tc, 0, 16)
    writer.function("run", tc, 16, 16)
    assert [p.name for p in elf.parse(writer.bytes(), "same.o")] == ["run", "run@tc", "run@tc#2"]


def subprogram_object(*, rela: bool = False, by_section: bool = False) -> ElfWriter:
    """Write an entry in ``xdp`` that calls ``outer`` in .text, which calls ``inner`` behind it."""
    writer = ElfWriter()
    text = writer.code(".text", call() + EXIT + mov(0, 7) + EXIT)
    writer.function("outer", text, 0, 16)
    inner = writer.function("inner", text, 16, 16)
    if by_section:
        whole = writer.section_symbol(text)
        xdp = writer.code("xdp", mov(1, 0) + call(-1) + EXIT)
        writer.relocate(xdp, 8, whole, R_BPF_64_32)
        text.data = call(16 // 8 - 1) + text.data[8:]
        writer.relocate(text, 0, whole, R_BPF_64_32)
    else:
        xdp = writer.code("xdp", mov(1, 0) + call(-1) + EXIT)
        addend = 0 if rela else None
        writer.relocate(xdp, 8, writer.symbols[1], R_BPF_64_32, addend)
        writer.relocate(text, 0, inner, R_BPF_64_32, addend)
    writer.function("entry", xdp, 0, 24)
    return writer


@pytest.mark.parametrize("form", [{}, {"rela": True}, {"by_section": True}])
def test_subprograms_are_linked(form):
    """A program carries every function that it reaches, and its calls lead to them, for each way of writing a call."""
    spec = elf.parse(subprogram_object(**form).bytes(), "calls.o")
    entry = spec["entry"]
    assert [(f.name, f.slot) for f in entry.functions] == [("entry", 0), ("outer", 3), ("inner", 5)]
    assert entry.code[8 * 5 :] == mov(0, 7) + EXIT
    assert callees(spec, "entry") == {1: "outer", 3: "inner"}
    decode(entry.code)


def test_subprograms_are_listed_after_entries():
    """Functions of .text beside programs, and functions that others call, follow the entries and say so."""
    spec = elf.parse(subprogram_object().bytes(), "calls.o")
    assert [(p.name, p.is_subprogram) for p in spec] == [("entry", False), ("outer", True), ("inner", True)]
    assert [f.name for f in spec["outer"].functions] == ["outer", "inner"]
    assert callees(spec, "outer") == {0: "inner"}


def test_text_alone_holds_programs():
    """Where .text is all there is, its functions are programs, except those that others call."""
    writer = ElfWriter()
    text = writer.code(".text", call() + EXIT + PASS)
    writer.function("main", text, 0, 16)
    writer.relocate(text, 0, writer.function("part", text, 16, 16), R_BPF_64_32)
    spec = elf.parse(writer.bytes(), "text.o")
    assert [(p.name, p.is_subprogram) for p in spec] == [("main", False), ("part", True)]


def test_calls_without_relocation():
    """A call that the assembler resolved within its section is linked like any other."""
    writer = ElfWriter()
    section = writer.code("xdp", call(1) + EXIT + PASS)
    writer.function("main", section, 0, 16)
    writer.function("part", section, 16, 16, LOCAL)
    spec = elf.parse(writer.bytes(), "local.o")
    assert callees(spec, "main") == {0: "part"}
    assert spec["part"].is_subprogram


def test_call_into_the_middle():
    """Without function symbols a call may lead into the middle of a section, which is then named by its label."""
    writer = ElfWriter()
    text = writer.code(".text", mov(0, 1) + EXIT + mov(0, 2) + EXIT)
    label = writer.symbol("second", text, 16)
    xdp = writer.code("xdp", call() + EXIT)
    writer.relocate(xdp, 0, label, R_BPF_64_32)
    spec = elf.parse(writer.bytes(), "middle.o")
    assert [(f.name, f.slot) for f in spec["xdp"].functions] == [("xdp", 0), (".text", 2), ("second", 4)]
    assert callees(spec, "xdp") == {0: "second"}


def test_recursive_functions_are_linked_once():
    """Functions that call each other are carried once each; whether they may is the verifier's business."""
    writer = ElfWriter()
    section = writer.code("xdp", call(1) + EXIT + call(-3) + EXIT)
    writer.function("one", section, 0, 16)
    writer.function("two", section, 16, 16)
    spec = elf.parse(writer.bytes(), "cycle.o")
    assert callees(spec, "one") == {0: "two", 2: "one"}
    assert spec["one"].slots == 4


def test_callbacks_are_linked():
    """The address of a function, as callbacks need it, counts from the slot after the lddw's first, as calls do."""
    writer = ElfWriter()
    text = writer.code(".text", PASS + PASS)
    first = writer.function("first", text, 0, 16, LOCAL)
    whole = writer.section_symbol(text)
    writer.function("second", text, 16, 16, LOCAL)
    xdp = writer.code("xdp", lddw(2) + lddw(3, 16) + EXIT)
    writer.function("entry", xdp, 0, 40)
    writer.relocate(xdp, 0, first)
    writer.relocate(xdp, 16, whole)
    spec = elf.parse(writer.bytes(), "callback.o")
    assert callees(spec, "entry") == {0: "first", 2: "second"}
    assert instruction(spec["entry"].code, 0) == (op.OP_LDDW, op.LDDW_FUNCTION, 4)


def test_undefined_function_becomes_an_extern():
    """A call of what nothing defines stays in its program as the call of an extern; other programs are whole."""
    writer = ElfWriter()
    xdp = writer.code("xdp", call() + EXIT)
    writer.function("bad", xdp, 0, 16)
    writer.relocate(xdp, 0, writer.undefined("bpf_map_lookup_elem"), R_BPF_64_32)
    writer.function("good", writer.code("tc", PASS), 0, 16)
    spec = elf.parse(writer.bytes(), "undefined.o")
    assert spec.externs == (ExternSpec("bpf_map_lookup_elem", is_function=True),)
    assert instruction(spec["bad"].code, 0) == (op.OP_CALL, op.CALL_KFUNC, 0)
    assert spec["good"].code == PASS


def test_externs_of_ksyms():
    """Externs keep their BTF types and weakness; the address of a weak variable is the constant 0."""
    btf = BtfWriter()
    u64 = btf.int("u64", 8)
    kfunc = btf.func("bpf_obj_new", btf.proto(u64), EXTERN)
    strong = btf.var("jiffies", u64, EXTERN)
    weak = btf.var("maybe", u64, EXTERN)
    btf.datasec(".ksyms", [(kfunc, 0, 0), (strong, 0, 8), (weak, 0, 8)])
    writer = ElfWriter()
    writer.section(".BTF", btf.bytes())
    xdp = writer.code("xdp", call() + lddw(1) + lddw(2) + call() + EXIT)
    writer.relocate(xdp, 0, writer.undefined("bpf_obj_new"), R_BPF_64_32)
    writer.relocate(xdp, 8, writer.undefined("jiffies"))
    writer.relocate(xdp, 24, writer.undefined("maybe", WEAK))
    writer.relocate(xdp, 40, writer.symbols[1], R_BPF_64_32)
    spec = elf.parse(writer.bytes(), "ksyms.o")
    assert spec.externs == (ExternSpec("bpf_obj_new", True, False, kfunc), ExternSpec("jiffies", False, False, strong))
    code = spec["xdp"].code
    assert [instruction(code, slot) for slot in (0, 1, 3, 5)] == [
        (op.OP_CALL, op.CALL_KFUNC, 0),
        (op.OP_LDDW, op.LDDW_VARIABLE, 1),
        (op.OP_LDDW, op.LDDW_IMMEDIATE, 0),
        (op.OP_CALL, op.CALL_KFUNC, 0),
    ]


def test_helper_calls_are_left_alone():
    """A call of a helper by number is no reference."""
    writer = ElfWriter()
    code = helper(7) + EXIT
    writer.function("main", writer.code("xdp", code), 0, 16)
    assert elf.parse(writer.bytes(), "helper.o")["main"].code == code


def object_with_lines() -> ElfWriter:
    """Write an entry and a subprogram, both with types, lines and a CO-RE record."""
    btf = BtfWriter()
    u32 = btf.int("unsigned int", 4)
    md = btf.struct("xdp_md", 8, [("data", u32, 0), ("data_end", u32, 32)])
    entry = btf.func("entry", btf.proto(u32, [("ctx", btf.ptr(btf.const(md)))]))
    part = btf.func("part", btf.proto(u32), STATIC)
    extension = ExtensionWriter(btf)
    extension.function("xdp", 0, entry)
    extension.function(".text", 16, part)
    extension.line("xdp", 0, "a.c", 10, 5, "  return part();")
    extension.line("xdp", 16, "a.c", 11, 1, "}")
    extension.line(".text", 0, "b.c", 1, 1, "int unused(void)")
    extension.line(".text", 24, "b.c", 7, 3, "return 2;")
    extension.relocation(".text", 16, md, "0:1", 0)
    writer = ElfWriter()
    text = writer.code(".text", PASS + PASS)
    xdp = writer.code("xdp", mov(1, 1) + call() + EXIT)
    writer.function("entry", xdp, 0, 24)
    writer.relocate(xdp, 8, writer.function("part", text, 16, 16, LOCAL), R_BPF_64_32)
    ext = extension.bytes()
    writer.section(".BTF", btf.bytes())
    writer.section(".BTF.ext", ext)
    return writer


def test_information_moves_with_the_code():
    """Source lines, function types and CO-RE records point at the slots that the linked code has."""
    entry = elf.parse(object_with_lines().bytes(), "lines.o")["entry"]
    assert [(f.name, f.slot, f.is_global) for f in entry.functions] == [("entry", 0, True), ("part", 3, False)]
    assert all(f.btf_type for f in entry.functions)
    assert [(line.slot, line.source.file, line.source.line) for line in entry.lines] == [
        (0, "a.c", 10),
        (2, "a.c", 11),
        (4, "b.c", 7),
    ]
    source = entry.source_at(4)
    assert source is not None
    assert (source.column, source.text) == (3, "return 2;")
    assert [(c.slot, c.kind, c.access) for c in entry.core] == [(3, 0, "0:1")]


def test_context_type_is_the_name_that_the_source_used():
    """The context's name is the struct's, or the typedef's when the program was written with one."""
    assert elf.parse(object_with_lines().bytes(), "lines.o")["entry"].context_type == "xdp_md"
    btf = BtfWriter()
    u32 = btf.int("u32", 4)
    md = btf.typedef("xdp_md_t", btf.struct("xdp_md_", 4, [("data", u32, 0)]))
    btf.func("windows", btf.proto(u32, [("ctx", btf.ptr(md))]))
    btf.func("opaque", btf.proto(u32, [("ctx", btf.ptr(0))]))
    writer = ElfWriter()
    writer.section(".BTF", btf.bytes())
    section = writer.code("xdp", PASS + PASS)
    writer.function("windows", section, 0, 16)
    writer.function("opaque", section, 16, 16)
    spec = elf.parse(writer.bytes(), "windows.o")
    assert [p.context_type for p in spec] == ["xdp_md_t", ""]


def test_relocations_that_mean_nothing_are_refused():
    """A relocation is refused, with section and slot, when it is misplaced or leads to no code or data."""
    cases = {
        "at byte 12, where no call": (12, "main", 1),
        "at byte 0, where no call": (0, "main", 1),
        "no function, map or variable": (8, "license", 1),
        "unknown type 77": (8, "main", 77),
    }
    for message, (offset, target, kind) in cases.items():
        writer = ElfWriter()
        xdp = writer.code("xdp", mov(0, 0) + lddw(1) + EXIT)
        symbols = {
            "main": writer.function("main", xdp, 0, 32),
            "license": writer.symbol("license", writer.section("license", b"x\0")),
        }
        writer.relocate(xdp, offset, symbols[target], kind)
        with pytest.raises(ObjectError, match=message) as caught:
            elf.parse(writer.bytes(), "bad.o")
        assert caught.value.file == "bad.o"


def test_relocation_of_type_none_is_ignored():
    """R_BPF_NONE changes nothing in code."""
    writer = ElfWriter()
    xdp = writer.code("xdp", PASS)
    writer.relocate(xdp, 0, writer.function("main", xdp, 0, 16), R_BPF_NONE)
    assert elf.parse(writer.bytes(), "none.o")["main"].code == PASS


def test_functions_outside_their_section_are_refused():
    """A function symbol that is misaligned or runs past its section is refused."""
    for value, size in ((4, 8), (0, 12), (8, 16), (16, 8)):
        writer = ElfWriter()
        writer.function("main", writer.code("xdp", PASS), value, size)
        with pytest.raises(ObjectError, match="function 'main'"):
            elf.parse(writer.bytes(), "bad.o")


def test_half_an_instruction_is_refused():
    """Code whose size is no multiple of 8 is refused."""
    writer = ElfWriter()
    writer.code("xdp", PASS + b"\0")
    with pytest.raises(ObjectError, match="whole number of instructions"):
        elf.parse(writer.bytes(), "half.o")


def test_linking_is_bounded():
    """Functions that each call the next would link to the square of their number; that is refused, not tried."""
    writer = ElfWriter()
    count = 4000
    text = writer.code("xdp", b"".join(call(1) + EXIT for _ in range(count - 1)) + PASS)
    for index in range(count):
        writer.function(f"f{index}", text, 16 * index, 16)
    with pytest.raises(ObjectError, match="split the file"):
        elf.parse(writer.bytes(), "chain.o")


def test_bare_instructions():
    """Instruction bytes alone make an object with one program; a fraction of an instruction does not."""
    spec = elf.from_instructions(PASS, "xdp", "raw")
    assert [(p.name, p.section, p.code) for p in spec] == [("raw", "xdp", PASS)]
    for code in (b"", PASS[:-1]):
        with pytest.raises(ObjectError, match="whole number"):
            elf.from_instructions(code, "xdp", "raw")
