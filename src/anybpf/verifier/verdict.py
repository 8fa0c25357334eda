"""What a verification ends in: a verdict, with the facts that it proved or the failure that stopped it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anybpf.spec import SourceLine

__all__ = ("Facts", "Failure", "PathStep", "Verdict")


@dataclass(frozen=True, slots=True)
class PathStep:
    """A branch that the failing path took: the jump's slot, whether it was taken, and its source line."""

    instruction: int
    taken: bool
    text: str
    source: SourceLine | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a program was refused.

    :param code: a stable identifier, such as ``packet-bounds``; see the table in :mod:`anybpf.verifier.failure`.
    :param message: what was wrong, in one sentence, with the register and the numbers that matter.
    :param instruction: the slot.
    :param text: that instruction, disassembled.
    :param registers: what was known of each live register there, as (name, description).
    :param path: the branches that led there, oldest first.
    :param suggestion: what to do about it, in one sentence.
    """

    code: str
    message: str
    instruction: int
    text: str = ""
    function: str = ""
    source: SourceLine | None = None
    registers: tuple[tuple[str, str], ...] = ()
    path: tuple[PathStep, ...] = ()
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was proven, for whoever lowers the program to machine form.

    :param context_loads: slot of a load from the context → byte offset in the context (the same on every path).
    :param helper_maps: slot of a helper call → index in ``ObjectSpec.maps`` of its map argument, where every path
        agrees.
    :param stack_depth: bytes of stack that the program with its deepest chain of calls needs.
    :param reached: slots that some path reaches.
    """

    context_loads: Mapping[int, int] = field(default_factory=dict)
    helper_maps: Mapping[int, int] = field(default_factory=dict)
    stack_depth: int = 0
    reached: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one program.

    :param instructions: slots in the program. :param visited: instructions that the analysis stepped through.
    :param time_ms: milliseconds of analysis.
    """

    program: str
    section: str
    program_type: str
    platform: str
    failure: Failure | None
    facts: Facts = field(repr=False)
    instructions: int = 0
    visited: int = 0
    time_ms: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the program was accepted."""
        return self.failure is None
