"""Helpers that call a function of the program: zero or more rounds of it, then the call returns.

The callback runs in a frame of its own, like a subprogram, but with arguments that the helper makes. When it returns,
two ways go on: back to the caller, and into another round. Rounds end at run time because the helper counts them; the
analysis ends because a round that starts in a state which an earlier round covers is not followed, and because states
are widened when rounds keep changing them (:mod:`anybpf.verifier.widen`).
"""

from __future__ import annotations

from typing import Final

from anybpf.platforms import ArgKind, Callback
from anybpf.verifier.calls import begin, find_helper, finish
from anybpf.verifier.failure import Rejection
from anybpf.verifier.frames import back_call, enter_function, leave_function
from anybpf.verifier.needs import FRAME_BITS, Need
from anybpf.verifier.scalar import of_size, range_of
from anybpf.verifier.state import Round, State
from anybpf.verifier.subject import Subject
from anybpf.verifier.values import ZERO, Pointer, Region, Value, describe_value, number_of

__all__ = (
    "back_callback_exit",
    "back_first_round",
    "back_next_round",
    "call_back",
    "next_round",
    "return_from_callback",
)

#: bpf_loop refuses to make more rounds than this (Linux's BPF_MAX_LOOPS).
_MOST_ROUNDS: Final = 8 * 1024 * 1024

#: What arguments point to that a helper makes anew for each round.
_FRESH: Final = frozenset({Region.MAP_VALUE, Region.MEMORY, Region.KERNEL})


def call_back(subject: Subject, state: State, number: int) -> State:
    """Call helper ``number``, which calls back. The given state goes on behind the call; returns one that enters the
    first round, at the function whose slot is its :attr:`State.function`."""
    helper = find_helper(subject, number)
    call = begin(subject, state, helper)
    if state.lock is not None:
        raise Rejection("lock", what=f"{helper.name} is called while a lock is held")
    target: Pointer | None = None
    context: Value = ZERO
    for index, arg in enumerate(helper.args):
        held = state.registers[index + 1]
        if arg.kind is ArgKind.CALLBACK:
            assert isinstance(held, Pointer)
            target = held
        elif arg.kind is ArgKind.CALLBACK_CONTEXT:
            assert held is not None
            context = held
    assert target is not None
    assert helper.callback is not None
    arguments = _arguments(call_map=call.map, callback=helper.callback, context=context)
    result = finish(call)
    state.trace.append((call.read, call.exact, call.killed))
    round_ = Round(subject.new_identity(), target.index, arguments, result, state.references)
    inside = state.copy()
    _enter(subject, inside, round_)
    state.registers[0] = result
    return inside


def _arguments(call_map: Pointer | None, callback: Callback, context: Value) -> tuple[Value, ...]:
    map_spec = call_map.map if call_map is not None else None
    made: dict[str, Value] = {
        "index": range_of(0, _MOST_ROUNDS - 1),
        "context": context,
        "kernel": Pointer(Region.KERNEL),
        "dynptr": Pointer(Region.KERNEL),
    }
    if map_spec is not None and call_map is not None:
        made["map"] = call_map
        made["map_key"] = Pointer(Region.MEMORY, size=map_spec.key_size, writable=False)
        made["map_value"] = Pointer(Region.MAP_VALUE, map=map_spec, index=call_map.index, size=map_spec.value_size)
    return tuple(made.get(name, of_size(8)) for name in callback.value)


def _enter(subject: Subject, state: State, round_: Round) -> None:
    # Each round has an element of its own, which is none of those that earlier rounds may have kept pointers to.
    arguments = (
        value.identified(subject.new_identity()) if isinstance(value, Pointer) and value.region in _FRESH else value
        for value in round_.arguments
    )
    state.registers[1:6] = [*arguments, *[None] * (5 - len(round_.arguments))]
    enter_function(subject, state, round_.function, round_)


def return_from_callback(state: State) -> Round:
    """End a round; the state is then behind the call that started it. Rejects what a callback may not leave behind."""
    round_ = state.callers[-1].round
    assert round_ is not None
    result = state.registers[0]
    if result is None or number_of(result) is None:
        raise Rejection("callback", what=f"the callback returns something else than a number: {describe_value(result)}")
    if state.references != round_.references:
        raise Rejection(
            "callback", what="the callback acquires something and does not release it, or releases its caller's"
        )
    leave_function(state)
    state.registers[0] = round_.result
    return round_


def next_round(subject: Subject, state: State, round_: Round) -> State:
    """A copy of ``state``, which is behind the call, that enters one more round."""
    inside = state.copy()
    _enter(subject, inside, round_)
    return inside


# What the ways on need.


def back_callback_exit(read: int, exact: int, trace: list[object]) -> Need:
    """What a callback's exit needs when its caller goes on: nothing of the caller's r0 to r5, which the helper sets."""
    return (read & ~0x3F) << FRAME_BITS, (exact & ~0x3F) << FRAME_BITS


def back_next_round(read: int, exact: int, trace: list[object]) -> Need:
    """What a callback's exit needs when another round follows; its arguments do not depend on the state."""
    read, exact = back_call(read, exact, trace)
    return back_callback_exit(read, exact, trace)


def back_first_round(read: int, exact: int, trace: list[object]) -> Need:
    """What entering the first round needs."""
    read, exact = back_call(read, exact, trace)
    return read & ~0x3E, exact & ~0x3E
