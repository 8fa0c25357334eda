"""What a state must have had for an exploration to hold: the cells that were used, and whether their exact ranges were.

A need is two bit sets over cells. ``read``: the cell's kind matters (a number, or this very pointer). ``exact``: the
range of its number mattered too, because a jump was decided by it, or it became part of an address or a size. The
registers and stack bytes of the current frame have the low bits; each caller's lie :data:`FRAME_BITS` above its
callee's, so that masks do not depend on the depth of calls.

Needs run backwards, from the end of a path to its start. An explored state then covers any other that agrees with it in
what was needed (:mod:`anybpf.verifier.cover`). That is liveness and Linux's "precise" marks at once, but exact: a cell
is needed only if the paths that were really taken used it.
"""

from __future__ import annotations

from typing import Final

from anybpf.isa import opcodes as op

__all__ = ("FRAME_BITS", "PACKET_BIT", "STACK_SHIFT", "Need", "register_bit", "stack_bits")

#: The proven range from the start of the packet, which a packet pointer loaded from the context relies on.
PACKET_BIT: Final = 1 << 11

#: Registers r0 to r10 take the low bits of a frame's share, then 512 stack bytes follow, the lowest address first.
STACK_SHIFT: Final = 16
FRAME_BITS: Final = STACK_SHIFT + op.STACK_SIZE

#: (read, exact)
Need = tuple[int, int]


def register_bit(register: int) -> int:
    """The bit of a register of the current frame."""
    return 1 << register


def stack_bits(offset: int, size: int, level: int = 0) -> int:
    """The bits of ``size`` stack bytes at ``offset`` (-512 to -1), ``level`` frames up from the current one."""
    return (1 << size) - 1 << STACK_SHIFT + op.STACK_SIZE + offset + level * FRAME_BITS
