"""Prog arrays and maps of maps: programs and maps as values, and how long they live."""

from __future__ import annotations

import gc
import struct
import weakref
from collections.abc import Iterator

import pytest

from anybpf.errors import MapError
from anybpf.platforms import MapKind
from anybpf.runtime import Context
from anybpf.runtime._engine import ffi
from anybpf.runtime.maps import Map
from anybpf.spec import MapSpec
from helpercalls import Helpers, load

ARRAY, HASH, PROG_ARRAY = 2, 1, 3
KEY = struct.pack("=I", 1)


@pytest.fixture
def context() -> Iterator[Context]:
    """An execution context with two cpu slots."""
    with Context(cpus=2) as opened:
        yield opened


def inner(context: Context, entries: int = 4, kind: MapKind = MapKind.ARRAY, flags: int = 0) -> Map:
    """A map to be put into another."""
    return Map(context.engine, MapSpec("inner", ARRAY, 4, 8, entries, flags), kind)


def outer(context: Context, kind: MapKind, declared: MapSpec | None = None) -> Map:
    """A map of maps."""
    spec = MapSpec("outer", 0, 4, 4, 4, inner=declared)
    return Map(context.engine, spec, kind, inner_kind=MapKind.ARRAY if declared else None)


@pytest.mark.parametrize("kind", [MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS])
def test_maps_are_values_of_maps_of_maps(context: Context, kind: MapKind) -> None:
    """What is stored comes back as the same object, typed and raw, until it is deleted."""
    m, one, two = outer(context, kind), inner(context), inner(context)
    m[1] = one
    m.raw[struct.pack("=I", 2)] = two
    assert m[1] is one
    assert m.raw[KEY] is one
    assert dict(m.items()) == {1: one, 2: two}
    assert len(m) == 2
    m[1] = two
    assert m[1] is two
    del m[1]
    with pytest.raises(KeyError):
        m[1]
    m.clear()
    assert dict(m) == {}


def test_a_map_stays_while_it_is_a_value(context: Context) -> None:
    """The outer map keeps its members alive, even closed ones, and lets go of what is replaced or deleted."""
    m = outer(context, MapKind.ARRAY_OF_MAPS)
    member = inner(context)
    member[0] = 42
    known = weakref.ref(member)
    m[1] = member
    member.close()
    del member
    gc.collect()
    assert known() is not None
    m[1] = inner(context)
    gc.collect()
    assert known() is None


def test_programs_read_inner_maps(context: Context) -> None:
    """A program's lookup in a map of maps gives the inner map itself, in which it looks further."""
    helpers = Helpers()
    try:
        for kind in (MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS):
            m = Map(helpers.engine, MapSpec("outer", 0, 4, 4, 4), kind)
            member = Map(helpers.engine, MapSpec("inner", ARRAY, 4, 8, 4), MapKind.ARRAY)
            m[1], member[1] = member, 99
            address = helpers.map_lookup_elem(m.native.handle, KEY)
            assert address == int(ffi.cast("uintptr_t", member.native.handle))
            value = helpers.map_lookup_elem(ffi.cast("void *", address), KEY)
            assert ffi.cast("uint64_t *", value)[0] == 99
            assert helpers.map_lookup_elem(m.native.handle, struct.pack("=I", 2)) == 0
            assert helpers.map_update_elem(m.native.handle, KEY, bytes(8), 0) < 0
    finally:
        helpers.close()


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (("array", 5, 0), "max_entries"),
        (("array", 4, 0x400), "flags"),
        (("hash", 4, 0), "kind and max_entries"),
    ],
)
def test_inner_maps_must_be_alike(context: Context, other: tuple[str, int, int], difference: str) -> None:
    """A map of another shape than the declared inner map is EINVAL, and the message says what differs."""
    kind, entries, flags = other
    stranger = inner(context, entries, MapKind(kind), flags)
    declared = outer(context, MapKind.ARRAY_OF_MAPS, MapSpec("inner", ARRAY, 4, 8, 4))
    undeclared = outer(context, MapKind.ARRAY_OF_MAPS)
    undeclared[0] = inner(context)
    for m in (declared, undeclared):
        with pytest.raises(MapError, match=f"differs from the declared inner map in its {difference}") as caught:
            m[1] = stranger
        assert caught.value.code == 22
        assert 1 not in m


def test_only_maps_and_programs_are_taken(context: Context) -> None:
    """Numbers, bytes and the wrong kind of object are EINVAL."""
    m = outer(context, MapKind.ARRAY_OF_MAPS)
    jumps = Map(context.engine, MapSpec("jumps", PROG_ARRAY, 4, 4, 4), MapKind.PROG_ARRAY)
    for refused in (1, bytes(8), None):
        for target in (m, jumps):
            with pytest.raises(MapError, match="needs a"):
                target[0] = refused
    with pytest.raises(MapError, match="needs a Program"):
        jumps[0] = inner(context)
    with pytest.raises(MapError) as caught:
        m[9] = inner(context)
    assert caught.value.code == 7


def test_programs_are_values_of_prog_arrays() -> None:
    """A program put into a prog array comes back, is what a tail call reaches, and stays when its object closes."""
    caller = "r2 = map[0] ll\nr3 = 1\ncall 12\nr0 = 7\nexit"
    maps = (MapSpec("jumps", PROG_ARRAY, 4, 4, 4),)
    with load("xdp", caller, maps, target="r0 = 3\nexit") as loaded:
        jumps, program = loaded.maps["jumps"], loaded.programs["test"]
        assert program.test_run(bytes(64)).retval == 7
        jumps[1] = loaded.programs["target"]
        assert jumps[1] is loaded.programs["target"]
        assert program.test_run(bytes(64)).retval == 3
        loaded.programs["target"].close()
        gc.collect()
        assert program.test_run(bytes(64)).retval == 3
        del jumps[1]
        gc.collect()
        assert program.test_run(bytes(64)).retval == 7
