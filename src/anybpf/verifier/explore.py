"""Exploration of every path, depth first, with states that are covered by explored ones left out.

A path is a stack of :class:`Node`, one a block visited. When all that follows a node has been explored, what was needed
runs backwards through its block (:mod:`anybpf.verifier.needs`) and is added to its parent's. At merge points the state
is kept with its need, and later arrivals that it covers end there (:mod:`anybpf.verifier.cover`). An arrival that is
covered by a state on its own path has made no progress: the loop need not end, and the program is refused, unless
something at run time bounds it (callbacks, may_goto).

Reads: the compiled blocks. Writes: the subject's facts. Raises: :class:`Rejection`. Invariant: everything that a state
in ``explored`` stands for is safe, provided the whole exploration ends without a rejection.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final, NamedTuple

from anybpf.isa import jump_target
from anybpf.isa import opcodes as op
from anybpf.verifier.callbacks import (
    back_callback_exit,
    back_first_round,
    back_next_round,
    call_back,
    next_round,
    return_from_callback,
)
from anybpf.verifier.calls import back_helper_call
from anybpf.verifier.cfg import Block, Graph
from anybpf.verifier.compiled import CompiledBlock, compile_block
from anybpf.verifier.cover import Snapshot, share_frames
from anybpf.verifier.failure import Rejection
from anybpf.verifier.frames import back_call, back_return, enter_function, leave_function, require_exit
from anybpf.verifier.liveness import live_registers
from anybpf.verifier.needs import FRAME_BITS, PACKET_BIT, register_bit, stack_bits
from anybpf.verifier.progress import open_ends, progress, turn_at
from anybpf.verifier.scalar import TOP
from anybpf.verifier.state import State, Turn
from anybpf.verifier.subject import Back, Subject
from anybpf.verifier.transfer_jump import Decide, back_jump, compile_jump
from anybpf.verifier.widen import widen

__all__ = ("Explorer", "Node", "Way")

#: Explored states kept for one point; the least useful make room.
_KEPT: Final = 48

#: From so many explored states at a point on, more general ones are tried, until that has failed so often.
_CROWD: Final = 5
_STUBBORN: Final = 3

#: Visits that following one general state may take.
_ALLOWANCE: Final = 20_000

#: Rounds of a repetition that are followed one by one before states are widened.
_PATIENCE: Final = 3

#: r6 to r9, which a call keeps.
_SAVED: Final = 0x3C0

_Key = tuple[int, tuple[int, ...]]


class Way(NamedTuple):
    """A way on from a block: the next block, the state there, whether a jump was taken (None: there was no choice), and
    how needs run back over it (None: unchanged)."""

    block: int
    state: State
    taken: bool | None = None
    back: Back = None


class Node:
    """One visit of a block.

    :attr pending: the ways on that are still to be explored. :attr way: the one that is being explored.
    :attr back: what the instruction that ends the block needs; None when it changes no need.
    :attr original: the state that arrived, when a more general one is explored in its place.
    """

    __slots__ = ("back", "block", "exact", "original", "pending", "read", "snapshot", "trace", "way")

    def __init__(self, block: Block, snapshot: Snapshot | None) -> None:
        self.block = block
        self.snapshot = snapshot
        self.pending: list[Way] = []
        self.way: Way | None = None
        self.back: Back = None
        self.original: State | None = None
        self.read = 0
        self.exact = 0
        self.trace: list[object] = []


class _Point:
    """What is known at one block under one chain of calls: explored states, those on the current path, and how often
    a more general state could not be verified here."""

    __slots__ = ("active", "explored", "failures")

    def __init__(self) -> None:
        self.explored: list[Snapshot] = []
        self.active: list[Snapshot] = []
        self.failures = 0


class Explorer:
    """One exploration. :attr visited: instructions stepped through. :attr path: the nodes of the current path.

    :attr state: the state that runs, for a failure's report.
    """

    def __init__(self, subject: Subject, graph: Graph, budget: int) -> None:
        self.subject = subject
        self.graph = graph
        self.budget = budget
        self.visited = 0
        self.path: list[Node] = []
        self.state = State()
        self.reached: set[int] = set()
        self._limits: list[int] = []  # of visits, for each general state on the path
        self._points: defaultdict[_Key, _Point] = defaultdict(_Point)
        self._compiled: dict[int, CompiledBlock] = {}
        self._decisions: dict[int, tuple[Decide, Back]] = {}
        self._live = live_registers(subject.text, graph)

    def run(self, state: State, block: int = 0) -> None:
        """Explore everything from ``state`` at ``block``; a Rejection leaves the path in place for the report."""
        arrival: tuple[int, State, bool] | None = (block, state, True)
        path = self.path
        while path or arrival is not None:
            try:
                if arrival is not None:
                    index, state, may_generalise = arrival
                    arrival = None
                    self._enter(index, state, may_generalise)
                elif path[-1].pending:
                    node = path[-1]
                    node.way = node.pending.pop()
                    self._enter(node.way.block, node.way.state, True)
                else:
                    self._leave(path.pop())
            except Rejection as rejection:
                arrival = self._retreat(rejection)

    def _retreat(self, rejection: Rejection) -> tuple[int, State, bool]:
        """Go back to the last point where a more general state than the one that arrived was explored, and return that
        arrival, to be explored as it is; raises the rejection when there is none."""
        path = self.path
        if self.visited > self.budget or not self._limits:
            raise rejection
        while True:
            node = path.pop()
            if node.snapshot is None:
                continue
            point = self._points[node.block.index, node.snapshot.state.chain]
            point.active.pop().open = False
            if node.original is not None:
                point.failures += 1
                self._limits.pop()
                return node.block.index, node.original, False

    def _enter(self, index: int, state: State, may_generalise: bool) -> None:
        block = self.graph.blocks[index]
        self.state = state
        snapshot = original = None
        if block.is_merge:
            point = self._points[index, state.chain]
            for known in point.explored:
                if known.covers(state) and self._ends(known, state):
                    known.hits += 1
                    self._need(known.read, known.exact)
                    return
            if point.active and self._repeats(point, state, block):
                return
            general = self._generalise(point, state) if may_generalise else None
            if general is not None:
                original, state = state, general
                self.state = state
                self._limits.append(min([self.visited + _ALLOWANCE, *self._limits[-1:]]))
            snapshot = Snapshot(state.copy())
            if point.active:
                share_frames(snapshot.state, point.active[-1].state)
            point.active.append(snapshot)
        node = Node(block, snapshot)
        node.original = original
        self.path.append(node)
        node.trace = state.trace = []
        compiled = self._compiled.get(index)
        if compiled is None:
            compiled = self._compiled[index] = compile_block(self.subject, block)
        self.visited += block.end - block.start
        self.reached.add(index)
        if self.visited > self.budget or (self._limits and self.visited > self._limits[-1]):
            state.slot = block.start
            raise Rejection("too-complex", visited=self.visited)
        for state.slot, step in compiled.steps:
            step(state)
        self._finish(node, state)

    def _generalise(self, point: _Point, state: State) -> State | None:
        """At a point where many states have been explored and none covers ``state``: a more general state to explore
        instead, so that states which differ in numbers only do not multiply."""
        if len(point.explored) < _CROWD or point.failures >= _STUBBORN or self.subject.repeats:
            return None
        found = [general for known in point.explored if (general := known.generalise(state)) is not None]
        return min(found, key=lambda general: general[1])[0] if found else None

    def _repeats(self, point: _Point, state: State, block: Block) -> bool:
        """Whether a state on the same path covers ``state``, so that nothing new follows.

        Within one turn, if it also covers that state, that is an endless loop, which is rejected. Between turns of a
        bounded repetition it is the end of the analysis: whatever the repetition does from here on has been seen.
        States that keep changing from turn to turn are widened. Compared are the last state, and one that is moved up
        each time that the path has doubled (Brent's way to find cycles).
        """
        active = point.active
        for position in {len(active) - 1, (1 << len(active).bit_length() - 1) - 1}:
            snapshot = active[position]
            if snapshot.counts_on(state, self._live[block.index]):
                continue
            if not snapshot.read:
                snapshot.close(*self._everything(snapshot.state, block))
            if snapshot.covers(state):
                depth = progress(snapshot.state, state)
                if depth is not None:
                    self._need(snapshot.read, snapshot.exact)
                    self._come_back(snapshot, depth)
                    return True
                # Covered is not enough: a loop that counts down from an unknown number narrows its range each time.
                # But when the number is unknown by generalising only, that is the wrong way to go on.
                mirror = Snapshot(state)
                mirror.close(*self._everything(state, block))
                if self._limits or mirror.covers(snapshot.state):
                    state.slot = block.start
                    raise Rejection("unbounded-loop", head=block.start)
        last = active[-1].state
        if progress(last, state) is not None:
            turns = sum(progress(snapshot.state, state) is not None for snapshot in active)
            if turns >= _PATIENCE:
                # A loop inside the repetition has been here more than once in a turn: its first rounds are compared.
                first = next(snapshot.state for snapshot in active if snapshot.state.turn == last.turn)
                widen(first, state, turns > _PATIENCE)
        return False

    def _come_back(self, target: Snapshot, depth: int) -> None:
        """Note that the current path comes back to ``target``, one turn of the frame at ``depth`` later."""
        turn = turn_at(target.state, depth)
        for node in reversed(self.path):
            snapshot = node.snapshot
            if snapshot is target:
                return
            if snapshot is not None and turn_at(snapshot.state, depth) != turn:
                snapshot.ends.add((target, depth))

    def _ends(self, known: Snapshot, state: State) -> bool:
        """Whether ``state``, which ``known`` covers, ends where that comes back to states on the current path."""
        targets = []
        for target, depth in open_ends(known):
            passed = progress(target.state, state)
            if passed is None or passed > depth:
                return False
            targets.append((target, passed))
        for target, passed in targets:
            self._come_back(target, passed)
        return True

    def _need(self, read: int, exact: int) -> None:
        """Add what the way that the current node is on needs, where it begins."""
        if self.path:
            node = self.path[-1]
            assert node.way is not None
            if node.way.back is not None:
                read, exact = node.way.back(read, exact, node.trace)
            node.read |= read
            node.exact |= exact

    def _everything(self, state: State, block: Block) -> tuple[int, int]:
        """A need of all that may still be used."""
        need = self._live[block.index]
        for level in range(len(state.frames)):
            need |= stack_bits(-op.STACK_SIZE, op.STACK_SIZE, level) | PACKET_BIT
            if level:
                need |= _SAVED << level * FRAME_BITS
        return need, need

    def _finish(self, node: Node, state: State) -> None:
        """Run the instruction that ends the block."""
        block = node.block
        slot = block.last
        instruction = self.subject.text[slot]
        assert instruction is not None
        opcode = instruction.opcode
        state.slot = slot
        if opcode == op.OP_EXIT:
            self._exit(node, state)
        elif slot in self.subject.callback_calls:
            inside = call_back(self.subject, state, instruction.imm)
            node.back = back_helper_call
            node.pending.append(Way(self.graph.at[inside.function], inside, None, back_first_round))
            node.pending.append(Way(block.successors[0], state))
        elif instruction.class_ not in (op.CLASS_JMP, op.CLASS_JMP32):
            node.pending.append(Way(block.successors[0], state))
        elif opcode == op.OP_CALL and instruction.src == op.CALL_LOCAL:
            target = jump_target(instruction, slot)
            assert target is not None
            enter_function(self.subject, state, target)
            node.pending.append(Way(self.graph.at[target], state, None, back_call))
        elif opcode == op.OP_MAY_GOTO:
            spent = state.copy()
            state.turn = Turn(state.turn.activation, self.subject.new_identity())
            node.pending.append(Way(block.successors[1], spent, True))
            node.pending.append(Way(block.successors[0], state, False))
        elif slot in self.subject.tail_calls and state.chain:
            self._exit(node, _after_tail_call(state))
            node.pending.append(Way(block.successors[0], state))
        elif opcode in (op.OP_CALL, op.OP_JA, op.OP_JA32):
            node.pending.append(Way(block.successors[0], state))
        else:
            decision = self._decisions.get(slot)
            if decision is None:
                decision = self._decisions[slot] = compile_jump(instruction), back_jump(instruction)
            node.back = decision[1]
            passed, taken = decision[0](state)
            if taken is not None:
                node.pending.append(Way(block.successors[1], taken, True))
            if passed is not None:
                node.pending.append(Way(block.successors[0], passed, False))

    def _exit(self, node: Node, state: State) -> None:
        if not state.chain:
            require_exit(self.subject, state)
            node.read = register_bit(0)
            node.exact = register_bit(0)
            return
        call = state.callers[-1]
        resume = self.graph.at[call.call + 1]
        if call.round is None:
            leave_function(state)
            node.pending.append(Way(resume, state, None, back_return))
            return
        node.read = register_bit(0)
        round_ = return_from_callback(state)
        state.slot = call.call  # where the next round is called from
        inside = next_round(self.subject, state, round_)
        node.pending.append(Way(resume, state, None, back_callback_exit))
        node.pending.append(Way(self.graph.at[round_.function], inside, None, back_next_round))

    def _leave(self, node: Node) -> None:
        """Everything behind ``node`` is explored: work out what it needed."""
        read, exact, trace, block = node.read, node.exact, node.trace, node.block
        if node.back is not None:
            read, exact = node.back(read, exact, trace)
        for back in self._compiled[block.index].back:
            read, exact = back(read, exact, trace)
        if node.original is not None:
            self._limits.pop()
        snapshot = node.snapshot
        if snapshot is not None:
            snapshot.close(read, exact)
            snapshot.open = False
            point = self._points[block.index, snapshot.state.chain]
            point.active.pop()
            point.explored.insert(0, snapshot)
            if len(point.explored) > _KEPT:
                point.explored.remove(min(point.explored[_KEPT // 2 :], key=lambda known: known.hits))
        self._need(read, exact)


def _after_tail_call(state: State) -> State:
    """The state in which a subprogram returns when its tail call succeeds: in its place another program has run and
    returned any number, and may have moved the packet. Given the state in which the call fails."""
    returned = state.copy()
    returned.registers[0] = TOP
    returned.forget_packet()
    return returned
