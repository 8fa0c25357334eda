"""The bundled C headers: fresh, in agreement with the platform tables, and enough for ordinary sources."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from anybpf.compile import include_dir
from anybpf.isa import decode
from anybpf.platforms import Context, Platform, headers, linux, windows
from anybpf.spec import ObjectSpec
from compiling import compiled, require_clang

pytestmark = pytest.mark.usefixtures("_clang")

LINUX_HEADERS = sorted(path.relative_to(include_dir("linux")).as_posix() for path in include_dir("linux").rglob("*.h"))
WINDOWS_HEADERS = sorted(
    path.relative_to(include_dir("windows")).as_posix() for path in include_dir("windows").rglob("*.h")
)


@pytest.fixture(scope="module")
def _clang() -> None:
    require_clang()


def calls(spec: ObjectSpec, program: str) -> list[int]:
    """The numbers of the helpers that a program calls, in order."""
    return [i.imm for i in decode(spec[program].code) if i is not None and i.opcode == 0x85 and i.src == 0]


def test_generated_headers_are_fresh():
    """Generated headers say what the tables say (else run `python -m anybpf.platforms.headers`)."""
    for name, text in headers.generate().items():
        assert (headers.INCLUDE / name).read_text(encoding="utf-8") == text, name


@pytest.mark.parametrize("name", LINUX_HEADERS)
def test_linux_headers_stand_alone(tmp_path, name):
    """Each Linux header compiles by itself and twice over; those of bpf/ after linux/bpf.h, as libbpf's do."""
    before = "#include <linux/bpf.h>\n" if name.startswith("bpf/") else ""
    compiled(tmp_path, f"{before}#include <{name}>\n#include <{name}>\n")


def test_packet_loads_of_older_filters(tmp_path):
    """load_byte, load_half and load_word of bpf/bpf_legacy.h become LD_ABS instructions of their sizes."""
    source = (
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_legacy.h>\n"
        'SEC("socket") int f(struct __sk_buff *skb)\n'
        "{ return load_byte(skb, 23) + load_half(skb, 12) + load_word(skb, 26); }\n"
    )
    text = decode(compiled(tmp_path, source)["f"].code)
    loads = {(i.opcode, i.imm) for i in text if i is not None and i.opcode & 0xE7 == 0x20}
    assert loads == {(0x30, 23), (0x28, 12), (0x20, 26)}


@pytest.mark.parametrize("name", WINDOWS_HEADERS)
def test_windows_headers_stand_alone(tmp_path, name):
    """Each Windows header compiles by itself and twice over; helper declarations after the header that needs them."""
    before = '#include "bpf_helpers.h"\n' if name.endswith("_defs.h") else ""
    hooks = {"process_helper_defs.h": "ebpf_ntos_hooks.h", "netevent_helper_defs.h": "ebpf_netevent_hooks.h"}
    hooks["sample_helper_defs.h"] = "sample_ext_helpers.h"
    before += f'#include "{hooks[name]}"\n' if name in hooks else ""
    compiled(tmp_path, f'{before}#include "{name}"\n#include "{name}"\n', "windows")


#: How C spells fields that the tables name in one word.
SPELLING = {"msg_src_ip": "msg_src_ip6", "user_ip": "user_ip6", "local_ip": "local_ip6", "remote_ip": "remote_ip6"}
#: Fields that C gives fewer bytes than programs may read: two halves of a word, and an array without a length.
PARTLY = {("bpf_sock", "dst_port"), ("bpf_sk_lookup", "remote_port"), ("bpf_raw_tracepoint_args", "args")}


def assertions(name: str, context: Context) -> Iterator[str]:
    """Lines of C that hold only if the type ``name`` has the layout of ``context``."""
    if context.name != "bpf_raw_tracepoint_args":  # an array without a length
        yield f'_Static_assert(sizeof({name}) == {context.size}, "size");'
    for field in context.fields:
        base, _, index = field.name.partition("[")
        member = SPELLING.get(field.name, field.name) if name.endswith("_t") else base
        at = field.offset - (int(index.rstrip("]")) * field.element if index else 0)
        yield f'_Static_assert(__builtin_offsetof({name}, {member}) == {at}, "{field.name}");'
        if field.size == field.element and (context.name, base) not in PARTLY and not index:
            yield f'_Static_assert(sizeof((({name} *)0)->{member}) == {field.size}, "{field.name}");'


def contexts(platform: Platform) -> dict[str, Context]:
    """The contexts, and what they point to, that are C structures, each once by its fullest description."""
    found: dict[str, Context] = {}
    described = [*(t.context for t in platform.program_types), *platform.structures.values()]
    for context in sorted(described, key=lambda c: len(c.fields)):
        if context.name not in ("", "pt_regs", "bpf_perf_event_data", "bpf_nf_ctx", "bpf_sock_common", "bpf_flow_keys"):
            found[context.name] = context
    return found


@pytest.mark.parametrize("context", contexts(linux).values(), ids=lambda c: c.name)
def test_linux_layouts(tmp_path, context):
    """The structures of linux/bpf.h have the sizes and offsets of the tables."""
    lines = assertions(f"struct {context.name}", context)
    compiled(tmp_path, "#include <linux/bpf.h>\n" + "\n".join(lines))


def test_register_layouts(tmp_path):
    """The registers of linux/ptrace.h stand in the order of the tables, under user space's names."""
    spelled = {name: f"r{name}" for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip")}
    spelled |= {"orig_ax": "orig_rax", "flags": "eflags"}
    context = linux.program_type("kprobe").context
    lines = [
        f'_Static_assert(__builtin_offsetof(struct pt_regs, {spelled.get(f.name, f.name)}) == {f.offset}, "{f.name}");'
        for f in context.fields
    ]
    lines.append(f'_Static_assert(sizeof(struct pt_regs) == {context.size}, "size");')
    perf = linux.program_type("perf_event").context
    lines.append(f'_Static_assert(sizeof(struct bpf_perf_event_data) == {perf.size}, "size");')
    compiled(tmp_path, "#include <linux/bpf_perf_event.h>\n" + "\n".join(lines))


@pytest.mark.parametrize("context", contexts(windows).values(), ids=lambda c: c.name)
def test_windows_layouts(tmp_path, context):
    """The structures of the Windows headers have the sizes and offsets of the tables."""
    includes = "bpf_helpers.h", "ebpf_ntos_hooks.h", "ebpf_netevent_hooks.h", "sample_ext_helpers.h"
    lines = [*(f'#include "{name}"' for name in includes), *assertions(context.name, context)]
    compiled(tmp_path, "\n".join(lines), "windows")


@pytest.mark.parametrize(("platform", "include"), [(linux, "<bpf/bpf_helpers.h>"), (windows, '"bpf_helpers.h"')])
def test_helper_numbers(tmp_path, platform, include):
    """A helper's name in C is its number in the table, for every helper."""
    lines = ["#include <linux/bpf.h>" if platform is linux else "", f"#include {include}"]
    for helper in platform.helpers.values():
        lines.append(f'__attribute__((section("h/{helper.name}"), used)) long f{helper.id}(void)')
        lines.append(f"{{ return (long)({helper.name}); }}")
    spec = compiled(tmp_path, "\n".join(lines), platform.name)
    for helper in platform.helpers.values():
        first = decode(spec[f"f{helper.id}"].code)[0]
        assert (first.dst, first.imm) == (0, helper.id), helper.name


PRELUDE = """
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#define __unused __attribute__((unused))
struct task { int pid; unsigned flags : 3; struct task *parent; char comm[16]; } __attribute__((preserve_access_index));
"""
READ_KERNEL, READ_STRING, PRINTK, VPRINTK = 113, 115, 6, 177


class TestMacros:
    """What libbpf's macros do, ours do."""

    def test_core_read(self, tmp_path):
        """BPF_CORE_READ reads one pointer a hop, each read relocated; the string form ends in a string read."""
        source = """
        SEC("kprobe/a") int chain(struct pt_regs *ctx)
        { return BPF_CORE_READ((struct task *)PT_REGS_PARM1(ctx), parent, parent, pid); }
        SEC("kprobe/b") int text(struct pt_regs *ctx)
        { char comm[16]; return BPF_CORE_READ_STR_INTO(&comm, (struct task *)PT_REGS_PARM1(ctx), parent, comm); }
        SEC("kprobe/c") int bits(struct pt_regs *ctx)
        { return BPF_CORE_READ_BITFIELD_PROBED((struct task *)PT_REGS_PARM1(ctx), flags); }
        SEC("fentry/d") int BPF_PROG(direct, struct task *task)
        { return BPF_CORE_READ_BITFIELD(task, flags); }
        """
        spec = compiled(tmp_path, PRELUDE + source)
        assert calls(spec, "chain") == [READ_KERNEL] * 3
        assert {relocation.access for relocation in spec["chain"].core} == {"0:2", "0:0"}
        assert calls(spec, "text") == [READ_KERNEL, READ_STRING]
        assert calls(spec, "bits") == [READ_KERNEL]
        assert {relocation.kind for relocation in spec["bits"].core} == {0, 1, 3, 4, 5}
        assert calls(spec, "direct") == []

    def test_core_questions(self, tmp_path):
        """Existence, size and numbers of fields, types and enumerators each become a relocation of their kind."""
        source = """
        enum color { RED = 7 };
        SEC("kprobe/a") int ask(void *ctx __unused)
        {
            return bpf_core_field_exists(struct task, pid) + bpf_core_field_exists(((struct task *)0)->parent) +
                   bpf_core_field_size(struct task, comm) + bpf_core_field_offset(struct task, comm) +
                   bpf_core_type_exists(struct task) + bpf_core_type_size(struct task) +
                   bpf_core_type_id_local(struct task) + bpf_core_type_id_kernel(struct task) +
                   bpf_core_type_matches(struct task) + bpf_core_enum_value_exists(enum color, RED) +
                   bpf_core_enum_value(enum color, RED);
        }
        """
        spec = compiled(tmp_path, PRELUDE + source)
        assert sorted(relocation.kind for relocation in spec["ask"].core) == [0, 1, 2, 2, 6, 7, 8, 9, 10, 11, 12]

    def test_typed_programs(self, tmp_path):
        """BPF_PROG takes its arguments from the context's words, BPF_KPROBE from the registers, each in its place."""
        source = """
        SEC("fentry/a") int BPF_PROG(enter, int a __unused, int b __unused, long c) { return c; }
        SEC("kprobe/b") int BPF_KPROBE(probe, int a __unused, long b) { return b; }
        SEC("kretprobe/c") int BPF_KRETPROBE(leave, long result) { return result; }
        SEC("kprobe/d") int BPF_KPROBE(nothing) { return 0; }
        SEC("ksyscall/open") int BPF_KSYSCALL(open, const char *name __unused, int flags) { return flags; }
        """
        spec = compiled(tmp_path, PRELUDE + source)
        registers = linux.program_type("kprobe").context
        loads = {name: decode(spec[name].code)[0].offset for name in ("enter", "probe", "leave")}
        second, result = registers.field_named("si").offset, registers.field_named("ax").offset
        assert loads == {"enter": 16, "probe": second, "leave": result}
        assert calls(spec, "open") == [READ_KERNEL] * 2

    def test_printk(self, tmp_path):
        """bpf_printk uses registers for up to three arguments, an array for more; its text is read-only data."""
        source = """
        SEC("xdp") int few(struct xdp_md *ctx) { bpf_printk("a"); return bpf_printk("%d", ctx->data); }
        SEC("xdp/2") int many(struct xdp_md *ctx) { return bpf_printk("%d %d %d %d", 1, 2, 3, ctx->ingress_ifindex); }
        SEC("xdp/3") int text(void *ctx __unused)
        { char out[8]; return BPF_SNPRINTF(out, sizeof(out), "%d %d", 1, 2); }
        """
        spec = compiled(tmp_path, PRELUDE + source)
        assert calls(spec, "few") == [PRINTK, PRINTK]
        assert calls(spec, "many") == [VPRINTK]
        assert calls(spec, "text") == [165]
        rodata = spec.maps[spec.map_index(".rodata")]
        assert rodata.read_only
        assert b"%d %d %d %d\0" in rodata.contents

    def test_endian(self, tmp_path):
        """Byte order macros work on constants and variables, at 16, 32 and 64 bits."""
        source = """
        _Static_assert(bpf_htons(0x1234) == 0x3412, "16");
        _Static_assert(bpf_ntohl(0x12345678) == 0x78563412, "32");
        _Static_assert(bpf_cpu_to_be64(1) == 1ull << 56, "64");
        SEC("xdp") int swap(struct xdp_md *ctx) { return bpf_ntohs(ctx->ingress_ifindex); }
        """
        text = decode(compiled(tmp_path, PRELUDE + source)["swap"].code)
        assert any(i.opcode == 0xDC and i.imm == 16 for i in text)

    def test_map_definitions(self, tmp_path):
        """Every form of member in a map definition arrives: numbers, types, 64-bit extras, inner maps, programs."""
        source = """
        struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2);
                       __type(key, int); __type(value, long); };
        struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, 4); __type(key, int);
                 __array(values, struct inner); } outer SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __uint(max_entries, 4); __type(value, int);
                 __ulong(map_extra, 1ull << 40); } bloom SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __uint(pinning, LIBBPF_PIN_BY_NAME);
                 __type(key, int); __type(value, int); } pinned SEC(".maps");
        SEC("xdp") int run(void *ctx __unused) { return (long)&outer ^ (long)&bloom ^ (long)&pinned; }
        """
        maps = {m.name: m for m in compiled(tmp_path, PRELUDE + source).maps}
        assert maps["outer"].inner.value_size == 8
        assert maps["bloom"].map_extra == 1 << 40
        assert maps["pinned"].pinning == 1

    def test_windows_text(self, tmp_path):
        """On Windows bpf_printk picks the helper for its number of arguments, and memcpy is a helper."""
        source = """
        #include "bpf_helpers.h"
        SEC("bind") int run(bind_md_t *ctx)
        {
            char copy[16];
            bpf_printk("a");
            bpf_printk("%d %d %d", 1, 2, (int)ctx->process_id);
            memcpy(copy, ctx->socket_address, sizeof(copy));
            return copy[0];
        }
        """
        assert calls(compiled(tmp_path, source, "windows"), "run") == [12, 15, 22]
