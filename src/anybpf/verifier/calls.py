"""Calls of helpers: arguments checked and results made by the platform's declarative contracts."""

from __future__ import annotations

from typing import Final

from anybpf.btf.core import POISON
from anybpf.platforms import Helper, MapKind, ReturnKind
from anybpf.verifier import stack
from anybpf.verifier.arguments import check_arguments
from anybpf.verifier.failure import Rejection
from anybpf.verifier.helper_call import HelperCall
from anybpf.verifier.needs import PACKET_BIT, Need
from anybpf.verifier.scalar import TOP, Scalar, range_of
from anybpf.verifier.state import State
from anybpf.verifier.subject import Back, Step, Subject
from anybpf.verifier.transfer_store import write_through
from anybpf.verifier.values import Pointer, Region, Value, number_of

__all__ = ("back_helper_call", "begin", "compile_helper_call", "find_helper", "finish")

#: r0 to r5, which no call preserves.
_CLOBBERED: Final = 0x3F

#: The least error number that a helper returns (Linux's -MAX_ERRNO).
_LEAST_ERROR: Final = -4095

_OUTER_MAPS: Final = frozenset({MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS})
#: Kinds whose elements, if they have any, are no memory.
_WITHOUT_VALUES: Final = frozenset(
    {MapKind.PROG_ARRAY, MapKind.PERF_EVENT_ARRAY, MapKind.RINGBUF, MapKind.QUEUE, MapKind.STACK}
)
_SOCKET_MAPS: Final = frozenset({MapKind.SOCKMAP, MapKind.SOCKHASH})
_LOCKS: Final = frozenset({"bpf_spin_lock", "bpf_spin_unlock"})


def find_helper(subject: Subject, number: int) -> Helper:
    """The helper that a call of ``number`` means; rejects what the platform, program type or licence forbid."""
    helper = subject.platform.find_helper(number, subject.program_type)
    if number == POISON:
        raise Rejection("missing-type")
    if helper is None:
        raise Rejection("unknown-helper", platform=subject.platform.name, number=number)
    if helper.name not in subject.program_type.helpers:
        raise Rejection("helper-not-allowed", helper=helper.name, type=subject.program_type.name)
    if helper.gpl_only and not subject.gpl_compatible:
        raise Rejection("gpl-only", helper=helper.name, license=subject.spec.license)
    return helper


# Results.


def _result(call: HelperCall) -> Value | None:
    helper = call.helper
    kind = helper.returns
    if kind in (ReturnKind.SCALAR, ReturnKind.NO_RETURN_ON_SUCCESS):
        return _number(call)
    if kind is ReturnKind.VOID:
        return None
    identity = call.subject.new_identity()
    if helper.acquires:
        call.state.references = (*call.state.references, (identity, call.state.slot))
    nullable = kind not in (ReturnKind.KERNEL, ReturnKind.MAP_VALUE)
    if kind in (ReturnKind.MAP_VALUE_OR_NULL, ReturnKind.MAP_VALUE):
        return _map_result(call, identity, nullable)
    if kind in (ReturnKind.RECORD_OR_NULL, ReturnKind.MEMORY_OR_NULL):
        size = call.alloc or helper.returns_size
        return Pointer(Region.MEMORY, size=size, identity=identity, nullable=nullable)
    if kind is ReturnKind.SOCKET_OR_NULL:
        structure = call.subject.platform.structures.get(helper.structure)
        return Pointer(Region.SOCKET, structure=structure, identity=identity, nullable=nullable)
    return Pointer(Region.KERNEL, identity=identity, nullable=nullable)


def _number(call: HelperCall) -> Scalar:
    helper = call.helper
    if helper.returns_range is not None:
        return range_of(*helper.returns_range)
    for index, arg in enumerate(helper.args):
        if helper.returns_up_to and arg.name == helper.returns_up_to:
            size = number_of(call.state.registers[index + 1])
            return TOP if size is None else range_of(_LEAST_ERROR, size.umax)
    return TOP


def _map_result(call: HelperCall, identity: int, nullable: bool) -> Value:
    """What a lookup in the map argument gives: a value, or for maps of maps the inner map."""
    outer = call.map.map if call.map is not None else None
    assert outer is not None
    kind = call.subject.map_kind(outer)
    if kind in _WITHOUT_VALUES:
        raise Rejection("map-kind", helper=call.helper.name, map=outer.name, kind=kind.value)
    if kind in _OUTER_MAPS:
        if outer.inner is None:
            raise Rejection(
                "map-kind", helper=call.helper.name, map=outer.name, kind="a map of maps of no declared kind"
            )
        return Pointer(Region.MAP, map=outer.inner, index=-1, identity=identity, nullable=nullable)
    if kind in _SOCKET_MAPS:
        call.state.references = (*call.state.references, (identity, call.state.slot))
        structure = call.subject.platform.structures.get("bpf_sock")
        return Pointer(Region.SOCKET, structure=structure, identity=identity, nullable=nullable)
    if kind is MapKind.XSKMAP:
        structure = call.subject.platform.structures.get("bpf_xdp_sock")
        return Pointer(Region.SOCKET, structure=structure, identity=identity, nullable=nullable)
    assert call.map is not None
    return Pointer(
        Region.MAP_VALUE, map=outer, index=call.map.index, size=outer.value_size, identity=identity, nullable=nullable
    )


# The whole call.


def compile_helper_call(subject: Subject, number: int) -> tuple[Step, Back]:
    """The step and backward step of a call that does not call back."""

    def step(state: State) -> None:
        helper = find_helper(subject, number)
        call = begin(subject, state, helper)
        state.registers[0] = finish(call)
        state.trace.append((call.read, call.exact, call.killed))

    return step, back_helper_call


def begin(subject: Subject, state: State, helper: Helper) -> HelperCall:
    """Check the arguments of a call and the situation that it is made in."""
    if state.lock is not None and helper.name not in _LOCKS:
        raise Rejection("lock", what=f"{helper.name} is called while a lock is held")
    call = HelperCall(subject, state, helper)
    check_arguments(call)
    if helper.returns is ReturnKind.NO_RETURN_ON_SUCCESS and state.references:
        raise Rejection("reference-leak", acquired=state.references[0][1])
    return call


def finish(call: HelperCall) -> Value | None:
    """Make the call's effects happen; returns what r0 holds."""
    state = call.state
    for pointer, least, most in call.outputs:
        if pointer.variable is None:
            if least:
                call.killed |= abs(write_through(state, pointer, 0, least, None, None))
            if most > least:
                stack.blur(state.frames[pointer.index], pointer.offset + least, pointer.offset + most)
        else:
            write_through(state, pointer, 0, most, None, None)
    result = _result(call)
    if call.released:
        _forget_reference(state, call.released)
    for register in range(1, 6):
        state.registers[register] = None
    if call.helper.changes_packet:
        state.forget_packet()
        call.killed |= PACKET_BIT
    return result


def _forget_reference(state: State, identity: int) -> None:
    state.references = tuple(r for r in state.references if r[0] != identity)
    state.replace(lambda value: None if value.__class__ is Pointer and value.identity == identity else value)


def back_helper_call(read: int, exact: int, trace: list[object]) -> Need:
    """What a call of a helper needs."""
    event: tuple[int, int, int] = trace.pop()  # type: ignore[assignment]
    needed, needed_exact, killed = event
    kept = ~(_CLOBBERED | killed)
    return read & kept | needed, exact & kept | needed_exact
