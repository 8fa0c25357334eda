"""The platform tables themselves: consistent, narrowed rightly, and what the reference pages say."""

from __future__ import annotations

from pathlib import Path

import pytest

from anybpf.errors import PlatformError
from anybpf.platforms import (
    ArgKind,
    Context,
    ContextField,
    FieldKind,
    MapKind,
    Platform,
    ReturnKind,
    linux,
    raw,
    reference,
    windows,
)
from anybpf.platforms.declaration import ANY, CTX, helper, names, table
from anybpf.spec import MapSpec

PLATFORMS = pytest.mark.parametrize("platform", [linux, windows, raw], ids=lambda p: p.name)
REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"


def every_helper(platform: Platform):
    """Every helper of a platform, those of its program types among them."""
    yield from platform.helpers.values()
    for program_type in platform.program_types:
        yield from program_type.own_helpers.values()


@PLATFORMS
def test_helper_names_exist(platform):
    """Every name in a set of offered helpers is a helper that the platform has."""
    known = {h.name for h in every_helper(platform)}
    for program_type in platform.program_types:
        offered = program_type.helpers | program_type.sleepable_helpers
        for rule in program_type.attach_rules.values():
            offered |= rule.more_helpers | rule.fewer_helpers
        assert offered <= known


@PLATFORMS
def test_attach_types_exist(platform):
    """Sections, rules and fields name attach types that their program type has."""
    for program_type in platform.program_types:
        known = set(program_type.attach_types)
        assert {s.attach_type for s in program_type.sections} - {""} <= known
        assert program_type.attach_rules.keys() <= known
        for field in program_type.context.fields:
            assert field.attach_types <= known


@PLATFORMS
def test_fields_are_in_order(platform):
    """Under each attach type, fields ascend without overlap and lie inside their context."""
    for program_type in platform.program_types:
        for attach_type in program_type.attach_types or ("",):
            end = 0
            context = program_type.for_attach_type(attach_type).context
            for field in context.fields:
                assert field.offset >= end, (program_type.name, attach_type, field.name)
                assert field.size % field.element == 0
                end = field.offset + field.size
            assert end <= context.size


@PLATFORMS
def test_sizes_follow_memory(platform):
    """A memory argument has its length: a fixed one, or the size argument right after it."""
    memory = {
        ArgKind.MEMORY, ArgKind.MEMORY_OR_NULL, ArgKind.MEMORY_OUT, ArgKind.MEMORY_OUT_OR_NULL, ArgKind.MEMORY_INOUT,
    }  # fmt: skip
    for found in every_helper(platform):
        kinds = [arg.kind for arg in found.args]
        for index, arg in enumerate(found.args):
            if arg.kind in memory and not arg.size:
                assert kinds[index + 1] in (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO), found.name


@PLATFORMS
def test_keys_and_values_follow_a_map(platform):
    """Keys and values are arguments of helpers that take a map before them."""
    of_map = {ArgKind.MAP_KEY, ArgKind.MAP_VALUE, ArgKind.MAP_VALUE_OUT, ArgKind.MAP_VALUE_OR_NULL}
    for found in every_helper(platform):
        kinds = [arg.kind for arg in found.args]
        for index, kind in enumerate(kinds):
            if kind in of_map:
                assert ArgKind.MAP in kinds[:index], found.name
        if found.returns in (ReturnKind.MAP_VALUE, ReturnKind.MAP_VALUE_OR_NULL):
            assert ArgKind.MAP in kinds, found.name
        if found.returns is ReturnKind.SOCKET_OR_NULL:
            assert found.structure in platform.structures, found.name
        assert (found.callback is not None) == (ArgKind.CALLBACK in kinds), found.name


@PLATFORMS
def test_pointer_fields_have_structures(platform):
    """A field that holds a pointer to a structure names one that the platform describes."""
    for program_type in platform.program_types:
        for field in program_type.context.fields:
            if field.kind in (FieldKind.SOCKET, FieldKind.SOCKET_OR_NULL, FieldKind.FLOW_KEYS):
                assert field.structure in platform.structures


@PLATFORMS
def test_map_kinds_have_rules(platform):
    """Every kind of map that a platform numbers has rules."""
    assert set(platform.map_types.values()) <= set(platform.map_rules)


def test_windows_numbers():
    """Windows' numbers are its own: the four that equal Linux's, and a few that do not."""
    same = {n for n, h in windows.helpers.items() if n in linux.helpers and linux.helpers[n].name == h.name}
    assert same == {1, 2, 3, 8}
    assert len(windows.helpers) == 35
    assert windows.helpers[19].name == "bpf_get_current_pid_tgid"
    assert windows.map_types[13] is MapKind.RINGBUF
    assert linux.map_types[27] is MapKind.RINGBUF
    xdp = windows.program_type("xdp")
    assert (xdp.number, xdp.actions[1], xdp.context.field_named("data").size) == (1, "XDP_PASS", 8)


def test_own_helpers_belong_to_their_type():
    """Number 0x10000 means another helper to each program type of Windows, and none to a type without its own."""
    found = {t.name: windows.find_helper(0x10000, t) for t in windows.program_types}
    assert found["xdp"].name == "bpf_xdp_adjust_head"
    assert found["xdp"].changes_packet
    assert found["sockops"].name == "bpf_sock_ops_get_flow_id"
    assert found["bind"] is None


def test_virtual_helpers():
    """Helpers that only some Windows types implement are offered to those alone."""
    offered = {t.name for t in windows.program_types if "bpf_get_socket_cookie" in t.helpers}
    assert offered == {"sock_addr"}


def test_own_helper_replaces_the_general():
    """Where the argument is the socket itself, the program type's own declaration counts."""
    sockopt = linux.program_type("cgroup_sockopt")
    assert linux.find_helper(49, sockopt).args[0].kind is ArgKind.SOCKET
    assert linux.find_helper(49, linux.program_type("sock_ops")).args[0].kind is ArgKind.CONTEXT


def test_narrowing():
    """An attach type narrows fields, helpers and return values; one that the type lacks is refused with the list."""
    addresses = linux.program_type("cgroup_sock_addr")
    connect4 = addresses.for_attach_type("cgroup_inet4_connect")
    assert connect4.context.access(4, 4, write=True).name == "user_ip4"
    assert connect4.context.access(8, 8) is None
    assert "bpf_bind" in connect4.helpers
    recvmsg = addresses.for_attach_type("cgroup_udp6_recvmsg")
    assert recvmsg.returns == (1, 1)
    assert recvmsg.context.access(8, 8).name == "user_ip6"
    assert "bpf_set_retval" not in recvmsg.helpers
    with pytest.raises(PlatformError, match="cgroup_inet4_bind"):
        addresses.for_attach_type("xdp")


def test_sleepable_sections():
    """Programs in sections that may sleep call what sleeps; their like in other sections do not."""
    kprobe = linux.program_type("kprobe")
    sections = {s.name: s for s in kprobe.sections}
    assert "bpf_copy_from_user" in kprobe.for_section(sections["uprobe.s"]).helpers
    assert "bpf_copy_from_user" not in kprobe.for_section(sections["uprobe"]).helpers


class TestAccess:
    """Which loads and stores of a field are allowed."""

    context = Context(
        "c",
        48,
        (
            ContextField("word", 0, 4),
            ContextField("whole", 4, 4, narrow=False, writable=True),
            ContextField("array", 8, 16, element=4, wide=True, writable=True),
            ContextField("start", 24, 4, narrow_extent=1),
            ContextField("half", 28, 4, narrowest=2),
            ContextField("bytes", 32, 8, writable=True, narrow_writable=True),
            ContextField("hidden", 40, 8, readable=False, writable=True),
        ),
    )

    @pytest.mark.parametrize(
        ("offset", "width", "write", "name"),
        [
            (0, 4, False, "word"),
            (0, 1, False, "word"),
            (3, 1, False, "word"),
            (2, 2, False, "word"),
            (1, 2, False, None),  # not aligned
            (0, 8, False, None),  # over two fields
            (0, 4, True, None),  # read only
            (4, 4, True, "whole"),
            (4, 2, False, None),
            (4, 2, True, None),
            (8, 8, False, "array"),
            (12, 8, False, None),  # not aligned
            (16, 8, True, "array"),
            (20, 4, True, "array"),
            (20, 2, True, None),
            (24, 1, False, "start"),
            (25, 1, False, None),
            (24, 2, False, "start"),
            (28, 1, False, None),
            (30, 2, False, "half"),
            (35, 1, True, "bytes"),
            (36, 4, True, "bytes"),
            (40, 8, False, None),
            (40, 8, True, "hidden"),
            (48, 1, False, None),
            (-4, 4, False, None),
        ],
    )
    def test_rules(self, offset, width, write, name):
        """Each combination of place, width and direction is allowed or not as the field says."""
        found = self.context.access(offset, width, write=write)
        assert (found and found.name) == name


class TestMapRules:
    """Whether a map can be made as declared."""

    @pytest.mark.parametrize(
        ("platform", "spec", "problem"),
        [
            (linux, MapSpec("m", 1, 4, 8, 16), None),
            (linux, MapSpec("m", 2, 8, 8, 16), "array map 'm': key_size is 8; it must be 4 bytes"),
            (linux, MapSpec("m", 2, 4, 8, 0), "max_entries is 0"),
            (linux, MapSpec("m", 11, 8, 4, 16), "BPF_F_NO_PREALLOC"),
            (linux, MapSpec("m", 27, 0, 0, 5000), "power of two"),
            (linux, MapSpec("m", 27, 0, 20, 4096), None),  # the value type names the records
            (linux, MapSpec("m", 7, 4, 12, 4), "multiple of 8"),
            (linux, MapSpec("m", 13, 4, 4, 4), "no inner map"),
            (linux, MapSpec("m", 1, 4, 8, 16, flags=1 << 30), "0x40000000"),
            (linux, MapSpec("m", 99, 4, 8, 16), "type 99, which linux does not know"),
            (windows, MapSpec("m", 9, 8, 4, 16), None),
            (windows, MapSpec("m", 1, 4, 8, 16, flags=1), "map_flags has bits 0x1"),
            (windows, MapSpec("m", 17, 4, 4, 1), "type 17, which windows does not know"),
            (linux, MapSpec(".bss", 2, 4, 8, 1, flags=0x400, is_data=True), None),
        ],
    )
    def test_problems(self, platform, spec, problem):
        """The first thing wrong is named, with what would be right; a good declaration has none."""
        found = platform.map_problem(spec)
        assert found is None if problem is None else problem in found


class TestDeclarations:
    """Helpers written as C."""

    def test_parsed(self):
        """A declaration gives the name, the prototype and the arguments' names."""
        found = helper(7, "void *bpf_find(struct thing *ctx, __u64 flags)", CTX, ANY)
        assert (found.name, found.prototype) == ("bpf_find", "void * (struct thing *ctx, __u64 flags)")
        assert [arg.name for arg in found.args] == ["ctx", "flags"]
        assert helper(8, "void bpf_end(void)").returns is ReturnKind.VOID

    def test_wrong_count(self):
        """As many arguments as parameters, or ValueError."""
        with pytest.raises(ValueError, match="1 parameters but 0 arguments"):
            helper(1, "int bpf_f(int a)")
        with pytest.raises(ValueError, match="not a C declaration"):
            helper(1, "bpf_f")

    def test_duplicates(self):
        """Two helpers of one number, or of one name, are a mistake in the table."""
        one = helper(1, "int bpf_f(void)")
        with pytest.raises(ValueError, match="same number or name"):
            table([one], [helper(1, "int bpf_g(void)")])
        with pytest.raises(ValueError, match="same number or name"):
            table([one], [helper(2, "int bpf_f(void)")])
        assert names("f g") == {"bpf_f", "bpf_g"}


def test_reference_is_fresh(tmp_path):
    """The reference pages say what the tables say (else run `python -m anybpf.platforms.reference docs/reference`)."""
    for name, text in reference.generate().items():
        assert (REFERENCE / name).read_text(encoding="utf-8") == text, name
    reference.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linux.md", "windows.md"]
