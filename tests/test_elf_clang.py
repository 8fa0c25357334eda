"""What clang makes of a source that uses everything an object can hold, read back."""

import struct

import pytest

from anybpf import btf, elf
from anybpf.btf.core import POISON, Kind, relocate
from anybpf.compile import compile_source
from anybpf.isa import decode
from anybpf.isa import opcodes as op
from btfwriter import BtfWriter
from compiling import require_clang

SOURCE = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct inner { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10); __type(key, __u32); __type(value, __u64); };
struct inner first SEC(".maps"), second SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 3); __type(key, __u32);
    __array(values, struct inner);
} outer SEC(".maps") = {.values = {[0] = &first, [2] = &second}};
int entry(struct xdp_md *);
struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 3); __uint(key_size, 4);
    __array(values, int(struct xdp_md *));
} jumps SEC(".maps") = {.values = {[1] = &entry}};
static struct {
    __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 3); __type(key, __u32); __type(value, __u32);
    __uint(pinning, LIBBPF_PIN_BY_NAME); __uint(map_flags, BPF_F_MMAPABLE);
} hidden SEC(".maps");

extern unsigned long LINUX_KERNEL_VERSION __kconfig;
extern _Bool CONFIG_ABSENT __kconfig __weak;
extern const void jiffies __ksym;
extern const int absent __ksym __weak;
extern void kernel_function(int) __ksym;
extern void absent_function(int) __ksym __weak;

int counter = 5;
static int total = 7;
__u64 zeroed;
const volatile int limit = 9;
SEC(".data.custom") int table[4] = {1, 2, 3};

static __noinline long each(__u32 index, void *context) { total += index; return 0; }
__noinline int scaled(int x) { return x * counter; }
static __noinline int chained(int x) { if (x) kernel_function(x); return scaled(x) + total; }

struct task { int pid; long seen; } __attribute__((preserve_access_index));
enum level { LOW = 1, HIGH = 2 };

SEC("xdp") int entry(struct xdp_md *ctx)
{
    __u32 key = 1;
    bpf_loop(10, each, 0, 0);
    int *value = bpf_map_lookup_elem(&hidden, &key);
    void *map = bpf_map_lookup_elem(&outer, &key);
    if (bpf_ksym_exists(absent_function)) absent_function(2);
    return (value ? *value : 0) + chained(key) + !!map + table[2];
}

SEC("tc") int reader(struct __sk_buff *skb)
{
    bpf_printk("limit %d", limit);
    zeroed++;
    return LINUX_KERNEL_VERSION + (CONFIG_ABSENT ? 1 : 2) + (long)&jiffies + (long)&absent;
}

SEC("kprobe/x") long relocated(struct task *task)
{
    return task->seen + __builtin_preserve_field_info(task->pid, 2) + __builtin_preserve_type_info(*task, 1)
        + __builtin_preserve_enum_value(*(enum level *)HIGH, 1);
}

char _license[] SEC("license") = "GPL";
__u32 _version SEC("version") = 0x60612;
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """The source above, compiled and parsed."""
    require_clang()
    path = tmp_path_factory.mktemp("clang") / "everything.c"
    path.write_text(SOURCE, encoding="utf-8")
    return elf.parse(compile_source(path), "everything.o")


def references(spec, name: str) -> set[tuple[str, str]]:
    """Return (what, name) for each map, variable, function and extern that a program refers to."""
    program = spec[name]
    starts = {function.slot: function.name for function in program.functions}
    found = set()
    for slot, instruction in enumerate(decode(program.code)):
        match instruction and (instruction.opcode, instruction.src):
            case (op.OP_LDDW, op.LDDW_MAP_INDEX):
                found.add(("map", spec.maps[instruction.imm].name))
            case (op.OP_LDDW, op.LDDW_MAP_INDEX_VALUE):
                found.add(("data", spec.maps[instruction.imm].name))
            case (op.OP_LDDW, op.LDDW_VARIABLE) | (op.OP_CALL, op.CALL_KFUNC):
                found.add(("extern", spec.externs[instruction.imm].name))
            case (op.OP_LDDW, op.LDDW_FUNCTION):
                found.add(("callback", starts[slot + 1 + instruction.imm]))
            case (op.OP_CALL, op.CALL_LOCAL):
                found.add(("call", starts[slot + 1 + instruction.imm]))
    return found


def test_maps(spec):
    """Maps, inner maps, initial members, data sections and kconfig are those of the source."""
    maps = {m.name: m for m in spec.maps}
    assert maps["outer"].values == ((0, "first"), (2, "second"))
    assert (maps["outer"].inner.type, maps["outer"].inner.value_size) == (1, 8)
    assert maps["jumps"].values == ((1, "entry"),)
    assert (maps["hidden"].pinning, maps["hidden"].flags, maps["hidden"].max_entries) == (1, 1 << 10, 3)
    assert maps[".data"].contents == struct.pack("<ii", 5, 7)
    assert maps[".data.custom"].contents == struct.pack("<4i", 1, 2, 3, 0)
    assert (maps[".bss"].value_size, maps[".bss"].contents) == (8, b"")
    assert maps[".rodata"].read_only
    assert [(v.name, v.offset, v.size, v.weak) for v in maps[".kconfig"].kconfig] == [
        ("LINUX_KERNEL_VERSION", 0, 8, False),
        ("CONFIG_ABSENT", 8, 1, True),
    ]
    assert (spec.license, spec.version) == ("GPL", 0x60612)


def test_variables_of_data_sections(spec):
    """The spec's BTF places each global variable where the file has it."""
    table = btf.load(spec.btf)
    section = table.type(spec.maps[spec.map_index(".data")].value_type)
    places = {table.type(v.type).name: (v.offset, v.size) for v in section.variables}
    assert places == {"counter": (0, 4), "total": (4, 4)}
    assert section.size == 8


def test_references(spec):
    """Programs refer to the maps, data, functions and externs that the source names."""
    assert references(spec, "entry") == {
        ("callback", "each"), ("call", "chained"), ("call", "scaled"), ("data", ".data"), ("data", ".data.custom"),
        ("extern", "absent_function"), ("extern", "kernel_function"), ("map", "hidden"), ("map", "outer"),
    }  # fmt: skip
    assert references(spec, "reader") >= {
        ("data", ".bss"),
        ("data", ".kconfig"),
        ("data", ".rodata"),
        ("extern", "jiffies"),
    }
    assert ("extern", "absent") not in references(spec, "reader")
    assert {e.name: (e.is_function, e.weak) for e in spec.externs} == {
        "kernel_function": (True, False),
        "absent_function": (True, True),
        "jiffies": (False, False),
    }


def test_programs(spec):
    """Entries come first, subprograms follow; contexts, types and source lines belong to their functions."""
    assert [(p.name, p.context_type, p.is_subprogram) for p in spec][:3] == [
        ("entry", "xdp_md", False),
        ("reader", "__sk_buff", False),
        ("relocated", "task", False),
    ]
    assert {p.name for p in spec if p.is_subprogram} == {"scaled", "chained", "each"}
    entry = spec["entry"]
    sources = SOURCE.splitlines()
    for line in entry.lines:
        assert line.source.text.strip() == sources[line.source.line - 1].strip()
    for function in entry.functions:
        assert function.btf_type
        first = entry.source_at(function.slot)
        assert first is not None
        assert entry.function_at(function.slot) == function


def test_relocations(spec):
    """clang's CO-RE records are answered by the object's own types, and by another kernel's."""
    program = spec["relocated"]
    local = btf.load(spec.btf)
    assert {Kind(r.kind) for r in program.core} == {
        Kind.FIELD_BYTE_OFFSET, Kind.FIELD_EXISTS, Kind.TYPE_SIZE, Kind.ENUMVAL_VALUE,
    }  # fmt: skip
    assert relocate(program, local, local).code == program.code
    other = BtfWriter()
    other.struct("task", 40, [("seen", other.int("long", 8, signed=True), 256)])
    other.enum("level", {"HIGH": 77})
    by_kind = {Kind(r.kind): r.slot for r in program.core}
    text = decode(relocate(program, local, btf.load(other.bytes())).code)
    assert text[by_kind[Kind.FIELD_BYTE_OFFSET]].offset == 32
    assert text[by_kind[Kind.FIELD_EXISTS]].imm == 0
    assert text[by_kind[Kind.TYPE_SIZE]].imm == 40
    assert text[by_kind[Kind.ENUMVAL_VALUE]].imm == 77
    poisoned = decode(relocate(program, local, btf.EMPTY).code)
    assert [poisoned[by_kind[kind]].imm for kind in (Kind.FIELD_BYTE_OFFSET, Kind.ENUMVAL_VALUE)] == [POISON] * 2
