"""Random verified programs: the checked interpreter, the fast one, machine code and the live kernel do the same.

The programs use what real ones do: arithmetic of both widths, branches, the stack, the packet within proven bounds,
array and hash maps through helpers and directly, atomics, local calls, bpf_loop, and packets that grow and shrink.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import anybpf
import livekernel
from anybpf.elf import from_instructions
from anybpf.errors import VerificationError
from anybpf.isa import assemble
from anybpf.runtime import Context
from anybpf.spec import MapSpec
from running import TIERS

HASH, ARRAY = 1, 2
PROVEN = 40  # bytes of the packet that every program has tested for
#: The third is global data: the kernel lets programs address the values of arrays with one element only.
MAPS = (MapSpec("cells", ARRAY, 4, 16, 4), MapSpec("table", HASH, 4, 8, 4), MapSpec("globals", ARRAY, 4, 16, 1))
KEYS = [number.to_bytes(4, "little") for number in range(6)]
SCALARS = ("r0", "r2", "r3", "r4", "r5", "r9")


#: What programs may call; left out when they do not, because the kernel refuses instructions that nothing reaches.
FUNCTIONS = {
    "call mix": """
    mix:
        r0 = r1
        r0 *= 31
        *(u64 *)(r10 - 8) = r0
        r1 >>= 7
        r2 = *(u64 *)(r10 - 8)
        r0 ^= r1
        r0 -= r2
        exit
    """,
    "function[body]": """
    body:
        r3 = *(u64 *)(r2 + 0)
        r3 += r1
        r3 *= 3
        *(u64 *)(r2 + 0) = r3
        r0 = 0
        if r1 < 15 goto +1
        r0 = 1
        exit
    """,
}


@dataclass(frozen=True)
class Outcome:
    """What a run left: the return value, the packet, and each map's values by key."""

    retval: int
    packet: bytes
    maps: tuple[tuple[bytes | None, ...], ...]


registers = st.sampled_from(SCALARS)
numbers = st.sampled_from((0, 1, -1, 2, 7, 31, 63, 255, 4096, 0x7FFFFFFF, -0x80000000)) | st.integers(
    -(2**31), 2**31 - 1
)
widths = st.sampled_from((8, 16, 32, 64))


def halves(register: str) -> str:
    """The 32-bit name of a register."""
    return "w" + register[1:]


@st.composite
def arithmetic(draw: st.DrawFn) -> list[str]:
    """One operation on scalars."""
    dst, src = draw(registers), draw(registers)
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return [draw(st.sampled_from((f"{dst} = -{dst}", f"{halves(dst)} = -{halves(dst)}")))]
    if kind == 1:
        bits = draw(st.sampled_from((16, 32, 64)))
        return [f"{dst} = {draw(st.sampled_from(('be', 'le', 'bswap')))}{bits} {dst}"]
    if kind == 2:
        return [f"{dst} = (s{draw(st.sampled_from((8, 16, 32)))}){src}"]
    if draw(st.booleans()):
        dst, src = halves(dst), halves(src)
    sign = draw(st.sampled_from(("+", "-", "*", "/", "%", "s/", "s%", "&", "|", "^")))
    if kind < 5:
        return [f"{dst} {draw(st.sampled_from(('<<', '>>', 's>>')))}= {draw(st.integers(0, 31))}"]
    return [f"{dst} {sign}= {src if draw(st.booleans()) else draw(numbers.filter(bool))}"]


@st.composite
def memory(draw: st.DrawFn) -> list[str]:
    """A load or store within the packet or the frame."""
    register, bits = draw(registers), draw(widths)
    if draw(st.booleans()):
        place = f"(r7 + {draw(st.integers(0, PROVEN - bits // 8))})"
    else:
        place = f"(r10 - {draw(st.integers(2, 8)) * 8})"
    sign = draw(st.sampled_from("us")) if bits < 64 else "u"
    return [draw(st.sampled_from((f"{register} = *({sign}{bits} *){place}", f"*(u{bits} *){place} = {register}")))]


def fresh() -> list[str]:
    """Give values again to the registers that a call has clobbered."""
    return [f"r{number} = *(u64 *)(r10 - {8 * number})" for number in (2, 3, 4, 5)]


def with_key(number: int, key: int) -> list[str]:
    """The first two arguments of map helpers."""
    return [f"*(u32 *)(r10 - 4) = {key}", "r2 = r10", "r2 += -4", f"r1 = map[{number}] ll"]


@st.composite
def array_access(draw: st.DrawFn) -> list[str]:
    """Look up an element that may not exist, and use it where it does; or use the values directly."""
    width = draw(st.sampled_from((32, 64)))
    dst = "w9" if width == 32 else "r9"
    at = f"(r0 + {draw(st.integers(0, 16 // (width // 8) - 1)) * (width // 8)})"
    use = draw(
        st.sampled_from(
            (
                f"*(u{width} *){at} = r9",
                f"r9 = *(u{width} *){at}",
                f"lock *(u{width} *){at} += {dst}",
                f"{dst} = atomic_fetch_add((u{width} *){at}, {dst})",
                f"{dst} = atomic_fetch_xor((u{width} *){at}, {dst})",
                f"{dst} = xchg{'_64' if width == 64 else '32_32'}{at.replace(')', ', ' + dst + ')')}",
            )
        )
    )
    if draw(st.booleans()):
        return ["r0 = map_value[2] + 0 ll", use, "r0 = 1"]
    found = [*with_key(0, draw(st.integers(0, 4))), "call 1", "if r0 == 0 goto +1", use, "r0 = 1"]
    return [*found, *fresh()]


@st.composite
def table_access(draw: st.DrawFn) -> list[str]:
    """Store, delete or read an entry of the hash map, and keep what the helper says."""
    start = with_key(1, draw(st.integers(0, 5)))
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return [*start, "r3 = r10", "r3 += -72", "*(u64 *)(r10 - 72) = r9", f"r4 = {draw(st.integers(0, 3))}", "call 2",
                *fresh()]  # fmt: skip
    if kind == 1:
        return [*start, "call 3", *fresh()]
    return [*start, "call 1", "if r0 == 0 goto +1", "r0 = *(u64 *)(r0 + 0)", *fresh()]


@st.composite
def call(draw: st.DrawFn, callbacks: bool) -> list[str]:
    """A local call with numbers, or a loop that calls back with a piece of the frame."""
    if not callbacks or draw(st.booleans()):
        return [f"r1 = {draw(numbers)}", "call mix", *fresh()]
    loop = [f"r1 = {draw(st.integers(0, 20))}", "r2 = function[body] ll", "r3 = r10", "r3 += -64", "r4 = 0", "call 181"]
    return [*loop, *fresh()]


@st.composite
def block(draw: st.DrawFn, callbacks: bool, depth: int = 0) -> list[str]:
    """Some steps, with branches around some of them."""
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 10))):
        kind = draw(st.integers(0, 11))
        if kind < 5:
            lines += draw(arithmetic())
        elif kind < 8:
            lines += draw(memory())
        elif kind == 8:
            lines += draw(array_access())
        elif kind == 9:
            lines += draw(table_access())
        elif kind == 10:
            lines += draw(call(callbacks))
        elif depth < 3:
            inner = draw(block(callbacks, depth + 1))
            left, right = draw(registers), draw(registers)
            if draw(st.booleans()):
                left, right = halves(left), halves(right)
            sign = draw(st.sampled_from(("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")))
            other = right if draw(st.booleans()) else str(draw(numbers))
            slots = sum(2 if line.endswith(" ll") else 1 for line in inner)
            lines += [f"if {left} {sign} {other} goto +{slots}", *inner]
    return lines


@st.composite
def programs(draw: st.DrawFn, callbacks: bool = True) -> str:
    """An XDP program that should verify; the kernel takes callbacks only from objects with BTF."""
    body = "\n".join(draw(block(callbacks)))
    moved = draw(st.sampled_from(("", "r2 = {}\nr1 = r6\ncall 44", "r2 = {}\nr1 = r6\ncall 65")))
    fold = "\n".join(f"r9 *= 31\nr9 += r{number}" for number in (2, 3, 4, 5)) + "\nr0 = r9\nr0 >>= 32\nr9 ^= r0"
    end = moved.format(draw(st.integers(-20, 40)))
    start = "\n".join(f"r{n} = {draw(numbers)}\n*(u64 *)(r10 - {8 * n}) = r{n}" for n in (2, 3, 4, 5))
    return f"""
        r6 = r1
        r7 = *(u32 *)(r1 + 0)
        r8 = *(u32 *)(r1 + 4)
        r0 = r7
        r0 += {PROVEN}
        if r0 > r8 goto out
        {start}
        r0 = {draw(numbers)}
        r9 = {draw(numbers)}
        *(u64 *)(r10 - 8) = r0
        *(u64 *)(r10 - 48) = r0
        *(u64 *)(r10 - 56) = r9
        *(u64 *)(r10 - 64) = r9
        {body}
        r9 ^= r0
        {fold}
        {end}
        r0 ^= r9
        exit
    out:
        r0 = 0
        exit
    {chr(10).join(text for name, text in FUNCTIONS.items() if name in body)}
    """


def run_here(code: bytes, packet: bytes, mode: str) -> Outcome:
    """Verify, load and run once in a fresh execution context."""
    spec = replace(from_instructions(code, "xdp", "program"), maps=MAPS, license="GPL")
    with Context(cpus=1) as context, anybpf.load(spec, platform="linux", context=context) as loaded:
        result = loaded.programs["program"].test_run(packet, mode=mode)
        values = (tuple(loaded.maps[m.name].raw.get(key) for key in KEYS) for m in MAPS)
        return Outcome(result.retval, result.data, tuple(values))


def run_in_the_kernel(code: bytes, packet: bytes) -> Outcome:
    """The same by the live kernel."""
    made = [livekernel.create_map(m.type, m.key_size, m.value_size, m.max_entries) for m in MAPS]
    opened = list(made)
    try:
        program = livekernel.load("xdp", livekernel.with_maps(code, tuple(made)))
        opened.append(program)
        result = livekernel.run_loaded(program, packet)
        values = (
            tuple(livekernel.map_value(fd, key, m.value_size) for key in KEYS) for fd, m in zip(made, MAPS, strict=True)
        )
        return Outcome(result.retval, result.data, tuple(values))
    finally:
        for descriptor in opened:
            os.close(descriptor)


def compare(source: str, packet: bytes, *others: Callable[[bytes, bytes], Outcome]) -> None:
    """Run in every tier and in ``others``; all outcomes must be equal."""
    code = assemble(source)
    try:
        first = run_here(code, packet, TIERS[0])
    except VerificationError:
        assume(False)
    for mode in TIERS[1:]:
        assert run_here(code, packet, mode) == first, mode
    for other in others:
        assert other(code, packet) == first, "the live kernel"


PROFILE = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
packets = st.binary(min_size=PROVEN, max_size=128)


@PROFILE
@given(programs(), packets)
def test_all_tiers_do_the_same(source: str, packet: bytes) -> None:
    """On random verified programs all tiers agree on r0, the packet and the maps, and the checked one never faults."""
    compare(source, packet)


@pytest.mark.linux_only
def test_the_live_kernel_does_the_same() -> None:
    """On random verified programs the live kernel agrees with all tiers on r0, the packet and the maps."""
    livekernel.require_live_kernel()

    @PROFILE
    @given(programs(callbacks=False), packets)
    def run(source: str, packet: bytes) -> None:
        try:
            compare(source, packet, run_in_the_kernel)
        except livekernel.Refused:
            assume(False)

    run()
