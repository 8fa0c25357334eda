"""Small programs for the verifier's tests: assembly text, a fixed set of maps, one call to verify."""

from __future__ import annotations

from dataclasses import replace

from anybpf import elf, isa
from anybpf.platforms import Platform, linux, program_type_for
from anybpf.spec import ExternSpec, MapSpec, ObjectSpec
from anybpf.verifier import Verdict, verify_program
from btfwriter import BtfWriter


def _types() -> tuple[bytes, int]:
    """BTF with a struct that holds a lock (bytes 0 to 3), a number, a timer and a kernel pointer; and its id."""
    btf = BtfWriter()
    u32 = btf.int("u32", 4)
    u64 = btf.int("u64", 8)
    lock = btf.struct("bpf_spin_lock", 4, [("val", u32, 0)])
    timer = btf.struct("bpf_timer", 16, [("opaque", btf.array(u64, 2), 0)])
    kernel = btf.ptr(btf.type_tag("kptr", btf.fwd("task_struct")))
    value = btf.struct(
        "locked", 32, [("lock", lock, 0), ("count", u32, 32), ("timer", timer, 64), ("task", kernel, 192)]
    )
    return btf.bytes(), value


BTF, LOCKED = _types()

ARRAY, HASH, RING, PROGRAMS, OUTER, TEXT, GUARDED, SOCKETS = range(8)
#: What ``map[0]`` to ``map[7]`` are, with Linux's type numbers.
MAPS = (
    MapSpec("array", 2, 4, 16, 4),
    MapSpec("hash", 1, 8, 8, 64),
    MapSpec("ring", 27, 0, 0, 4096),
    MapSpec("programs", 3, 4, 4, 8),
    MapSpec("outer", 12, 4, 4, 4, inner=MapSpec("outer.inner", 2, 4, 8, 1)),
    MapSpec(".rodata", 2, 4, 16, 1, contents=b"hello %d\0\x05\0\0\0", is_data=True, read_only=True),
    MapSpec("guarded", 2, 4, 32, 1, value_type=LOCKED),
    MapSpec("sockets", 15, 4, 4, 4),
)


def object_of(source: str, section: str = "xdp", license: str = "GPL") -> ObjectSpec:
    """An object with one program, called ``test``, the maps above, and an undefined function and variable."""
    spec = elf.from_instructions(isa.assemble(source), section, "test")
    externs = (ExternSpec("missing", is_function=True), ExternSpec("bpf_ktime_get_ns", is_function=True))
    return replace(spec, maps=MAPS, externs=externs, btf=BTF, license=license)


def verdict_of(
    source: str, section: str = "xdp", *, platform: Platform = linux, license: str = "GPL", budget: int = 100_000
) -> Verdict:
    """Verify the program ``source``."""
    spec = object_of(source, section, license)
    program = spec.programs[0]
    return verify_program(spec, program, platform, program_type_for(platform, program), budget=budget)


#: Puts a pointer to an element of map 0 (16 bytes) into r0, not yet tested for NULL. Clobbers r1 to r5.
LOOKUP = """
    *(u32 *)(r10 - 4) = 0
    r2 = r10
    r2 += -4
    r1 = map[0] ll
    call 1
"""

#: The same, tested: the program returns 0 when it is NULL.
VALUE = (
    LOOKUP
    + """
    if r0 != 0 goto found
    exit
found:
"""
)

#: r6 = context, r7 = packet, r8 = its end; the first 14 bytes are proven, or the program returns 0.
PACKET = """
    r6 = r1
    r7 = *(u32 *)(r6 + 0)
    r8 = *(u32 *)(r6 + 4)
    r0 = 0
    r1 = r7
    r1 += 14
    if r1 <= r8 goto long_enough
    exit
long_enough:
"""

#: The same for map 6, whose value has a lock at 0, a number at 4, a timer at 8 and a kernel pointer at 24.
GUARDED_VALUE = VALUE.replace("map[0]", "map[6]")

RETURN = "\n    r0 = 0\n    exit\n"
