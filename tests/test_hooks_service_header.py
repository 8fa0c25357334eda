"""What the authors of programs get of a service: a header that stands alone, and type information that agrees."""

from __future__ import annotations

from itertools import pairwise

import pytest

from anybpf import btf, elf
from anybpf.btf import types as t
from anybpf.errors import BtfError, VerificationError
from anybpf.hooks import Service
from anybpf.hooks.service_fields import I8, I16, I32, I64, U8, U16, U32, U64, Buffer, Bytes
from anybpf.hooks.service_helpers import GENERAL, REPEATING, SCALAR, function
from services import compiled_for, program_for, request_policy

EVERYTHING = [
    U8("u8"),
    U64("u64"),
    I16("i16"),
    Bytes("mac", 6),
    Buffer("one"),
    I8("i8"),
    Bytes("key", 16, writable=True),
    U16("u16"),
    I32("i32", writable=True),
    Buffer("two", writable=True),
    Bytes("flag", 1),
    I64("i64"),
    U32("u32"),
]


@pytest.fixture(scope="module")
def service() -> Service:
    """A service with a field of every kind, every helper, and one of its own."""
    return Service(
        "everything",
        fields=EVERYTHING,
        returns={"GO": 0, "STOP": 1, "WAIT": 7},
        fallback="STOP",
        helpers=GENERAL | REPEATING,
        extra=[function("long ask(__u64 number)", SCALAR, call=abs)],
    )


def test_the_compiler_lays_the_struct_out_alike(service):
    """Sizes and offsets of all fields are the same to C and to the verifier."""
    lines = [f'_Static_assert(sizeof(struct everything) == {service.layout.context.size}, "size");']
    for field in service.layout.context.fields:
        lines.append(
            f'_Static_assert(__builtin_offsetof(struct everything, {field.name}) == {field.offset}, "{field.name}");'
        )
        lines.append(f'_Static_assert(sizeof(((struct everything *)0)->{field.name}) == {field.size}, "{field.name}");')
    lines.append('_Static_assert(GO == 0 && STOP == 1 && WAIT == 7, "returns");')
    compiled_for(service, "\n".join(lines))


def test_fields_lie_apart_and_aligned(service):
    """No two fields share a byte, each lies where its size demands, and buffers come first."""
    fields = service.layout.context.fields
    assert [f.name for f in fields[:4]] == ["one", "one_end", "two", "two_end"]
    assert all(before.offset + before.size <= after.offset for before, after in pairwise(fields))
    assert all(field.offset % min(field.element, 8) == 0 for field in fields)


def test_type_information_agrees_with_the_declaration(service):
    """The BTF holds the struct with the same fields at the same offsets and sizes, the enum, and a program's type."""
    types = btf.load(service.btf())
    btf.check(types)
    context = types.type(types.find("everything", t.Struct))
    assert isinstance(context, t.Struct)
    assert context.size == service.layout.context.size
    found = {m.name: (m.offset, types.size_of(m.type)) for m in context.members}
    assert found == {f.name: (f.offset, f.size) for f in service.layout.context.fields}
    verdict = types.type(types.find("everything_verdict", t.Enum))
    assert isinstance(verdict, t.Enum)
    assert {v.name: v.value for v in verdict.values} == {"GO": 0, "STOP": 1, "WAIT": 7}
    program = types.type(types.find("everything_program", t.Function))
    assert isinstance(program, t.Function)
    prototype = types.type(program.type)
    assert isinstance(prototype, t.Prototype)
    assert [p.name for p in prototype.parameters] == ["ctx"]


def test_type_information_agrees_with_the_compiler(service):
    """clang writes the same members of the same types for the struct of the header."""
    ours = btf.load(service.btf())
    theirs = btf.load(elf.parse(program_for(service, "return ctx->u8 ? GO : STOP;"), "o").btf or b"")
    context = ours.type(ours.find("everything", t.Struct))
    assert isinstance(context, t.Struct)
    compiled = theirs.type(theirs.find("everything", t.Struct))
    assert isinstance(compiled, t.Struct)
    assert [(m.name, m.bit_offset) for m in compiled.members] == [(m.name, m.bit_offset) for m in context.members]
    for mine, other in zip(context.members, compiled.members, strict=True):
        assert type(ours.resolve(mine.type)) is type(theirs.resolve(other.type)), mine.name


def test_everything_in_the_header_can_be_used(service):
    """Every helper can be called, and maps, printing, byte order and sections need no other header."""
    source = """
    struct counts { struct bpf_spin_lock lock; __u32 n; };
    struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); }
        seen SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
    struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct counts);
    } guarded SEC(".maps");
    SEC("everything") int decide(struct everything *ctx)
    {
        __u32 zero = 0, key = bpf_ntohl(ctx->u32);
        __u64 one = 1;
        struct counts *counts = bpf_map_lookup_elem(&guarded, &zero);
        if (counts) { bpf_spin_lock(&counts->lock); counts->n++; bpf_spin_unlock(&counts->lock); }
        bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
        bpf_ringbuf_output(&ring, &key, sizeof(key), BPF_RB_NO_WAKEUP);
        bpf_printk("asked %d, %d %d %d", key, zero, zero, zero);
        return ask(3) == 3 ? GO : STOP;
    }
    """
    with service.load(compiled_for(service, source)) as loaded, loaded.programs["decide"].attach(service):
        values = {f.name: b"" if isinstance(f, Bytes | Buffer) else 1 for f in EVERYTHING}
        assert service(**values).name == "GO"
        assert len(loaded.maps["seen"]) == 1
        assert len(loaded.maps["ring"].drain()) == 1


def test_a_header_declares_only_what_may_be_called():
    """Helpers that the service does not offer, and map kinds that mean nothing there, are not in its header."""
    service = request_policy(helpers=["bpf_ktime_get_ns"])
    assert "bpf_ktime_get_ns)(" in service.header()
    assert "bpf_map_lookup_elem)(" not in service.header()
    assert "BPF_MAP_TYPE_DEVMAP" not in service.header()
    program_for(service, "return bpf_ktime_get_ns() & 1;")


def test_objects_outlive_changes_of_the_declaration():
    """Programs find fields by name: an object compiled earlier works when fields were added before those it uses."""
    old = request_policy()
    data = program_for(old, "return ctx->tag == 5 && ctx->scratch + 1 <= ctx->scratch_end ? DENY : ALLOW;")
    new = request_policy(
        fields=[Buffer("body"), U64("time"), Buffer("scratch", writable=True), U32("tag", writable=True)]
    )
    assert new.layout.context.field_named("tag").offset != old.layout.context.field_named("tag").offset
    with new.load(data) as loaded, loaded.programs["decide"].attach(new):
        assert new(body=b"xyz", time=5, scratch=b"a", tag=5).name == "DENY"
        assert new(body=b"xyz", time=5, scratch=b"", tag=5).name == "ALLOW"


def test_a_field_that_is_gone_is_refused():
    """An object that uses a field which the declaration no longer has is refused, and not run on something else."""
    data = program_for(request_policy(), "return ctx->tag == 5 ? DENY : ALLOW;")
    new = request_policy(fields=[U32("method"), U16("port")])
    with pytest.raises(VerificationError, match=r"missing-type: .*uses a type or field here that there is none of"):
        new.load(data)


def test_types_that_are_not_written_are_refused():
    """The writer says what it does not write, and writes nothing wrong."""
    with pytest.raises(BtfError, match="not written here"):
        btf.write([t.Float("double", 8)])
    with pytest.raises(BtfError, match="not written here"):
        btf.write([t.Integer("int", 4, 32), t.Struct("bits", 4, (t.Member("low", 1, 0, 3),))])


def test_what_is_written_is_read_back():
    """Each kind of type comes back as it was."""
    types = [
        t.Integer("int", 4, 32, 0, True),
        t.Integer("char", 1, 8, 0, False, True),
        t.Integer("bool", 1, 8, 0, False, False, True),
        t.Pointer(1),
        t.Array(2, 1, 16),
        t.Struct("pair", 16, (t.Member("a", 1, 0), t.Member("b", 4, 64))),
        t.Struct("either", 8, (t.Member("a", 1, 0), t.Member("b", 4, 0)), True),
        t.Enum("colour", 4, (t.Enumerator("RED", 1), t.Enumerator("BLUE", -1)), True),
        t.Typedef("number", 1),
        t.Modifier(1, "const"),
        t.Prototype(1, (t.Parameter("x", 4), t.Parameter("y", 1))),
        t.Function("f", 11, t.LINKAGE_GLOBAL),
    ]
    found = btf.load(btf.write(types))
    btf.check(found)
    assert [found.type(number) for number in range(1, len(found))] == types
