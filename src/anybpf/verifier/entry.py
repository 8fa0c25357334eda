"""What a program starts with."""

from __future__ import annotations

from anybpf.verifier.state import State
from anybpf.verifier.subject import Subject
from anybpf.verifier.values import Pointer, Region

__all__ = ("entry_state",)


def entry_state(subject: Subject) -> State:
    """The state at the program's first instruction: the context in r1, the stack in r10."""
    state = State()
    state.registers[1] = Pointer(Region.CONTEXT)
    state.registers[10] = Pointer(Region.STACK)
    return state
