"""Conditional jumps on scalars: what each side of a comparison learns when it holds.

:func:`assume` is the whole interface: the operands refined under the assumption that a comparison holds, or None when
it cannot hold. A jump is decided when one of the comparison and its :data:`NEGATION` cannot hold.
"""

from __future__ import annotations

from typing import Final

from anybpf.isa import opcodes as op
from anybpf.verifier.scalar import S32_MAX, S32_MIN, S64_MAX, S64_MIN, U32, Bounds, Scalar, make, meet, signed
from anybpf.verifier.tnum import U64, intersect

__all__ = ("JMP_NSET", "NEGATION", "SWAPPED", "assume", "concrete")

#: "no common bit", the negation of JSET, beside the ``JMP_*`` numbers (which are below 0x100).
JMP_NSET: Final = op.JMP_JSET | 0x100

#: The comparison that holds exactly when another does not.
NEGATION: Final = {
    op.JMP_JEQ: op.JMP_JNE,
    op.JMP_JNE: op.JMP_JEQ,
    op.JMP_JGT: op.JMP_JLE,
    op.JMP_JLE: op.JMP_JGT,
    op.JMP_JGE: op.JMP_JLT,
    op.JMP_JLT: op.JMP_JGE,
    op.JMP_JSGT: op.JMP_JSLE,
    op.JMP_JSLE: op.JMP_JSGT,
    op.JMP_JSGE: op.JMP_JSLT,
    op.JMP_JSLT: op.JMP_JSGE,
    op.JMP_JSET: JMP_NSET,
    JMP_NSET: op.JMP_JSET,
}

#: The comparison that says the same with its operands exchanged.
SWAPPED: Final = {
    op.JMP_JEQ: op.JMP_JEQ,
    op.JMP_JNE: op.JMP_JNE,
    op.JMP_JGT: op.JMP_JLT,
    op.JMP_JLT: op.JMP_JGT,
    op.JMP_JGE: op.JMP_JLE,
    op.JMP_JLE: op.JMP_JGE,
    op.JMP_JSGT: op.JMP_JSLT,
    op.JMP_JSLT: op.JMP_JSGT,
    op.JMP_JSGE: op.JMP_JSLE,
    op.JMP_JSLE: op.JMP_JSGE,
    op.JMP_JSET: op.JMP_JSET,
    JMP_NSET: JMP_NSET,
}

_CACHE_LIMIT: Final = 100_000
_Pair = tuple[Scalar, Scalar]
_memo: dict[tuple[int, int, Scalar, Scalar], _Pair | None] = {}


def assume(comparison: int, bits: int, a: Scalar, b: Scalar) -> _Pair | None:
    """``a`` and ``b`` as known once ``a <comparison> b`` holds in ``bits`` (32, 64) bits; None when it cannot hold."""
    key = (comparison, bits, a, b)
    if key in _memo:
        return _memo[key]
    if len(_memo) > _CACHE_LIMIT:
        _memo.clear()
    found = _memo[key] = _compute(comparison, bits, a, b)
    return found


def concrete(comparison: int, bits: int, a: int, b: int) -> bool:
    """The same comparison on unsigned 64-bit numbers: the ISA's own."""
    mask = (1 << bits) - 1
    a, b = a & mask, b & mask
    if comparison in _SIGNED:
        a, b = signed(a, bits), signed(b, bits)
    if comparison == op.JMP_JEQ:
        return a == b
    if comparison == op.JMP_JNE:
        return a != b
    if comparison == op.JMP_JSET:
        return a & b != 0
    if comparison == JMP_NSET:
        return a & b == 0
    if comparison in (op.JMP_JGT, op.JMP_JSGT):
        return a > b
    if comparison in (op.JMP_JGE, op.JMP_JSGE):
        return a >= b
    if comparison in (op.JMP_JLT, op.JMP_JSLT):
        return a < b
    return a <= b


_SIGNED: Final = frozenset({op.JMP_JSGT, op.JMP_JSGE, op.JMP_JSLT, op.JMP_JSLE})


def _compute(comparison: int, bits: int, a: Scalar, b: Scalar) -> _Pair | None:
    if comparison == op.JMP_JEQ:
        return _equal(bits, a, b)
    if comparison == op.JMP_JNE:
        return _pair(_differ(bits, a, b), _differ(bits, b, a))
    if comparison == op.JMP_JSET:
        return _pair(_common_bit(bits, a, b), _common_bit(bits, b, a))
    if comparison == JMP_NSET:
        return _pair(_no_common_bit(bits, a, b), _no_common_bit(bits, b, a))
    if comparison in (op.JMP_JGT, op.JMP_JGE, op.JMP_JSGT, op.JMP_JSGE):
        swapped = _compute(SWAPPED[comparison], bits, b, a)
        return swapped and (swapped[1], swapped[0])
    strict = comparison in (op.JMP_JLT, op.JMP_JSLT)
    low, high = _READINGS[comparison in _SIGNED, bits]
    least, most = _field(a, low), _field(b, high)
    smaller = _clamp(a, high, most - strict)
    larger = _clamp(b, low, least + strict)
    return _pair(smaller, larger)


_READINGS: Final = {
    (False, 64): ("umin", "umax"),
    (True, 64): ("smin", "smax"),
    (False, 32): ("u32min", "u32max"),
    (True, 32): ("s32min", "s32max"),
}
_LIMITS: Final = {
    "umin": U64, "umax": 0, "smin": S64_MAX, "smax": S64_MIN,
    "u32min": U32, "u32max": 0, "s32min": S32_MAX, "s32max": S32_MIN,
}  # fmt: skip


def _pair(a: Scalar | None, b: Scalar | None) -> _Pair | None:
    return None if a is None or b is None else (a, b)


def _field(a: Scalar, name: str) -> int:
    number: int = getattr(a, name)
    return number


def _clamp(a: Scalar, name: str, limit: int) -> Scalar | None:
    """``a`` with the bound called ``name`` no laxer than ``limit``."""
    upper = name.endswith("max")
    bound = _field(a, name)
    if bound <= limit if upper else bound >= limit:
        return a
    if limit < _LIMITS[name] if upper else limit > _LIMITS[name]:
        return None
    return make(a.bounds._replace(**{name: limit}))


def _equal(bits: int, a: Scalar, b: Scalar) -> _Pair | None:
    if bits == 64:
        both = meet(a, b)
        return None if both is None else (both, both)
    s32min, s32max = max(a.s32min, b.s32min), min(a.s32max, b.s32max)
    u32min, u32max = max(a.u32min, b.u32min), min(a.u32max, b.u32max)
    low = intersect((a.value & U32, a.mask & U32), (b.value & U32, b.mask & U32))
    if low is None or s32min > s32max or u32min > u32max:
        return None

    def learn(x: Scalar) -> Scalar | None:
        return make(
            Bounds(
                x.value & ~U32 | low[0], x.mask & ~U32 | low[1], x.smin, x.smax, x.umin, x.umax,
                s32min, s32max, u32min, u32max,
            )
        )  # fmt: skip

    return _pair(learn(a), learn(b))


def _differ(bits: int, a: Scalar, b: Scalar) -> Scalar | None:
    """``a`` without ``b``, where ``b`` is a single number at an end of one of the ranges of ``a``."""
    unsigned_low, unsigned_high = _READINGS[False, bits]
    number = _field(b, unsigned_low)
    if number != _field(b, unsigned_high):
        return a
    result: Scalar | None = a
    for is_signed in (False, True):
        excluded = signed(number, bits) if is_signed else number
        low, high = _READINGS[is_signed, bits]
        if result is not None and _field(result, low) == excluded:
            result = _clamp(result, low, excluded + 1)
        if result is not None and _field(result, high) == excluded:
            result = _clamp(result, high, excluded - 1)
    return result


def _common_bit(bits: int, a: Scalar, b: Scalar) -> Scalar | None:
    """``a`` given that it shares a 1 bit with ``b``."""
    top = (1 << bits) - 1
    possible = (a.value | a.mask) & (b.value | b.mask) & top
    if not possible:
        return None
    if possible & possible - 1 or not a.mask & possible:
        return a
    return make(a.bounds._replace(value=a.value | possible, mask=a.mask & ~possible))


def _no_common_bit(bits: int, a: Scalar, b: Scalar) -> Scalar | None:
    """``a`` given that it shares no 1 bit with ``b``."""
    top = (1 << bits) - 1
    certain = b.value & top
    if a.value & certain:
        return None
    if not a.mask & certain:
        return a
    return make(a.bounds._replace(mask=a.mask & ~certain))
