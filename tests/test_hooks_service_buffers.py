"""Several buffers in one context: each has its own end, its own proven range, and its own right to be written."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

import anybpf
from anybpf import elf, isa
from anybpf.errors import EventError, ProgramFault, VerificationError
from anybpf.hooks import Service
from anybpf.hooks.service_fields import U32, Buffer
from anybpf.hooks.service_helpers import GENERAL, MEM_INOUT, OUT, REPEATING, SIZE, function
from anybpf.spec import MapSpec, ObjectSpec
from anybpf.verifier import Verdict, verify_program
from services import compiled_for, program_for


def nothing(*values: object) -> int:
    """What the service's own functions do here."""
    return 0


@pytest.fixture(scope="module")
def service() -> Service:
    """Two buffers, one of them writable. Context: one at 0, its end at 8, two at 16 and 24, a number at 32."""
    return Service(
        "pair",
        fields=[Buffer("one"), Buffer("two", writable=True), U32("number")],
        returns={"OK": 0, "NO": 1},
        fallback="NO",
        helpers=GENERAL | REPEATING,
        extra=[
            function("long fill(void *to, __u64 size)", OUT, SIZE, call=nothing),
            function("long change(void *to, __u64 size)", MEM_INOUT, SIZE, call=nothing),
        ],
    )


#: r6 and r7: the first buffer and its end; r8 and r9: the second. r0 = 0.
START = """
    r6 = *(u64 *)(r1 + 0)
    r7 = *(u64 *)(r1 + 8)
    r8 = *(u64 *)(r1 + 16)
    r9 = *(u64 *)(r1 + 24)
    r0 = 0
"""
EXIT = "\n out:\n r0 = 0\n exit\n"
#: Adds an unknown number up to 255, in r3, to r6.
VARYING = START + "r3 = *(u32 *)(r1 + 32)\n r3 &= 255\n r4 = r6\n r4 += r3\n"

#: What is wrong → code of the failure, program.
UNSAFE = {
    "the end of the other buffer": ("pointer-comparison", START + "r2 = r6\n r2 += 4\n if r2 > r9 goto out\n"),
    "the end of the other buffer, turned round": (
        "pointer-comparison",
        START + "r2 = r8\n r2 += 4\n if r7 < r2 goto out\n",
    ),
    "two starts": ("pointer-comparison", START + "if r6 > r8 goto out\n"),
    "two ends": ("pointer-comparison", START + "if r7 == r9 goto out\n"),
    "a range proven for the other buffer": (
        "packet-bounds",
        START + "r2 = r6\n r2 += 4\n if r2 > r7 goto out\n r0 = *(u8 *)(r8 + 0)\n",
    ),
    "a range proven for the other buffer at the same unknown offset": (
        "packet-bounds",
        VARYING + "r5 = r8\n r5 += r3\n r2 = r4\n r2 += 1\n if r2 > r7 goto out\n r0 = *(u8 *)(r5 + 0)\n",
    ),
    "a range that only one of two paths has proven": (
        "packet-bounds",
        START
        + """
        r3 = *(u32 *)(r1 + 32)
        if r3 == 0 goto second
        r2 = r6
        r2 += 8
        if r2 > r7 goto out
        goto join
        second:
        r2 = r8
        r2 += 8
        if r2 > r9 goto out
        join:
        r2 = 0
        r0 = *(u8 *)(r6 + 7)
        """,
    ),
    "either buffer, compared with one's end": (
        "pointer-comparison",
        START
        + """
        r3 = *(u32 *)(r1 + 32)
        r5 = r6
        if r3 == 0 goto join
        r5 = r8
        join:
        r2 = r5
        r2 += 8
        if r2 > r7 goto out
        r0 = *(u8 *)(r5 + 0)
        """,
    ),
    "the other buffer out of a stack slot": (
        "packet-bounds",
        START
        + """
        *(u64 *)(r10 - 8) = r8
        r2 = r6
        r2 += 8
        if r2 > r7 goto out
        r5 = *(u64 *)(r10 - 8)
        r0 = *(u8 *)(r5 + 0)
        """,
    ),
    "the other buffer in a subprogram": (
        "packet-bounds",
        START
        + """
        r2 = r6
        r2 += 8
        if r2 > r7 goto done
        r1 = r8
        call first
        done:
        r0 = 0
        exit
        first:
        r0 = *(u8 *)(r1 + 0)
        """,
    ),
    "a store to a read-only buffer": (
        "read-only",
        START + "r2 = r6\n r2 += 4\n if r2 > r7 goto out\n *(u8 *)(r6 + 0) = 1\n",
    ),
    "a store to a read-only buffer at an unknown offset": (
        "read-only",
        VARYING + "r2 = r4\n r2 += 1\n if r2 > r7 goto out\n *(u8 *)(r4 + 0) = 1\n",
    ),
    "a helper that fills a read-only buffer": (
        "read-only",
        START + "r2 = r6\n r2 += 8\n if r2 > r7 goto out\n r1 = r6\n r2 = 8\n call 65536\n",
    ),
    "a helper that changes a read-only buffer": (
        "read-only",
        START + "r2 = r6\n r2 += 8\n if r2 > r7 goto out\n r1 = r6\n r2 = 8\n call 65537\n",
    ),
    "a helper that fills more than is proven": (
        "helper-memory",
        START + "r2 = r8\n r2 += 8\n if r2 > r9 goto out\n r1 = r8\n r2 = 9\n call 65536\n",
    ),
    "a helper that fills the other buffer": (
        "helper-memory",
        START + "r2 = r6\n r2 += 8\n if r2 > r7 goto out\n r1 = r8\n r2 = 8\n call 65536\n",
    ),
    "a key that is not proven": (
        "helper-memory",
        START + "r2 = r8\n r2 += 4\n if r2 > r9 goto out\n r1 = map[0] ll\n r2 = r6\n call 1\n r0 = 0\n",
    ),
    "an end used as a start": ("not-accessible", START + "r0 = *(u8 *)(r7 + 0)\n"),
    "an end passed as memory": ("helper-argument", START + "r1 = r9\n r2 = 1\n call 65536\n"),
    "an end moved back": ("pointer-arithmetic", START + "r7 += -4\n r0 = *(u8 *)(r7 + 0)\n"),
    "bytes past what is proven": (
        "packet-bounds",
        START + "r2 = r6\n r2 += 4\n if r2 > r7 goto out\n r0 = *(u8 *)(r6 + 4)\n",
    ),
    "bytes before the start": (
        "packet-bounds",
        START + "r2 = r8\n r2 += 4\n if r2 > r9 goto out\n r8 += -1\n r0 = *(u8 *)(r8 + 0)\n",
    ),
    "no proof at all": ("packet-bounds", START + "r0 = *(u8 *)(r8 + 0)\n"),
    "a proof on the wrong way": (
        "packet-bounds",
        START + "r2 = r6\n r2 += 4\n if r2 <= r7 goto out\n r0 = *(u8 *)(r6 + 0)\n",
    ),
    "a comparison in 32 bits": ("pointer-comparison", START + "r2 = r6\n r2 += 4\n if w2 > w7 goto out\n"),
    "an offset that may be too large": (
        "packet-bounds",
        START
        + """
        r3 = *(u32 *)(r1 + 32)
        r4 = r6
        r4 += r3
        r2 = r4
        r2 += 1
        if r2 > r7 goto out
        r0 = *(u8 *)(r4 + 0)
        """,
    ),
    "an offset that wraps round": (
        "packet-bounds",
        START
        + """
        r3 = *(u32 *)(r1 + 32)
        r3 <<= 33
        r4 = r8
        r4 += r3
        r2 = r4
        r2 += 1
        if r2 > r9 goto out
        *(u8 *)(r4 + 0) = 1
        """,
    ),
    "a distance between two buffers": ("pointer-arithmetic", START + "r2 = r8\n r2 -= r6\n"),
    "a distance from one buffer's end to the other": ("pointer-arithmetic", START + "r2 = r7\n r2 -= r8\n"),
    "two pointers added": ("pointer-arithmetic", START + "r6 += r8\n"),
    "an atomic operation on a buffer": (
        "atomic-access",
        START + "r2 = r8\n r2 += 8\n if r2 > r9 goto out\n lock *(u64 *)(r8 + 0) += r0\n",
    ),
    "a pointer stored in a buffer": (
        "pointer-leak",
        START + "r2 = r8\n r2 += 8\n if r2 > r9 goto out\n *(u64 *)(r8 + 0) = r6\n",
    ),
    "a pointer returned": ("pointer-leak", START + "r0 = r6\n exit\n"),
    "a pointer field overwritten": ("read-only", "r2 = 0\n *(u64 *)(r1 + 16) = r2\n"),
    "an end field overwritten": ("read-only", "r2 = -1\n *(u64 *)(r1 + 24) = r2\n"),
    "half a pointer": ("context-access", "r2 = *(u32 *)(r1 + 0)\n"),
    "a pointer at an odd place": ("context-access", "r2 = *(u64 *)(r1 + 4)\n"),
    "a pointer's byte": ("context-access", "r2 = *(u8 *)(r1 + 17)\n"),
    "a pointer or a number at one instruction": (
        "mixed-access",
        """
        r2 = r1
        r3 = *(u32 *)(r1 + 32)
        if r3 == 0 goto join
        r2 = r10
        r2 += -16
        *(u64 *)(r2 + 0) = 0
        join:
        r4 = *(u64 *)(r2 + 0)
        """,
    ),
    "another buffer on each path at one instruction": (
        "mixed-access",
        """
        r2 = r1
        r3 = *(u32 *)(r1 + 32)
        if r3 == 0 goto join
        r2 += 16
        join:
        r4 = *(u64 *)(r2 + 0)
        """,
    ),
    "the other buffer in a loop's body": (
        "packet-bounds",
        START
        + """
        r3 = 0
        again:
        r2 = r8
        r2 += 1
        if r2 > r9 goto out
        r0 = *(u8 *)(r6 + 0)
        r8 += 1
        r3 += 1
        if r3 < 8 goto again
        """,
    ),
}

#: What is right → program.
SAFE = {
    "each buffer with its own end": START
    + """
        r2 = r6
        r2 += 4
        if r2 > r7 goto out
        r3 = r8
        r3 += 8
        if r3 > r9 goto out
        r0 = *(u32 *)(r6 + 0)
        *(u32 *)(r8 + 4) = r0
    """,
    "a buffer's length": START + "r2 = r7\n r2 -= r6\n r3 = r9\n r3 -= r8\n",
    "an unknown offset": VARYING + "r2 = r4\n r2 += 1\n if r2 > r7 goto out\n r0 = *(u8 *)(r4 + 0)\n",
    "a key in a buffer": START
    + "r2 = r6\n r2 += 4\n if r2 > r7 goto out\n r1 = map[0] ll\n r2 = r6\n call 1\n r0 = 0\n",
    "a helper that fills a writable buffer": START
    + "r2 = r8\n r2 += 8\n if r2 > r9 goto out\n r1 = r8\n r2 = 8\n call 65536\n",
    "a walk through a buffer": START
    + """
        r3 = 0
        again:
        r2 = r8
        r2 += 1
        if r2 > r9 goto out
        *(u8 *)(r8 + 0) = 7
        r8 += 1
        r3 += 1
        if r3 < 8 goto again
    """,
}


def object_of(source: str) -> ObjectSpec:
    """An object with one program, called ``decide``, and a hash map with keys of 4 bytes."""
    spec = elf.from_instructions(isa.assemble(source + EXIT), "pair", "decide")
    return ObjectSpec(spec.name, spec.programs, (MapSpec("map", 1, 4, 8, 16),))


def verdict_of(service: Service, source: str) -> Verdict:
    """What the verifier says of a program of ``service``."""
    spec = object_of(source)
    return verify_program(spec, spec.programs[0], service.platform, service.program_type, budget=20_000)


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_programs_are_refused(service, name):
    """What one buffer proves or permits holds for no other, and for the other end of none."""
    code, source = UNSAFE[name]
    failure = verdict_of(service, source).failure
    assert failure is not None
    assert failure.code == code, failure.message


@pytest.mark.parametrize("end", ["r7", "r9"])
def test_buffers_of_one_kind_are_not_taken_for_each_other(end):
    """Where paths meet with either of two buffers that differ in nothing but their name, both are followed."""
    service = Service("pair", fields=[Buffer("one"), Buffer("two"), U32("number")], returns={"OK": 0}, fallback="OK")
    source = UNSAFE["either buffer, compared with one's end"][1].replace("r2 > r7", f"r2 > {end}")
    failure = verdict_of(service, source).failure
    assert failure is not None
    assert failure.code == "pointer-comparison"


@pytest.mark.parametrize("mode", ["checked", "interpreter", "jit"])
@pytest.mark.parametrize("name", SAFE)
def test_safe_programs_run(service, name, mode):
    """What is accepted runs in every tier without a fault, whatever the buffers' lengths."""
    with anybpf.load(object_of(SAFE[name]), platform=service.platform, context=service.context) as loaded:
        for one, two in ((b"", b""), (b"abcd", b""), (b"", b"abcdefgh"), (b"abcdefgh", b"abcdefgh"), (bytes(300), b"")):
            record = service.pack(one=one, two=two, number=3)
            size = service.layout.context.size
            result = loaded.programs["decide"].test_run(record[size:], record[:size], mode=mode)
            assert result.retval == 0


def test_messages_name_the_buffer(service):
    """A refusal says which buffer it is about, in words of the declaration."""
    told = [
        verdict_of(service, UNSAFE[name][1]).failure.message
        for name in ("no proof at all", "a store to a read-only buffer", "the end of the other buffer")
    ]
    assert told[0] == (
        "an access of 1 byte at buffer 'two' offset 0, but no comparison with its end has proven that the buffer "
        "reaches so far"
    )
    assert told[1] == "buffer 'one' cannot be written by this program"
    assert "pointer to buffer 'one', offset 4" in told[2]
    assert "pointer to the end of buffer 'two'" in told[2]


def random_program(random: Random) -> str:
    """A program that compares and accesses two buffers; most comparisons are those that the access needs."""
    ends = {"r6": "r7", "r4": "r7", "r8": "r9", "r5": "r9"}
    lines = [VARYING, "r5 = r8", "r5 += r3"]
    for number in range(random.randrange(1, 5)):
        pointer, size, offset = random.choice(list(ends)), random.choice([1, 2, 4, 8]), random.choice([0, 1, 4, 8, 12])
        proven = offset + size if random.random() < 0.85 else random.choice([0, 1, size, 8, 16])
        end = ends[pointer] if random.random() < 0.97 else random.choice(["r7", "r9"])
        refused = "out" if random.random() < 0.6 else f"skip{number}"
        if random.random() < 0.9:
            lines += [
                f"r2 = {pointer}",
                f"r2 += {proven}",
                f"if r2 {random.choice(['>', '>', '>='])} {end} goto {refused}",
            ]
        place = f"*(u{8 * size} *)({pointer} + {offset})"
        write = random.random() < (0.1 if end == "r7" else 0.5)
        lines += [f"{place} = r3" if write else f"r2 = {place}"]
        if random.random() < 0.5:
            lines += [f"skip{number}:", f"r2 = {place}"] if random.random() < 0.2 else [f"skip{number}:", "r2 = 0"]
        else:
            lines += [f"skip{number}:"]
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(3))
def test_accepted_programs_do_not_fault(service, seed):
    """Random programs that are accepted touch nothing outside their buffers. One buffer is often empty, so that an
    access beyond the other's end cannot land in it."""
    random = Random(f"buffers {seed}")
    counts: Counter[str] = Counter()
    for _ in range(120):
        source = random_program(random)
        spec = object_of(source)
        verdict = verify_program(spec, spec.programs[0], service.platform, service.program_type)
        counts[verdict.failure.code if verdict.failure is not None else "accepted"] += 1
        if not verdict.ok:
            continue
        with anybpf.load(spec, platform=service.platform, context=service.context) as loaded:
            for _ in range(10):
                sizes = [random.choice([0, 0, 1, 7, 8, 15, 16, 17, 40, 300]) for _ in range(2)]
                number = random.choice([0, 1, 8, 255, 256, (1 << 32) - 1])
                record = service.pack(one=bytes(sizes[0]), two=bytes(sizes[1]), number=number)
                size = service.layout.context.size
                try:
                    loaded.programs["decide"].test_run(record[size:], record[:size], mode="checked")
                except ProgramFault as fault:
                    pytest.fail(f"accepted, and stopped: {fault}\n{source}")
    assert counts["internal-error"] == 0
    assert counts["accepted"] > 10
    assert counts["packet-bounds"] > 10
    assert counts["read-only"] > 3


@pytest.mark.parametrize(
    ("access", "region"),
    [
        ("r0 = *(u8 *)(r7 + 0)", "buffer, offset 3 of 3 bytes"),
        ("*(u8 *)(r6 + 0) = 1", "buffer, offset 0 of 3 bytes"),
        ("r0 = *(u8 *)(r6 + -1)", "1 byte before buffer"),
    ],
)
def test_the_checked_interpreter_knows_each_buffer(service, access, region):
    """An unverified program stops at the first access outside its buffers, and the message says where that was."""
    spec = object_of(START + access)
    with anybpf.load(spec, platform=service.platform, context=service.context, unverified=True) as loaded:
        record = service.pack(one=b"abc", two=b"", number=0)
        size = service.layout.context.size
        with pytest.raises(ProgramFault) as stopped:
            loaded.programs["decide"].test_run(record[size:], record[:size])
        assert stopped.value.region == region


def test_a_fault_counts_as_the_fallback(service):
    """An unverified program that faults ends its run: the verdict is the fallback, and the link counts an error."""
    spec = object_of(START + "r0 = *(u8 *)(r7 + 0)")
    with (
        anybpf.load(spec, platform=service.platform, context=service.context, unverified=True) as loaded,
        loaded.programs["decide"].attach(service) as link,
    ):
        assert service(one=b"abc", number=0).name == "NO"
        assert (link.stats.events, link.stats.errors) == (1, 1)


WALK = """
struct walk {{ const __u8 *at, *end, *other, *other_end; __u64 sum; }};
static int step(__u32 index, void *context)
{{
    struct walk *walk = context;
    const __u8 *at = walk->at, *end = walk->end;
    if (at + 1 > end)
        return 1;
    walk->sum += *at;
    walk->at = walk->other;
    walk->other = at;
    {swap}
    return 0;
}}
SEC("pair") int decide(struct pair *ctx)
{{
    struct walk walk = {{ctx->one, ctx->one_end, ctx->two, ctx->two_end, 0}};
    bpf_loop(4, step, &walk, 0);
    return walk.sum == 2 * 'a' + 2 * 'b' ? OK : NO;
}}
"""


def test_buffers_that_change_from_round_to_round(service):
    """A callback that swaps two buffers with their ends is safe; one that swaps the starts alone is refused."""
    safe = compiled_for(service, WALK.format(swap="walk->end = walk->other_end; walk->other_end = end;"))
    with service.load(safe) as loaded, loaded.programs["decide"].attach(service):
        assert service(one=b"a", two=b"b", number=0).name == "OK"
        assert service(one=b"a", two=b"", number=0).name == "NO"
    with pytest.raises(VerificationError, match="pointer-comparison"):
        service.load(compiled_for(service, WALK.format(swap="")))


def test_runs_by_hand_take_buffers_apart(service):
    """Without a context all data are the first buffer's; a given context says how many bytes each has."""
    with anybpf.load(object_of(SAFE["each buffer with its own end"]), platform=service.platform) as loaded:
        program = loaded.programs["decide"]
        record = service.pack(one=b"abcd", two=b"01234567", number=0)
        size = service.layout.context.size
        result = program.test_run(record[size:], record[:size])
        assert result.data == b"abcd0123abcd"
        assert result.context == record[:size]
        assert program.test_run(b"abcd").data == b"abcd"
        assert list(program.run_batch([b"abcd", b""])) == [0, 0]
        with pytest.raises(EventError, match="longer together than the 3 bytes"):
            program.test_run(b"abc", record[:size])
        with pytest.raises(EventError, match="one is a pointer; leave it zero"):
            program.test_run(b"abc", b"\1" + record[1:size])


def test_compiled_programs_use_both_buffers(service):
    """C that was compiled against the header compares a prefix in one buffer and answers in the other."""
    text = """
    const __u8 *one = ctx->one;
    __u8 *two = ctx->two;
    int length = 0;
    for (int i = 0; i < 16; i++) {
        if (one + i + 1 > ctx->one_end || two + i + 1 > ctx->two_end)
            break;
        two[i] = one[i] ^ 0x20;
        length++;
    }
    return length == 3 ? OK : NO;
    """
    with service.load(program_for(service, text)) as loaded, loaded.programs["decide"].attach(service):
        outcome = service(one=b"abc", two=b"-----", number=0)
        assert (outcome.name, dict(outcome.written)) == ("OK", {"two": b"ABC--"})
        assert service(one=b"abcd", number=0).name == "NO"
    with pytest.raises(VerificationError, match="packet-bounds"):
        service.load(program_for(service, "return ctx->one + 1 > ctx->one_end ? OK : ctx->two[0] ? OK : NO;"))
