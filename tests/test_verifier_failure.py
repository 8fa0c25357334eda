"""What a person is told of a failure, and what a verdict says of a program that passed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anybpf import verifier
from anybpf.platforms import linux, program_type_for, raw, windows
from anybpf.spec import FunctionSpec, LineSpec, ObjectSpec, SourceLine
from anybpf.verifier import FAILURES, Failure, render, verify_program
from anybpf.verifier.failure import Rejection
from anybpf.verifier.verify import LONGEST_PATH
from verifying import PACKET, RETURN, VALUE, object_of, verdict_of

SOURCE = SourceLine("count.c", 12, 9, "\treturn data[index];")


def failing() -> Failure:
    """A program with line information that reads one byte behind a map value, on one of its paths."""
    spec = object_of(
        VALUE + "r1 = *(u32 *)(r0 + 0)\nr1 &= 31\nif r1 < 3 goto out\nr0 += r1\nr0 = *(u8 *)(r0 + 0)\nout:" + RETURN
    )
    program = replace(
        spec.programs[0],
        functions=(FunctionSpec("count", 0),),
        lines=(LineSpec(0, replace(SOURCE, line=3, text="int count(void *ctx)", column=1)), LineSpec(12, SOURCE)),
    )
    spec = replace(spec, programs=(program,))
    failure = verify_program(spec, program, linux, program_type_for(linux, program)).failure
    assert failure is not None
    return failure


class TestFailure:
    def test_contents(self) -> None:
        """A failure has its code, the numbers that matter, the instruction, its source and function, and what to do."""
        failure = failing()
        assert failure.code == "map-value-bounds"
        assert (
            failure.message
            == "an access of 1 byte at offset 3..31 is outside the value of map 'array', which has 16 bytes"
        )
        assert failure.instruction == 12
        assert failure.text == "r0 = *(u8 *)(r0 + 0)"
        assert failure.source == SOURCE
        assert failure.function == "count"
        assert "mask the index" in failure.suggestion

    def test_registers(self) -> None:
        """The registers hold what is known of them at that instruction, in words; uninitialised ones are left out."""
        registers = dict(failing().registers)
        assert registers["r0"] == "pointer to a value of map 'array', offset 3..31"
        assert registers["r1"] == "3..31"
        assert registers["r10"] == "pointer to the stack at 0"
        assert "r9" not in registers

    def test_path(self) -> None:
        """The path lists the branches that led there, oldest first, with the way that each took."""
        path = failing().path
        assert [(step.instruction, step.taken) for step in path] == [(6, True), (10, False)]
        assert path[1].text == "if r1 < 3 goto +2"
        assert path[1].source is not None
        assert path[1].source.line == 3

    def test_rendered(self) -> None:
        """The text has everything in it, and a caret below the column of the source line."""
        text = render(failing())
        assert text.startswith("map-value-bounds: an access of 1 byte at offset 3..31")
        assert "at instruction 12: r0 = *(u8 *)(r0 + 0)" in text
        assert "r1 = 3..31" in text
        assert "10: if r1 < 3 goto +2  (not taken)" in text
        assert "suggestion: Check or mask" in text
        lines = text.splitlines()
        place = next(index for index, line in enumerate(lines) if "count.c:12: return data[index];" in line)
        assert lines[place + 1].index("^") == lines[place].index("data")

    def test_long_paths_are_cut(self) -> None:
        """Of a path with very many branches the last ones are kept, so that a report stays readable."""
        failure = verdict_of("r0 = 0\nagain:\nr0 += 1\nif r0 != 500 goto again\nr0 = r9\nexit").failure
        assert failure is not None
        assert len(failure.path) == LONGEST_PATH
        assert not failure.path[-1].taken

    def test_invalid_instructions(self) -> None:
        """Bytes that are no instruction make a failure at their slot, not an exception."""
        spec = object_of("r0 = 0\nexit")
        program = replace(spec.programs[0], code=spec.programs[0].code[:8] + b"\xff" * 8)
        verdict = verify_program(spec, program, linux, program_type_for(linux, program))
        assert verdict.failure is not None
        assert verdict.failure.code == "invalid-instruction"
        assert verdict.failure.instruction == 1

    def test_faults_of_the_verifier_refuse(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Should the verifier itself fail, the program is refused and the caller gets a verdict."""
        from anybpf.verifier import explore

        def broken(*arguments: object) -> None:
            raise AssertionError("broken on purpose")

        monkeypatch.setattr(explore, "compile_block", broken)
        verdict = verdict_of("r0 = 0\nexit")
        assert verdict.failure is not None
        assert verdict.failure.code == "internal-error"
        assert "broken on purpose" in verdict.failure.message

    @pytest.mark.parametrize("code", FAILURES)
    def test_table(self, code: str) -> None:
        """Each kind of failure has a rule, a message and a suggestion; unknown codes do not exist."""
        kind = FAILURES[code]
        assert kind.meaning.endswith(".")
        assert kind.message
        assert kind.suggestion
        assert code == code.lower()
        with pytest.raises(KeyError):
            Rejection(f"no-{code}")


class TestVerdict:
    def test_facts(self) -> None:
        """A verdict says which loads read which context fields, each call's map, the stack and what is reachable."""
        verdict = verdict_of(
            PACKET + "*(u64 *)(r10 - 24) = 0\nr2 = r10\nr2 += -24\nr1 = map[1] ll\ncall 1" + RETURN + "r0 = r9\nexit"
        )
        assert verdict.ok
        assert verdict.facts.context_loads == {1: 0, 2: 4}
        assert verdict.facts.helper_maps == {13: 1}
        assert verdict.facts.stack_depth == 32
        assert verdict.facts.reached == frozenset(range(16))

    def test_helper_maps_differ(self) -> None:
        """A call that gets different maps on different paths has no map among the facts."""
        verdict = verdict_of(
            "*(u64 *)(r10 - 8) = 0\ncall 7\nr2 = r10\nr2 += -8\n"
            "r1 = map[1] ll\nif r0 == 0 goto +2\nr1 = map[0] ll\ncall 1" + RETURN
        )
        assert verdict.ok
        assert verdict.facts.helper_maps == {}

    def test_platforms_differ(self) -> None:
        """The same program is judged by its platform: packet pointers take 8 bytes in Windows' XDP context."""
        source = (
            "r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\nr0 = 1\nr4 = r2\nr4 += 14\nif r4 > r3 goto out\n"
            "r5 = *(u8 *)(r2 + 13)\nout:\nexit"
        )
        on_windows = verdict_of(source, platform=windows)
        assert on_windows.ok
        assert on_windows.facts.context_loads == {0: 0, 1: 8}
        on_linux = verdict_of(source).failure
        assert on_linux is not None
        assert on_linux.code == "context-access"

    def test_stack_of_calls(self) -> None:
        """The stack depth is that of the deepest chain of calls, frames in units of 16 bytes."""
        verdict = verdict_of(
            "*(u64 *)(r10 - 40) = 0\ncall more\nr0 = 0\nexit\nmore:\n*(u64 *)(r10 - 8) = 0\nr0 = 0\nexit"
        )
        assert verdict.facts.stack_depth == 48 + 16

    def test_verify_takes_an_object(self) -> None:
        """verify() gives a verdict for each program by name, and can be told which program, type and platform."""
        spec = object_of("r0 = 7\nexit", "cgroup/connect4")
        assert list(verifier.verify(spec)) == list(verifier.verify(spec, platform="linux")) == ["test"]
        assert not verifier.verify(spec)["test"].ok
        as_xdp = verifier.verify(spec, platform=linux, program="test", type_name="xdp")["test"]
        assert as_xdp.ok
        assert (as_xdp.program, as_xdp.program_type, as_xdp.platform, as_xdp.instructions) == (
            "test",
            "xdp",
            "linux",
            2,
        )
        with pytest.raises(KeyError):
            verifier.verify(spec, program="other")

    def test_subprograms_are_verified_where_they_are_called(self) -> None:
        """Subprograms have no verdict of their own, except by name, or in an object that holds nothing else."""
        entry = object_of("r0 = 0\nexit", "xdp")["test"]
        below = replace(entry, name="below", section=".text", is_subprogram=True)
        both = ObjectSpec("both.o", (entry, below))
        assert list(verifier.verify(both)) == ["test"]
        assert list(verifier.verify(both, program="below")) == ["below"]
        assert list(verifier.verify(ObjectSpec("library.o", (below,)))) == ["below"]

    @pytest.mark.parametrize(
        ("source", "ok"),
        [
            ("r0 = 0\nif r2 < 8 goto out\nr0 = *(u64 *)(r1 + 0)\nout:\nexit", True),
            (
                "r0 = 0\nr3 = r1\nr3 += r2\nr4 = r1\nr4 += 8\nif r4 > r3 goto out\nr0 = *(u64 *)(r1 + 0)\nout:\nexit",
                True,
            ),
            ("r0 = 0\nif r2 < 8 goto out\nr0 = *(u64 *)(r1 + 1)\nout:\nexit", False),
            (
                "r0 = 0\nr3 = r1\nr3 += r2\nr3 += 1\nr4 = r1\n"
                "r4 += 8\nif r4 > r3 goto out\nr0 = *(u64 *)(r1 + 0)\nout:\nexit",
                False,
            ),
        ],
    )
    def test_plain_memory(self, source: str, ok: bool) -> None:
        """On the raw platform r1 is memory of r2 bytes: comparisons of the length, or with the end, prove accesses."""
        assert verdict_of(source, "any", platform=raw).ok is ok
