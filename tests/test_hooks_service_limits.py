"""Objects that somebody uploads: what is hostile or too much is refused in bounded work, and leaves nothing behind."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

import anybpf
from anybpf import elf, isa
from anybpf.errors import AnyBpfError, LoadError, ObjectError, PlatformError, VerificationError
from anybpf.hooks import Limits, Service
from anybpf.runtime import Context
from anybpf.samples.build import build
from anybpf.spec import MapSpec
from compiling import require_clang
from services import compiled_for, program_for, request_policy

LOOP = """
    __u32 sum = 0;
    for (__u32 i = 0; i < {outer}; i++)
        for (__u32 j = 0; j < 1000; j++) {{
            sum += i ^ j;
            barrier_var(sum);
        }}
    return sum == 7 ? DENY : ALLOW;
"""
MAP = 'struct { __uint(type, BPF_MAP_TYPE_%s); __uint(max_entries, %d); %s } m SEC(".maps");\n'
TYPES = "__type(key, __u32); __type(value, __u64);"
USE = """
SEC("http_request") int decide(struct http_request *ctx) { __u32 key = ctx->method; return %s ? DENY : ALLOW; }
"""


@pytest.fixture
def policy():
    """A service in an execution context of its own; nothing may be left in it."""
    with Context(cpus=4) as context:
        yield request_policy(context=context)
        gc.collect()
        assert not list(context.programs.values())
        assert not list(context.maps.values())
        assert not context.pins


def refused(policy: Service, data: bytes, error: type[AnyBpfError], match: str, **limits: object) -> None:
    """Loading raises ``error`` with a message of which the first line matches."""
    with pytest.raises(error, match=match):
        policy.load(data, limits=Limits(**limits))  # type: ignore[arg-type]


def test_unsafe_programs_are_refused(policy):
    """The verifier's reason comes with the source line."""
    data = program_for(policy, "return ctx->path[0] ? DENY : ALLOW;")
    with pytest.raises(VerificationError, match="packet-bounds") as error:
        policy.load(data)
    assert "return ctx->path[0]" in str(error.value)


def test_loops_without_an_end_are_refused(policy):
    """A program that may never end does not run."""
    data = program_for(policy, "for (;;) { if (ctx->method == 70000) return DENY; barrier_var(ctx); }")
    refused(policy, data, VerificationError, "unbounded-loop")


def test_long_loops_are_refused_by_their_length(policy):
    """What takes more steps than ``visits`` to follow is refused; a higher limit accepts what is safe."""
    data = program_for(policy, LOOP.format(outer=30))
    refused(policy, data, VerificationError, "too-complex", visits=10_000)
    policy.load(data, limits=Limits(visits=1_000_000)).close()


def test_programs_share_the_verifiers_steps(policy):
    """Many programs, each of which would be accepted alone, are refused when they take too many steps together."""
    one = LOOP.format(outer=2)
    source = "".join(
        f'SEC("http_request") int f{number}(struct http_request *ctx)\n{{ {one} }}\n' for number in range(3)
    ).replace("return sum == 7", "return sum + ctx->method == 7")
    data = compiled_for(policy, source)
    policy.load(data, limits=Limits(visits=60_000)).close()
    refused(policy, data, VerificationError, "'f2' was refused\ntoo-complex", visits=20_000)


def test_objects_that_are_too_large_are_refused_unread(policy, tmp_path):
    """Size is looked at before anything else, of bytes and of files."""
    refused(policy, bytes((1 << 20) + 1), LoadError, "the object has 1048577 bytes; 1048576 are allowed here")
    path = tmp_path / "large.o"
    path.write_bytes(bytes(100))
    with pytest.raises(LoadError, match="100 bytes; 99 are allowed"):
        policy.load(path, limits=Limits(object_bytes=99))
    if Path("/dev/zero").exists():  # a file without end is read no further than that
        with pytest.raises(LoadError, match="100 bytes; 99 are allowed"):
            policy.load("/dev/zero", limits=Limits(object_bytes=99))
    with pytest.raises(OSError, match="nowhere"):
        policy.load(tmp_path / "nowhere.o")


@pytest.mark.parametrize("data", [b"", b"MZ", b"\x7fELF", b"<html>", bytes(4096), b"\x7fELF" + b"\xff" * 400])
def test_what_is_no_object_is_refused(policy, data):
    """Bytes that are no BPF object give one sentence."""
    refused(policy, data, ObjectError, ".")


def test_damaged_objects_are_refused_or_harmless(policy):
    """An object cut short, or with bytes changed anywhere, is refused with an error of ours, or is still safe."""
    data = program_for(policy, "return ctx->scratch + 1 > ctx->scratch_end ? ALLOW : ctx->scratch[0] ? DENY : TAG;")
    random = Random("damage")
    outcomes = set()
    for round_ in range(150):
        damaged = bytearray(data)
        if round_ % 3 == 0:
            del damaged[random.randrange(len(damaged)) :]
        else:
            for _ in range(random.choice([1, 1, 4])):
                damaged[random.randrange(len(damaged))] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
        try:
            with policy.load(bytes(damaged)) as loaded, next(iter(loaded.programs.values())).attach(policy):
                policy(method=1, port=2, client=b"", path=b"", scratch=b"x")
                outcomes.add("loaded")
        except AnyBpfError as error:
            outcomes.add(type(error).__name__)
    assert {"loaded", "ObjectError"} <= outcomes


def test_programs_of_other_platforms_are_refused(policy):
    """An XDP program is no program of the service, and the message says what would be."""
    require_clang()
    refused(policy, build("droppacket"), PlatformError, "is in section 'xdp', but programs of this hook are in SEC")


def test_objects_without_a_program_are_refused(policy):
    """Maps alone decide nothing."""
    refused(policy, compiled_for(policy, MAP % ("HASH", 8, TYPES)), PlatformError, "no program")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"programs": 1}, "has 2 programs; 1 are allowed here"),
        ({"instructions": 3}, "has 4 instructions; 3 are allowed here"),
    ],
)
def test_counts_are_limited(policy, limits, message):
    """More programs or instructions than allowed are refused."""
    source = 'SEC("http_request") int a(void *ctx) { return 0; }\nSEC("http_request") int b(void *ctx) { return 1; }\n'
    data = compiled_for(policy, source.replace("(void *ctx)", "(struct http_request *ctx)"))
    refused(policy, data, LoadError, message, **limits)
    policy.load(data).close()


@pytest.mark.parametrize(
    ("kind", "entries", "types"),
    [
        ("HASH", 1 << 31, TYPES),
        ("ARRAY", 1 << 28, TYPES),
        ("LRU_HASH", 1 << 20, TYPES),
        ("PERCPU_ARRAY", 1 << 18, "__type(key, __u32); __uint(value_size, 1024);"),
        ("ARRAY", 1, "__uint(key_size, 4); __uint(value_size, 1 << 30);"),
        ("RINGBUF", 1 << 30, ""),
        ("QUEUE", 1 << 30, "__uint(value_size, 4);"),
        ("BLOOM_FILTER", 1 << 30, "__uint(value_size, 4);"),
        ("PROG_ARRAY", 1 << 30, "__uint(key_size, 4); __uint(value_size, 4);"),
        ("LPM_TRIE", 1 << 24, "__uint(key_size, 8); __uint(value_size, 8); __uint(map_flags, 1);"),
    ],
)
def test_memory_of_maps_is_limited(policy, kind, entries, types):
    """Maps whose entries could take more than ``map_bytes`` are refused before they are made."""
    data = compiled_for(policy, MAP % (kind, entries, types) + USE % "key == 1")
    refused(policy, data, LoadError, "bytes of maps; 16777216 are allowed here")


def test_memory_of_all_maps_counts_together(policy):
    """Many maps of a size that one may have are too much; so are too many maps of any size."""
    one = 'struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, {0}); {1} }} m{2} SEC(".maps");\n'
    program = USE % "key == 1"
    sized = "".join(one.format(1 << 19, TYPES, number) for number in range(5))
    refused(policy, compiled_for(policy, sized + program), LoadError, "bytes of maps")
    many = "".join(one.format(1, TYPES, number) for number in range(33))
    refused(policy, compiled_for(policy, many + program), LoadError, "has 33 maps; 32 are allowed here")


@pytest.mark.parametrize(
    "types", ["__type(key, int); __uint(value_size, 20000);", "__uint(key_size, 20000); __type(value, int);"]
)
def test_keys_and_values_are_limited(policy, types):
    """One call of a helper copies no more than is allowed; nor does one data section hold more."""
    data = compiled_for(policy, MAP % ("HASH", 8, types) + USE % "key == 1")
    refused(policy, data, LoadError, "'m' has keys or values of 20000 bytes; 16384 are allowed here")
    policy.load(data, limits=Limits(value_bytes=20_000)).close()
    section = compiled_for(policy, "__u8 big[20000];\n" + USE % "big[key & 7]")
    refused(policy, section, LoadError, "has keys or values of 20000 bytes")


def test_large_data_sections_count_as_maps(policy):
    """Global variables are memory as well."""
    data = compiled_for(policy, "__u64 big[1 << 22];\n" + USE % "big[key & 7]")
    refused(policy, data, LoadError, "bytes of maps")


MEASURE = """
import struct, sys
from pathlib import Path
from anybpf.hooks import Service
from anybpf.hooks.service_fields import U8
from anybpf.hooks.service_limits import map_memory
from anybpf.platforms import MapKind
from anybpf.runtime import Context, Map
from anybpf.spec import MapSpec

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

kind, entries, cpus = MapKind(sys.argv[1]), 60_000, 2
with Context(cpus=cpus) as context:
    platform = Service("s", fields=[U8("a")], returns={"OK": 0}, fallback="OK", context=context).platform
    number = next(number for number, found in platform.map_types.items() if found is kind)
    spec = MapSpec("m", number, 8 if kind is MapKind.LPM_TRIE else 4, 8, entries, flags=int(kind is MapKind.LPM_TRIE))
    before = resident()
    with Map(context.engine, spec, kind) as made:
        for index in range(entries):
            value = [bytes(8)] * cpus if kind is MapKind.PERCPU_HASH else bytes(8)
            made.raw[struct.pack("<II", 32, index) if kind is MapKind.LPM_TRIE else struct.pack("<I", index)] = value
        print(resident() - before, map_memory(spec, platform, cpus))
"""


@pytest.mark.linux_only
@pytest.mark.parametrize("kind", ["array", "hash", "lru_hash", "percpu_hash", "lpm_trie"])
def test_the_estimate_of_memory_is_no_less_than_what_is_taken(kind):
    """A map that is full has taken no more memory than was counted (and what Python took meanwhile)."""
    if sys.platform != "linux":
        pytest.skip("the resident memory of a process is read from Linux's /proc")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, kind], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    taken, counted = map(int, done.stdout.split())
    assert taken <= counted + (1 << 20)


def test_pinning_and_may_goto_are_allowed_only_when_asked(policy):
    """Maps are not shared by name, and loops not left to chance, unless the service says so."""
    pinned = compiled_for(policy, MAP % ("HASH", 8, TYPES + "__uint(pinning, LIBBPF_PIN_BY_NAME);") + USE % "key == 1")
    refused(policy, pinned, LoadError, "'m' is to be pinned by name, which is not allowed here")
    with policy.load(pinned, limits=Limits(pinning=True)) as loaded:
        policy.context.pins.pop("m")
        assert loaded.maps["m"].max_entries == 8
    spec = elf.from_instructions(
        isa.assemble("loop:\nmay_goto done\ngoto loop\ndone:\nr0 = 0\nexit"), "http_request", "f"
    )
    with pytest.raises(LoadError, match="'f' uses may_goto, which is not allowed here"):
        Limits().require(spec, policy.platform, 4)
    Limits(may_goto=True).require(spec, policy.platform, 4)


def test_an_object_is_refused_as_a_whole(policy):
    """When the second program is unsafe, neither the first nor any map remains."""
    source = MAP % ("HASH", 8, TYPES) + USE % "bpf_map_lookup_elem(&m, &key)"
    source += 'SEC("http_request") int other(struct http_request *ctx) { return ctx->path[5] ? DENY : ALLOW; }'
    refused(policy, compiled_for(policy, source), VerificationError, "'other' was refused")


def test_map_kinds_of_other_worlds_are_refused(policy):
    """Maps that mean something in a network stack only do not exist for services."""
    program = elf.from_instructions(isa.assemble("r0 = 0\nexit"), "http_request", "f")
    spec = replace(program, maps=(MapSpec("m", 14, 4, 4, 4),))
    with pytest.raises(LoadError, match="http_request has no map type 14"):
        anybpf.load(spec, platform=policy.platform, context=policy.context)
