"""Exploration of every path, depth first, with states that are covered by explored ones left out.

A path is a stack of :class:`Node`, one a block visited. When all that follows a node has been explored, what was needed
runs backwards through its block (:mod:`anybpf.verifier.needs`) and is added to its parent's. At merge points the state
is kept with its need, and later arrivals that it covers end there (:mod:`anybpf.verifier.cover`). An arrival that is
covered by a state on its own path has made no progress: the loop need not end, and the program is refused.

Reads: the compiled blocks. Writes: the subject's facts. Raises: :class:`Rejection`. Invariant: everything that a state
in ``explored`` stands for is safe, provided the whole exploration ends without a rejection.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from anybpf.isa import jump_target
from anybpf.isa import opcodes as op
from anybpf.verifier.cfg import Block, Graph
from anybpf.verifier.compiled import CompiledBlock, compile_block
from anybpf.verifier.cover import Snapshot
from anybpf.verifier.failure import Rejection
from anybpf.verifier.frames import back_call, back_return, enter_function, leave_function, require_exit
from anybpf.verifier.liveness import live_registers
from anybpf.verifier.needs import FRAME_BITS, PACKET_BIT, register_bit, stack_bits
from anybpf.verifier.state import State
from anybpf.verifier.subject import Back, Subject
from anybpf.verifier.transfer_jump import Decide, back_jump, compile_jump

__all__ = ("Explorer", "Node")

#: Explored states kept for one point; the least useful make room.
_KEPT: Final = 48

#: r6 to r9, which a call keeps.
_SAVED: Final = 0x3C0

_Key = tuple[int, tuple[int, ...]]


class Node:
    """One visit of a block.

    :attr pending: the ways on that are still to be explored: block, state, whether the jump was taken.
    :attr taken: the way that is being explored, or None when there was no choice.
    :attr back: what the instruction that ends the block needs; None when it changes no need.
    """

    __slots__ = ("back", "block", "exact", "pending", "read", "snapshot", "taken", "trace")

    def __init__(self, block: Block, snapshot: Snapshot | None) -> None:
        self.block = block
        self.snapshot = snapshot
        self.pending: list[tuple[int, State, bool | None]] = []
        self.taken: bool | None = None
        self.back: Back = None
        self.read = 0
        self.exact = 0
        self.trace: list[object] = []


class _Point:
    """What is known at one block under one chain of calls: explored states, and those on the current path."""

    __slots__ = ("active", "explored")

    def __init__(self) -> None:
        self.explored: list[Snapshot] = []
        self.active: list[Snapshot] = []


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
        self._points: defaultdict[_Key, _Point] = defaultdict(_Point)
        self._compiled: dict[int, CompiledBlock] = {}
        self._decisions: dict[int, tuple[Decide, Back]] = {}
        self._live = live_registers(subject.text, graph)

    def run(self, state: State, block: int = 0) -> None:
        """Explore everything from ``state`` at ``block``; a Rejection leaves the path in place for the report."""
        self._enter(block, state)
        path = self.path
        while path:
            node = path[-1]
            if node.pending:
                successor, state, node.taken = node.pending.pop()
                self._enter(successor, state)
            else:
                self._leave(path.pop())

    def _enter(self, index: int, state: State) -> None:
        block = self.graph.blocks[index]
        self.state = state
        snapshot = None
        if block.is_merge:
            point = self._points[index, state.chain]
            for known in point.explored:
                if known.covers(state):
                    known.hits += 1
                    if self.path:
                        self.path[-1].read |= known.read
                        self.path[-1].exact |= known.exact
                    return
            if block.is_loop_head:
                state.slot = block.start
                self._require_progress(point, state, block)
            snapshot = Snapshot(state.copy())
            point.active.append(snapshot)
        node = Node(block, snapshot)
        self.path.append(node)
        node.trace = state.trace = []
        compiled = self._compiled.get(index)
        if compiled is None:
            compiled = self._compiled[index] = compile_block(self.subject, block)
        self.visited += block.end - block.start
        self.reached.add(index)
        if self.visited > self.budget:
            state.slot = block.start
            raise Rejection("too-complex", visited=self.visited)
        for state.slot, step in compiled.steps:  # noqa: B020 (the slot is the state's own record of where it is)
            step(state)
        self._finish(node, state)

    def _require_progress(self, point: _Point, state: State, block: Block) -> None:
        """Reject a state that one on the same path covers. Older ones are compared with more and more rarely."""
        active = point.active
        position, stride = len(active) - 1, 1
        while position >= 0:
            snapshot = active[position]
            if not snapshot.read:
                snapshot.close(*self._everything(snapshot.state, block))
            if snapshot.covers(state):
                raise Rejection("unbounded-loop", head=block.start)
            position -= stride
            stride *= 2

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
        elif instruction.class_ not in (op.CLASS_JMP, op.CLASS_JMP32):
            node.pending.append((block.successors[0], state, None))
        elif opcode == op.OP_CALL and instruction.src == op.CALL_LOCAL:
            target = jump_target(instruction, slot)
            assert target is not None
            enter_function(self.subject, state, target)
            node.pending.append((self.graph.at[target], state, None))
            node.back = back_call
        elif opcode in (op.OP_CALL, op.OP_JA, op.OP_JA32):
            node.pending.append((block.successors[0], state, None))
        else:
            decision = self._decisions.get(slot)
            if decision is None:
                decision = self._decisions[slot] = compile_jump(instruction), back_jump(instruction)
            node.back = decision[1]
            passed, taken = decision[0](state)
            if taken is not None:
                node.pending.append((block.successors[1], taken, True))
            if passed is not None:
                node.pending.append((block.successors[0], passed, False))

    def _exit(self, node: Node, state: State) -> None:
        if not state.chain:
            require_exit(self.subject, state)
            node.read = register_bit(0)
            node.exact = register_bit(0)
            return
        resume = leave_function(state) + 1
        node.pending.append((self.graph.at[resume], state, None))
        node.back = back_return

    def _leave(self, node: Node) -> None:
        """Everything behind ``node`` is explored: work out what it needed."""
        read, exact, trace, block = node.read, node.exact, node.trace, node.block
        if node.back is not None:
            read, exact = node.back(read, exact, trace)
        for back in self._compiled[block.index].back:
            read, exact = back(read, exact, trace)
        snapshot = node.snapshot
        if snapshot is not None:
            snapshot.close(read, exact)
            point = self._points[block.index, snapshot.state.chain]
            point.active.pop()
            point.explored.insert(0, snapshot)
            if len(point.explored) > _KEPT:
                point.explored.remove(min(point.explored[_KEPT // 2 :], key=lambda known: known.hits))
        if self.path:
            parent = self.path[-1]
            parent.read |= read
            parent.exact |= exact
