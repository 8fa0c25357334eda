"""CO-RE relocations: each kind's answer, what happens without one, and what must agree."""

import struct
from dataclasses import dataclass

import pytest

from anybpf import btf
from anybpf.btf.core import POISON, Kind, relocate
from anybpf.errors import BtfError
from anybpf.isa import decode
from anybpf.spec import CoreRelocation, ProgramSpec
from btfwriter import BtfWriter
from elfwriter import EXIT, lddw, mov
from kerneltypes import running_kernel


def load(size: int, offset: int) -> bytes:
    """``r0 = *(u<8 × size> *)(r1 + offset)``."""
    return struct.pack("<BBhi", {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}[size], 0x10, offset, 0)


@dataclass
class World:
    """The types of an object and of its target, each with the ids of what relocations name."""

    local: BtfWriter
    target: BtfWriter
    root: int = 0

    def ask(self, kind: Kind, code: bytes, access: str = "0", *, own: bool = False) -> bytes:
        """Return the first instruction after relocating it."""
        program = ProgramSpec("p", "xdp", code + EXIT, core=(CoreRelocation(0, kind, self.root, access),))
        local = btf.load(self.local.bytes())
        target = local if own else btf.Btf(self.target.bytes())  # never the same table, even for the same bytes
        relocated = relocate(program, local, target)
        assert relocated.core == ()
        decode(relocated.code)
        return relocated.code[: len(code)]


def world() -> World:
    """Write a struct as a program declares it, and as a newer kernel has it: moved, widened and wrapped.

    Paths in the program: ``pid`` 0:0, ``state`` 0:1, ``tag[0].id`` 0:2:0:0, ``flag`` (a bitfield) 0:3, ``gone`` 0:4.
    """
    local = BtfWriter()
    u32, u64 = (local.int(n, s) for n, s in (("u32", 4), ("u64", 8)))
    s32 = local.int("int", 4, signed=True)
    tag = local.struct("tag", 8, [("id", u32, 0), ("seq", s32, 32)])
    members = [("pid", s32, 0), ("state", u32, 32), ("tag", local.array(tag, 4), 64), ("flag", u32, 320, 1)]
    members += [("gone", u64, 384)]
    root = local.struct("task___mine", 56, [(*m, 0) if len(m) == 3 else m for m in members])

    target = BtfWriter()
    u32, u64, u8 = (target.int(n, s) for n, s in (("u32", 4), ("u64", 8), ("u8", 1)))
    s32 = target.int("int", 4, signed=True)
    tag = target.struct("tag", 12, [("extra", u32, 0), ("id", u32, 32), ("seq", s32, 64)])
    inner = target.struct("", 16, [("state", u64, 64), ("flag", u8, 3, 2)])
    target.struct(
        "task",
        88,
        [
            ("pad", u64, 0),
            ("", inner, 64),
            ("pid", target.typedef("pid_t", s32), 192),
            ("tag", target.array(tag, 4), 256),
        ],
    )
    return World(local, target, root)


OFFSET = Kind.FIELD_BYTE_OFFSET


def test_field_offset():
    """A field is found by name, through flavors, typedefs and anonymous structs, wherever the target has it."""
    assert world().ask(OFFSET, load(4, 0), "0:0") == load(4, 24)
    assert world().ask(OFFSET, mov(1, 8 + 2 * 8 + 4), "0:2:2:1") == mov(1, 32 + 2 * 12 + 8)
    assert world().ask(OFFSET, mov(1, 56 + 4), "1:1") == mov(1, 88 + 16)


def test_loads_are_widened():
    """A load of an unsigned field takes the size that the field has in the target; a signed one is poisoned."""
    assert world().ask(OFFSET, load(4, 4), "0:1") == load(8, 16)
    signed = world()
    signed.target = BtfWriter()
    signed.target.struct("task", 8, [("pid", signed.target.int("long", 8, signed=True), 0)])
    assert signed.ask(OFFSET, load(4, 0), "0:0") == struct.pack("<BBhi", 0x85, 0, 0, POISON)


def test_field_size():
    """The size is that of the target's field; a bitfield's, of the smallest load that holds it."""
    assert world().ask(Kind.FIELD_BYTE_SIZE, mov(1, 4), "0:1") == mov(1, 8)
    assert world().ask(Kind.FIELD_BYTE_SIZE, mov(1, 32), "0:2") == mov(1, 48)
    assert world().ask(Kind.FIELD_BYTE_SIZE, mov(1, 4), "0:3") == mov(1, 1)


def test_field_exists():
    """Existence answers 1 or 0, and 0 too when the type itself is not there."""
    assert world().ask(Kind.FIELD_EXISTS, mov(1, 1), "0:1") == mov(1, 1)
    assert world().ask(Kind.FIELD_EXISTS, mov(1, 1), "0:4") == mov(1, 0)
    nowhere = world()
    nowhere.target = BtfWriter()
    assert nowhere.ask(Kind.FIELD_EXISTS, mov(1, 1), "0:1") == mov(1, 0)


def test_field_signed():
    """Signedness is the target's."""
    assert world().ask(Kind.FIELD_SIGNED, mov(1, 1), "0:0") == mov(1, 1)
    assert world().ask(Kind.FIELD_SIGNED, mov(1, 0), "0:1") == mov(1, 0)


def test_field_shifts():
    """The shifts that take a field out of a 64-bit register: 2 bits from bit 3 of byte 8 in the target."""
    assert world().ask(Kind.FIELD_LSHIFT_U64, mov(1, 63), "0:3") == mov(1, 64 - 5)
    assert world().ask(Kind.FIELD_RSHIFT_U64, mov(1, 63), "0:3") == mov(1, 64 - 2)
    assert world().ask(Kind.FIELD_LSHIFT_U64, mov(1, 32), "0:0") == mov(1, 32)
    assert world().ask(Kind.FIELD_RSHIFT_U64, mov(1, 32), "0:1") == mov(1, 0)


def test_type_ids():
    """The local id is the object's own; the target's id is the target's, or 0."""
    w = world()
    assert w.ask(Kind.TYPE_ID_LOCAL, lddw(1, 99)) == lddw(1, w.root)
    assert w.ask(Kind.TYPE_ID_TARGET, lddw(1, w.root)) == lddw(1, len(w.target.records))
    w.target = BtfWriter()
    assert w.ask(Kind.TYPE_ID_TARGET, lddw(1, w.root)) == lddw(1, 0)


def test_type_exists_and_size():
    """Whether the type exists goes by name and kind; its size is the target's, 0 without one."""
    assert world().ask(Kind.TYPE_EXISTS, mov(1, 1)) == mov(1, 1)
    assert world().ask(Kind.TYPE_SIZE, mov(1, 56)) == mov(1, 88)
    union = world()
    union.target = BtfWriter()
    union.target.struct("task", 8, [], union=True)
    assert union.ask(Kind.TYPE_EXISTS, mov(1, 1)) == mov(1, 0)
    assert union.ask(Kind.TYPE_SIZE, mov(1, 56)) == mov(1, 0)


def exists(declare, actual) -> bool:
    """Return whether a typedef of one type exists in a target that has a typedef of that name of another type."""
    tables = []
    for make in (declare, actual):
        w = BtfWriter()
        w.typedef("thing", make(w))
        tables.append(w)
    local, target = tables
    return World(local, target, len(local.records)).ask(Kind.TYPE_EXISTS, mov(1, 1)) == mov(1, 1)


def test_type_exists_through_other_types():
    """Typedefs, pointers, arrays and signatures exist when what they are made of does; numbers in them do not count."""

    def integer(w: BtfWriter, size: int = 4, offset: int = 0) -> int:
        return w.int("number", size, bits=8, offset=offset)

    def callback(count: int, returns=integer):
        return lambda w: w.ptr(w.proto(returns(w), [("x", integer(w))] * count))

    assert exists(integer, lambda w: w.int("other", 8, signed=True))
    assert not exists(integer, lambda w: integer(w, 4, 3))
    assert not exists(integer, lambda w: w.ptr(integer(w)))
    assert exists(lambda w: w.array(integer(w), 3), lambda w: w.array(integer(w), 9))
    assert not exists(lambda w: w.array(integer(w), 3), lambda w: w.array(w.ptr(0), 3))
    assert exists(callback(2), callback(2))
    assert not exists(callback(2), callback(1))
    assert not exists(callback(1), callback(1, lambda w: w.ptr(0)))
    assert not exists(lambda w: w.float("double", 8), lambda w: w.float("double", 8))


def enum_world(kind: Kind, code: bytes, access: str) -> bytes:
    """Return an instruction about an enum whose target has other values and is 64 bits wide."""
    local, target = BtfWriter(), BtfWriter()
    root = local.enum("cmd", {"GET": 0, "SET___v2": 1, "OLD": 2})
    target.enum64("cmd___wide", {"GET": 7, "SET": 1 << 40})
    return World(local, target, root).ask(kind, code, access)


def test_enumerators():
    """An enumerator's value is the target's, in 64 bits where needed; without one, reaching the value is an error."""
    assert enum_world(Kind.ENUMVAL_VALUE, mov(1, 0), "0") == mov(1, 7)
    assert enum_world(Kind.ENUMVAL_VALUE, lddw(1, 1), "1") == lddw(1, 1 << 40)
    assert enum_world(Kind.ENUMVAL_EXISTS, mov(1, 1), "1") == mov(1, 1)
    assert enum_world(Kind.ENUMVAL_EXISTS, mov(1, 1), "2") == mov(1, 0)
    poison = struct.pack("<BBhi", 0x85, 0, 0, POISON)
    assert enum_world(Kind.ENUMVAL_VALUE, lddw(1, 2), "2") == poison * 2


def matches(declare: tuple, actual: tuple) -> bool:
    """Return whether a struct of the members of ``actual`` matches one of ``declare``, given as (name, maker)."""
    tables = []
    for members in (declare, actual):
        w = BtfWriter()
        built = [(name, make(w), 64 * i) for i, (name, make) in enumerate(members)]
        w.struct("thing", 64 * len(built), built)
        tables.append(w)
    local, target = tables
    return World(local, target, len(local.records)).ask(Kind.TYPE_MATCHES, mov(1, 1)) == mov(1, 1)


def test_type_matches():
    """A type matches when the target has every declared member, of a type that matches in turn."""

    def u32(w: BtfWriter) -> int:
        return w.int("u32", 4)

    def s32(w: BtfWriter) -> int:
        return w.int("u32", 4, signed=True)

    def pointer(w: BtfWriter) -> int:
        return w.ptr(w.fwd("other"))

    def pointer_to_struct(w: BtfWriter) -> int:
        return w.ptr(w.struct("other", 4, []))

    def pointer_to_union(w: BtfWriter) -> int:
        return w.ptr(w.struct("other", 4, [], union=True))

    def array(length: int):
        return lambda w: w.array(w.int("u32", 4), length)

    def colours(*names: str):
        return lambda w: w.enum("colour", {name: i for i, name in enumerate(names)})

    def callback(*parameters: str):
        return lambda w: w.ptr(w.proto(w.int("int", 4), [(n, w.int(n, 4)) for n in parameters]))

    assert matches((("a", u32),), (("b", u32), ("a", u32)))
    assert not matches((("a", u32), ("c", u32)), (("b", u32), ("a", u32)))
    assert not matches((("a", u32),), (("a", s32),))
    assert matches((("p", pointer),), (("p", pointer_to_struct),))
    assert not matches((("p", pointer),), (("p", pointer_to_union),))
    assert not matches((("p", pointer),), (("p", u32),))
    assert matches((("x", array(3)),), (("x", array(3)),))
    assert not matches((("x", array(3)),), (("x", array(4)),))
    assert matches((("e", colours("RED")),), (("e", colours("BLUE", "RED")),))
    assert not matches((("e", colours("RED", "GREEN")),), (("e", colours("BLUE", "RED")),))
    assert matches((("f", callback("a", "b")),), (("f", callback("a", "b")),))
    assert not matches((("f", callback("a", "b")),), (("f", callback("a")),))


def test_unresolvable_offset_is_poisoned():
    """An access to a field that the target does not have becomes a call of a helper that no platform has."""
    poison = struct.pack("<BBhi", 0x85, 0, 0, POISON)
    assert world().ask(OFFSET, load(8, 48), "0:4") == poison
    assert world().ask(OFFSET, mov(1, 48), "0:4") == poison


def test_incompatible_field_does_not_count():
    """A field of the same name that is of another kind of type is not the field."""
    w = world()
    w.target = BtfWriter()
    w.target.struct("task", 8, [("state", w.target.ptr(0), 0)])
    assert w.ask(Kind.FIELD_EXISTS, mov(1, 1), "0:1") == mov(1, 0)


def test_candidates_must_agree():
    """When types of the same name in the target give different answers, none is taken."""
    w = world()
    w.target.struct("task", 4, [("pid", w.target.int("int", 4), 0)])
    with pytest.raises(BtfError, match="disagree"):
        w.ask(OFFSET, load(4, 0), "0:0")
    assert w.ask(OFFSET, load(4, 4), "0:1") == load(8, 16)  # only one of them has this field


def test_flexible_arrays():
    """An array without a length at the end of a struct may be indexed beyond it; another may not."""
    local, target = BtfWriter(), BtfWriter()
    for w, start in ((local, 4), (target, 12)):
        u32 = w.int("u32", 4)
        w.struct("list", start, [("count", u32, 0), ("items", w.array(u32, 0), 8 * start)])
    root = len(local.records)
    assert World(local, target, root).ask(OFFSET, load(4, 4 + 12), "0:1:3") == load(4, 12 + 12)
    with pytest.raises(BtfError, match="leaves"):
        world().ask(OFFSET, load(4, 0), "0:2:4:0")


def test_own_types_leave_layouts_alone():
    """Against the object's own types every answer is the one that was compiled in."""
    w = world()
    assert w.ask(OFFSET, load(4, 4), "0:1", own=True) == load(4, 4)
    assert w.ask(Kind.FIELD_EXISTS, mov(1, 1), "0:4", own=True) == mov(1, 1)
    assert w.ask(Kind.TYPE_SIZE, mov(1, 56), own=True) == mov(1, 56)


@pytest.mark.parametrize(
    ("kind", "code", "access", "message"),
    [
        (OFFSET, load(4, 99), "0:0", "holds 99, where"),
        (OFFSET, EXIT, "0:0", "takes none"),
        (OFFSET, mov(1, 0), "", "is none"),
        (OFFSET, mov(1, 0), "0:-1", "is none"),
        (OFFSET, mov(1, 0), ":".join("0" * 65), "is none"),
        (OFFSET, mov(1, 0), "0:9", "leaves 'task___mine' at index 9"),
        (Kind.FIELD_SIGNED, mov(1, 0), "0:2:1", "FIELD_SIGNED of an array element"),
        (Kind.TYPE_EXISTS, mov(1, 0), "1", "is not '0'"),
        (Kind.ENUMVAL_VALUE, mov(1, 0), "0", "leads to no enumerator"),
        (99, mov(1, 0), "0", "kind 99 is unknown"),
    ],
)
def test_malformed_relocations_are_refused(kind, code, access, message):
    """A record that cannot be, or an instruction that does not hold what was compiled, is refused with its slot."""
    with pytest.raises(BtfError, match=message) as caught:
        world().ask(kind, code, access)
    assert caught.value.instruction == 0


def test_relocation_outside_the_program_is_refused():
    """A record that names a slot beyond the program's end is refused."""
    local = BtfWriter()
    root = local.int("int", 4)
    program = ProgramSpec("p", "xdp", mov(0, 4) + EXIT, core=(CoreRelocation(2, Kind.TYPE_SIZE, root, "0"),))
    with pytest.raises(BtfError, match="outside the program"):
        relocate(program, btf.load(local.bytes()), btf.EMPTY)


def test_running_kernel():
    """Against the running kernel's types, task_struct's pid moves to where the kernel has it."""
    kernel = running_kernel()
    local = BtfWriter()
    root = local.struct("task_struct", 4, [("pid", local.int("int", 4, signed=True), 0)])
    table = btf.load(local.bytes())
    records = (CoreRelocation(0, OFFSET, root, "0:0"), CoreRelocation(1, Kind.TYPE_SIZE, root, "0"))
    program = ProgramSpec("p", "kprobe", load(4, 0) + mov(1, 4) + EXIT, core=records)
    relocated = relocate(program, table, kernel)
    task = kernel.type(kernel.ids("task_struct")[0])
    offset = struct.unpack_from("<h", relocated.code, 2)[0]
    assert offset == next(m.offset for m in task.members if m.name == "pid") > 0
    assert struct.unpack_from("<i", relocated.code, 12)[0] == task.size > 1000
