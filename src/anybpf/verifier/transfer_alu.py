"""Arithmetic instructions: what they do to a state and what they need.

Numbers go to :mod:`~anybpf.verifier.scalar_alu`; results are remembered per instruction, because the same operands come
by again and again. What pointers may do is decided here: move by numbers, or be subtracted from their like.
"""

from __future__ import annotations

from typing import Final

from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.verifier import scalar_alu
from anybpf.verifier.failure import Rejection
from anybpf.verifier.needs import Need, register_bit
from anybpf.verifier.scalar import TOP, U32, Scalar, constant, sign_extend, signed, truncate
from anybpf.verifier.state import State
from anybpf.verifier.subject import Back, Step
from anybpf.verifier.values import Link, Linked, Pointer, Region, Value, describe_value, number_of

__all__ = ("LARGEST_OFFSET", "back_kill", "back_move", "compile_alu", "copy_value", "fail_uninitialised")

#: Regions within which a pointer may be moved.
_MOVABLE: Final = frozenset(
    {Region.CONTEXT, Region.STACK, Region.PACKET, Region.PACKET_META, Region.MAP_VALUE, Region.MEMORY, Region.KERNEL}
)

#: Constants beyond this are no offsets into anything.
LARGEST_OFFSET: Final = 1 << 29


def compile_alu(instruction: Instruction) -> tuple[Step, Back]:
    """The step and the backward step of an instruction of class ALU or ALU64."""
    bits = 64 if instruction.class_ == op.CLASS_ALU64 else 32
    operation = instruction.opcode & 0xF0
    dst, bit = instruction.dst, register_bit(instruction.dst)
    from_register = bool(instruction.opcode & op.SOURCE_X)
    if operation == op.ALU_MOV:
        if not from_register:
            return _set(dst, constant(instruction.imm if bits == 64 else instruction.imm & U32)), back_kill(bit)
        return _move(dst, instruction.src, bits, instruction.offset or bits), back_move(
            bit, register_bit(instruction.src)
        )
    if operation == op.ALU_END:
        # Class ALU swaps to little (source 0) or big endian (source 1); class ALU64 always swaps.
        swap = bits == 64 or from_register
        return _swap(dst, instruction.imm, swap), _back_change(bit)
    if operation == op.ALU_NEG:
        return _with_constant(operation, bits, dst, 0), _back_change(bit)
    if instruction.offset == 1 and operation in (op.ALU_DIV, op.ALU_MOD):
        operation = scalar_alu.SIGNED_DIV if operation == op.ALU_DIV else scalar_alu.SIGNED_MOD
    if not from_register:
        return _with_constant(operation, bits, dst, instruction.imm), _back_change(bit)
    if operation in (op.ALU_XOR, op.ALU_SUB) and instruction.src == dst:
        return _clear(dst), _back_clear(bit)
    return _with_register(operation, bits, dst, instruction.src), _back_combine(bit, register_bit(instruction.src))


def fail_uninitialised(register: int) -> Rejection:
    """The rejection for reading a register that holds nothing."""
    return Rejection("uninitialised-register", register=register)


# What instructions need. An operand is needed even where the result is not: it must be initialised, and of a kind that
# the instruction takes.


def back_kill(bit: int) -> Back:
    """For an instruction that overwrites the register with something that depends on nothing."""

    def back(read: int, exact: int, trace: list[object]) -> Need:
        return read & ~bit, exact & ~bit

    return back


def back_move(bit: int, source: int) -> Back:
    """For an instruction whose result is all that its source is."""

    def back(read: int, exact: int, trace: list[object]) -> Need:
        if exact & bit:
            exact = exact & ~bit | source
        return read & ~bit | source, exact

    return back


def _back_change(bit: int) -> Back:
    def back(read: int, exact: int, trace: list[object]) -> Need:
        return read | bit, exact

    return back


def _back_combine(bit: int, source: int) -> Back:
    def back(read: int, exact: int, trace: list[object]) -> Need:
        if exact & bit:
            exact |= source
        return read | bit | source, exact

    return back


def _back_clear(bit: int) -> Back:
    # The result is zero whatever the number was.
    def back(read: int, exact: int, trace: list[object]) -> Need:
        return read | bit, exact & ~bit

    return back


# What instructions do.


def _set(dst: int, value: Scalar) -> Step:
    def step(state: State) -> None:
        state.registers[dst] = value

    return step


def _clear(dst: int) -> Step:
    zero = constant(0)

    def step(state: State) -> None:
        value = state.registers[dst]
        if value is None:
            raise fail_uninitialised(dst)
        if value.__class__ is Pointer:
            raise Rejection("pointer-arithmetic", what=f"r{dst} is a {describe_value(value)}, combined with itself")
        state.registers[dst] = zero

    return step


def copy_value(value: Value) -> Value:
    """``value`` as to be stored at both ends of a copy: an unknown number gets a link, so that both stay equal."""
    if value.__class__ is Scalar and value.known is None:
        return Linked(value, Link(), 0)
    return value


def _move(dst: int, src: int, bits: int, width: int) -> Step:
    """Move between registers; ``width`` below ``bits`` sign-extends that many low bits."""

    def step(state: State) -> None:
        registers = state.registers
        value = registers[src]
        if value.__class__ is Scalar and value.known is not None and width == 64:
            registers[dst] = value
            return
        if value is None:
            raise fail_uninitialised(src)
        number = number_of(value)
        if number is None:
            if bits == 32 or width < 64:
                raise Rejection(
                    "pointer-arithmetic", what=f"r{src} is a {describe_value(value)}, of which a part is taken"
                )
            registers[dst] = value
            return
        result = number
        if width < bits:
            result = sign_extend(number, width)
        if bits == 32:
            result = truncate(result, 32)
        if result is number:
            registers[dst] = registers[src] = copy_value(value)
        else:
            registers[dst] = result

    return step


def _swap(dst: int, width: int, swap: bool) -> Step:
    def step(state: State) -> None:
        value = state.registers[dst]
        number = number_of(value)
        if number is None:
            if value is None:
                raise fail_uninitialised(dst)
            raise Rejection("pointer-arithmetic", what=f"r{dst} is a {describe_value(value)}, whose bytes are swapped")
        if swap:
            state.registers[dst] = scalar_alu.byte_swap(number, width)
        elif width < 64:
            state.registers[dst] = truncate(number, width)

    return step


def _with_constant(operation: int, bits: int, dst: int, imm: int) -> Step:
    operand = constant(imm)
    results: dict[Scalar, Scalar] = {}
    apply = scalar_alu.apply

    def step(state: State) -> None:
        value = state.registers[dst]
        if value.__class__ is Scalar:
            result = results.get(value)
            if result is None:
                result = results[value] = apply(operation, bits, value, operand)
            state.registers[dst] = result
        else:
            state.registers[dst] = _combine(state, operation, bits, dst, value, None, operand)

    return step


def _with_register(operation: int, bits: int, dst: int, src: int) -> Step:
    results: dict[tuple[Scalar, Scalar], Scalar] = {}
    apply = scalar_alu.apply

    def step(state: State) -> None:
        registers = state.registers
        value, operand = registers[dst], registers[src]
        if value.__class__ is Scalar and operand.__class__ is Scalar:
            result = results.get((value, operand))
            if result is None:
                result = results[value, operand] = apply(operation, bits, value, operand)
            registers[dst] = result
        else:
            registers[dst] = _combine(state, operation, bits, dst, value, src, operand)

    return step


def _combine(
    state: State, operation: int, bits: int, dst: int, value: Value | None, src: int | None, operand: Value | None
) -> Value:
    if value is None:
        raise fail_uninitialised(dst)
    if operand is None:
        assert src is not None
        raise fail_uninitialised(src)
    if value.__class__ is Pointer or operand.__class__ is Pointer:
        return _pointer(state, operation, bits, dst, value, src, operand)
    a, b = number_of(value), number_of(operand)
    assert a is not None
    assert b is not None
    result = scalar_alu.apply(operation, bits, a, b)
    if operation in (op.ALU_ADD, op.ALU_SUB) and result.known is None:
        # A linked number that is moved by a constant stays linked, at another distance.
        if value.__class__ is Linked and b.known is not None:
            delta = signed(b.known) if operation == op.ALU_ADD else -signed(b.known)
            if bits == 64 or (a.umax <= U32 and a.umin + delta >= 0 and a.umax + delta <= U32):
                return Linked(result, value.link, value.delta + delta)
        elif operand.__class__ is Linked and a.known is not None and operation == op.ALU_ADD and bits == 64:
            return Linked(result, operand.link, operand.delta + signed(a.known))
    return result


def _pointer(state: State, operation: int, bits: int, dst: int, value: Value, src: int | None, operand: Value) -> Value:
    """Arithmetic in which at least one operand is a pointer."""
    other = number_of(operand)
    if bits == 64 and operation == op.ALU_ADD:
        if isinstance(value, Pointer) and other is not None:
            return _moved(state, dst, value, src, operand, other, False)
        number = number_of(value)
        if number is not None and isinstance(operand, Pointer):
            assert src is not None
            return _moved(state, src, operand, dst, value, number, False)
        raise Rejection(
            "pointer-arithmetic", what=f"r{dst} and r{src} are both pointers, and two addresses cannot be added"
        )
    if bits == 64 and operation == op.ALU_SUB and isinstance(value, Pointer):
        if other is not None:
            return _moved(state, dst, value, src, operand, other, True)
        assert isinstance(operand, Pointer)
        return _distance(dst, value, src, operand)
    if operation == op.ALU_SUB and isinstance(value, Pointer) and isinstance(operand, Pointer):
        return truncate(_distance(dst, value, src, operand), 32)
    name = f"r{dst}" if isinstance(value, Pointer) else f"r{src}"
    pointer = value if isinstance(value, Pointer) else operand
    how = "32-bit arithmetic" if bits == 32 else "this operation"
    raise Rejection(
        "pointer-arithmetic", what=f"{name} is a {describe_value(pointer)}; {how} would not leave a pointer"
    )


def _moved(
    state: State, register: int, pointer: Pointer, source: int | None, operand: Value, number: Scalar, back: bool
) -> Pointer:
    """``pointer``, in ``register``, moved by the number ``operand`` (backwards: subtracted), held in ``source``."""
    if pointer.nullable:
        raise Rejection("null-pointer", what=f"r{register}", value=describe_value(pointer))
    if pointer.region not in _MOVABLE:
        raise Rejection("pointer-arithmetic", what=f"r{register} is a {describe_value(pointer)}, which cannot be moved")
    if number.known is not None:
        delta = -signed(number.known) if back else signed(number.known)
        if abs(pointer.offset + delta) > LARGEST_OFFSET:
            raise Rejection("pointer-arithmetic", what=f"r{register} would move by {delta} bytes, out of all bounds")
        return pointer.moved(delta)
    if back:
        number = scalar_alu.apply(op.ALU_NEG, 64, number, number)
    if pointer.region is not Region.PACKET:
        return pointer.shifted(_sum(pointer.variable, number))
    # Name the unknown, so that adding it again to the same pointer gives a pointer that compares as equal.
    if back:
        link, delta = Link(), 0
    else:
        if operand.__class__ is not Linked:
            operand = copy_value(operand)
            if source is not None:
                state.registers[source] = operand
        assert isinstance(operand, Linked)
        link, delta = operand.link, signed(operand.delta)
        if delta:
            number = scalar_alu.apply(op.ALU_SUB, 64, number, constant(delta))
    terms = tuple(sorted((*pointer.terms, link), key=lambda term: term.serial))
    if abs(pointer.offset + delta) > LARGEST_OFFSET:
        raise Rejection("pointer-arithmetic", what=f"r{register} would move by {delta} bytes, out of all bounds")
    return pointer.moved(delta).shifted(_sum(pointer.variable, number), terms)


def _sum(variable: Scalar | None, number: Scalar) -> Scalar:
    return number if variable is None else scalar_alu.apply(op.ALU_ADD, 64, variable, number)


def _distance(dst: int, a: Pointer, src: int | None, b: Pointer) -> Scalar:
    """The number of bytes between two pointers."""
    same = a.region is b.region and a.index == b.index and a.identity == b.identity
    packets = {a.region, b.region} <= {Region.PACKET, Region.PACKET_END}
    if a.nullable or b.nullable or a.buffer != b.buffer or not (same or packets):
        raise Rejection(
            "pointer-arithmetic",
            what=f"r{dst} is a {describe_value(a)} and r{src} a {describe_value(b)}; their distance means nothing",
        )
    if a.region is b.region and a.terms == b.terms and (a.terms or a.variable is b.variable is None):
        return constant(a.offset - b.offset)
    return TOP
