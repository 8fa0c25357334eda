"""Calls of subprograms: frames entered and left, and the rules at a function's and the program's end."""

from __future__ import annotations

from anybpf.isa import opcodes as op
from anybpf.verifier.failure import Rejection
from anybpf.verifier.needs import FRAME_BITS, PACKET_BIT, Need
from anybpf.verifier.scalar import describe
from anybpf.verifier.stack import new_frame
from anybpf.verifier.state import Caller, Round, State, Turn
from anybpf.verifier.subject import Subject
from anybpf.verifier.values import Pointer, Region, describe_value, number_of

__all__ = ("back_call", "back_return", "enter_function", "leave_function", "require_exit")

#: r1 to r5: what a function is called with.
_ARGUMENTS = 0x3E


def enter_function(subject: Subject, state: State, target: int, round: Round | None = None) -> None:
    """Call the function at slot ``target``; for a round of a helper's callbacks when ``round`` says so."""
    if state.lock is not None:
        raise Rejection("lock", what="a function is called while a lock is held")
    depth = len(state.callers) + 2
    functions = (*(caller.function for caller in state.callers), state.function)
    if depth > op.MAX_CALL_DEPTH or target in functions:
        raise Rejection("call-depth", depth=depth, most=op.MAX_CALL_DEPTH)
    registers = state.registers
    state.callers = (*state.callers, Caller(state.function, state.slot, tuple(registers[6:10]), state.turn, round))
    state.chain = (*state.chain, state.slot)
    subject.chains.setdefault((*functions, target), state.slot)
    registers[0] = None
    registers[6:10] = [None] * 4
    registers[10] = Pointer(Region.STACK, index=len(state.callers))
    state.frames.append(new_frame())
    state.function = target
    if round is not None:
        state.turn = Turn(round.activation, subject.new_identity())
    else:
        state.turn = Turn(subject.new_identity())


def leave_function(state: State) -> int:
    """Return to the caller; gives the slot of the call."""
    result = state.registers[0]
    if isinstance(result, Pointer) and result.region is Region.STACK and result.index == state.depth:
        raise Rejection("pointer-leak", what="r0", value=f"{describe_value(result)}, which ends with the function")
    caller = state.callers[-1]
    state.callers = state.callers[:-1]
    state.chain = state.chain[:-1]
    state.frames.pop()
    state.registers[1:6] = [None] * 5
    state.registers[6:10] = caller.registers
    state.registers[10] = Pointer(Region.STACK, index=len(state.callers))
    state.function = caller.function
    state.turn = caller.turn
    return caller.call


def back_call(read: int, exact: int, trace: list[object]) -> Need:
    """What a call needs, given what the function needs at its entry."""
    arguments = _ARGUMENTS | PACKET_BIT
    return read >> FRAME_BITS | read & arguments, exact >> FRAME_BITS | exact & arguments


def back_return(read: int, exact: int, trace: list[object]) -> Need:
    """What a function's exit needs, given what its caller needs behind the call."""
    return (read & ~0x3F) << FRAME_BITS | read & 1, (exact & ~0x3F) << FRAME_BITS | exact & 1


def require_exit(subject: Subject, state: State) -> None:
    """Check what must hold when the program ends."""
    if state.references:
        raise Rejection("reference-leak", acquired=state.references[0][1])
    if state.lock is not None:
        raise Rejection("lock", what="the program ends while a lock is held")
    result = state.registers[0]
    if result is None:
        raise Rejection("uninitialised-register", register=0)
    number = number_of(result)
    if number is None:
        raise Rejection("pointer-leak", what="r0, the return value,", value=describe_value(result))
    bounds = subject.program_type.returns
    if bounds is not None:
        low, high = bounds
        # Programs return an int: only the low half counts.
        inside = (
            number.u32min >= low and number.u32max <= high
            if low >= 0
            else number.s32min >= low and number.s32max <= high
        )
        if not inside:
            raise Rejection("return-value", value=describe(number), type=subject.program_type.name, low=low, high=high)
