"""Every way in which a program can be refused: one table of codes, messages and suggestions.

What is wrong is raised as a :class:`Rejection` wherever it is found; the explorer, which knows the path, makes the
structured :class:`~anybpf.verifier.verdict.Failure` of it, and :func:`render` makes the text that people read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from anybpf.spec import SourceLine
from anybpf.verifier.verdict import Failure

__all__ = ("FAILURES", "FailureKind", "Rejection", "reference_table", "render")


@dataclass(frozen=True, slots=True)
class FailureKind:
    """One way to be refused.

    :param meaning: the rule that was broken, for the reference page. :param message: a format string over what the
        place that found it knows. :param suggestion: what to do about it, as it stands.
    """

    meaning: str
    message: str
    suggestion: str


FAILURES: Final[dict[str, FailureKind]] = {
    # Control flow
    "falls-off-end": FailureKind(
        "Every path ends in an exit instruction.",
        "execution runs past {where} without an exit",
        "End every function with return; in assembly, with exit.",
    ),
    "unbounded-loop": FailureKind(
        "Every loop ends: a cycle that comes back to the same state is refused.",
        "the loop at instruction {head} comes back to where it was, so it may never end",
        "Bound the loop by a counter that changes in every round, or use bpf_loop.",
    ),
    "too-complex": FailureKind(
        "The analysis visits a bounded number of instructions.",
        "the analysis gave up after visiting {visited} instructions",
        "Make loops shorter, split the program with tail calls, or move a loop's body into a bpf_loop callback.",
    ),
    "call-depth": FailureKind(
        "Calls nest at most 8 deep, and functions do not call themselves.",
        "this call would be {depth} calls deep; at most {most} are allowed (recursion is never allowed)",
        "Inline some of the functions, or turn recursion into a loop.",
    ),
    "stack-depth": FailureKind(
        "The frames of a chain of calls take at most 512 bytes together.",
        "the functions that are active here need {depth} bytes of stack together; {most} is the limit",
        "Make local variables smaller, or keep them in a per-CPU array.",
    ),
    "invalid-instruction": FailureKind(
        "Every instruction is one of RFC 9669, with its reserved fields zero.",
        "{reason}",
        "Compile for a processor version that RFC 9669 describes (-mcpu=v1 to v4).",
    ),
    "internal-error": FailureKind(
        "The verifier understands the program. It refuses what it fails on.",
        "the verifier failed on this program: {error}",
        "This is a mistake in anybpf, not in the program; please report it with the program.",
    ),
    # Values
    "uninitialised-register": FailureKind(
        "A register is written before it is read.",
        "r{register} is read here but nothing was put into it on this path",
        "Initialise the variable on every path; calls leave nothing in r1 to r5.",
    ),
    "uninitialised-stack": FailureKind(
        "Stack bytes are written before they are read.",
        "a read of {size} of stack at offset {offset}, not all of which were initialised on this path",
        "Initialise the whole variable, padding included, for instance with = {} or __builtin_memset.",
    ),
    "partial-pointer": FailureKind(
        "A pointer that was spilled to the stack is read back whole.",
        "a read of {size} of stack at offset {offset} takes a part of a pointer",
        "Load the whole 8 bytes of the pointer.",
    ),
    "pointer-arithmetic": FailureKind(
        "Pointers are only moved by numbers, and only those that point into memory.",
        "{what}",
        "Compute the offset as a number first and add that to a pointer.",
    ),
    "pointer-comparison": FailureKind(
        "Pointers are compared with NULL or with pointers into the same region.",
        "{what}",
        "Compare offsets, or pointers into one and the same region.",
    ),
    "pointer-leak": FailureKind(
        "Addresses stay inside the program: they are not stored where others can read them.",
        "{what} is a {value}; its address would leave the program",
        "Store the number that the pointer points to instead.",
    ),
    "number-expected": FailureKind(
        "Where a number is expected, a pointer is refused.",
        "{what} must be a number, but is a {value}",
        "Pass the value, not its address.",
    ),
    # Memory
    "not-a-pointer": FailureKind(
        "Memory is only reached through pointers that the program was given.",
        "r{register} is used as a pointer but holds {value}",
        "Use a pointer from the context, a map lookup or a helper; numbers cannot become pointers.",
    ),
    "null-pointer": FailureKind(
        "A pointer that may be NULL is tested before it is used.",
        "{what} may be NULL here: {value}",
        "Test the pointer (if (!p) return ...) between where it is obtained and where it is used.",
    ),
    "stack-bounds": FailureKind(
        "Accesses to the stack lie inside the frame's 512 bytes.",
        "an access of {size} at stack offset {offset} is outside the frame, which is -512..-1",
        "Check the array index against the array's size before using it.",
    ),
    "packet-bounds": FailureKind(
        "Accesses to the packet, or to a buffer, lie in the part whose presence a comparison with its end has proven.",
        "an access of {size} at {where} offset {offset}, but {proven}",
        "Compare the end of what you access with data_end first: if (p + size > data_end) return ...",
    ),
    "map-value-bounds": FailureKind(
        "Accesses to a map value lie inside it.",
        "an access of {size} at offset {offset} is outside the value of map {map!r}, which has {limit}",
        "Check or mask the index against the size of the value before using it.",
    ),
    "memory-bounds": FailureKind(
        "Accesses to memory lie inside it.",
        "an access of {size} at offset {offset} is outside the {limit} that r{register} points to",
        "Check the offset against the size before using it.",
    ),
    "context-access": FailureKind(
        "The context is accessed by whole fields, as the program type allows.",
        "{what}",
        "Use the fields that the documentation of the program type lists, at their own size.",
    ),
    "mixed-access": FailureKind(
        "One instruction accesses the same kind of memory on every path, where the context is involved.",
        "this instruction loads context field {field} on one path and something else on another",
        "Load the field into a variable right at its use; compile with the context pointer marked volatile.",
    ),
    "read-only": FailureKind(
        "What the program type or the map declares read-only is not written.",
        "{what} cannot be written by this program",
        "Copy the data to the stack or to another map and change it there.",
    ),
    "not-accessible": FailureKind(
        "Pointers to things that are no memory are not dereferenced.",
        "r{register} is a {value}, which cannot be read or written directly",
        "Pass it to the helper functions that take it.",
    ),
    "special-field": FailureKind(
        "Locks, timers and kernel pointers inside map values are touched by their helpers only.",
        "this access touches the {field} in the value of map {map!r}",
        "Access the other members one by one, and this one with its helper functions.",
    ),
    "atomic-access": FailureKind(
        "Atomic operations work on aligned numbers in the stack, map values and other plain memory.",
        "{what}",
        "Use a map value or a stack variable, aligned to its size.",
    ),
    "legacy-packet": FailureKind(
        "LD_ABS and LD_IND are for socket filters and classifiers, with the context in r6.",
        "{what}",
        "Use the context's data and data_end pointers or bpf_skb_load_bytes.",
    ),
    # Calls
    "unknown-helper": FailureKind(
        "Helpers are called by numbers that the platform has.",
        "platform {platform} has no helper {number}",
        "Check the platform that the object was compiled for, or give it with --platform.",
    ),
    "missing-type": FailureKind(
        "The types and fields that a program uses exist where it runs (CO-RE).",
        "the program uses a type or field here that there is none of where it is to run",
        "Compile against the present declarations, or ask first: if (bpf_core_field_exists(p->field)) ...",
    ),
    "helper-not-allowed": FailureKind(
        "A program type may call certain helpers only.",
        "{helper} is not available to programs of type {type}",
        "Use a helper that this program type has, or another program type.",
    ),
    "gpl-only": FailureKind(
        "Some helpers are for programs under a GPL-compatible licence.",
        "{helper} may only be called by programs with a GPL-compatible licence; this one's is {license!r}",
        'Declare the licence, if it is so: char _license[] SEC("license") = "GPL";',
    ),
    "unknown-function": FailureKind(
        "Everything that is called or addressed is defined.",
        "{name!r} is not defined by this object, nor offered by the platform",
        "Define the function, or mark the declaration __weak and test its address.",
    ),
    "helper-argument": FailureKind(
        "A helper's arguments are of the kinds that it declares.",
        "argument {number} of {helper} must be {expected}, but r{number} is {value}",
        "Pass what the helper's documentation asks for.",
    ),
    "helper-memory": FailureKind(
        "The memory that a helper reads or writes lies inside what the pointer points to, for every possible size.",
        "argument {number} of {helper} needs {size}: {problem}",
        "Bound the size by a comparison or a mask just before the call.",
    ),
    "map-kind": FailureKind(
        "A helper takes the kinds of map that it is made for.",
        "{helper} cannot be used with map {map!r}, which is of kind {kind}",
        "Use a map of the right kind.",
    ),
    "constant-expected": FailureKind(
        "Some arguments must be constants.",
        "argument {number} of {helper} must be {expected}",
        "Pass a constant.",
    ),
    "callback": FailureKind(
        "A callback is a function of the same program that returns a number.",
        "{what}",
        "Pass the name of a static function that returns 0 or 1.",
    ),
    # Resources and exit
    "reference-leak": FailureKind(
        "What is acquired is released on every path.",
        "what the call at instruction {acquired} returned is not released on this path",
        "Submit or discard the record, or release the socket, on every path.",
    ),
    "reference-released": FailureKind(
        "Only what was acquired is released, and once.",
        "argument {number} of {helper} must be acquired before and not yet released, but r{number} is {value}",
        "Release each acquired pointer exactly once, through the pointer that was returned.",
    ),
    "lock": FailureKind(
        "A lock is taken once, released on every path, and nothing is called in between.",
        "{what}",
        "Put bpf_spin_lock and bpf_spin_unlock around plain code, on every path.",
    ),
    "return-value": FailureKind(
        "The program returns a number that its type allows.",
        "the program returns {value}, but programs of type {type} return {low}..{high}",
        "Return one of the documented values on every path.",
    ),
}


def reference_table() -> str:
    """The table of failure codes in Markdown, as docs/verifier.md holds it."""
    rows = [f"| `{code}` | {kind.meaning} | {kind.suggestion} |" for code, kind in FAILURES.items()]
    return "\n".join(["| code | rule | what to do |", "|---|---|---|", *rows]) + "\n"


class Rejection(Exception):
    """The program breaks a rule at the instruction that is being analysed.

    ``details`` fill the code's message; ``size`` and ``limit`` among them are numbers of bytes.
    """

    def __init__(self, code: str, **details: object) -> None:
        self.code = code
        self.kind = FAILURES[code]
        for name in ("size", "limit"):
            if name in details:
                details[name] = f"{details[name]} byte{'' if details[name] == 1 else 's'}"
        self.message = self.kind.message.format(**details)
        self.suggestion = self.kind.suggestion
        super().__init__(f"{code}: {self.message}")


def render(failure: Failure) -> str:
    """The failure as text of several lines: what, where, why, the path there, what to do."""
    lines = [f"{failure.code}: {failure.message}"]
    where = f"  at instruction {failure.instruction}: {failure.text}"
    if failure.function:
        where += f"    (in {failure.function})"
    lines.append(where)
    if failure.source is not None:
        lines += _source_lines(failure.source, "  ")
    if failure.registers:
        lines.append("  registers there:")
        lines += [f"    {name} = {value}" for name, value in failure.registers]
    if failure.path:
        lines.append("  path:")
        for step in failure.path:
            place = f"  {step.source.file}:{step.source.line}" if step.source is not None else ""
            lines.append(f"    {step.instruction}: {step.text}  ({'taken' if step.taken else 'not taken'}){place}")
    if failure.suggestion:
        lines.append(f"  suggestion: {failure.suggestion}")
    return "\n".join(lines)


def _source_lines(source: SourceLine, indent: str) -> list[str]:
    text = source.text.expandtabs(4)
    lines = [f"{indent}{source.file}:{source.line}: {text.strip()}"]
    if source.column > 0 and source.column <= len(source.text):
        before = len(source.text[: source.column - 1].expandtabs(4)) - (len(text) - len(text.lstrip()))
        if before >= 0:
            lines.append(" " * (len(indent) + len(f"{source.file}:{source.line}: ") + before) + "^")
    return lines
