"""Loads and stores: what memory requires of an access, and what comes out of it."""

from __future__ import annotations

from typing import Final

from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.platforms import Context, ContextField, FieldKind
from anybpf.verifier import stack
from anybpf.verifier.failure import Rejection
from anybpf.verifier.needs import PACKET_BIT, Need, register_bit, stack_bits
from anybpf.verifier.scalar import Scalar, constant, of_size, sign_extend, truncate
from anybpf.verifier.state import State
from anybpf.verifier.subject import Back, Step, Subject
from anybpf.verifier.transfer_alu import copy_value, fail_uninitialised
from anybpf.verifier.values import Linked, Pointer, Region, Value, describe_value, number_of

__all__ = ("access", "compile_atomic", "compile_load", "compile_store", "pointer_in", "read_stack", "require_inside")

_FRAME_POINTER: Final = 10
_BPF_F_RDONLY_PROG: Final = 1 << 7
_BPF_F_WRONLY_PROG: Final = 1 << 8


def pointer_in(state: State, register: int) -> Pointer:
    """The pointer in ``register``, which is about to be dereferenced; rejects what is none or may be NULL."""
    value = state.registers[register]
    if value.__class__ is not Pointer:
        if value is None:
            raise fail_uninitialised(register)
        raise Rejection("not-a-pointer", register=register, value=describe_value(value))
    assert isinstance(value, Pointer)
    if value.nullable:
        raise Rejection("null-pointer", what=f"r{register}", value=describe_value(value))
    return value


# Requirements: what an access must satisfy, region by region.


def require_inside(
    subject: Subject, state: State, pointer: Pointer, offset: int, size: int, write: bool, register: int
) -> None:
    """Reject an access of ``size`` bytes at ``pointer + offset`` that may leave its region, or is not allowed there."""
    region = pointer.region
    low, high = pointer.low + offset, pointer.high + offset
    if region is Region.STACK:
        if low < -op.STACK_SIZE or high + size > 0:
            raise Rejection("stack-bounds", size=size, low=low, high=high)
        if pointer.index == state.depth:
            use_stack(subject, state, low)
    elif region is Region.PACKET or region is Region.PACKET_META:
        _require_packet(subject, state, pointer, offset, size, write)
    elif region is Region.MAP_VALUE:
        assert pointer.map is not None
        if low < 0 or high + size > pointer.size:
            raise Rejection(
                "map-value-bounds", size=size, low=low, high=high, map=pointer.map.name, limit=pointer.size
            )
        if write and (pointer.map.read_only or pointer.map.flags & _BPF_F_RDONLY_PROG):
            raise Rejection("read-only", what=f"map {pointer.map.name!r}")
        if not write and pointer.map.flags & _BPF_F_WRONLY_PROG:
            raise Rejection("not-accessible", register=register, value="pointer into a map that programs only write")
        for start, length, field in subject.special_fields(pointer.map):
            if low < start + length and high + size > start:
                raise Rejection("special-field", field=field, map=pointer.map.name)
    elif region is Region.MEMORY:
        if low < 0 or high + size > pointer.size:
            raise Rejection("memory-bounds", size=size, low=low, high=high, limit=pointer.size, register=register)
        if write and not pointer.writable:
            raise Rejection("read-only", what=f"the memory that r{register} points to")
    else:
        raise Rejection("not-accessible", register=register, value=describe_value(pointer))


def _require_packet(
    subject: Subject, state: State, pointer: Pointer, offset: int, size: int, write: bool
) -> None:
    if pointer.region is Region.PACKET_META:
        proven = state.meta_range
    else:
        proven = state.ranges.get(pointer.terms, 0)
    start = pointer.offset + offset
    if pointer.low + offset < 0:
        raise Rejection(
            "packet-bounds", size=size, offset=_spread(pointer, offset), proven="this may lie before its start"
        )
    if start + size > proven:
        if pointer.variable is not None and pointer.high > 0xFFFF:
            why = "the offset is not known to be small enough to compare with data_end"
        elif not proven:
            why = "no comparison with data_end has proven that they are there"
        else:
            why = f"only {proven} bytes from there on are proven" if pointer.terms else f"only {proven} bytes are proven"
        raise Rejection("packet-bounds", size=size, offset=_spread(pointer, offset), proven=why)
    program_type = subject.program_type
    if write and pointer.region is Region.PACKET and not (program_type.packet_writable or program_type.context.memory):
        raise Rejection("read-only", what="the packet")


def _spread(pointer: Pointer, offset: int) -> str:
    low, high = pointer.low + offset, pointer.high + offset
    return str(low) if low == high else f"{low}..{high}"


def use_stack(subject: Subject, state: State, low: int) -> None:
    """Note that the current function uses its stack down to ``low``."""
    function = state.function
    if -low > subject.depths.get(function, 0):
        subject.depths[function] = -low


# Loads.


def compile_load(subject: Subject, instruction: Instruction, slot: int) -> tuple[Step, Back]:
    """The step and backward step of a load from memory, zero- or sign-extending."""
    size = op.SIZE_BYTES[instruction.opcode & 0x18]
    extends = instruction.opcode & 0xE0 == op.MODE_MEMSX
    dst, base, offset = instruction.dst, instruction.src, instruction.offset
    if base == _FRAME_POINTER and -op.STACK_SIZE <= offset <= -size:
        bits = stack_bits(offset, size)
        return _frame_load(dst, offset, size, extends), _back_frame_load(register_bit(dst), bits)
    return _load(subject, slot, dst, base, offset, size, extends), _back_load(register_bit(dst), register_bit(base))


def _back_frame_load(bit: int, bytes_: int) -> Back:
    def back(read: int, exact: int, trace: list[object]) -> Need:
        if exact & bit:
            exact = exact & ~bit | bytes_
        return read & ~bit | bytes_, exact

    return back


def _back_load(bit: int, base: int) -> Back:
    def back(read: int, exact: int, trace: list[object]) -> Need:
        source: int = trace.pop()  # type: ignore[assignment]
        if exact & bit:
            exact = exact & ~bit | source
        return read & ~bit | source | base, exact | base

    return back


def _frame_load(dst: int, offset: int, size: int, extends: bool) -> Step:
    place = offset + op.STACK_SIZE
    whole = size == 8 and not place & 7
    index = place >> 3

    def step(state: State) -> None:
        if whole:
            value = state.frames[-1][index]
            if value.__class__ is Scalar or value.__class__ is Pointer or value.__class__ is Linked:
                state.registers[dst] = value  # type: ignore[assignment]
                return
        state.registers[dst] = _extended(read_stack(state, state.depth, offset, size), size, extends)

    return step


def read_stack(state: State, frame: int, offset: int, size: int) -> Value:
    """What ``size`` bytes at ``offset`` of a frame hold; rejects uninitialised bytes and pieces of pointers."""
    value = stack.read(state.frames[frame], offset, size)
    if value is None:
        place = offset + op.STACK_SIZE
        slots = state.frames[frame][place >> 3 : (place + size + 7) >> 3]
        code = "partial-pointer" if any(isinstance(slot, Pointer) for slot in slots) else "uninitialised-stack"
        raise Rejection(code, size=size, offset=offset)
    return value


def _extended(value: Value, size: int, extends: bool) -> Value:
    if not extends:
        return value
    number = number_of(value)
    assert number is not None  # sign-extending loads are of at most 4 bytes, which hold no pointer
    return sign_extend(number, 8 * size)


def _load(subject: Subject, slot: int, dst: int, base: int, offset: int, size: int, extends: bool) -> Step:
    loaded = subject.loaded
    unknown = sign_extend(of_size(size), 8 * size) if extends and size < 8 else of_size(size)

    def step(state: State) -> None:
        pointer = pointer_in(state, base)
        region = pointer.region
        if region is Region.CONTEXT or region is Region.SOCKET:
            value = _field(subject, slot, pointer, offset, size)
            state.registers[dst] = _extended(value, size, extends)
            state.trace.append(PACKET_BIT if value.__class__ is Pointer and region is Region.CONTEXT else 0)
            return
        if loaded.setdefault(slot, -1) >= 0:
            _mixed(subject, slot)
        require_inside(subject, state, pointer, offset, size, False, base)
        if region is Region.STACK:
            value, bits = access(state, pointer, offset, size)
            state.registers[dst] = _extended(value, size, extends)
            state.trace.append(bits)
            return
        if region is Region.MAP_VALUE and pointer.variable is None:
            assert pointer.map is not None
            if pointer.map.read_only and pointer.map.contents is not None and not pointer.map.kconfig:
                number = constant(_contents(pointer.map.contents, pointer.offset + offset, size))
                state.registers[dst] = _extended(number, size, extends)
                state.trace.append(0)
                return
        state.registers[dst] = unknown
        state.trace.append(0)

    return step


def _contents(contents: bytes, offset: int, size: int) -> int:
    """Constant data; behind what the file gives, a data section is zero."""
    return int.from_bytes(contents[offset : offset + size], "little")


def access(state: State, pointer: Pointer, offset: int, size: int) -> tuple[Value, int]:
    """Load from the stack through ``pointer``, already known to stay inside: the value, and the bits of its bytes."""
    level = state.depth - pointer.index
    low, high = pointer.low + offset, pointer.high + offset
    bits = stack_bits(low, high - low + size, level)
    if low == high:
        return read_stack(state, pointer.index, low, size), bits
    if not stack.initialised(state.frames[pointer.index], low, high + size):
        raise Rejection("uninitialised-stack", size=size, offset=f"{low}..{high}")
    return of_size(size), bits


# The context and other structures with fields.


def _field(subject: Subject, slot: int, pointer: Pointer, offset: int, size: int) -> Value:
    """Load a field of the context or of a socket."""
    context = subject.program_type.context if pointer.region is Region.CONTEXT else pointer.structure
    assert context is not None
    name = context.name or "the context"
    if pointer.variable is not None:
        raise Rejection("context-access", what=f"{name} is accessed at an offset that is not constant")
    place = pointer.offset + offset
    field = _require_field(context, name, place, size, False)
    matters = field.kind is not FieldKind.SCALAR
    if matters and (size != field.element or (place - field.offset) % size):
        raise Rejection("context-access", what=f"field {field.name} of {name} can only be read whole")
    _note_context(subject, slot, place, matters, pointer)
    return _field_value(subject, field, size)


def _require_field(context: Context, name: str, place: int, size: int, write: bool) -> ContextField:
    """The field that an access reaches; rejects what the context does not allow."""
    allowed = context.access(place, size, write=write)
    if allowed is not None:
        return allowed
    field = context.field_at(place, size)
    if field is None:
        raise Rejection("context-access", what=f"{name} has no field that holds {size} bytes at offset {place}")
    if write and not field.writable:
        raise Rejection("read-only", what=f"field {field.name} of {name}")
    verb = "written" if write else "read"
    how = f" in {size} bytes at offset {place}" if write or field.readable else ""
    raise Rejection(
        "context-access", what=f"field {field.name} of {name} ({field.element} bytes each) cannot be {verb}{how}"
    )


def _note_context(subject: Subject, slot: int, place: int, matters: bool, pointer: Pointer) -> None:
    if pointer.region is not Region.CONTEXT:
        place = -1
    before = subject.loaded.setdefault(slot, place)
    if matters:
        subject.lowered.add(slot)
    if before != place:
        _mixed(subject, slot)


def _mixed(subject: Subject, slot: int) -> None:
    """Two paths load from different places at one instruction; only loads that become something else must not."""
    if slot in subject.lowered:
        context = subject.program_type.context
        field = context.field_at(max(subject.loaded[slot], 0), 1)
        raise Rejection("mixed-access", field=field.name if field is not None else "")
    subject.mixed.add(slot)


def _field_value(subject: Subject, field: ContextField, size: int) -> Value:
    kind = field.kind
    if kind is FieldKind.PACKET:
        return _PACKET
    if kind is FieldKind.PACKET_END:
        return _PACKET_END
    if kind is FieldKind.PACKET_META:
        return _PACKET_META
    if kind in (FieldKind.SOCKET, FieldKind.SOCKET_OR_NULL, FieldKind.FLOW_KEYS):
        return Pointer(
            Region.SOCKET,
            structure=subject.platform.structures.get(field.structure),
            identity=subject.new_identity(),
            nullable=kind is FieldKind.SOCKET_OR_NULL,
        )
    return of_size(size)


_PACKET: Final = Pointer(Region.PACKET)
_PACKET_END: Final = Pointer(Region.PACKET_END)
_PACKET_META: Final = Pointer(Region.PACKET_META)


# Stores.


def compile_store(subject: Subject, instruction: Instruction, slot: int) -> tuple[Step, Back]:
    """The step and backward step of a store of a register or an immediate."""
    size = op.SIZE_BYTES[instruction.opcode & 0x18]
    base, offset = instruction.dst, instruction.offset
    src = instruction.src if instruction.class_ == op.CLASS_STX else None
    immediate = constant(instruction.imm)
    source = 0 if src is None else register_bit(src)
    if base == _FRAME_POINTER and -op.STACK_SIZE <= offset <= -size:
        bits = stack_bits(offset, size)
        return _frame_store(subject, src, immediate, offset, size), _back_frame_store(bits, source)
    return _store(subject, slot, base, offset, size, src, immediate), _back_store(register_bit(base), source)


def _back_frame_store(bits: int, source: int) -> Back:
    def back(read: int, exact: int, trace: list[object]) -> Need:
        if read & bits:
            read = read & ~bits | source
            if exact & bits:
                exact = exact & ~bits | source
        return read, exact

    return back


def _back_store(base: int, source: int) -> Back:
    def back(read: int, exact: int, trace: list[object]) -> Need:
        event: int = trace.pop()  # type: ignore[assignment]
        if not event:  # not the stack: the value must be a number
            return read | base | source, exact | base
        bits = abs(event)
        needed, needed_exact = read & bits, exact & bits
        if event > 0:  # these very bytes; a negative event is a store somewhere among them
            read, exact = read & ~bits, exact & ~bits
        if needed:
            read |= source
            if needed_exact:
                exact |= source
        return read | base, exact | base

    return back


def _frame_store(subject: Subject, src: int | None, immediate: Scalar, offset: int, size: int) -> Step:
    place = offset + op.STACK_SIZE
    index, whole = place >> 3, size == 8 and not place & 7
    low_bits = truncate(immediate, 8 * size) if size < 8 else immediate

    def step(state: State) -> None:
        function = state.function
        if -offset > subject.depths.get(function, 0):
            use_stack(subject, state, offset)
        if src is None:
            if whole:
                state.frames[-1][index] = immediate
            else:
                stack.write(state.frames[-1], offset, size, low_bits)
            return
        value = state.registers[src]
        if value is None:
            raise fail_uninitialised(src)
        if whole:
            if value.__class__ is Scalar and value.known is None:  # type: ignore[union-attr]
                value = state.registers[src] = copy_value(value)
            if value.__class__ is Linked:
                value.link.spilled = True  # type: ignore[union-attr]
            state.frames[-1][index] = value
        else:
            _write_part(state, state.depth, offset, size, src, value)

    return step


def _write_part(state: State, frame: int, offset: int, size: int, src: int | None, value: Value) -> None:
    """Store a value that does not fill one aligned slot."""
    number = number_of(value)
    if number is None:
        raise Rejection("pointer-leak", what=f"r{src}", value=f"{describe_value(value)}, stored in part or unaligned")
    if size == 8 or number.umax < 1 << 8 * size:
        if (offset & 7) + size <= 8:
            value = copy_value(value)
            if value.__class__ is Linked:
                value.link.spilled = True  # type: ignore[union-attr]
                if src is not None:
                    state.registers[src] = value
            stack.write(state.frames[frame], offset, size, value)
            return
        stack.write(state.frames[frame], offset, size, number)
        return
    stack.write(state.frames[frame], offset, size, truncate(number, 8 * size))


def _store(
    subject: Subject, slot: int, base: int, offset: int, size: int, src: int | None, immediate: Scalar
) -> Step:
    low_bits = truncate(immediate, 8 * size) if size < 8 else immediate

    def step(state: State) -> None:
        pointer = pointer_in(state, base)
        value: Value | None = low_bits if src is None else state.registers[src]
        if value is None:
            assert src is not None
            raise fail_uninitialised(src)
        region = pointer.region
        if region is Region.STACK:
            require_inside(subject, state, pointer, offset, size, True, base)
            state.trace.append(write_stack(state, pointer, offset, size, src, value))
            return
        if value.__class__ is Pointer:
            raise Rejection("pointer-leak", what=f"r{src}", value=describe_value(value))
        if region is Region.CONTEXT:
            _store_field(subject, pointer, offset, size)
        else:
            require_inside(subject, state, pointer, offset, size, True, base)
        state.trace.append(0)

    return step


def write_stack(state: State, pointer: Pointer, offset: int, size: int, src: int | None, value: Value | None) -> int:
    """Store through a stack pointer that is known to stay inside; returns the event for the trace.

    ``value`` None stands for numbers of which nothing is known.
    """
    level = state.depth - pointer.index
    low, high = pointer.low + offset, pointer.high + offset
    bits = stack_bits(low, high - low + size, level)
    frame = state.frames[pointer.index]
    if value.__class__ is Pointer and value.region is Region.STACK and value.index > pointer.index:  # type: ignore[union-attr]
        raise Rejection("pointer-leak", what=f"r{src}", value=f"{describe_value(value)}, which ends before its copy does")
    if low != high:
        if value.__class__ is Pointer:
            raise Rejection("pointer-leak", what=f"r{src}", value=f"{describe_value(value)}, stored at a varying offset")
        stack.blur(frame, low, high + size)
        return -bits
    if value is None:
        stack.write(frame, low, size, None)
    elif value.__class__ is Pointer and size == 8 and not low & 7:
        stack.write(frame, low, size, value)
    else:
        _write_part(state, pointer.index, low, size, src, value)
    return bits


def _store_field(subject: Subject, pointer: Pointer, offset: int, size: int) -> None:
    context = subject.program_type.context
    name = context.name or "the context"
    if pointer.variable is not None:
        raise Rejection("context-access", what=f"{name} is accessed at an offset that is not constant")
    _require_field(context, name, pointer.offset + offset, size, True)


# Atomic operations.


def compile_atomic(subject: Subject, instruction: Instruction, slot: int) -> tuple[Step, Back]:
    """The step and backward step of an atomic operation, load-acquire or store-release."""
    size = op.SIZE_BYTES[instruction.opcode & 0x18]
    operation, base, src, offset = instruction.imm, instruction.dst, instruction.src, instruction.offset
    if operation == op.ATOMIC_LOAD_ACQUIRE:
        step, back = _load(subject, slot, base, src, offset, size, False), _back_load(register_bit(base), register_bit(src))
        return _aligned(src, offset, size, step), back
    if operation == op.ATOMIC_STORE_RELEASE:
        step = _store(subject, slot, base, offset, size, src, constant(0))
        return _aligned(base, offset, size, step), _back_store(register_bit(base), register_bit(src))
    exchange = operation == op.ATOMIC_CMPXCHG
    result = 0 if exchange else src if operation & op.ATOMIC_FETCH else None
    operands = (src, 0) if exchange else (src,)

    def step_atomic(state: State) -> None:
        pointer = pointer_in(state, base)
        for register in operands:
            value = state.registers[register]
            if value is None:
                raise fail_uninitialised(register)
            if value.__class__ is Pointer:
                raise Rejection("number-expected", what=f"r{register}", value=describe_value(value))
        require_inside(subject, state, pointer, offset, size, True, base)
        if pointer.region is Region.STACK:
            before, bits = access(state, pointer, offset, size)
            if number_of(before) is None:
                raise Rejection("atomic-access", what=f"the stack at {pointer.low + offset} holds a pointer")
            write_stack(state, pointer, offset, size, None, None)
            state.trace.append(bits)
        else:
            if subject.loaded.setdefault(slot, -1) >= 0:
                _mixed(subject, slot)
            state.trace.append(0)
        if result is not None:
            state.registers[result] = of_size(size)

    killed = 0 if result is None else register_bit(result)
    needed = register_bit(base)
    for register in operands:
        needed |= register_bit(register)

    def back(read: int, exact: int, trace: list[object]) -> Need:
        bits: int = trace.pop()  # type: ignore[assignment]
        return read & ~killed | needed | bits, exact & ~killed | register_bit(base)

    return _aligned(base, offset, size, step_atomic), back


_ATOMIC_REGIONS: Final = frozenset({Region.STACK, Region.MAP_VALUE, Region.MEMORY})


def _aligned(base: int, offset: int, size: int, then: Step) -> Step:
    """``then``, for plain memory at an aligned address only."""

    def step(state: State) -> None:
        pointer = pointer_in(state, base)
        if pointer.region not in _ATOMIC_REGIONS:
            raise Rejection("atomic-access", what=f"r{base} is a {describe_value(pointer)}")
        place = pointer.place()
        if (place.value + offset) % size or place.mask & size - 1:
            raise Rejection("atomic-access", what=f"the address r{base} + {offset} is not aligned to {size} bytes")
        then(state)

    return step


