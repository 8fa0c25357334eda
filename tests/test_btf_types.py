"""Tables of types: every kind decodes to what was written, queries answer, damage is refused."""

import struct
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybpf import btf
from anybpf.btf import types as t
from anybpf.errors import BtfError
from btfwriter import EXTERN, GLOBAL, STATIC, BtfWriter, ExtensionWriter
from kerneltypes import running_kernel


def every_kind() -> tuple[BtfWriter, dict[str, int]]:
    """Write a table with a type of every kind; return it with the ids."""
    w = BtfWriter()
    ids = {"int": w.int("int", 4, signed=True), "u64": w.int("u64", 8)}
    ids["float"] = w.float("double", 8)
    ids["ptr"] = w.ptr(ids["int"])
    ids["array"] = w.array(ids["u64"], 3, ids["int"])
    ids["union"] = w.struct("word", 8, [("whole", ids["u64"], 0), ("low", ids["int"], 0)], union=True)
    ids["struct"] = w.struct("pair", 16, [("first", ids["int"], 0), ("second", ids["union"], 64)])
    ids["bits"] = w.struct("bits", 4, [("a", ids["int"], 0, 3), ("b", ids["int"], 3, 29)])
    ids["enum"] = w.enum("colour", {"RED": 0, "BLUE": -2}, signed=True)
    ids["enum64"] = w.enum64("wide", {"BIG": 1 << 40, "TOP": (1 << 64) - 1})
    ids["fwd"] = w.fwd("later", union=True)
    ids["typedef"] = w.typedef("pair_t", ids["struct"])
    ids["const"] = w.const(ids["typedef"])
    ids["volatile"] = w.volatile(ids["const"])
    ids["restrict"] = w.restrict(ids["ptr"])
    ids["type_tag"] = w.type_tag("rcu", ids["int"])
    ids["proto"] = w.proto(ids["int"], [("a", ids["ptr"]), ("", 0)])
    ids["func"] = w.func("run", ids["proto"], STATIC)
    ids["var"] = w.var("counter", ids["array"], EXTERN)
    ids["datasec"] = w.datasec(".data", [(ids["var"], 8, 24)], 32)
    ids["decl_tag"] = w.decl_tag("user", ids["struct"], 1)
    return w, ids


def test_every_kind_decodes():
    """Each of the nineteen kinds comes back with the fields it was written with."""
    writer, i = every_kind()
    table = btf.load(writer.bytes())
    expected = {
        "int": t.Integer("int", 4, 32, 0, True),
        "float": t.Float("double", 8),
        "ptr": t.Pointer(i["int"]),
        "array": t.Array(i["u64"], i["int"], 3),
        "union": t.Struct("word", 8, (t.Member("whole", i["u64"], 0), t.Member("low", i["int"], 0)), True),
        "struct": t.Struct("pair", 16, (t.Member("first", i["int"], 0), t.Member("second", i["union"], 64))),
        "bits": t.Struct("bits", 4, (t.Member("a", i["int"], 0, 3), t.Member("b", i["int"], 3, 29))),
        "enum": t.Enum("colour", 4, (t.Enumerator("RED", 0), t.Enumerator("BLUE", -2)), True),
        "enum64": t.Enum("wide", 8, (t.Enumerator("BIG", 1 << 40), t.Enumerator("TOP", (1 << 64) - 1)), False, True),
        "fwd": t.Forward("later", True),
        "typedef": t.Typedef("pair_t", i["struct"]),
        "const": t.Modifier(i["typedef"], "const"),
        "volatile": t.Modifier(i["const"], "volatile"),
        "restrict": t.Modifier(i["ptr"], "restrict"),
        "type_tag": t.Modifier(i["int"], "type_tag", "rcu"),
        "proto": t.Prototype(i["int"], (t.Parameter("a", i["ptr"]), t.Parameter("", 0))),
        "func": t.Function("run", i["proto"], STATIC),
        "var": t.Variable("counter", i["array"], EXTERN),
        "datasec": t.DataSection(".data", 32, (t.SectionVariable(i["var"], 8, 24),)),
        "decl_tag": t.DeclarationTag("user", i["struct"], 1),
    }
    assert {name: table.type(i[name]) for name in expected} == expected
    assert table.type(0) == t.Void()
    assert len(table) == len(i) + 1
    btf.check(table)


def test_queries():
    """Sizes, alignments, names and the types behind modifiers are those of C."""
    writer, i = every_kind()
    table = btf.load(writer.bytes())
    sizes = {"int": 4, "ptr": 8, "array": 24, "volatile": 16, "enum64": 8, "var": 24, "datasec": 32, "restrict": 8}
    assert {name: table.size_of(i[name]) for name in sizes} == sizes
    alignments = {"int": 4, "array": 8, "struct": 8, "bits": 1, "enum": 4, "ptr": 8}
    assert {name: table.alignment_of(i[name]) for name in alignments} == alignments
    assert table.strip(i["volatile"]) == i["struct"]
    assert table.ids("pair") == (i["struct"],)
    assert table.find("run", t.Function) == i["func"]
    assert table.find("run", t.Struct) is None
    assert table.find("absent", t.Struct) is None
    struct_type = table.resolve(i["const"])
    assert isinstance(struct_type, t.Struct)
    second = struct_type.member("second")
    assert second is not None
    assert (second.offset, struct_type.member("third")) == (8, None)


def test_things_without_a_size():
    """Void, functions and forward declarations have no size, and the error says which type it is."""
    writer, i = every_kind()
    table = btf.load(writer.bytes())
    for name in ("fwd", "func", "proto"):
        with pytest.raises(BtfError, match=f"type {i[name]} .*has no size"):
            table.size_of(i[name])


def test_bitfields_old_and_new():
    """A bitfield's place is told by its member, or in old objects by its integer type."""
    w = BtfWriter()
    odd = w.int("", 4, bits=5, offset=2)
    old = w.struct("old", 4, [("f", odd, 8)])
    new = w.struct("new", 4, [("f", w.int("int", 4), 10, 5)])
    table = btf.load(w.bytes())
    for type_id in (old, new):
        found = table.type(type_id)
        assert isinstance(found, t.Struct)
        assert table.bits_of(found.members[0]) == (10, 5)


def spoiled(offset: int, form: str, value: int) -> bytes:
    """Return a table of one integer with a number written over it."""
    w = BtfWriter()
    w.int("int", 4)
    data = bytearray(w.bytes())
    struct.pack_into(form, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x9f\xeb", "cut short: 2 bytes"),
        (spoiled(0, "<H", 0x9FEB), "big-endian"),
        (spoiled(0, "<H", 0), "no type information"),
        (spoiled(2, "<B", 9), "version 9"),
        (spoiled(4, "<I", 8), "header of 8 bytes"),
        (spoiled(12, "<I", 1 << 31), "outside the section"),
        (spoiled(16, "<I", 1 << 31), "outside the section"),
        (spoiled(20, "<I", 0), "string table"),
        (spoiled(28, "<I", 31 << 24), "unknown kind 31"),
        (spoiled(28, "<I", 3 << 24), "cut short"),
        (spoiled(24, "<I", 999), "offset 999, outside"),
        (spoiled(32, "<I", 3), "32 bits at bit 0 in 3 bytes"),
    ],
)
def test_damage_is_refused(data, message):
    """A damaged header or record is refused, at the latest when it is checked."""
    with pytest.raises(BtfError, match=message):
        btf.check(btf.load(data))


def cyclic(kind: str) -> BtfWriter:
    """Write types that lead back to themselves."""
    w = BtfWriter()
    match kind:
        case "typedef":
            w.typedef("a", 2)
            w.typedef("b", 1)
        case "array":
            w.array(1, 2)
        case "struct":
            w.struct("a", 8, [("again", 1, 0)])
        case "nested":
            w.int("char", 1)
            for _ in range(40):
                w.struct("", 1, [("inner", len(w.records), 0)])
        case "wide":
            w.int("char", 1)
            for _ in range(20):
                w.struct("", 1, [(n, len(w.records), 0) for n in ("one", "two", "three")], union=True)
    return w


@pytest.mark.parametrize("kind", ["typedef", "array", "struct", "nested", "wide"])
def test_types_without_an_end_are_refused(kind):
    """Types that hold themselves, nest too deep, or count out to too many members are refused, and quickly."""
    table = btf.load(cyclic(kind).bytes())
    start = time.perf_counter()
    with pytest.raises(BtfError, match=r"type 1|nest deeper|more than"):
        btf.check(table)
    assert time.perf_counter() - start < 1


def test_references_must_lead_somewhere():
    """Functions need prototypes, sections hold variables, members lie inside their struct."""
    cases = []
    w = BtfWriter()
    w.func("f", w.int("int", 4))
    cases.append((w, "no function prototype"))
    w = BtfWriter()
    w.datasec(".data", [(w.int("int", 4), 0, 4)])
    cases.append((w, "neither a variable nor a function"))
    w = BtfWriter()
    w.datasec(".data", [(w.var("v", w.int("int", 4)), 8, 4)], 8)
    cases.append((w, "'v' lies outside"))
    w = BtfWriter()
    w.struct("s", 4, [("m", w.int("u64", 8), 0)])
    cases.append((w, "'m' lies outside the struct"))
    w = BtfWriter()
    w.ptr(77)
    cases.append((w, "refers to type 77"))
    for writer, message in cases:
        with pytest.raises(BtfError, match=message):
            btf.check(btf.load(writer.bytes()))


def test_strings_cannot_explode():
    """Names that share one long string do not make a small table large."""
    w = BtfWriter()
    w.string("x" * 100_000)
    for offset in range(1, 200):
        w.typedef("", 0)
        w.records[-1] = struct.pack("<I", offset) + w.records[-1][4:]
    with pytest.raises(BtfError, match="overlap"):
        btf.check(btf.load(w.bytes()))


@settings(max_examples=150)
@given(st.data())
def test_damaged_tables_end_in_an_answer_or_an_error(data):
    """However a table is spoiled, checking it succeeds or raises BtfError, and a checked table answers every query."""
    original = bytearray(every_kind()[0].bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.sampled_from([0, 1, 4, 0x7F, 0xFF]))
    try:
        table = btf.load(bytes(original))
        btf.check(table)
    except BtfError:
        return
    for type_id in range(len(table)):
        found = table.type(type_id)
        if isinstance(found, t.Struct):
            assert all(sum(table.bits_of(m)) <= 8 * found.size for m in found.members)
        if isinstance(found, t.Struct | t.Integer | t.Enum | t.Float | t.Pointer):
            assert table.size_of(type_id) >= 0
            assert table.alignment_of(type_id) >= 0


def extension() -> tuple[ExtensionWriter, btf.Btf, bytes]:
    """Write a .BTF.ext with a record of each kind; return it with its table of types and its bytes."""
    w = BtfWriter()
    func = w.func("f", w.proto(0), GLOBAL)
    ext = ExtensionWriter(w)
    ext.function("xdp", 0, func)
    ext.line("xdp", 8, "a.c", 2, 1, "second")
    ext.line("xdp", 0, "a.c", 1, 7, "first")
    ext.line("tc", 0, "b.c", 1, 0, "other")
    ext.relocation("xdp", 16, func, "0", 8)
    data = ext.bytes()
    return ext, btf.load(w.bytes()), data


def test_extension():
    """Records are found by section, in the order of their instructions."""
    _, table, data = extension()
    found = btf.parse_extension(data, table)
    assert set(found) == {"xdp", "tc"}
    xdp = found["xdp"]
    lines = list(xdp.lines.between(0, len(xdp.lines)))
    assert [(at, table.string(text), place >> 10, place & 0x3FF) for at, _, text, place in lines] == [
        (0, "first", 1, 7),
        (8, "second", 2, 1),
    ]
    assert xdp.lines.find(1) == 1
    assert [(at, table.string(access), kind) for at, _, access, kind in xdp.core.between(0, 1)] == [(16, "0", 8)]
    assert isinstance(table.type(xdp.functions[0]), t.Function)


def test_extension_without_core_records():
    """The shorter header that clang before 10 wrote means no CO-RE records."""
    writer, table, _ = extension()
    found = btf.parse_extension(writer.bytes(with_core=False), table)
    assert (len(found["xdp"].lines), len(found["xdp"].core)) == (2, 0)


@settings(max_examples=100)
@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 200))
def test_damaged_extensions_end_in_records_or_an_error(place, value, cut):
    """However .BTF.ext is spoiled, reading it succeeds or raises BtfError."""
    _, table, data = extension()
    spoilt = bytearray(data[: max(len(data) - cut, 0)])
    if place < len(spoilt):
        spoilt[place] = value
    with suppress(BtfError):
        btf.parse_extension(bytes(spoilt), table)


def test_running_kernel():
    """The running kernel's types open within two seconds and hold struct task_struct with its pid."""
    start = time.perf_counter()
    table = running_kernel()
    type_id = table.find("task_struct", t.Struct)
    assert time.perf_counter() - start < 2
    task = table.type(type_id or 0)
    assert isinstance(task, t.Struct)
    pid = task.member("pid")
    assert pid is not None
    assert table.size_of(pid.type) == 4


def test_files(tmp_path):
    """A raw BTF file opens; an ELF file, damage and a missing file are refused with the file's name."""
    good = tmp_path / "good.btf"
    good.write_bytes(every_kind()[0].bytes())
    assert btf.open(good).ids("pair")
    for content, message in ((b"\x7fELF", "an ELF file"), (b"", "cut short"), (None, "cannot be read")):
        bad = tmp_path / "bad.btf"
        bad.unlink(missing_ok=True)
        if content is not None:
            bad.write_bytes(content)
        with pytest.raises(BtfError, match=message) as caught:
            btf.open(bad)
        assert caught.value.file == str(bad)
