"""One call of a helper that is being checked: its contract, and what its arguments turned out to be."""

from __future__ import annotations

from anybpf.platforms import Helper
from anybpf.spec import MapSpec
from anybpf.verifier.failure import Rejection
from anybpf.verifier.needs import register_bit
from anybpf.verifier.state import State
from anybpf.verifier.subject import Subject
from anybpf.verifier.transfer_alu import fail_uninitialised
from anybpf.verifier.values import Pointer, Region, Value, describe_value, number_of

__all__ = ("HelperCall",)


class HelperCall:
    """One call that is being checked: its contract, the state, and what the arguments turned out to be.

    :attr map: the map argument. :attr alloc: the constant size of what is returned. :attr released: identity of the
        reference that the call releases. :attr read, exact, killed: cells that the call needs, and overwrites.
    """

    __slots__ = (
        "alloc",
        "exact",
        "helper",
        "killed",
        "map",
        "outputs",
        "read",
        "released",
        "size_limit",
        "state",
        "subject",
    )

    def __init__(self, subject: Subject, state: State, helper: Helper) -> None:
        self.subject = subject
        self.state = state
        self.helper = helper
        self.map: Pointer | None = None
        self.alloc = 0
        self.released = 0
        self.read = 0
        self.exact = 0
        self.killed = 0
        self.outputs: list[tuple[Pointer, int, int]] = []

    def argument(self, index: int) -> Value:
        """The value of the argument with this index (0 for r1); rejects an uninitialised register."""
        value = self.state.registers[index + 1]
        if value is None:
            raise fail_uninitialised(index + 1)
        self.read |= register_bit(index + 1)
        return value

    def name(self, index: int) -> str:
        """The argument with this index, as messages call it."""
        return f"argument {index + 1} of {self.helper.name}"

    def no_memory(self, index: int, size: object, problem: str) -> Rejection:
        """The rejection for a memory argument whose ``size`` bytes are not there."""
        return Rejection("helper-memory", number=index + 1, helper=self.helper.name, size=size, problem=problem)

    def wrong(self, index: int, expected: str) -> Rejection:
        """The rejection for an argument of the wrong kind."""
        return Rejection(
            "helper-argument",
            number=index + 1,
            helper=self.helper.name,
            expected=expected,
            value=describe_value(self.state.registers[index + 1]),
        )

    def pointer(self, index: int, expected: str, *regions: Region) -> Pointer:
        """The pointer argument with this index, into one of ``regions``, and not NULL."""
        value = self.argument(index)
        self.exact |= register_bit(index + 1)
        if not isinstance(value, Pointer) or value.region not in regions:
            raise self.wrong(index, expected)
        if value.nullable:
            raise Rejection(
                "null-pointer", what=f"argument {index + 1} of {self.helper.name}", value=describe_value(value)
            )
        return value

    def constant(self, index: int, expected: str) -> int:
        """The constant argument with this index."""
        number = number_of(self.argument(index))
        self.exact |= register_bit(index + 1)
        if number is None or number.known is None:
            raise Rejection("constant-expected", number=index + 1, helper=self.helper.name, expected=expected)
        return number.known

    def found_map(self, index: int) -> MapSpec:
        """The map argument that stands before argument ``index``."""
        if self.map is None or self.map.map is None:
            raise self.wrong(index, "used with a map")
        return self.map.map
