"""Programs that were once accepted although they are not safe are refused, for the right reason.

And where the verifier was right, but what runs the programs was not.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from anybpf.platforms import linux, program_type_for, raw, windows
from anybpf.runtime import Object, load
from anybpf.runtime.program import Mode
from anybpf.spec import MapSpec
from anybpf.verifier import verify_program
from running import TIERS
from verifying import PACKET, RETURN, object_of, verdict_of

#: What is wrong → section, code of the failure, program. The section says the platform.
UNSAFE = {
    "a range proven for the metadata's start used at a varying offset": (
        "xdp",
        "packet-bounds",
        """
        r6 = *(u32 *)(r1 + 8)
        r7 = *(u32 *)(r1 + 0)
        r9 = *(u32 *)(r1 + 12)
        r9 &= 255
        r8 = r6
        r8 += 4
        if r8 > r7 goto out
        r6 += r9
        r0 = *(u8 *)(r6 + 0)
        out:
        """,
    ),
    "a comparison of the memory's length plus something, taken for one of the length": (
        "raw",
        "packet-bounds",
        """
        r3 = r2
        r3 += 8
        if r3 < 16 goto out
        r0 = *(u64 *)(r1 + 8)
        out:
        """,
    ),
    "another number in the place of the memory's length, where paths join": (
        "raw",
        "packet-bounds",
        """
        r6 = 100
        if r2 & 1 goto join
        r6 = r2
        join:
        if r6 < 8 goto out
        r0 = *(u64 *)(r1 + 0)
        out:
        """,
    ),
    "bytes compared one by one that were known together": (
        "xdp",
        "stack-bounds",
        """
        call 7
        r7 = r0
        call 7
        r0 &= 511
        if r7 & 1 goto other
        if r0 > 300 goto out
        *(u64 *)(r10 - 8) = r0
        goto join
        other:
        *(u16 *)(r10 - 8) = r0
        join:
        r2 = *(u16 *)(r10 - 8)
        r1 = r10
        r1 += -301
        r1 += r2
        *(u8 *)(r1 + 0) = 1
        out:
        """,
    ),
    "a part of a number taken for linked, where only that part is there": (
        "xdp",
        "stack-bounds",
        """
        call 7
        r6 = r0
        call 7
        w3 = w0
        if r6 & 1 goto other
        *(u64 *)(r10 - 8) = r3
        goto join
        other:
        *(u32 *)(r10 - 8) = r6
        join:
        r2 = *(u32 *)(r10 - 8)
        if r2 > 7 goto out
        r1 = r10
        r1 += -16
        r1 += r3
        *(u8 *)(r1 + 0) = 1
        out:
        """,
    ),
    "constant data changed by a helper": (
        "xdp",
        "read-only",
        """
        *(u32 *)(r10 - 4) = 0
        *(u64 *)(r10 - 24) = -1
        *(u64 *)(r10 - 16) = -1
        r1 = map[5] ll
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -24
        r4 = 0
        call 2
        """,
    ),
    "a legacy load through a pointer somewhere into the context": (
        "socket",
        "legacy-packet",
        """
        r6 = r1
        call 7
        r6 += r0
        r0 = *(u8 *)skb[0]
        """,
    ),
    "a register that holds nothing, used for a result that nobody needs": (
        "xdp",
        "uninitialised-register",
        """
        call 7
        if r0 & 1 goto join
        r2 = 1
        join:
        r2 += 1
        """,
    ),
    "a register that holds nothing, copied for nobody": (
        "xdp",
        "uninitialised-register",
        """
        call 7
        if r0 & 1 goto join
        r2 = 1
        join:
        r3 = r2
        """,
    ),
    "a register that holds nothing, stored where nobody looks": (
        "xdp",
        "uninitialised-register",
        """
        call 7
        if r0 & 1 goto join
        r2 = 1
        join:
        *(u64 *)(r10 - 8) = r2
        """,
    ),
    "a value of a map whose values do not lie at fixed places": (
        "xdp",
        "map-kind",
        """
        r1 = map_value[1] + 0 ll
        """,
    ),
    "a prog array's element taken for memory": (
        "windows",
        "map-kind",
        """
        *(u32 *)(r10 - 4) = 0
        r2 = r10
        r2 += -4
        r1 = map[3] ll
        call 1
        """,
    ),
    "a pointer that is nowhere near its packet, known not to be NULL": (
        "xdp",
        "uninitialised-register",
        PACKET
        + """
        r1 = *(u64 *)(r7 + 0)
        r7 += r1
        if r7 != 0 goto out
        r0 = r5
        out:
        """,
    ),
    "a helper that calls back with other arguments than where the paths joined": (
        "xdp",
        "not-a-pointer",
        """
        *(u64 *)(r10 - 8) = 1
        *(u64 *)(r10 - 16) = r10
        *(u64 *)(r10 - 24) = 0
        *(u64 *)(r10 - 32) = 0
        *(u64 *)(r10 - 64) = 1
        call 7
        r3 = r10
        r3 += -32
        if r0 & 2 goto go
        *(u64 *)(r10 - 24) = r0
        r3 = r10
        r3 += -16
        go:
        r1 = 2
        r2 = function[body] ll
        r4 = 0
        call 181
        r0 = 0
        exit
        body:
        r4 = *(u64 *)(r2 + 8)
        if r4 == 1 goto use
        *(u64 *)(r2 + 8) = 1
        r0 = 0
        goto M
        use:
        r4 = *(u64 *)(r2 + 0)
        *(u64 *)(r4 - 64) = 1
        M:
        r0 = 0
        exit
        """,
    ),
    "elements of two rounds taken for the same": (
        "xdp",
        "pointer-arithmetic",
        """
        *(u64 *)(r10 - 8) = r10
        *(u64 *)(r10 - 16) = 0
        r1 = map[0] ll
        r2 = function[body] ll
        r3 = r10
        r3 += -16
        r4 = 0
        call 164
        r0 = 0
        exit
        body:
        r6 = *(u64 *)(r4 + 0)
        if r6 == 1 goto second
        *(u64 *)(r4 + 8) = r3
        *(u64 *)(r4 + 0) = 1
        r0 = 0
        exit
        second:
        r7 = *(u64 *)(r4 + 8)
        r3 -= r7
        r8 = r10
        r8 += -16
        r8 += r3
        *(u64 *)(r8 + 0) = 1
        r0 = 0
        exit
        """,
    ),
    "a loop in a callback that a later round seemed to end": (
        "xdp",
        "unbounded-loop",
        """
        *(u64 *)(r10 - 8) = 0
        r1 = 10
        r2 = function[body] ll
        r3 = r10
        r3 += -8
        r4 = 0
        call 181
        r0 = 0
        exit
        body:
        r6 = r1
        r6 &= 1
        r7 = *(u64 *)(r2 + 0)
        if r7 != 1 goto b
        *(u64 *)(r2 + 0) = 0
        goto Y
        b:
        if r6 == 0 goto Y
        *(u64 *)(r2 + 0) = 1
        r0 = 0
        exit
        Y:
        r7 = 0
        goto b
        """,
    ),
    "a loop that goes on when may_goto has jumped": (
        "xdp",
        "unbounded-loop",
        """
        r0 = 0
        A:
        may_goto B
        r0 += 0
        B:
        goto A
        exit
        """,
    ),
    "a loop around a subprogram whose own may_goto counts anew": (
        "xdp",
        "unbounded-loop",
        """
        call 7
        r6 = r0
        H:
        call f
        r6 &= 100
        goto H
        exit
        f:
        may_goto D
        r0 = 1
        D:
        r0 = 0
        exit
        """,
    ),
    "a subprogram's result after its tail call succeeded": (
        "xdp",
        "map-value-bounds",
        """
        call f
        r2 = r0
        r1 = map_value[0] + 0 ll
        r1 += r2
        r0 = *(u8 *)(r1 + 0)
        r0 = 0
        exit
        f:
        r2 = map[3] ll
        r3 = 0
        call 12
        r0 = 0
        exit
        """,
    ),
    "a packet that a subprogram's tail call may have moved": (
        "xdp",
        "not-accessible",
        """
        r6 = *(u32 *)(r1 + 0)
        r7 = *(u32 *)(r1 + 4)
        r2 = r6
        r2 += 4
        if r2 > r7 goto out
        call f
        r0 = *(u8 *)(r6 + 0)
        out:
        r0 = 0
        exit
        f:
        r2 = map[3] ll
        r3 = 0
        call 12
        r0 = 0
        exit
        """,
    ),
}


@pytest.mark.parametrize("what", UNSAFE)
def test_once_accepted(what: str) -> None:
    """An unsafe program is refused, for what is unsafe about it."""
    section, code, source = UNSAFE[what]
    platform = {"raw": raw, "windows": windows}.get(section, linux)
    verdict = verdict_of(source + RETURN, "xdp" if section == "windows" else section, platform=platform)
    assert verdict.failure is not None
    assert verdict.failure.code == code, verdict.failure


def loaded(source: str) -> Object:
    """The program, loaded with the maps that this engine offers."""
    spec = object_of(source)
    return load(replace(spec, maps=spec.maps[:7]), platform="linux")


@pytest.mark.parametrize("mode", TIERS)
def test_failed_packet_load_leaves_zeros(mode: Mode) -> None:
    """bpf_xdp_load_bytes beyond the packet leaves zeros, not what an earlier frame held there."""
    source = """
        r6 = r1
        call dirty
        r1 = r6
        call look
        exit
        dirty:
        *(u64 *)(r10 - 16) = -1
        r0 = 0
        exit
        look:
        r2 = 1000
        r3 = r10
        r3 += -16
        r4 = 8
        call 189
        r0 = *(u32 *)(r10 - 16)
        exit
    """
    with loaded(source) as program:
        assert program.programs["test"].test_run(bytes(64), mode=mode).retval == 0


@pytest.mark.parametrize("mode", TIERS)
def test_subprograms_may_return_nothing(mode: Mode) -> None:
    """A subprogram that leaves nothing in r0 is accepted and runs."""
    with loaded("call nothing\nr0 = 2\nexit\nnothing:\nr1 = 1\nexit") as program:
        assert program.programs["test"].test_run(bytes(64), mode=mode).retval == 2


def test_bloom_filter_is_asked_for_initialised_bytes() -> None:
    """What a bloom filter is asked for must be initialised, though peeking into other maps initialises it."""
    source = "r1 = map[0] ll\nr2 = r10\nr2 += -8\ncall 89\nr0 = 0\nexit"
    spec = replace(object_of(source), maps=(MapSpec("filter", 30, 0, 8, 4),))
    failure = verify_program(spec, spec.programs[0], linux, program_type_for(linux, spec.programs[0])).failure
    assert failure is not None
    assert failure.code == "uninitialised-stack"
    queue = replace(spec, maps=(MapSpec("queue", 22, 0, 8, 4),))
    assert verify_program(queue, queue.programs[0], linux, program_type_for(linux, queue.programs[0])).ok


def test_loops_inside_changing_rounds() -> None:
    """A bounded loop in a callback is bounded in every round, although the rounds themselves go on changing numbers."""
    source = """
        *(u64 *)(r10 - 8) = 0
        r1 = 10
        r2 = function[body] ll
        r3 = r10
        r3 += -8
        r4 = 0
        call 181
        r0 = 0
        exit
        body:
        r1 = *(u64 *)(r2 + 0)
        r1 += 1
        *(u64 *)(r2 + 0) = r1
        r3 = 0
        again:
        r3 += 1
        if r3 != 2 goto again
        r0 = 0
        exit
    """
    assert verdict_of(source).failure is None
