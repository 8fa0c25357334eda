"""Conditional jumps: which ways are possible, and what each way learns.

A jump between numbers refines both operands and everything linked to them. A comparison of a packet pointer with the
end of the packet proves a range. A test for NULL settles every copy of the pointer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.verifier.failure import Rejection
from anybpf.verifier.needs import FRAME_BITS, STACK_SHIFT, Need, register_bit
from anybpf.verifier.scalar import Scalar, constant, meet
from anybpf.verifier.scalar_alu import apply
from anybpf.verifier.scalar_compare import NEGATION, SWAPPED, assume
from anybpf.verifier.stack import Pieces
from anybpf.verifier.state import State, refine_linked
from anybpf.verifier.transfer_alu import LARGEST_OFFSET, fail_uninitialised
from anybpf.verifier.values import ZERO, Link, Linked, Pointer, Region, Start, Value, describe_value, number_of

__all__ = ("Decide", "back_jump", "compile_jump")

#: The ways on from a conditional jump: the state if it is not taken, the state if it is; None where impossible.
#: The given state becomes one of them.
Decide = Callable[[State], tuple[State | None, State | None]]

#: How far packet pointers may lie apart for a comparison to prove anything: no packet is longer.
MAX_PACKET_OFFSET: Final = 0xFFFF

#: The start of the plain memory that a program is given.
_MEMORY: Final[Start] = ("", ())

# What a jump leaves in the trace: whether its operands' exact values mattered, and the cells linked to an operand.
_Event = tuple[bool, int]
_UNDECIDED: Final[_Event] = (False, 0)
_DECIDED: Final[_Event] = (True, 0)


def compile_jump(instruction: Instruction) -> Decide:
    """How the conditional jump ``instruction`` goes on from a state."""
    bits = 64 if instruction.class_ == op.CLASS_JMP else 32
    comparison = instruction.opcode & 0xF0
    dst = instruction.dst
    src = instruction.src if instruction.opcode & op.SOURCE_X else None
    operand = constant(instruction.imm)
    negation = NEGATION[comparison]

    def decide(state: State) -> tuple[State | None, State | None]:
        registers = state.registers
        a = registers[dst]
        b = operand if src is None else registers[src]
        left = a if a.__class__ is Scalar else number_of(a)
        right = b if b.__class__ is Scalar else number_of(b)
        if left is None or right is None:
            return _decide_pointer(state, comparison, bits, dst, a, src, b)
        taken = assume(comparison, bits, left, right)
        if taken is None:
            state.trace.append(_DECIDED)
            return state, None
        passed = assume(negation, bits, left, right)
        if passed is None:
            state.trace.append(_DECIDED)
            return None, state
        if a.__class__ is Scalar and b.__class__ is Scalar:
            state.trace.append(_UNDECIDED)
            other = state.copy()
            registers[dst] = passed[0]
            other.registers[dst] = taken[0]
            if src is not None:
                registers[src] = passed[1]
                other.registers[src] = taken[1]
            return state, other
        # A comparison of the length of plain memory proves a range, like one with the end of a packet.
        matters = state.length is not None and state.length in (_link_of(a), _link_of(b))
        linked = _linked_cells(state, a, b)
        state.trace.append((matters, linked))
        other = state.copy()
        ways = (
            state if _learn(state, dst, src, passed) else None,
            other if _learn(other, dst, src, taken) else None,
        )
        if None in ways:  # what is known of a linked cell decided
            state.trace[-1] = (True, linked)
        return ways

    return decide


def back_jump(instruction: Instruction) -> Callable[[int, int, list[object]], Need]:
    """What a conditional jump needs, given what either way needs."""
    operands = register_bit(instruction.dst)
    if instruction.opcode & op.SOURCE_X:
        operands |= register_bit(instruction.src)

    def back(read: int, exact: int, trace: list[object]) -> Need:
        event: _Event = trace.pop()  # type: ignore[assignment]
        matters, linked = event
        if matters:
            return read | operands | linked, exact | operands | linked
        if exact & (operands | linked):
            exact |= operands
        return read | operands, exact

    return back


def _learn(state: State, dst: int, src: int | None, refined: tuple[Scalar, Scalar]) -> bool:
    """Put what a comparison says of its operands into the state; False when that contradicts it."""
    for register, number in ((dst, refined[0]), (src, refined[1])):
        if register is None:
            continue
        value = state.registers[register]
        if value.__class__ is Linked:
            assert isinstance(value, Linked)
            if value.number is not number and not _learn_linked(state, value, number):
                return False
        else:
            state.registers[register] = number
    return True


def _learn_linked(state: State, value: Linked, number: Scalar) -> bool:
    def learn(other: Linked) -> Scalar | None:
        distance = other.delta - value.delta
        learnt = number if not distance else apply(op.ALU_ADD, 64, number, constant(distance))
        return meet(other.number, learnt)

    if value.link is state.length:
        least = apply(op.ALU_SUB, 64, number, constant(value.delta)).umin
        if least > state.ranges.get(_MEMORY, 0):
            state.ranges = {**state.ranges, _MEMORY: least}
    return refine_linked(state, value.link, learn)


def _link_of(value: Value | None) -> Link | None:
    return value.link if isinstance(value, Linked) else None


def _linked_cells(state: State, *values: Value | None) -> int:
    """The bits of all cells that hold a number linked to one of ``values``."""
    links = {value.link for value in values if isinstance(value, Linked)}
    cells = _linked_registers(state.registers, links, 0)
    level = len(state.callers)
    for caller in state.callers:
        cells |= _linked_registers((None,) * 6 + caller.registers, links, level * FRAME_BITS)
        level -= 1
    if any(link.spilled for link in links):
        level = len(state.callers)
        for frame in state.frames:
            shift = level * FRAME_BITS + STACK_SHIFT
            for index, slot in enumerate(frame):
                if slot.__class__ is Linked:
                    if slot.link in links:
                        cells |= 0xFF << shift + 8 * index
                elif slot.__class__ is Pieces:
                    for first, size, number in slot.numbers:
                        if number.__class__ is Linked and number.link in links:
                            cells |= (1 << size) - 1 << shift + 8 * index + first
            level -= 1
    return cells


def _linked_registers(registers: list[Value | None] | tuple[Value | None, ...], links: set[Link], shift: int) -> int:
    cells = 0
    for index, value in enumerate(registers):
        if value.__class__ is Linked and value.link in links:
            cells |= 1 << shift + index
    return cells


def _decide_pointer(
    state: State, comparison: int, bits: int, dst: int, a: Value | None, src: int | None, b: Value | None
) -> tuple[State | None, State | None]:
    """A comparison with at least one operand that is no number."""
    if a is None:
        raise fail_uninitialised(dst)
    if b is None:
        assert src is not None
        raise fail_uninitialised(src)
    state.trace.append(_DECIDED)
    if not isinstance(a, Pointer):
        # Put the pointer first.
        assert src is not None
        assert isinstance(b, Pointer)
        return _pointer_and_number(state, SWAPPED[comparison], bits, src, b, a)
    if not isinstance(b, Pointer):
        return _pointer_and_number(state, comparison, bits, dst, a, b)
    if bits == 64 and a.buffer == b.buffer:
        if b.region is Region.PACKET_END and a.region is Region.PACKET:
            return _packet_end(state, comparison, a)
        if a.region is Region.PACKET_END and b.region is Region.PACKET:
            return _packet_end(state, SWAPPED[comparison], b)
        if a.region is Region.PACKET_META and _is_packet_start(b):
            return _packet_end(state, comparison, a)
        if b.region is Region.PACKET_META and _is_packet_start(a):
            return _packet_end(state, SWAPPED[comparison], b)
        if state.length is not None and a.region is b.region is Region.PACKET:
            if _is_memory_end(state, b):
                return _packet_end(state, comparison, a)
            if _is_memory_end(state, a):
                return _packet_end(state, SWAPPED[comparison], b)
        if a.region is b.region and comparison != op.JMP_JSET:
            return state, state.copy()
    raise Rejection(
        "pointer-comparison",
        what=f"r{dst}, a {describe_value(a)}, is compared with r{src}, a {describe_value(b)}",
    )


def _pointer_and_number(
    state: State, comparison: int, bits: int, register: int, pointer: Pointer, value: Value
) -> tuple[State | None, State | None]:
    number = number_of(value)
    assert number is not None
    if bits == 64 and number.known == 0 and comparison in _NULL_TESTS:
        # Unsigned, so a pointer is "> 0" exactly when it is not NULL.
        holds_for_null = _NULL_TESTS[comparison]
        if holds_for_null is None:
            return (state, None) if comparison == op.JMP_JLT else (None, state)
        if not pointer.nullable:
            if max(-pointer.low, pointer.high) > LARGEST_OFFSET:  # far from its region, it may have any address
                return state, state.copy()
            return (state, None) if holds_for_null else (None, state)
        other = state.copy()
        null, valid = (other, state) if holds_for_null else (state, other)
        _settle(null, pointer, False)
        _settle(valid, pointer, True)
        return state, other
    raise Rejection("pointer-comparison", what=f"r{register}, a {describe_value(pointer)}, is compared with a number")


#: Whether a comparison with zero holds for NULL only (True), for valid pointers only (False), or both alike (None).
_NULL_TESTS: Final[dict[int, bool | None]] = {
    op.JMP_JEQ: True, op.JMP_JLE: True, op.JMP_JNE: False, op.JMP_JGT: False, op.JMP_JGE: None, op.JMP_JLT: None,
}  # fmt: skip


def _settle(state: State, pointer: Pointer, valid: bool) -> None:
    """Make every copy of a pointer that may be NULL either valid or zero."""
    identity = pointer.identity
    settled: dict[Pointer, Value] = {}

    def change(value: Value) -> Value:
        if value.__class__ is Pointer and value.identity == identity and value.nullable:
            assert isinstance(value, Pointer)
            if value not in settled:
                settled[value] = value.not_null() if valid else ZERO
            return settled[value]
        return value

    state.replace(change)
    if not valid:
        state.references = tuple(r for r in state.references if r[0] != identity)


def _is_packet_start(pointer: Pointer) -> bool:
    return pointer.region is Region.PACKET and not pointer.terms and not pointer.offset


def _is_memory_end(state: State, pointer: Pointer) -> bool:
    """Whether the pointer is the start of the memory that the program was given, plus its length."""
    return pointer.terms == (state.length,) and not pointer.offset


def _packet_end(state: State, comparison: int, pointer: Pointer) -> tuple[State | None, State | None]:
    """Compare a packet pointer with the end of the packet, or a metadata pointer with the packet's start."""
    if comparison == op.JMP_JSET:
        raise Rejection("pointer-comparison", what="the bits of a packet pointer are compared with another pointer's")
    other = state.copy()
    # Of "p > end" and the like, one way says p <= end (proves what lies before p), or p < end (one byte more).
    if comparison in (op.JMP_JGT, op.JMP_JGE):
        _prove(state, pointer, comparison == op.JMP_JGE)
    elif comparison in (op.JMP_JLT, op.JMP_JLE):
        _prove(other, pointer, comparison == op.JMP_JLT)
    return state, other


def _prove(state: State, pointer: Pointer, strictly_before: bool) -> None:
    """Note that ``pointer`` does not lie behind the end; strictly before it: that the byte there is in the packet."""
    if pointer.high > MAX_PACKET_OFFSET or (pointer.variable is not None and pointer.variable.smin < 0):
        return
    proven = pointer.offset + strictly_before
    if pointer.region is Region.PACKET_META:
        state.meta_range = max(state.meta_range, proven)
    elif proven > state.ranges.get(pointer.start, 0):
        state.ranges = {**state.ranges, pointer.start: proven}
