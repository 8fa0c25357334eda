"""The face of the verifier: programs in, verdicts out."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from anybpf.errors import InstructionError
from anybpf.isa import Text, decode, format_instruction
from anybpf.platforms import Platform, ProgramType, by_name, program_type_for, recognise, with_helpers_by_name
from anybpf.spec import ObjectSpec, ProgramSpec
from anybpf.verifier import cfg
from anybpf.verifier.entry import entry_state
from anybpf.verifier.explore import Explorer
from anybpf.verifier.failure import Rejection
from anybpf.verifier.subject import Subject
from anybpf.verifier.values import describe_value
from anybpf.verifier.verdict import Facts, Failure, PathStep, Verdict

__all__ = ("BUDGET", "LONGEST_PATH", "verify", "verify_program")

#: Instructions that an analysis may step through, as in Linux.
BUDGET = 1_000_000


#: Branches that a failure's path lists; of longer paths, the last ones.
LONGEST_PATH = 100


def verify(
    spec: ObjectSpec,
    *,
    platform: Platform | str | None = None,
    program: str | None = None,
    type_name: str | None = None,
) -> dict[str, Verdict]:
    """Verify the programs of ``spec``; returns a verdict for each, by program name, in file order.

    Subprograms are verified as parts of the programs that call them, by themselves only when asked for by name.

    :param platform: whose rules hold; found out from the object when not given.
    :param program: verify only the program of this name (KeyError when there is none).
    :param type_name: program type, or any section name that means one, for programs whose own section does not say.
    :raises PlatformError: the program type cannot be found out.
    """
    rules = by_name(platform) if isinstance(platform, str) else platform or recognise(spec)
    programs = spec.entries if program is None else (spec[program],)
    return {p.name: verify_program(spec, p, rules, program_type_for(rules, p, type_name, spec=spec)) for p in programs}


def verify_program(
    spec: ObjectSpec, program: ProgramSpec, platform: Platform, program_type: ProgramType, *, budget: int = BUDGET
) -> Verdict:
    """Verify one program as ``program_type`` of ``platform``. Never raises for what the program does.

    Cost: some 10 microseconds an instruction visited.
    """
    started = time.perf_counter()
    failure: Failure | None = None
    facts = Facts()
    visited = 0
    try:
        text = decode(with_helpers_by_name(program, spec, platform).code)
    except InstructionError as error:
        rejection = Rejection("invalid-instruction", reason=error.reason)
        slot = error.index or 0
        failure = Failure(
            rejection.code, rejection.message, slot, source=program.source_at(slot), suggestion=rejection.suggestion
        )
    else:
        subject = Subject(spec, program, text, platform, program_type)
        with _collector_paused():
            failure, facts, visited = _analyse(subject, budget)
    return Verdict(
        program=program.name,
        section=program.section,
        program_type=program_type.name,
        platform=platform.name,
        failure=failure,
        facts=facts,
        instructions=program.slots,
        visited=visited,
        time_ms=(time.perf_counter() - started) * 1000,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A long path is very many small objects in no cycle, which the collector would walk again and again: measured,
    it doubles the time of a loop with 500,000 rounds."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _analyse(subject: Subject, budget: int) -> tuple[Failure | None, Facts, int]:
    graph = cfg.build(subject.text, subject.function_slots(), subject.callback_calls | subject.tail_calls)
    explorer = Explorer(subject, graph, budget)
    try:
        cfg.require_ends(graph, subject.text, explorer.state)
        explorer.run(entry_state(subject))
        subject.require_stack(explorer.state)
    except Rejection as rejection:
        return _failure(subject, explorer, rejection), Facts(), explorer.visited
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A fault of the verifier must not let a program through, nor take its caller down.
        fault = Rejection("internal-error", error=repr(error))
        return _failure(subject, explorer, fault), Facts(), explorer.visited
    reached = frozenset(
        slot for index in explorer.reached for slot in range(graph.blocks[index].start, graph.blocks[index].end)
    )
    return None, subject.facts(reached), explorer.visited


def _failure(subject: Subject, explorer: Explorer, rejection: Rejection) -> Failure:
    """The structured report of a rejection, from the path that the explorer stands on."""
    program, state = subject.program, explorer.state
    slot = state.slot
    function = program.function_at(slot)
    registers = tuple(
        (f"r{index}", describe_value(value)) for index, value in enumerate(state.registers) if value is not None
    )
    return Failure(
        code=rejection.code,
        message=rejection.message,
        instruction=slot,
        text=_text(subject.text, slot),
        function=function.name if function is not None else "",
        source=program.source_at(slot),
        registers=registers,
        path=_path(subject, explorer),
        suggestion=rejection.suggestion,
    )


def _text(text: Text, slot: int) -> str:
    instruction = text[slot]
    return format_instruction(instruction, slot) if instruction is not None else ""


def _path(subject: Subject, explorer: Explorer) -> tuple[PathStep, ...]:
    branches = [
        (node.block.last, node.way.taken)
        for node in explorer.path
        if node.way is not None and node.way.taken is not None
    ]
    return tuple(
        PathStep(slot, taken, _text(subject.text, slot), subject.program.source_at(slot))
        for slot, taken in branches[-LONGEST_PATH:]
    )
