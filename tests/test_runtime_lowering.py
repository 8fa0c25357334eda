"""Lowering: packet fields become loads from the event's header, by proof or by following the context pointer."""

from __future__ import annotations

from dataclasses import replace

import pytest

import anybpf
from anybpf.elf import from_instructions
from anybpf.errors import LoadError
from anybpf.isa import assemble, decode, disassemble
from anybpf.platforms import Context, ContextField, FieldKind, MapKind, linux
from anybpf.runtime.context_flow import ContextFlow
from anybpf.runtime.lowering import EVENT_SIZE, Lowered, kernel_pointers, lower
from anybpf.spec import ExternSpec
from anybpf.verifier import Facts, verify_program
from running import TIERS, program

XDP = linux.program_type("xdp").context
FIRST_BYTE = "r1 = *(u32 *)({base} + 0)\nr0 = *(u8 *)(r1 + 0)\nexit"


def lowered(
    source: str, facts: Facts | None = None, context: Context = XDP, kinds: tuple[MapKind, ...] = ()
) -> Lowered:
    """Lower a program that is trusted, or of which ``facts`` were proven."""
    code = assemble(source)
    names = {number: helper.name for number, helper in linux.helpers.items()}
    return lower(
        decode(code), code, XDP, facts=facts, trusted=facts is None, helper_names=names, map_kinds=kinds,
        externs=("missing",),
    )  # fmt: skip


def test_packet_fields_become_header_loads() -> None:
    """Loads of data, data_end and data_meta become 64-bit loads before the context; other loads stay."""
    source = "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = *(u32 *)(r1 + 8)\nr0 = *(u32 *)(r1 + 12)\nexit"
    expected = "r2 = *(u64 *)(r1 - 64)\nr3 = *(u64 *)(r1 - 56)\nr4 = *(u64 *)(r1 - 48)\nr0 = *(u32 *)(r1 + 12)\nexit"
    assert lowered(source).code == assemble(expected)
    proven = Facts(context_loads={0: 0, 1: 4, 2: 8, 3: 12}, reached=frozenset(range(5)))
    assert lowered(source, proven).code == assemble(expected)


def test_the_text_and_the_bytes_agree() -> None:
    """What the JIT reads (text) and what the interpreter reads (code) is the same program."""
    result = lowered("r2 = r1\nr2 += 4\nr3 = *(u32 *)(r2 + 0)\nr4 = map[0] ll\nr0 = 0\nexit", kinds=(MapKind.HASH,))
    assert decode(result.code) == result.text


def test_a_pointer_into_the_context_keeps_its_distance() -> None:
    """A field loaded through the context plus a constant is found in the header at the right distance."""
    result = lowered("r2 = r1\nr2 += 8\nr3 = *(u32 *)(r2 - 4)\nr0 = 0\nexit")
    assert result.code == assemble(f"r2 = r1\nr2 += 8\nr3 = *(u64 *)(r2 - {EVENT_SIZE})\nr0 = 0\nexit")


@pytest.mark.parametrize("mode", TIERS)
@pytest.mark.parametrize(
    "source",
    [
        FIRST_BYTE.format(base="r1"),
        "r6 = r1\nr7 = 3\ncall 5\n" + FIRST_BYTE.format(base="r6"),
        "*(u64 *)(r10 - 8) = r1\nr2 = *(u64 *)(r10 - 8)\n" + FIRST_BYTE.format(base="r2"),
        "r3 = r10\nr3 += -16\n*(u64 *)(r3 + 0) = r1\nr2 = *(u64 *)(r10 - 16)\n" + FIRST_BYTE.format(base="r2"),
        "r2 = r1\ncall pc+1\nexit\nr3 = *(u32 *)(r2 + 0)\nr0 = *(u8 *)(r3 + 0)\nexit",
        "r6 = r1\nr7 = *(u32 *)(r1 + 12)\nif r7 == 9 goto +1\nr6 = r1\n" + FIRST_BYTE.format(base="r6"),
        "r6 = r1\nr0 = 4\nagain:\nr2 = *(u32 *)(r6 + 0)\nr0 += -1\nif r0 != 0 goto again\nr0 = *(u8 *)(r2 + 0)\nexit",
    ],
    ids=["plain", "over a call", "spilled", "spilled through a copy", "to a function", "over a branch", "in a loop"],
)
def test_trusted_programs_are_followed(source: str, mode: str) -> None:
    """Without a proof the context pointer is followed through moves, spills, calls, branches and loops."""
    assert program(source, "xdp").test_run(b"\x2a" + bytes(63), mode=mode).retval == 42


@pytest.mark.parametrize(
    "source",
    [
        "r2 = r10\nr2 += -8\nif r1 == 0 goto +1\nr2 = r1\nr3 = *(u32 *)(r2 + 0)\nr0 = 0\nexit",
        "*(u64 *)(r10 - 8) = r1\nr2 = r10\nr2 += -8\ncall pc+1\nexit\nr3 = *(u64 *)(r2 + 0)\nr4 = *(u32 *)(r3 + 0)\n"
        "r0 = 0\nexit",
        "r2 = 4\nr1 += r2\nr3 = *(u32 *)(r1 + 0)\nr0 = 0\nexit",
    ],
    ids=["either pointer", "through memory", "unknown offset"],
)
def test_what_cannot_be_followed_needs_the_verifier(source: str) -> None:
    """Where a load may or may not be of a packet field, loading says that the verifier is needed."""
    with pytest.raises(LoadError, match="which only the verifier can tell; load the program without trust"):
        lowered(source)


def test_array_lookups_are_found() -> None:
    """Calls that look up a key in an array are told to the JIT; those in other maps, and other helpers', are not."""
    source = """
        *(u32 *)(r10 - 4) = 0
        r2 = r10
        r2 += -4
        r1 = map[0] ll
        call 1
        r2 = r10
        r2 += -4
        r1 = map[1] ll
        call 1
        r2 = r10
        r2 += -4
        r1 = map[0] ll
        call 3
        r0 = 0
        exit
    """
    kinds = (MapKind.ARRAY, MapKind.HASH)
    result = lowered(source, kinds=kinds)
    assert result.array_lookups == {5: 0}
    assert result.helpers == (1, 3)
    proven = Facts(helper_maps={5: 0, 10: 1, 15: 0}, reached=frozenset(range(18)))
    assert lowered(source, proven, kinds=kinds).array_lookups == {5: 0}


def test_calls_on_paths_never_reached_need_nothing() -> None:
    """A kernel function or unknown helper that no path reaches does not keep a verified program from running."""
    source = "r0 = 1\nexit\ncall kfunc[0]\ncall 9999\nr1 = variable[0] ll\nexit"
    code = assemble(source)
    result = lowered(source, Facts(reached=frozenset({0, 1})))
    assert result.helpers == ()
    assert len(result.code) == len(code)
    with pytest.raises(LoadError, match="calls the kernel function missing"):
        lowered(source, Facts(reached=frozenset(range(7))))
    spec = replace(from_instructions(code, "xdp", "program"), externs=(ExternSpec("missing", True),))
    with pytest.warns(UserWarning, match="without verification"), pytest.raises(LoadError, match="no kernel here"):
        anybpf.load(spec, trust=True)


def test_kernel_pointers_are_recognised() -> None:
    """A verified program that follows a pointer of its context that only a kernel has runs checked only."""
    context = Context(
        "context", 16, (ContextField("number", 0, 8), ContextField("keys", 8, 8, kind=FieldKind.FLOW_KEYS))
    )
    text = decode(assemble("r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\nr0 = 0\nexit"))
    assert not kernel_pointers(text, context, Facts(context_loads={0: 0}))
    assert kernel_pointers(text, context, Facts(context_loads={0: 0, 1: 8}))


def test_proof_and_following_agree(corpus) -> None:
    """On accepted programs of the corpus that can be followed, the loads found are those that were proven."""
    compared = 0
    for path in sorted((corpus / "objects" / "linux").glob("xdp*.o")):
        spec = anybpf.open(path)
        for candidate in spec.programs:
            if candidate.is_subprogram:
                continue
            verdict = verify_program(spec, candidate, linux, linux.program_type("xdp"))
            if not verdict.ok:
                continue
            text = decode(candidate.code)
            try:
                flow = ContextFlow(text, XDP)
            except LoadError:
                continue
            reached = verdict.facts.reached
            followed = {slot: offset for slot, offset in flow.context_loads.items() if slot in reached}
            assert followed == dict(verdict.facts.context_loads), (path.name, candidate.name, disassemble(text))
            compared += 1
    assert compared >= 5


def test_undefined_functions_named_like_helpers_are_helpers() -> None:
    """An undefined function with a helper's name is that helper, to the verifier and when the program runs."""
    code = assemble("call kfunc[0]\nexit")
    externs = (ExternSpec("bpf_get_smp_processor_id", True),)
    with anybpf.Context(cpus=1) as context:
        loaded = anybpf.load(replace(from_instructions(code, "xdp", "program"), externs=externs), context=context)
        assert loaded.programs["program"].test_run(bytes(64)).retval == 0
