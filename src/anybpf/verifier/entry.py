"""What a program starts with."""

from __future__ import annotations

from anybpf.verifier.scalar import range_of
from anybpf.verifier.state import State
from anybpf.verifier.subject import Subject
from anybpf.verifier.values import Link, Linked, Pointer, Region

__all__ = ("entry_state",)

#: No memory that a program is given is longer.
_LONGEST = (1 << 31) - 1


def entry_state(subject: Subject) -> State:
    """The state at the program's first instruction: the context in r1, the stack in r10.

    Where the argument is plain memory, r1 points to it like to a packet, and r2 holds its length: the length's link is
    kept, so that comparisons of the length prove ranges as comparisons with the end of a packet do.
    """
    state = State()
    state.registers[10] = Pointer(Region.STACK)
    if subject.program_type.context.memory:
        length = Link()
        state.registers[1] = Pointer(Region.PACKET)
        state.registers[2] = Linked(range_of(0, _LONGEST), length, 0)
        state.length = length
    else:
        state.registers[1] = Pointer(Region.CONTEXT)
    return state
