"""What is being verified, and what has been found out about it so far."""

from __future__ import annotations

from collections.abc import Callable

from anybpf.isa import Text, jump_target
from anybpf.isa import opcodes as op
from anybpf.platforms import Helper, MapKind, Platform, ProgramType, ReturnKind
from anybpf.spec import MapSpec, ObjectSpec, ProgramSpec
from anybpf.verifier.cfg import is_jump
from anybpf.verifier.failure import Rejection
from anybpf.verifier.needs import Need
from anybpf.verifier.special import SpecialField, special_fields
from anybpf.verifier.state import State
from anybpf.verifier.verdict import Facts

__all__ = ("Back", "Step", "Subject")

#: Licences under which all helpers may be called (Linux, include/linux/license.h).
_GPL_COMPATIBLE = frozenset(
    {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
)

#: What an instruction does to a state.
Step = Callable[[State], None]

#: What an instruction needs, given what is needed after it: (read, exact, trace) → (read, exact). Steps that left
#: something in the trace take it off again, last first. None stands for an instruction that changes no need.
Back = Callable[[int, int, list[object]], Need] | None


class Subject:
    """One program to verify, and the facts that accumulate over all paths.

    :attr loaded: slot → context offset that it loads from, or -1 for other memory; absent: not reached.
    :attr mixed: slots that load from different context offsets, or from elsewhere too, on different paths.
    :attr lowered: slots that load context fields which become something else than plain memory (packet pointers).
    :attr helper_maps: slot of a call → index of its map argument, or -1 when paths differ.
    :attr depths: start slot of a function → bytes of stack that it uses.
    :attr callback_calls, tail_calls: slots of calls that call back, and of tail calls, which end a block.
    :attr repeats: there are repetitions that only the run time bounds: callbacks, or may_goto.
    :attr chains: functions that were active together, the entry function first → slot of the last call.
    """

    def __init__(
        self, spec: ObjectSpec, program: ProgramSpec, text: Text, platform: Platform, program_type: ProgramType
    ) -> None:
        self.spec = spec
        self.program = program
        self.text = text
        self.platform = platform
        self.program_type = program_type
        self.loaded: dict[int, int] = {}
        self.mixed: set[int] = set()
        self.lowered: set[int] = set()
        self.helper_maps: dict[int, int] = {}
        self.depths: dict[int, int] = {}
        self.chains: dict[tuple[int, ...], int] = {(0,): 0}
        self.gpl_compatible = spec.license in _GPL_COMPATIBLE
        self.callback_calls = self._calls_where(lambda helper: helper.callback is not None)
        self.tail_calls = self._calls_where(lambda helper: helper.returns is ReturnKind.NO_RETURN_ON_SUCCESS)
        self.repeats = bool(self.callback_calls) or any(i is not None and i.opcode == op.OP_MAY_GOTO for i in self.text)
        self._identity = 0
        self._special: dict[MapSpec, tuple[SpecialField, ...]] = {}

    def new_identity(self) -> int:
        """A number that no pointer of this program has yet."""
        self._identity += 1
        return self._identity

    def _calls_where(self, chosen: Callable[[Helper], bool]) -> frozenset[int]:
        slots = set()
        for slot, instruction in enumerate(self.text):
            if instruction is not None and instruction.opcode == op.OP_CALL and instruction.src == op.CALL_HELPER:
                helper = self.platform.find_helper(instruction.imm, self.program_type)
                if helper is not None and chosen(helper):
                    slots.add(slot)
        return frozenset(slots)

    def map_kind(self, spec: MapSpec) -> MapKind | None:
        """The kind of a map on this platform, or None when its number means nothing here."""
        return self.platform.map_types.get(spec.type)

    def special_fields(self, spec: MapSpec) -> tuple[SpecialField, ...]:
        """The locks, timers and kernel pointers in a map's value."""
        found = self._special.get(spec)
        if found is None:
            found = self._special[spec] = special_fields(self.spec, spec)
        return found

    def function_slots(self) -> tuple[int, ...]:
        """Slots at which functions start: those that the object names, and targets of local calls and references."""
        slots = {function.slot for function in self.program.functions}
        for slot, instruction in enumerate(self.text):
            if instruction is not None and not is_jump(instruction):
                target = jump_target(instruction, slot)
                if target is not None:
                    slots.add(target)
        return tuple(sorted(slots | {0}))

    def require_stack(self, state: State) -> None:
        """Reject chains of calls whose frames together are larger than the stack."""
        for chain, slot in self.chains.items():
            depth = self.depth_of(chain)
            if depth > op.STACK_SIZE:
                state.slot = slot
                raise Rejection("stack-depth", depth=depth, most=op.STACK_SIZE)

    def depth_of(self, chain: tuple[int, ...]) -> int:
        """Bytes of stack that the functions of ``chain`` take together; each frame counts in units of 16 bytes."""
        return sum(-(-max(self.depths.get(function, 0), 1) // 16) * 16 for function in chain)

    def facts(self, reached: frozenset[int]) -> Facts:
        """What was proven, once every path has been explored."""
        return Facts(
            context_loads={
                slot: offset for slot, offset in self.loaded.items() if offset >= 0 and slot not in self.mixed
            },
            helper_maps={slot: index for slot, index in self.helper_maps.items() if index >= 0},
            stack_depth=max(map(self.depth_of, self.chains)),
            reached=reached,
        )
