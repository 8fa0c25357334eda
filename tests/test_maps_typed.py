"""Keys and values typed by BTF: what becomes of every kind of type, there and back."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybpf import btf
from anybpf.platforms import MapKind
from anybpf.runtime import Context
from anybpf.runtime.maps import F_LOCK, Map
from anybpf.runtime.typed import Codec, Record, codec_for, spin_lock_offset
from anybpf.spec import MapSpec
from btfwriter import BtfWriter


def codec(writer: BtfWriter, type_id: int, size: int) -> Codec:
    """The codec of a type that ``writer`` wrote."""
    return codec_for(btf.load(writer.bytes()), type_id, size)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_integers(size: int, signed: bool) -> None:
    """Integers of every size and sign keep their extremes; one more is refused; their exact bytes are taken too."""
    writer = BtfWriter()
    integer = codec(writer, writer.typedef("number_t", writer.const(writer.int("n", size, signed=signed))), size)
    low, high = (-(1 << (8 * size - 1)), (1 << (8 * size - 1)) - 1) if signed else (0, (1 << (8 * size)) - 1)
    for value in (low, high, 0, 1):
        assert integer.decode(integer.encode(value)) == value
    for wrong in (low - 1, high + 1, "1", None, [1], b"\0" * (size + 1)):
        with pytest.raises(ValueError, match="needs"):
            integer.encode(wrong)
    assert integer.encode(b"\1" * size) == b"\1" * size


def test_bool_enum_float_and_pointer() -> None:
    """A _Bool is a bool, an enum and a pointer an int, a float a float."""
    writer = BtfWriter()
    boolean = writer.add(1, "_Bool", 1, struct.pack("<I", 4 << 24 | 8))
    enum = writer.enum("proto", {"TCP": 6, "BAD": -1}, signed=True)
    double, single = writer.float("double", 8), writer.float("float", 4)
    pointer = writer.ptr(0)
    assert codec(writer, boolean, 1).decode(b"\1") is True
    assert codec(writer, boolean, 1).encode(False) == b"\0"
    assert codec(writer, enum, 4).decode(b"\xff" * 4) == -1
    assert codec(writer, double, 8).decode(struct.pack("=d", 1.5)) == 1.5
    assert codec(writer, single, 4).encode(0.25) == struct.pack("=f", 0.25)
    assert codec(writer, pointer, 8).decode(b"\xff" * 8) == (1 << 64) - 1


def test_arrays() -> None:
    """Arrays are lists, nested ones lists of lists; arrays of one-byte integers are bytes, filled up with zeros."""
    writer = BtfWriter()
    u16, char = writer.int("u16", 2), writer.int("char", 1, signed=True)
    grid = codec(writer, writer.array(writer.array(u16, 3), 2), 12)
    assert grid.decode(struct.pack("=6H", *range(6))) == [[0, 1, 2], [3, 4, 5]]
    assert grid.encode([[0, 1, 2], (3, 4, 5)]) == struct.pack("=6H", *range(6))
    for wrong in ([[0, 1, 2]], [[0, 1], [2, 3]], "abcdef", 5):
        with pytest.raises(ValueError, match="needs a list of"):
            grid.encode(wrong)
    name = codec(writer, writer.array(char, 8), 8)
    assert name.encode(b"eth0") == b"eth0\0\0\0\0"
    assert name.decode(b"eth0\0\0\0\0") == b"eth0\0\0\0\0"
    with pytest.raises(ValueError, match="at most 8 bytes"):
        name.encode(b"123456789")


@pytest.fixture
def flow() -> tuple[BtfWriter, int]:
    """A struct with padding, a nested anonymous union, a named struct, bitfields and an array; its size is 32."""
    writer = BtfWriter()
    u8, u16, u32 = writer.int("u8", 1), writer.int("u16", 2), writer.int("u32", 4)
    ports = writer.struct("ports", 4, [("source", u16, 0), ("target", u16, 16)])
    union = writer.struct("", 4, [("v4", u32, 0), ("bytes", writer.array(u8, 4), 0)], union=True)
    members = [
        ("protocol", u8, 0, 0), ("", union, 32, 0), ("ports", ports, 64, 0), ("low", u32, 96, 3), ("high", u32, 99, 7),
        ("counts", writer.array(u32, 2), 128, 0), ("end", u8, 192, 0),
    ]  # fmt: skip
    return writer, writer.struct("flow", 32, members)


def test_structs(flow: tuple[BtfWriter, int]) -> None:
    """A struct is a Record of its members, those of anonymous unions among them; it encodes to the same bytes."""
    writer, type_id = flow
    structure = codec(writer, type_id, 32)
    data = bytes([6, 0, 0, 0, 10, 0, 0, 1]) + struct.pack("=HHI2IB7x", 80, 443, 5 | 100 << 3, 1, 2, 9)
    record = structure.decode(data)
    assert record == {
        "protocol": 6, "v4": int.from_bytes(bytes([10, 0, 0, 1]), "little"), "bytes": bytes([10, 0, 0, 1]),
        "ports": {"source": 80, "target": 443}, "low": 5, "high": 100, "counts": [1, 2], "end": 9,
    }  # fmt: skip
    assert structure.encode(record) == data
    assert record.ports.target == 443
    chosen = {name: value for name, value in record.items() if name != "v4"}
    assert structure.encode(chosen) == data


def test_structs_that_do_not_fit_are_refused(flow: tuple[BtfWriter, int]) -> None:
    """A missing, unknown or ill-fitting member is named."""
    writer, type_id = flow
    structure = codec(writer, type_id, 32)
    good: dict[str, Any] = structure.decode(bytes(32)) | {}
    for change, message in (
        ({"low": 8}, "member 'low' needs an integer from 0 to 7"),
        ({"ports": {"source": 1}}, "member 'ports' needs the member 'target'"),
        ({"port": 1}, "has no member 'port'"),
        ({"protocol": 256}, "member 'protocol' needs an integer from 0 to 255"),
    ):
        with pytest.raises(ValueError, match=message):
            structure.encode(good | change)
    del good["end"]
    with pytest.raises(ValueError, match="needs the member 'end'"):
        structure.encode(good)
    with pytest.raises(ValueError, match="needs one of bytes, v4"):
        structure.encode({name: value for name, value in (good | {"end": 1}).items() if name not in ("v4", "bytes")})
    with pytest.raises(ValueError, match="needs a mapping with"):
        structure.encode(5)


def test_records_are_read_only_keys(flow: tuple[BtfWriter, int]) -> None:
    """A Record hashes by its contents, prints as JSON, and refuses every change."""
    writer, type_id = flow
    structure = codec(writer, type_id, 32)
    one, same, other = (structure.decode(bytes([first, *bytes(31)])) for first in (1, 1, 2))
    assert {one: "x"}[same] == "x"
    assert one != other
    assert len({one, same, other}) == 2
    assert json.loads(json.dumps({name: one[name] for name in ("protocol", "ports")}))["ports"]["source"] == 0
    changes = (
        lambda: one.update(end=1), lambda: one.pop("end"), lambda: one.clear(), lambda: one.__setitem__("end", 1),
        lambda: one.__delitem__("end"), lambda: setattr(one, "end", 1), lambda: one.setdefault("end", 1), one.popitem,
    )  # fmt: skip
    for change in changes:
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    with pytest.raises(AttributeError, match="missing"):
        _ = one.missing
    assert (one | {"end": 7})["end"] == 7


@given(data=st.binary(min_size=32, max_size=32))
def test_structs_come_back_as_they_were(data: bytes) -> None:
    """Decoding and encoding gives the same bytes, but for padding, which becomes zero."""
    writer = BtfWriter()
    u8, u64, s32 = writer.int("u8", 1), writer.int("u64", 8), writer.int("s32", 4, signed=True)
    members = [("a", u8, 0, 0), ("b", u64, 64, 0), ("c", s32, 128, 0), ("d", s32, 160, 5), ("e", s32, 165, 27)]
    structure = codec(writer, writer.struct("s", 32, [*members, ("f", writer.array(u8, 8), 192, 0)]), 32)
    assert structure.encode(structure.decode(data)) == data[:1] + bytes(7) + data[8:]


def test_without_a_type() -> None:
    """4 and 8 bytes are unsigned ints, anything else is bytes; so is a type of another size, or without one."""
    writer = BtfWriter()
    u32 = writer.int("u32", 4)
    function = writer.func("f", writer.proto(0))
    assert codec_for(None, 0, 4).decode(b"\xff" * 4) == 0xFFFFFFFF
    assert codec_for(None, 0, 8).encode(1) == struct.pack("=Q", 1)
    assert codec_for(None, 0, 3).decode(b"abc") == b"abc"
    assert codec(writer, u32, 8).encode(1 << 40) == struct.pack("=Q", 1 << 40)
    assert codec(writer, function, 3).decode(b"abc") == b"abc"
    with pytest.raises(ValueError, match="needs 3 bytes"):
        codec_for(None, 0, 3).encode(b"ab")


def test_types_that_contain_themselves_are_bytes() -> None:
    """Type information that lies about nesting or sizes gives bytes, not a crash."""
    writer = BtfWriter()
    loop = writer.struct("loop", 12, [("inside", 1, 0)])
    assert codec(writer, loop, 12).decode(bytes(12)) == bytes(12)
    writer = BtfWriter()
    u64 = writer.int("u64", 8)
    beyond = writer.struct("beyond", 12, [("x", u64, 64)])
    assert codec(writer, beyond, 12).decode(bytes(12)) == bytes(12)


def test_data_sections_are_records_of_their_variables() -> None:
    """A data section's value has its variables by name; with overlapping ones it is bytes."""
    writer = BtfWriter()
    u32, u64 = writer.int("u32", 4), writer.int("u64", 8)
    limit, total = writer.var("limit", u32), writer.var("total", u64)
    section = writer.datasec(".data", [(total, 8, 8), (limit, 0, 4)], 16)
    unlinked = writer.datasec(".bss", [(total, 0, 8), (limit, 0, 4)], 16)
    assert codec(writer, section, 16).decode(struct.pack("=IxxxxQ", 3, 9)) == {"limit": 3, "total": 9}
    assert codec(writer, unlinked, 16).decode(bytes(16)) == bytes(16)


def test_typed_maps() -> None:
    """A map with types gives Records as keys and values, for per-CPU kinds a list of them; raw stays bytes."""
    writer = BtfWriter()
    u16, u64 = writer.int("u16", 2), writer.int("u64", 8)
    key = writer.struct("key", 4, [("port", u16, 0), ("vlan", u16, 16)])
    value = writer.struct("value", 16, [("packets", u64, 0), ("bytes", u64, 64)])
    types = btf.load(writer.bytes())
    with Context(cpus=2) as context:
        spec = MapSpec("m", 0, 4, 16, 10, key_type=key, value_type=value)
        m = Map(context.engine, spec, MapKind.HASH, btf=types)
        m[{"port": 80, "vlan": 1}] = {"packets": 1, "bytes": 100}
        ((found, counted),) = m.items()
        assert found == {"port": 80, "vlan": 1}
        assert isinstance(found, Record)
        m[found] = counted | {"packets": 2}
        assert m[found].packets == 2
        assert m.raw[struct.pack("=HH", 80, 1)] == struct.pack("=QQ", 2, 100)
        cpus = Map(context.engine, spec, MapKind.PERCPU_HASH, btf=types)
        cpus[found] = [counted, counted | {"packets": 5}]
        assert [each.packets for each in cpus[found]] == [1, 5]


def test_spin_locks_stay_out_of_values() -> None:
    """Stores never touch the lock in a value, loads show it as zero, and F_LOCK works where there is one."""
    writer = BtfWriter()
    u32, u64 = writer.int("u32", 4), writer.int("u64", 8)
    lock = writer.struct("bpf_spin_lock", 4, [("val", u32, 0)])
    value = writer.struct("value", 24, [("count", u64, 0), ("lock", lock, 64), ("tail", u32, 96), ("more", u64, 128)])
    types = btf.load(writer.bytes())
    assert spin_lock_offset(types, value) == 8
    assert spin_lock_offset(types, u64) is None
    with Context(cpus=1) as context:
        for kind in (MapKind.ARRAY, MapKind.HASH):
            m = Map(context.engine, MapSpec("m", 0, 4, 24, 4, value_type=value), kind, btf=types)
            stored = {"count": 1, "lock": {"val": 7}, "tail": 2, "more": 3}
            m.update(1, stored)
            m.update(1, stored | {"count": 5}, F_LOCK)
            assert m[1] == {"count": 5, "lock": {"val": 0}, "tail": 2, "more": 3}
            assert m.lookup(1, F_LOCK) == m[1]
