"""Maps of object files: BTF declarations, old structs of every size, global data, kconfig externs, initial members."""

import struct

import pytest

from anybpf import btf as types
from anybpf import elf
from anybpf.btf import load
from anybpf.errors import BtfError, ObjectError
from anybpf.isa import opcodes as op
from anybpf.spec import KconfigSpec, MapSpec
from btfwriter import EXTERN, GLOBAL, STATIC, BtfWriter
from elfwriter import (
    ALLOC,
    EXIT,
    LOCAL,
    R_BPF_64_ABS64,
    R_BPF_64_NODYLD32,
    R_BPF_NONE,
    WEAK,
    WRITE,
    ElfWriter,
    Section,
    lddw,
    mov,
)

HASH, ARRAY, PROG_ARRAY, ARRAY_OF_MAPS, HASH_OF_MAPS = 1, 2, 3, 12, 13


def btf_object(btf: BtfWriter, declared: dict[str, int], *, static: bool = False) -> tuple[ElfWriter, Section]:
    """Write an object whose section .maps holds a variable of each struct type in ``declared``, 32 bytes each."""
    variables = [(btf.var(name, type_id, STATIC if static else GLOBAL), 0, 32) for name, type_id in declared.items()]
    btf.datasec(".maps", variables)
    writer = ElfWriter()
    maps = writer.section(".maps", bytes(32 * len(declared)), flags=ALLOC | WRITE)
    for index, name in enumerate(declared):
        writer.variable(name, maps, 32 * index, 32, LOCAL if static else GLOBAL)
    return writer, maps


def parse_with(writer: ElfWriter, btf: BtfWriter):
    """Return the spec of a file with this type information added."""
    writer.section(".BTF", btf.bytes())
    return elf.parse(writer.bytes(), "maps.o")


def test_btf_map():
    """A declaration's numbers and types become the map's; sizes come from the types, through typedefs and const."""
    btf = BtfWriter()
    u32 = btf.int("u32", 4)
    key = btf.typedef("key_t", btf.const(u32))
    value = btf.struct("value", 16, [("packets", u32, 0), ("bytes", btf.int("u64", 8), 64)])
    declaration = btf.map("", type=HASH, max_entries=1024, map_flags=1, pinning=1, key=key, value=value)
    writer, _ = btf_object(btf, {"counts": btf.typedef("counts_t", declaration)})
    (spec,) = parse_with(writer, btf).maps
    assert spec == MapSpec(
        "counts", HASH, 4, 16, 1024, flags=1, pinning=1, key_type=key, value_type=value, section=".maps"
    )  # fmt: skip


def test_btf_map_by_sizes_and_long_numbers():
    """Sizes may be given as numbers, and ``__ulong`` says numbers beyond 32 bits by an enum."""
    btf = BtfWriter()
    sizes = btf.map("", type=HASH, key_size=6, value_size=24, max_entries=1)
    extra = btf.enum64("", {"__unique_value0": 1 << 44})
    arena = btf.struct(
        "", 24, [("type", btf.number(33), 0), ("map_extra", extra, 64), ("max_entries", btf.number(5), 128)]
    )
    writer, _ = btf_object(btf, {"sizes": sizes, "arena": arena})
    first, second = parse_with(writer, btf).maps
    assert (first.key_size, first.value_size, first.key_type) == (6, 24, 0)
    assert (second.type, second.map_extra, second.max_entries) == (33, 1 << 44, 5)


@pytest.mark.parametrize("static", [False, True])
def test_references_to_maps_are_by_index(static):
    """An lddw of a map's symbol, or of the section plus its place, becomes a reference by the map's index."""
    btf = BtfWriter()
    one, two = (btf.map("", type=ARRAY, key_size=4, value_size=8, max_entries=n) for n in (1, 2))
    writer, maps = btf_object(btf, {"one": one, "two": two}, static=static)
    xdp = writer.code("xdp", lddw(1) + lddw(2, 32 if static else 0) + EXIT)
    whole = writer.section_symbol(maps)
    writer.relocate(xdp, 0, whole if static else writer.symbols[1])
    writer.relocate(xdp, 16, whole if static else writer.symbols[2])
    spec = parse_with(writer, btf)
    assert [m.name for m in spec.maps] == ["one", "two"]
    code = spec["xdp"].code
    assert struct.unpack_from("<BBhiBBhi", code, 0) == (op.OP_LDDW, 0x51, 0, 0, 0, 0, 0, 0)
    assert struct.unpack_from("<BBhiBBhi", code, 16) == (op.OP_LDDW, 0x52, 0, 1, 0, 0, 0, 0)
    assert spec.map_index("two") == 1


def test_map_in_map():
    """The inner map is declared by ``values``; its members are filled in by relocations, by slot."""
    btf = BtfWriter()
    inner = btf.map("", type=ARRAY, key_size=4, value_size=8, max_entries=3)
    outer = btf.map("", type=HASH_OF_MAPS, max_entries=4, key_size=4, values=btf.array(btf.ptr(inner), 0))
    writer, maps = btf_object(btf, {"first": inner, "outer": outer})
    first = writer.symbols[1]
    values = 32 + 24  # the place of `values` in `outer`
    maps.data += bytes(64)
    writer.symbols[2].size = 64
    writer.relocate(maps, values + 16, first, R_BPF_64_ABS64)
    writer.relocate(maps, values, first, R_BPF_64_ABS64)
    spec = parse_with(writer, btf)
    outer_map = spec.maps[1]
    assert outer_map.inner == MapSpec("outer.inner", ARRAY, 4, 8, 3, section=".maps")
    assert (outer_map.value_size, outer_map.values) == (4, ((0, "first"), (2, "first")))


def test_programs_in_a_prog_array():
    """A prog array's ``values`` name programs, by symbol or by place in their section."""
    btf = BtfWriter()
    proto = btf.ptr(btf.proto(btf.int("int", 4)))
    jumps = btf.map("", type=PROG_ARRAY, max_entries=2, key_size=4, values=btf.array(proto, 0))
    writer, maps = btf_object(btf, {"jumps": jumps})
    maps.data = bytes(48)
    writer.symbols[1].size = 48
    code = writer.code("xdp", mov(0, 1) + EXIT + mov(0, 2) + EXIT)
    one = writer.function("one", code, 0, 16)
    writer.function("two", code, 16, 16, LOCAL)
    writer.relocate(maps, 24, one, R_BPF_64_ABS64)
    writer.relocate(maps, 32, writer.section_symbol(code), R_BPF_64_ABS64)
    maps.data = maps.data[:32] + struct.pack("<Q", 16) + maps.data[40:]
    (spec,) = parse_with(writer, btf).maps
    assert spec.values == ((0, "one"), (1, "two"))
    assert spec.value_size == 4


def test_initial_members_must_be_programs_or_maps():
    """A member that is neither, and a relocation outside ``values``, are refused."""
    for place, message in ((24, "no program"), (8, "belongs to no"), (28, "belongs to no")):
        btf = BtfWriter()
        proto = btf.ptr(btf.proto(btf.int("int", 4)))
        jumps = btf.map("", type=PROG_ARRAY, max_entries=2, key_size=4, values=btf.array(proto, 0))
        writer, maps = btf_object(btf, {"jumps": jumps})
        writer.relocate(maps, place, writer.variable("license", writer.section("license", b"x\0"), 0, 2))
        with pytest.raises(ObjectError, match=message):
            parse_with(writer, btf)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"max_entries": 1}, "declares no type"),
        ({"type": 1, "key_size": 4, "key": 1}, "declared twice"),
        ({"type": 1, "key": 0}, "has no size"),
    ],
)
def test_wrong_declarations_are_refused(members, message):
    """A declaration that says too little, or two different things, is refused with the map's name."""
    btf = BtfWriter()
    btf.int("u64", 8)
    writer, _ = btf_object(btf, {"wrong": btf.map("", **members)})
    with pytest.raises(ObjectError, match=f"'wrong': .*{message}"):
        parse_with(writer, btf)


def test_maps_without_type_information_are_refused():
    """Section .maps means nothing without BTF; the message says how to compile."""
    writer = ElfWriter()
    writer.variable("m", writer.section(".maps", bytes(32)), 0, 32)
    with pytest.raises(ObjectError, match="clang -g"):
        elf.parse(writer.bytes(), "nobtf.o")


def legacy(words: list[int], *more: list[int], names: tuple[str, ...] = ("one", "two", "three"), section: str = "maps"):
    """Return the maps of an object that declares them by structs of 32-bit numbers."""
    writer = ElfWriter()
    data = [struct.pack(f"<{len(w)}I", *w) for w in (words, *more)]
    maps = writer.section(section, b"".join(data), flags=ALLOC | WRITE)
    for index, name in enumerate(names[: len(data)]):
        writer.symbol(name, maps, index * len(data[0]))
    return elf.parse(writer.bytes(), "legacy.o").maps


@pytest.mark.parametrize("extra", range(2, 7))
def test_legacy_struct_of_every_size(extra):
    """Structs from 16 bytes up are read as far as they go; numbers beyond the known ones are ignored."""
    tail = [1, 0, 0, 99, 99, 99][: extra - 1] if extra not in (4, 5) else [1] + [0] * (extra - 2)
    (spec,) = legacy([HASH, 4, 8, 100, *tail])
    flags = 0 if extra == 5 else 1  # 32 bytes: eBPF for Windows, which has no flags
    assert (spec.name, spec.type, spec.key_size, spec.value_size, spec.max_entries) == ("one", HASH, 4, 8, 100)
    assert (spec.flags, spec.section) == (flags, "maps")


def test_legacy_maps_of_linux_samples():
    """28 bytes: flags, the inner map's index, a NUMA node."""
    inner, outer = legacy([ARRAY, 4, 4, 7, 0, 0, 0], [ARRAY_OF_MAPS, 4, 0, 9, 0, 0, 0])
    assert outer.inner == inner
    assert outer.value_size == 4
    (numa,) = legacy([HASH, 4, 4, 1, 1 << 2, 0, 3])
    assert (numa.flags, numa.pinning) == (4, 0)


def test_legacy_maps_of_iproute2():
    """36 bytes (and 28 before): flags, id, pinning, the inner map's id."""
    inner, outer = legacy([ARRAY, 4, 8, 2, 0, 42, 0, 0, 0], [ARRAY_OF_MAPS, 4, 4, 2, 1, 0, 2, 42, 0])
    assert (outer.inner, outer.flags, outer.pinning) == (inner, 1, 1)
    (pinned,) = legacy([HASH, 4, 8, 2, 0, 7, 2])
    assert pinned.pinning == 1


def test_legacy_maps_of_windows():
    """32 bytes: the inner map's index, pinning, id, the inner map's id; map type numbers are Windows' own."""
    array_of_maps = 7
    inner, by_index, by_id = legacy(
        [ARRAY, 4, 8, 2, 0, 0, 5, 0], [array_of_maps, 4, 4, 2, 0, 1, 0, 0], [array_of_maps, 4, 4, 2, 9, 0, 0, 5]
    )
    assert by_index.inner == by_id.inner == inner
    assert (by_index.pinning, by_id.pinning, inner.flags) == (1, 0, 0)


def test_legacy_map_in_its_own_section():
    """A section maps/name declares one map, called by its symbol."""
    (spec,) = legacy([HASH, 4, 8, 100, 0], section="maps/one")
    assert (spec.name, spec.section) == ("one", "maps/one")


def test_legacy_maps_that_are_wrong():
    """Structs below 16 bytes, and inner maps that do not exist, are refused."""
    with pytest.raises(ObjectError, match="at least 16"):
        legacy([HASH, 4, 8])
    with pytest.raises(ObjectError, match="number 3, which does not exist"):
        legacy([ARRAY_OF_MAPS, 4, 4, 1, 0, 3, 0])


def test_legacy_types_by_annotation():
    """The struct ____btf_map_name that BPF_ANNOTATE_KV_PAIR leaves gives an old map its key and value types."""
    btf = BtfWriter()
    u32 = btf.int("u32", 4)
    u64 = btf.int("u64", 8)
    btf.struct("____btf_map_one", 16, [("key", u32, 0), ("value", u64, 64)])
    writer = ElfWriter()
    writer.variable("one", writer.section("maps", struct.pack("<5I", HASH, 4, 8, 10, 0)), 0, 20)
    (spec,) = parse_with(writer, btf).maps
    assert (spec.key_type, spec.value_type) == (u32, u64)


def test_tail_calls_by_section_name():
    """Sections called ``id/index`` are members of the prog array with that id, as iproute2 fills it."""
    writer = ElfWriter()
    maps = writer.section("maps", struct.pack("<9I", PROG_ARRAY, 4, 4, 10, 0, 2, 2, 0, 0))
    writer.variable("jumps", maps, 0, 36)
    writer.code("2/7", mov(0, 0) + EXIT)
    writer.function("six", writer.code("2/0x6", mov(0, 0) + EXIT), 0, 16)
    writer.code("1/5", mov(0, 0) + EXIT)
    (spec,) = elf.parse(writer.bytes(), "cilium.o").maps
    assert spec.values == ((7, "2/7"), (6, "six"))


def test_global_data():
    """Each data section is a map of one value; .bss takes no room; references carry the variable's offset."""
    writer = ElfWriter()
    data = writer.section(".data", b"\1\0\0\0\2\0\0\0", flags=ALLOC | WRITE)
    writer.section(".rodata.str1.1", b"text\0", flags=ALLOC)
    bss = writer.bss(".bss.counters", 1 << 20)
    writer.section(".data.empty", b"")
    xdp = writer.code("xdp", lddw(1) + lddw(2, 4096) + EXIT)
    writer.relocate(xdp, 0, writer.variable("second", data, 4, 4))
    writer.relocate(xdp, 16, writer.section_symbol(bss))
    spec = elf.parse(writer.bytes(), "data.o")
    assert [(m.name, m.type, m.key_size, m.value_size, m.max_entries, m.contents, m.read_only) for m in spec.maps] == [
        (".data", ARRAY, 4, 8, 1, b"\1\0\0\0\2\0\0\0", False),
        (".rodata.str1.1", ARRAY, 4, 5, 1, b"text\0", True),
        (".bss.counters", ARRAY, 4, 1 << 20, 1, b"", False),
    ]
    assert all(m.is_data for m in spec.maps)
    code = spec["xdp"].code
    assert struct.unpack_from("<BBhiBBhi", code, 0) == (op.OP_LDDW, 0x61, 0, 0, 0, 0, 0, 4)
    assert struct.unpack_from("<BBhiBBhi", code, 16) == (op.OP_LDDW, 0x62, 0, 2, 0, 0, 0, 4096)


def test_references_outside_data_are_refused():
    """A reference past the end of its data section is refused."""
    writer = ElfWriter()
    data = writer.section(".data", bytes(8))
    xdp = writer.code("xdp", lddw(1, 9) + EXIT)
    writer.relocate(xdp, 0, writer.section_symbol(data))
    with pytest.raises(ObjectError, match="byte 9 of a smaller section"):
        elf.parse(writer.bytes(), "data.o")


@pytest.mark.parametrize("kind", [R_BPF_64_NODYLD32, R_BPF_NONE])
def test_type_information_of_data_is_completed(kind):
    """Offsets of variables and sizes of sections, which the file leaves to relocations, are in the spec's BTF."""
    btf = BtfWriter()
    u32 = btf.int("u32", 4)
    variable = btf.var("second", u32)
    section_id = btf.datasec(".data", [(variable, 0, 4)])
    writer = ElfWriter()
    data = writer.section(".data", bytes(8))
    raw = btf.bytes()
    place = raw.index(struct.pack("<III", variable, 0, 4)) + 4
    section = writer.section(".BTF", raw)
    writer.relocate(section, place, writer.variable("second", data, 4, 4), kind)
    spec = elf.parse(writer.bytes(), "data.o")
    assert spec.maps[0].value_type == section_id
    assert spec.btf is not None
    described = load(spec.btf).type(section_id)
    assert (described.size, described.variables[0].offset) == (8, 4)


def test_kconfig():
    """Externs of .kconfig share a read-only map, laid out by falling alignment, then size, then name."""
    btf = BtfWriter()
    u8 = btf.int("bool", 1)
    u32 = btf.int("u32", 4)
    externs = {
        "LINUX_KERNEL_VERSION": u32,
        "CONFIG_X": u8,
        "CONFIG_NAME": btf.array(u8, 5),
        "CONFIG_HZ": btf.int("u64", 8),
    }
    ids = {name: btf.var(name, type_id, EXTERN) for name, type_id in externs.items()}
    btf.datasec(".kconfig", [(type_id, 0, 0) for type_id in ids.values()])
    writer = ElfWriter()
    xdp = writer.code("xdp", lddw(1) + EXIT)
    writer.relocate(xdp, 0, writer.undefined("LINUX_KERNEL_VERSION"))
    writer.undefined("CONFIG_X", WEAK)
    spec = parse_with(writer, btf)
    (kconfig,) = spec.maps
    assert (kconfig.name, kconfig.value_size, kconfig.read_only, kconfig.contents) == (".kconfig", 18, True, b"")
    assert kconfig.kconfig == (
        KconfigSpec("CONFIG_HZ", 0, 8, False, ids["CONFIG_HZ"]),
        KconfigSpec("LINUX_KERNEL_VERSION", 8, 4, False, ids["LINUX_KERNEL_VERSION"]),
        KconfigSpec("CONFIG_X", 12, 1, True, ids["CONFIG_X"]),
        KconfigSpec("CONFIG_NAME", 13, 5, False, ids["CONFIG_NAME"]),
    )
    assert struct.unpack_from("<BBhiBBhi", spec["xdp"].code) == (op.OP_LDDW, 0x61, 0, 0, 0, 0, 0, 8)
    assert spec.externs == ()


def test_damaged_type_information_is_refused():
    """An object whose BTF is damaged is refused with the file's and the section's name."""
    writer = ElfWriter()
    writer.section(".BTF", b"not types at all, not types at all")
    with pytest.raises(BtfError) as caught:
        elf.parse(writer.bytes(), "bad.o")
    assert (caught.value.file, caught.value.section) == ("bad.o", ".BTF")
    assert isinstance(caught.value, ObjectError)
    assert types.EMPTY.ids("anything") == ()
