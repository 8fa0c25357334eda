"""Damaged objects: whatever happens to a file, parsing ends in a spec or an ObjectError, soon and in little memory."""

import random
import struct
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybpf import elf
from anybpf.errors import ObjectError
from anybpf.spec import ObjectSpec
from btfwriter import STATIC, BtfWriter, ExtensionWriter
from elfwriter import EXIT, LOCAL, R_BPF_64_32, R_BPF_64_ABS64, ElfWriter, call, lddw, mov


def rich_object(programs: int = 2, instructions: int = 2, structs: int = 1) -> bytes:
    """Return an object with something of everything: maps of each sort, data, externs, subprograms, types, lines."""
    btf = BtfWriter()
    u32 = btf.int("u32", 4)
    u64 = btf.int("u64", 8)
    context = btf.struct("xdp_md", 8, [("data", u32, 0), ("data_end", u32, 32)])
    proto = btf.proto(u32, [("ctx", btf.ptr(context))])
    for index in range(structs):
        btf.struct(f"record_{index}", 24, [(f"field_{index}_{n}", u64, 64 * n) for n in range(3)])
    inner = btf.map("", type=2, key=u32, value=u64, max_entries=4)
    outer = btf.map("", type=12, key=u32, max_entries=4, values=btf.array(btf.ptr(inner), 0))
    btf.datasec(".maps", [(btf.var("inner", inner), 0, 32), (btf.var("outer", outer), 0, 40)])
    btf.datasec(".data", [(btf.var("limit", u32), 0, 4)])
    btf.datasec(".kconfig", [(btf.var("CONFIG_HZ", u32, 2), 0, 4)])
    btf.datasec(".ksyms", [(btf.func("kernel_function", proto, 2), 0, 0)])
    extension = ExtensionWriter(btf)

    writer = ElfWriter()
    maps = writer.section(".maps", bytes(72), flags=3)
    writer.section("license", b"GPL\0")
    data = writer.section(".data", bytes(16), flags=3)
    text = writer.code(".text", mov(0, 1) + EXIT)
    legacy = writer.section("maps", struct.pack("<7I", 1, 4, 8, 16, 0, 0, 0))
    symbols = [writer.variable("inner", maps, 0, 32), writer.variable("limit", data, 0, 4)]
    symbols += [writer.variable("outer", maps, 32, 40), writer.symbol("old", legacy), writer.undefined("CONFIG_HZ")]
    part = writer.function("part", text, 0, 16, LOCAL)
    kernel = writer.undefined("kernel_function")
    writer.relocate(maps, 32 + 24 + 8, symbols[0], R_BPF_64_ABS64)
    extension.function(".text", 0, btf.func("part", proto, STATIC))
    for number in range(programs):
        name = f"xdp/{number}"
        body = b"".join(lddw(1 + n % 5) for n in range(instructions)) + call() + call() + EXIT
        section = writer.code(name, body)
        writer.function(f"program_{number}", section, 0, len(body))
        extension.function(name, 0, btf.func(f"program_{number}", proto))
        for n in range(instructions):
            writer.relocate(section, 16 * n, symbols[n % len(symbols)])
            extension.line(name, 16 * n, "program.c", n + 1, 4, f"counter[{number}] += limit * {n};")
        extension.relocation(name, 0, context, "0:1", 0)
        writer.relocate(section, len(body) - 24, part, R_BPF_64_32)
        writer.relocate(section, len(body) - 16, kernel, R_BPF_64_32)
    described = extension.bytes()
    writer.section(".BTF", btf.bytes())
    writer.section(".BTF.ext", described)
    return writer.bytes()


SMALL = rich_object()
HEADERS = struct.unpack_from("<Q", SMALL, 40)[0]


def parse(data: bytes) -> ObjectSpec | None:
    """Return what the bytes say, None when they are refused with an ObjectError; nothing else may happen."""
    try:
        return elf.parse(data, "fuzzed.o")
    except ObjectError as error:
        refusal = error
    assert refusal.file == "fuzzed.o"
    return None


def test_the_object_is_valid_before_it_is_damaged():
    """The fixture itself parses, with all that it declares."""
    spec = elf.parse(SMALL, "rich.o")
    assert [m.name for m in spec.maps] == ["inner", "outer", "old", ".data", ".kconfig"]
    assert [p.name for p in spec] == ["program_0", "program_1", "part"]
    assert spec["program_1"].lines
    assert spec["program_1"].core


@settings(max_examples=300, deadline=1000)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes(changes):
    """Bytes changed anywhere."""
    data = bytearray(SMALL)
    for place, value in changes:
        data[place] = value
    parse(bytes(data))


@settings(max_examples=200, deadline=1000)
@given(st.integers(0, len(SMALL)))
def test_truncation(length):
    """The file cut anywhere; only the whole file parses, since its headers come last."""
    assert (parse(SMALL[:length]) is None) == (length < len(SMALL))


NUMBERS = st.sampled_from(
    [0, 1, 7, 8, 63, 64, 255, 4096, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1]
)


@settings(max_examples=300, deadline=1000)
@given(st.lists(st.tuples(st.integers(0, (len(SMALL) - HEADERS) // 8 - 1), NUMBERS), min_size=1, max_size=4))
def test_section_headers(changes):
    """Section headers with other offsets, sizes, kinds and links."""
    data = bytearray(SMALL)
    for word, value in changes:
        struct.pack_into("<Q", data, HEADERS + 8 * word, value)
    parse(bytes(data))


@settings(max_examples=150, deadline=1000)
@given(st.integers(0, len(SMALL) - 9), st.integers(0, len(SMALL) - 9), st.integers(8, 400))
def test_moved_pieces(source, destination, length):
    """A piece of the file copied over another."""
    data = bytearray(SMALL)
    piece = data[source : source + length]
    data[destination : destination + len(piece)] = piece
    parse(bytes(data[: len(SMALL)]))


@pytest.fixture(scope="module")
def megabyte():
    """An object of about a megabyte."""
    data = rich_object(programs=40, instructions=220, structs=4000)
    assert 900_000 < len(data) < 1_500_000
    return data


def test_a_megabyte_takes_less_than_a_second(megabyte):
    """A valid object of a megabyte parses within a second and in less than twenty times its size."""
    start = time.process_time()
    assert parse(megabyte) is not None
    assert time.process_time() - start < 1
    tracemalloc.start()
    parse(megabyte)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(megabyte)


def test_a_damaged_megabyte_costs_no_more(megabyte):
    """Nor do damaged ones cost more, whatever numbers stand in their headers and tables."""
    rng = random.Random(2026)
    headers = struct.unpack_from("<Q", megabyte, 40)[0]
    tracemalloc.start()
    for _ in range(6):
        data = bytearray(megabyte)
        for _ in range(rng.randint(1, 3)):
            place = rng.choice([rng.randrange(headers, len(data) - 8), rng.randrange(len(data) - 8)])
            struct.pack_into("<I", data, place & ~7, rng.choice([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
        damaged = bytes(data)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        start = time.process_time()
        parse(damaged)
        assert time.process_time() - start < 3  # tracing allocations takes three times as long
        assert tracemalloc.get_traced_memory()[1] - before < 20 * len(data)
    tracemalloc.stop()
