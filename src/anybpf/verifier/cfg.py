"""The control-flow graph of a program: basic blocks, merge points, loop heads.

Calls of subprograms end a block; the edge goes on behind the call, since calls are followed by the explorer. Functions
share one numbering of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anybpf.isa import Text, jump_target
from anybpf.isa import opcodes as op
from anybpf.isa.instruction import Instruction
from anybpf.verifier.failure import Rejection
from anybpf.verifier.state import State

__all__ = ("Block", "Graph", "build")

_JUMPS = (op.CLASS_JMP, op.CLASS_JMP32)


@dataclass(slots=True)
class Block:
    """Instructions that run one after another.

    :param start: first slot. :param end: slot behind the last. :param last: slot of the last instruction.
    :param successors: blocks that may follow: of a conditional jump, the one behind it first, then the target.
    :param function: slot of the function that it belongs to.
    :param is_merge: more than one block leads here, or it starts a function.
    :param is_loop_head: a path inside the function leads from it back to it, and enters the loop by it.
    """

    index: int
    start: int
    end: int
    last: int
    successors: tuple[int, ...]
    function: int
    is_merge: bool = False
    is_loop_head: bool = False


@dataclass(slots=True)
class Graph:
    """The blocks, the block that starts at a slot, and each function's entry block by its slot."""

    blocks: list[Block]
    at: Mapping[int, int] = field(repr=False)


def is_jump(instruction: Instruction) -> bool:
    """Whether the instruction may go elsewhere than behind itself (calls aside)."""
    return instruction.class_ in _JUMPS and instruction.opcode not in (op.OP_CALL, op.OP_CALLX, op.OP_EXIT)


def ends_block(instruction: Instruction) -> bool:
    """Whether no instruction of the same block may follow: jumps, exits, and calls that enter other functions."""
    if instruction.class_ not in _JUMPS:
        return False
    return instruction.opcode != op.OP_CALL or instruction.src == op.CALL_LOCAL


def build(text: Text, functions: tuple[int, ...], ends: frozenset[int] = frozenset()) -> Graph:
    """Cut ``text`` into blocks.

    :param functions: slots at which functions start. :param ends: slots of other instructions that end a block
        (calls of helpers that call back, tail calls).
    """
    leaders = {0, *functions}
    for slot, instruction in enumerate(text):
        if instruction is None:
            continue
        behind = slot + (2 if instruction.is_wide else 1)
        if ends_block(instruction) or slot in ends:
            leaders.add(behind)
        if is_jump(instruction):
            target = jump_target(instruction, slot)
            assert target is not None  # every jump has a target
            leaders.add(target)
    starts = sorted(leader for leader in leaders if leader < len(text))
    at = {start: index for index, start in enumerate(starts)}
    function_starts = sorted({0, *functions})
    blocks: list[Block] = []
    function = 0
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else len(text)
        if start in function_starts:
            function = start
        last = end - 2 if end - start >= 2 and text[end - 1] is None else end - 1
        blocks.append(Block(index, start, end, last, _successors(text, last, end, at), function))
    _mark(blocks, [at[start] for start in function_starts])
    return Graph(blocks, at)


def require_ends(graph: Graph, text: Text, state: State) -> None:
    """Reject a function that runs past its end, into another function or out of the text.

    Only what is reachable within its function counts.
    """
    entries = {block.function for block in graph.blocks}
    work = [graph.at[entry] for entry in entries if entry in graph.at]
    seen = set(work)
    while work:
        block = graph.blocks[work.pop()]
        instruction = text[block.last]
        assert instruction is not None
        state.slot = block.last
        expected = 0 if instruction.opcode == op.OP_EXIT else 2 if _is_conditional(instruction) else 1
        if len(block.successors) < expected:
            raise Rejection("falls-off-end", where="the end of the text")
        for successor in block.successors:
            if graph.blocks[successor].function != block.function:
                raise Rejection("falls-off-end", where="the end of its function")
            if successor not in seen:
                seen.add(successor)
                work.append(successor)


def _is_conditional(instruction: Instruction) -> bool:
    return is_jump(instruction) and instruction.opcode not in (op.OP_JA, op.OP_JA32)


def _successors(text: Text, last: int, end: int, at: Mapping[int, int]) -> tuple[int, ...]:
    instruction = text[last]
    assert instruction is not None
    behind = (at[end],) if end in at else ()
    if instruction.opcode == op.OP_EXIT:
        return ()
    if not is_jump(instruction):
        return behind
    target = jump_target(instruction, last)
    assert target is not None
    if instruction.opcode in (op.OP_JA, op.OP_JA32):
        return (at[target],)
    return (*behind, at[target])


def _mark(blocks: list[Block], entries: list[int]) -> None:
    """Find merge points and loop heads (targets of edges to a block that is still open in a depth-first search)."""
    arrivals = [0] * len(blocks)
    for block in blocks:
        for successor in block.successors:
            arrivals[successor] += 1
    for entry in entries:
        blocks[entry].is_merge = True
    state = bytearray(len(blocks))  # 0 not seen, 1 open, 2 done
    for entry in entries:
        if state[entry]:
            continue
        state[entry] = 1
        stack = [(entry, iter(blocks[entry].successors))]
        while stack:
            index, remaining = stack[-1]
            for successor in remaining:
                if state[successor] == 1:
                    blocks[successor].is_loop_head = True
                elif not state[successor]:
                    state[successor] = 1
                    stack.append((successor, iter(blocks[successor].successors)))
                    break
            else:
                state[index] = 2
                stack.pop()
    for block in blocks:
        if arrivals[block.index] > 1 or block.is_loop_head:
            block.is_merge = True
