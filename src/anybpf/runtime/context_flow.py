"""Where the context pointer goes in a program that nobody verified: enough to lower trusted programs.

Reads: the text, and the context's layout.
Gives: the loads of context fields (slot → offset) and the maps that helper calls are given (slot → index).
Raises: LoadError where paths disagree about a pointer that a load of a packet field may go through.

A forward propagation over registers and stack slots. A value is the context plus a constant, the frame plus a
constant, a map, or something else; where paths meet with different values it may be the context or not
(:data:`AMBIGUOUS`). This is no proof of anything else: that is the verifier's work.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from anybpf.errors import LoadError
from anybpf.isa import Instruction, Text, jump_target
from anybpf.isa import opcodes as op
from anybpf.platforms import Context, FieldKind

__all__ = ("ContextFlow",)


class Kind(Enum):
    """What a value is, as far as lowering cares."""

    OTHER = "other"
    CONTEXT = "context"  # plus `number` bytes
    FRAME = "frame"  # r10 plus `number` bytes
    MAP = "map"  # reference to the map of index `number`
    AMBIGUOUS = "ambiguous"  # the context on some path, or with different offsets


class Value(NamedTuple):
    """A value: its kind, and the offset or index that goes with it."""

    kind: Kind
    number: int = 0


OTHER = Value(Kind.OTHER)
AMBIGUOUS = Value(Kind.AMBIGUOUS)
State = dict[int, Value]  # registers by number 0 to 10; stack slots by their (negative) offset; absent: OTHER

_POINTERS = (FieldKind.PACKET, FieldKind.PACKET_END, FieldKind.PACKET_META)
_STACK_WORD = 8


def _join(old: Value, new: Value) -> Value:
    if old == new:
        return old
    either = {old.kind, new.kind}
    return AMBIGUOUS if either & {Kind.CONTEXT, Kind.AMBIGUOUS} else OTHER


class ContextFlow:
    """The result of the propagation.

    :param context_loads: slot of a load from the context → byte offset in the context.
    :param helper_maps: slot of a helper call → index of the map in r1.
    """

    def __init__(self, text: Text, context: Context) -> None:
        self.context_loads: dict[int, int] = {}
        self.helper_maps: dict[int, int] = {}
        self._text = text
        self._widths = {f.size for f in context.fields if f.kind in _POINTERS}
        self._spilled = False  # the context pointer is somewhere in memory
        self._states: dict[int, State] = {}
        if not context.memory:
            self._propagate()
            self._collect()

    def _propagate(self) -> None:
        pending = [0]
        self._states[0] = {1: Value(Kind.CONTEXT), 10: Value(Kind.FRAME)}
        while pending:
            slot = pending.pop()
            instruction = self._text[slot]
            if instruction is None:
                continue
            spilled = self._spilled
            for successor, state in self._step(slot, instruction, dict(self._states[slot])):
                if successor < len(self._text) and self._merge(successor, state):
                    pending.append(successor)
            if self._spilled and not spilled:
                pending = sorted(self._states)  # loads seen before may give the context after all

    def _merge(self, slot: int, state: State) -> bool:
        old = self._states.get(slot)
        if old is None:
            self._states[slot] = state
            return True
        merged = {key: _join(old.get(key, OTHER), state.get(key, OTHER)) for key in old.keys() | state.keys()}
        merged = {key: value for key, value in merged.items() if value != OTHER}
        if merged == old:
            return False
        self._states[slot] = merged
        return True

    def _step(self, slot: int, instruction: Instruction, state: State) -> list[tuple[int, State]]:
        """Return what may run after ``instruction``, each with the state there."""
        opcode, dst = instruction.opcode, instruction.dst
        following = slot + (2 if instruction.is_wide else 1)
        match instruction.class_:
            case op.CLASS_ALU64:
                self._set(state, dst, self._arithmetic(instruction, state))
            case op.CLASS_ALU:
                self._set(state, dst, OTHER)
            case op.CLASS_LDX:
                self._set(state, dst, self._load(instruction, state))
            case op.CLASS_STX if opcode & 0xE0 == op.MODE_MEM:
                self._store(instruction, state, state.get(instruction.src, OTHER))
            case op.CLASS_STX:
                self._atomic(instruction, state)
            case op.CLASS_ST:
                self._store(instruction, state, OTHER)
            case op.CLASS_LD if opcode == op.OP_LDDW:
                target = jump_target(instruction, slot)
                if target is not None:  # a callback gets the context only through memory
                    self._merge_callback(target)
                is_map = instruction.src == op.LDDW_MAP_INDEX
                self._set(state, dst, Value(Kind.MAP, instruction.imm) if is_map else OTHER)
                return [(following, state)] if target is None else [(following, state), (target, self._states[target])]
            case op.CLASS_LD:
                self._after_call(state)
            case _:
                return self._jump(slot, instruction, state)
        return [(following, state)]

    def _jump(self, slot: int, instruction: Instruction, state: State) -> list[tuple[int, State]]:
        opcode = instruction.opcode
        target = jump_target(instruction, slot)
        if opcode == op.OP_EXIT:
            return []
        if opcode in (op.OP_CALL, op.OP_CALLX):
            after = dict(state)
            self._after_call(after)
            if target is None:
                return [(slot + 1, after)]
            entry = {register: state[register] for register in range(1, 6) if register in state}
            for register, value in entry.items():
                if value.kind is Kind.FRAME:  # the callee has a frame of its own
                    entry[register] = OTHER
            entry[10] = Value(Kind.FRAME)
            return [(slot + 1, after), (target, entry)]
        assert target is not None
        if opcode in (op.OP_JA, op.OP_JA32):
            return [(target, state)]
        return [(slot + 1, state), (target, dict(state))]

    def _merge_callback(self, target: int) -> None:
        if target not in self._states:
            self._states[target] = {10: Value(Kind.FRAME)}

    @staticmethod
    def _set(state: State, key: int, value: Value) -> None:
        if value == OTHER:
            state.pop(key, None)
        else:
            state[key] = value

    def _after_call(self, state: State) -> None:
        for register in range(6):
            state.pop(register, None)

    @staticmethod
    def _arithmetic(instruction: Instruction, state: State) -> Value:
        old, code = state.get(instruction.dst, OTHER), instruction.opcode & 0xF0
        if code == op.ALU_MOV and not instruction.offset:
            return state.get(instruction.src, OTHER) if instruction.opcode & op.SOURCE_X else OTHER
        if code in (op.ALU_ADD, op.ALU_SUB):
            if instruction.opcode & op.SOURCE_X:
                sides = {old.kind, state.get(instruction.src, OTHER).kind}
                return AMBIGUOUS if sides & {Kind.CONTEXT, Kind.AMBIGUOUS} and code == op.ALU_ADD else OTHER
            if old.kind in (Kind.CONTEXT, Kind.FRAME):
                sign = 1 if code == op.ALU_ADD else -1
                return Value(old.kind, old.number + sign * instruction.imm)
            return AMBIGUOUS if old.kind is Kind.AMBIGUOUS else OTHER
        return OTHER

    def _load(self, instruction: Instruction, state: State) -> Value:
        if instruction.opcode != op.CLASS_LDX | op.MODE_MEM | op.SIZE_DW:
            return OTHER
        base = state.get(instruction.src, OTHER)
        if base.kind is Kind.FRAME:
            return state.get(_stack_slot(base.number + instruction.offset), OTHER)
        if base.kind is Kind.CONTEXT:
            return OTHER
        return AMBIGUOUS if self._spilled else OTHER

    def _store(self, instruction: Instruction, state: State, value: Value) -> None:
        base = state.get(instruction.dst, OTHER)
        if base.kind is Kind.FRAME:
            whole = instruction.opcode & 0x18 == op.SIZE_DW
            self._set(state, _stack_slot(base.number + instruction.offset), value if whole else OTHER)
        self._spilled |= value.kind in (Kind.CONTEXT, Kind.AMBIGUOUS)

    def _atomic(self, instruction: Instruction, state: State) -> None:
        self._spilled |= state.get(instruction.src, OTHER).kind in (Kind.CONTEXT, Kind.AMBIGUOUS)
        fetched = AMBIGUOUS if self._spilled else OTHER
        if instruction.imm == op.ATOMIC_LOAD_ACQUIRE:
            self._set(state, instruction.dst, fetched)
        elif instruction.imm == op.ATOMIC_CMPXCHG:
            self._set(state, 0, fetched)
        elif instruction.imm & op.ATOMIC_FETCH:
            self._set(state, instruction.src, fetched)

    def _collect(self) -> None:
        for slot, state in self._states.items():
            instruction = self._text[slot]
            if instruction is None:
                continue
            if instruction.class_ == op.CLASS_LDX:
                self._collect_load(slot, instruction, state.get(instruction.src, OTHER))
            elif instruction.opcode == op.OP_CALL and instruction.src == op.CALL_HELPER:
                given = state.get(1, OTHER)
                if given.kind is Kind.MAP:
                    self.helper_maps[slot] = given.number

    def _collect_load(self, slot: int, instruction: Instruction, base: Value) -> None:
        if base.kind is Kind.CONTEXT:
            self.context_loads[slot] = base.number + instruction.offset
        elif base.kind is Kind.AMBIGUOUS and op.SIZE_BYTES[instruction.opcode & 0x18] in self._widths:
            raise LoadError(
                f"instruction {slot} may load a packet pointer from the context or something else, which only the "
                "verifier can tell; load the program without trust=True"
            )


def _stack_slot(offset: int) -> int:
    """Return the key of a stack slot: a number below every register's."""
    return -1 - (offset + 4096) // _STACK_WORD
