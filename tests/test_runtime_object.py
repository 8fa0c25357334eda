"""Loading objects: what is verified, created, filled in, refused, and closed."""

from __future__ import annotations

import gc
import struct
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import anybpf
from anybpf import btf
from anybpf.compile import compile_source
from anybpf.elf import from_instructions
from anybpf.errors import CompileError, EventError, LoadError, MapError, PlatformError, VerificationError
from anybpf.isa import assemble
from anybpf.platforms import linux
from anybpf.runtime import Context
from anybpf.spec import CoreRelocation, KconfigSpec, MapSpec, ObjectSpec
from btfwriter import BtfWriter
from elfwriter import ElfWriter

HASH, ARRAY, PROG_ARRAY, PERF, HASH_OF_MAPS, RINGBUF = 1, 2, 3, 4, 13, 27
PIN_BY_NAME = 1
PACKET = bytes(range(64))
PASS = "r0 = 2\nexit"
BAD = "r1 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r1 + 0)\nexit"
COUNT = """
    *(u32 *)(r10 - 4) = 0
    r2 = r10
    r2 += -4
    r1 = map[0] ll
    call 1
    if r0 == 0 goto +2
    r1 = 1
    lock *(u64 *)(r0 + 0) += r1
    r0 = 2
    exit
"""


@pytest.fixture
def context() -> Iterator[Context]:
    """An execution context of the test's own."""
    with Context(cpus=2) as made:
        yield made


def one(source: str, *maps: MapSpec, section: str = "xdp", name: str = "program") -> ObjectSpec:
    """An object of one program."""
    return replace(from_instructions(assemble(source), section, name), maps=maps, license="GPL")


def counters(name: str = "counters", **more: int) -> MapSpec:
    """An array of one counter."""
    return MapSpec(name, ARRAY, 4, 8, 1, **more)


def test_an_object_is_verified_and_runs(context: Context) -> None:
    """An accepted program comes with its verdict; its maps are there by name."""
    with anybpf.load(one(COUNT, counters()), context=context) as loaded:
        chosen = loaded.programs["program"]
        assert chosen.verdict is not None
        assert chosen.verdict.ok
        assert (chosen.type.name, chosen.platform.name, chosen.checked_only) == ("xdp", "linux", False)
        for mode in ("checked", "interpreter", "jit", None):
            assert chosen.test_run(PACKET, mode=mode).retval == 2
        assert loaded.maps["counters"][0] == 4


def test_files_paths_and_bytes_load_alike(tmp_path: Path, context: Context) -> None:
    """load takes a path, the bytes of a file, and what open returned."""
    elf = ElfWriter()
    code = assemble(PASS)
    elf.function("pass", elf.code("xdp", code), 0, len(code))
    path = tmp_path / "pass.o"
    path.write_bytes(elf.bytes())
    for source in (path, str(path), path.read_bytes(), anybpf.open(path)):
        with anybpf.load(source, context=context) as loaded:
            assert loaded.programs["pass"].test_run(PACKET).retval == 2


def test_a_refused_program_carries_its_failure(context: Context) -> None:
    """The error holds the structured failure and reads as its rendering; nothing stays behind."""
    with pytest.raises(VerificationError, match="program 'program' was refused") as raised:
        anybpf.load(one(BAD, counters(pinning=PIN_BY_NAME)), context=context)
    assert raised.value.failure.instruction == 1
    assert len(context.programs) == len(context.maps) == len(context.pins) == 0


def test_one_program_of_several_can_be_chosen(context: Context) -> None:
    """With a name only that program is verified and loaded; a name that is not there is a KeyError with the names."""
    both = replace(one(PASS), programs=(*one(PASS, name="good").programs, *one(BAD, name="bad").programs))
    with anybpf.load(both, program="good", context=context) as loaded:
        assert list(loaded.programs) == ["good"]
    with pytest.raises(VerificationError):
        anybpf.load(both, context=context)
    with pytest.raises(KeyError, match="good, bad"):
        anybpf.load(both, program="other", context=context)


def test_trust_warns_and_runs_anything_fast(context: Context) -> None:
    """trust runs what the verifier refuses, in every tier, with a warning; trust and unverified exclude each other."""
    with pytest.warns(UserWarning, match="without verification"):
        loaded = anybpf.load(one(BAD), trust=True, context=context)
    with loaded:
        for mode in ("checked", "interpreter", "jit"):
            assert loaded.programs["program"].test_run(b"\x09" + PACKET, mode=mode).retval == 9
    with pytest.raises(LoadError, match="exclude each other"):
        anybpf.load(one(BAD), trust=True, unverified=True, context=context)


def test_what_is_not_offered_is_named(context: Context) -> None:
    """A helper or kind of map that this engine lacks makes loading fail with its name."""
    source = "r2 = 0\nr3 = 0\ncall 21\nr0 = 0\nexit"  # bpf_skb_set_tunnel_key
    with pytest.raises(LoadError, match=r"program 'program' calls bpf_skb_set_tunnel_key, which this engine"):
        anybpf.load(one(source, section="tc"), unverified=True, context=context)
    with pytest.raises(LoadError, match="calls helper 9999, which linux does not have"):
        anybpf.load(one("call 9999\nexit"), unverified=True, context=context)
    with pytest.raises(LoadError, match="map 'stacks' is a stack_trace, which this engine does not offer"):
        anybpf.load(one(PASS, MapSpec("stacks", 7, 4, 8, 1)), context=context)
    with pytest.raises(LoadError, match="linux has no map type 99"):
        anybpf.load(one(PASS, MapSpec("odd", 99, 4, 8, 1)), context=context)
    with pytest.raises(MapError, match="map 'odd'"):
        anybpf.load(one(PASS, MapSpec("odd", ARRAY, 8, 8, 1)), context=context)
    with pytest.raises(PlatformError):
        anybpf.load(one(PASS), type_name="nothing", context=context)
    assert len(context.programs) == len(context.maps) == 0


def test_nothing_stays_half_loaded(context: Context) -> None:
    """When a later program cannot be loaded, the maps and programs before it are closed and their pins removed."""
    bad = one("r2 = 0\nr3 = 0\ncall 21\nr0 = 0\nexit", section="tc", name="second").programs
    both = replace(one(PASS, name="first"), maps=(counters(pinning=PIN_BY_NAME),))
    with pytest.raises(LoadError):
        anybpf.load(replace(both, programs=(*both.programs, *bad)), unverified=True, context=context)
    gc.collect()
    assert len(context.programs) == len(context.maps) == len(context.pins) == 0


def test_pinned_maps_are_shared_by_name(context: Context) -> None:
    """Objects that pin a map of the same name share it, also after one is closed; another shape is refused."""
    spec = one(COUNT, counters(pinning=PIN_BY_NAME))
    with anybpf.load(spec, context=context) as first:
        first.programs["program"].test_run(PACKET)
    with anybpf.load(spec, context=context) as second:
        second.programs["program"].test_run(PACKET)
        assert second.maps["counters"][0] == 2
    wider = replace(spec, maps=(replace(spec.maps[0], value_size=16),))
    with pytest.raises(LoadError, match="exists as array with keys of 4, values of 8 bytes and 1 entries"):
        anybpf.load(wider, context=context)
    with Context(cpus=1) as other, anybpf.load(spec, context=other) as third:
        assert third.maps["counters"][0] == 0


def test_maps_can_be_handed_in(context: Context) -> None:
    """A given map is used in place of the object's own, and is not closed with the object."""
    with anybpf.load(one(COUNT, counters()), context=context) as first:
        shared = first.maps["counters"]
        with anybpf.load(one(COUNT, counters()), context=context, maps={"counters": shared}) as second:
            second.programs["program"].test_run(PACKET)
        assert shared[0] == 1
        with pytest.raises(LoadError, match="given for countres, which the object does not have; it has counters"):
            anybpf.load(one(COUNT, counters()), context=context, maps={"countres": shared})
        with Context(cpus=1) as other, pytest.raises(LoadError, match="another execution context"):
            anybpf.load(one(COUNT, counters()), context=other, maps={"counters": shared})
        constants = MapSpec(".rodata", ARRAY, 4, 8, 1, 0x80, contents=bytes(8), is_data=True, read_only=True)
        with pytest.raises(LoadError, match="relies on what the object puts there"):
            anybpf.load(one(PASS, constants), context=context, maps={".rodata": shared})


def test_data_sections_are_filled(context: Context) -> None:
    """Global data begins as the file has it; programs write .data and only read .rodata, also where the user looks."""
    data = MapSpec(".data", ARRAY, 4, 8, 1, contents=struct.pack("<Q", 40), is_data=True)
    constants = MapSpec(".rodata", ARRAY, 4, 8, 1, 0x80, contents=struct.pack("<Q", 2), is_data=True, read_only=True)
    source = """
        r1 = map_value[0] + 0 ll
        r2 = map_value[1] + 0 ll
        r0 = *(u64 *)(r1 + 0)
        r3 = *(u64 *)(r2 + 0)
        r0 += r3
        *(u64 *)(r1 + 0) = r0
        r0 = 2
        exit
    """
    for mode in ("checked", "interpreter", "jit"):
        with anybpf.load(one(source, data, constants), context=context, mode=mode) as loaded:
            loaded.programs["program"].test_run(PACKET)
            assert loaded.maps[".data"].raw[bytes(4)] == struct.pack("<Q", 42)
            with pytest.raises(MapError, match="EPERM"):
                loaded.maps[".rodata"].raw[bytes(4)] = bytes(8)


def test_references_are_filled(context: Context) -> None:
    """Prog arrays and maps of maps begin with the members that the object declares."""
    jumps = MapSpec("jumps", PROG_ARRAY, 4, 4, 4, values=((2, "target"),))
    inner = MapSpec("inner", ARRAY, 4, 8, 1)
    outer = MapSpec("outer", HASH_OF_MAPS, 4, 4, 4, inner=inner, values=((7, "inner"),))
    entry = one("r2 = map[0] ll\nr3 = 2\ncall 12\nr0 = 0\nexit", name="entry").programs
    target = one("r0 = 3\nexit", name="target").programs
    with anybpf.load(
        replace(one(PASS), programs=(*entry, *target), maps=(jumps, inner, outer)), context=context
    ) as loaded:
        assert loaded.maps["jumps"][2] is loaded.programs["target"]
        assert loaded.maps["outer"][7] is loaded.maps["inner"]
        for mode in ("checked", "interpreter", "jit"):
            assert loaded.programs["entry"].test_run(PACKET, mode=mode).retval == 3


def test_kernel_configuration_is_filled_in(context: Context) -> None:
    """.kconfig variables get the version of the Linux whose promises we keep, given values, or zero when weak."""
    variables = (
        KconfigSpec("LINUX_KERNEL_VERSION", 0, 4),
        KconfigSpec("CONFIG_HZ", 4, 4),
        KconfigSpec("CONFIG_NOTHING", 8, 4, weak=True),
    )
    kconfig = MapSpec(".kconfig", ARRAY, 4, 12, 1, 0x80, is_data=True, read_only=True, kconfig=variables)
    spec = one("r1 = map_value[0] + 4 ll\nr0 = *(u32 *)(r1 + 0)\nexit", kconfig)
    spec = replace(spec, programs=one(PASS).programs)
    with anybpf.load(spec, context=context, kconfig={"CONFIG_HZ": 250}) as loaded:
        expected = struct.pack("=III", 6 << 16 | 18 << 8, 250, 0)
        assert loaded.maps[".kconfig"].raw[bytes(4)] == expected
    with pytest.raises(LoadError, match="asks for CONFIG_HZ, whose value is not known; give it with kconfig="):
        anybpf.load(spec, context=context)
    with pytest.raises(LoadError, match="does not fit its 4 bytes"):
        anybpf.load(spec, context=context, kconfig={"CONFIG_HZ": 1 << 32})


def test_kernel_configuration_answers_in_the_variables_type(context: Context, tmp_path: Path) -> None:
    """ "y", "m" and "n" become what libbpf makes of them for bool and tristate variables; others are refused."""
    source = tmp_path / "ask.c"
    source.write_text(
        """
        #include <linux/bpf.h>
        #include <bpf/bpf_helpers.h>
        extern _Bool CONFIG_BPF __kconfig;
        extern enum libbpf_tristate CONFIG_VETH __kconfig;
        SEC("xdp") int ask(struct xdp_md *ctx) { return CONFIG_BPF * 16 + CONFIG_VETH; }
        """
    )
    try:
        data = compile_source(source)
    except CompileError as error:
        pytest.skip(str(error))
    with anybpf.load(data, context=context, kconfig={"CONFIG_BPF": "y", "CONFIG_VETH": "m"}) as loaded:
        assert loaded.programs["ask"].test_run(PACKET).retval == 18
    with pytest.raises(LoadError, match="CONFIG_BPF='m' is none of 'y', 'n'"):
        anybpf.load(data, context=context, kconfig={"CONFIG_BPF": "m", "CONFIG_VETH": "n"})


def test_record_maps_take_any_declared_value_type(context: Context) -> None:
    """Ring buffers and perf event arrays may declare the type of their records; it gives them no key or value."""
    ring = MapSpec("events", RINGBUF, 0, 28, 4096)
    perf = MapSpec("samples", PERF, 0, 84, 2)
    with anybpf.load(one(PASS, ring, perf), context=context) as loaded:
        assert loaded.maps["events"].drain() == []


def test_relocations_are_applied(tmp_path: Path, context: Context) -> None:
    """CO-RE relocations are resolved before a program is verified: against its own types, or a given target's."""
    local, moved = BtfWriter(), BtfWriter()
    root = local.struct("task", 8, [("pid", local.int("u32", 4), 0), ("state", local.int("u32", 4), 32)])
    moved.struct("task", 16, [("state", moved.int("u32", 4), 96)])
    (tmp_path / "target.btf").write_bytes(moved.bytes())
    plain = one("r0 = 4\nexit")
    asks = replace(plain.programs[0], core=(CoreRelocation(0, 0, root, "0:1"),))  # the byte offset of task.state
    spec = replace(plain, programs=(asks,), btf=local.bytes())
    targets = {None: 4, moved.bytes(): 12, btf.load(moved.bytes()): 12, tmp_path / "target.btf": 12}
    for target, offset in targets.items():
        with anybpf.load(spec, context=context, target_btf=target) as loaded:
            assert loaded.programs["program"].test_run(PACKET).retval == offset
            assert loaded.spec["program"].core == ()
    nowhere = BtfWriter()
    nowhere.struct("other", 8, [("state", nowhere.int("u32", 4), 0)])
    with pytest.raises(VerificationError):
        anybpf.load(spec, context=context, target_btf=nowhere.bytes())


def test_an_object_left_alone_is_freed(context: Context) -> None:
    """Objects that nobody closes go away with the last reference, and their programs and maps with them."""
    loaded = anybpf.load(one(COUNT, counters()), context=context)
    watched = weakref.ref(loaded.programs["program"])
    del loaded
    gc.collect()
    assert watched() is None
    assert len(context.programs) == len(context.maps) == 0


def test_closing_twice_is_harmless(context: Context) -> None:
    """A closed object can be closed again; its programs and maps say that they are closed."""
    loaded = anybpf.load(one(COUNT, counters()), context=context)
    loaded.close()
    loaded.close()
    with pytest.raises(LoadError, match="closed"):
        loaded.programs["program"].test_run(PACKET)
    with pytest.raises(MapError, match="closed"):
        loaded.maps["counters"][0] = 1


def test_contexts_have_cpu_slots(context: Context) -> None:
    """A context has the cpu slots asked for; a senseless number is refused."""
    assert context.cpus == 2
    with pytest.raises(LoadError, match="100000 cpu slots"):
        Context(cpus=100_000)


def test_a_program_type_can_be_given(context: Context) -> None:
    """type_name decides where the section says nothing."""
    with anybpf.load(one(PASS, section="prog"), type_name="xdp", context=context) as loaded:
        assert loaded.programs["program"].type.name == "xdp"


def test_traced_output_is_readable(context: Context) -> None:
    """What programs print is read from their context."""
    text = int.from_bytes(b"hello\0\0\0", sys.byteorder)
    source = f"r1 = {text} ll\n*(u64 *)(r10 - 8) = r1\nr1 = r10\nr1 += -8\nr2 = 6\ncall 6\nr0 = 2\nexit"
    with anybpf.load(one(source), context=context) as loaded:
        loaded.programs["program"].test_run(PACKET)
    assert [line.text for line in context.trace.read()] == ["hello"]


def test_the_event_must_fit_the_program(context: Context) -> None:
    """A packet larger than any event is refused."""
    with anybpf.load(one(PASS), context=context) as loaded, pytest.raises(EventError, match="16777217 bytes"):
        loaded.programs["program"].test_run(bytes((1 << 24) + 1))


def test_platform_values_and_names_are_taken(context: Context) -> None:
    """platform is a name or a Platform."""
    for platform in ("linux", linux):
        with anybpf.load(one(PASS), platform=platform, context=context) as loaded:
            assert loaded.platform is linux
