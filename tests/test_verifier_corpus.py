"""The labelled corpus of real programs: nothing unsafe accepted, nearly everything safe accepted, in bounded time.

The labels say what Linux and PREVAIL (with Linux's rules) make of each program, so Linux's platform is used throughout.
By default, programs that are byte for byte the same are verified once; ANYBPF_FULL_CORPUS=1 verifies every row.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from anybpf import elf
from anybpf.errors import ObjectError, PlatformError
from anybpf.platforms import linux, program_type_for
from anybpf.spec import ObjectSpec, ProgramSpec
from anybpf.verifier import verify_program

pytestmark = pytest.mark.corpus

#: Safe programs that are not accepted yet, with the reason.
NOT_ACCEPTED = {
    ("build/loop.o", "foo"): "its context is a struct that only PREVAIL's test platform knows",
}

#: Programs labelled "reject" that are safe in themselves: what is unsafe is another program of their object.
REFUSED_WITH_THEIR_OBJECT = {("build/tail_call_bad.o", "callee")}


@dataclass(frozen=True)
class Outcome:
    """What became of one row of labels.csv. ``code``: of the failure, "object" or "platform"; "" when accepted."""

    object: str
    function: str
    expect: str
    code: str
    message: str
    seconds: float
    visited: int


def find_program(spec: ObjectSpec, row: dict[str, str]) -> ProgramSpec:
    """The program of a row; some objects have no function names, and one program in the section."""
    in_section = [p for p in spec.programs if p.section == row["section"]]
    named = [p for p in in_section if p.name == row["function"]]
    (program,) = named or in_section
    return program


def judge(task: tuple[Path, list[dict[str, str]]]) -> list[Outcome]:
    """Verify the rows of one object."""
    path, rows = task
    outcomes = []
    for row in rows:
        started = time.perf_counter()
        code, message, visited = "", "", 0
        try:
            spec = elf.open(path)
            program = find_program(spec, row)
            verdict = verify_program(spec, program, linux, program_type_for(linux, program))
            visited = verdict.visited
            if verdict.failure is not None:
                code, message = verdict.failure.code, verdict.failure.message
        except ObjectError as error:
            code, message = "object", str(error)
        except PlatformError as error:
            code, message = "platform", str(error)
        seconds = time.perf_counter() - started
        outcomes.append(Outcome(row["object"], row["function"], row["expect"], code, message, seconds, visited))
    return outcomes


def choose(rows: list[dict[str, str]], objects: Path) -> list[dict[str, str]]:
    """The rows to verify: without repetitions, unless the whole corpus is asked for."""
    if os.environ.get("ANYBPF_FULL_CORPUS"):
        return rows
    seen: set[object] = set()
    chosen = []
    for row in rows:
        if row["expect"] == "accept":
            spec = elf.open(objects / row["object"])
            program = find_program(spec, row)
            maps = tuple((m.type, m.key_size, m.value_size) for m in spec.maps)
            key = (program.section, program.code, maps)
            if key in seen:
                continue
            seen.add(key)
        chosen.append(row)
    return chosen


@pytest.fixture(scope="module")
def outcomes(corpus: Path) -> list[Outcome]:
    """Every row's outcome, worked out by as many processes as there are processors."""
    with (corpus / "labels.csv").open() as file:
        rows = choose(list(csv.DictReader(file)), corpus / "objects")
    by_object: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_object[row["object"]].append(row)
    tasks = [(corpus / "objects" / name, found) for name, found in by_object.items()]
    tasks.sort(key=lambda task: -sum(int(row["linux_visited"] or 0) for row in task[1]))
    with multiprocessing.get_context("spawn").Pool() as pool:
        return [outcome for found in pool.imap_unordered(judge, tasks) for outcome in found]


def test_nothing_unsafe_is_accepted(outcomes: list[Outcome]) -> None:
    """Every program labelled "reject" is refused, or is safe in itself and stands beside one that is refused."""
    rejects = [outcome for outcome in outcomes if outcome.expect == "reject"]
    assert len(rejects) == 53
    accepted = {(outcome.object, outcome.function) for outcome in rejects if not outcome.code}
    assert accepted == REFUSED_WITH_THEIR_OBJECT
    for name, _ in REFUSED_WITH_THEIR_OBJECT:
        assert any(outcome.code for outcome in rejects if outcome.object == name)


def test_safe_programs_are_accepted(outcomes: list[Outcome]) -> None:
    """Every program labelled "accept" is accepted, but for those listed above."""
    refused = {(o.object, o.function): f"{o.code}: {o.message}" for o in outcomes if o.expect == "accept" and o.code}
    assert refused.keys() == NOT_ACCEPTED.keys(), refused


def test_malformed_objects_are_refused(outcomes: list[Outcome]) -> None:
    """Every object labelled "bad-object" is refused when it is parsed."""
    assert {outcome.code for outcome in outcomes if outcome.expect == "bad-object"} == {"object"}


def test_no_faults_and_bounded_time(outcomes: list[Outcome]) -> None:
    """The verifier itself fails on no program, and takes at most a minute for each."""
    assert not [outcome for outcome in outcomes if outcome.code == "internal-error"]
    assert max(outcome.seconds for outcome in outcomes) < 60
