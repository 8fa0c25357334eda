"""Arithmetic on scalars: what each ALU operation of RFC 9669 §4.1 makes of two sets of numbers.

:func:`apply` is the whole interface. Results are memoised per operand pair, since programs meet the same few sets again
and again; so the code here is written to be plain, not fast. :func:`concrete` is the same arithmetic on plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from anybpf.isa import opcodes as op
from anybpf.verifier import tnum
from anybpf.verifier.scalar import (
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    TOP,
    U32,
    Bounds,
    Scalar,
    constant,
    meet,
    possible,
    range_of,
    sign_extend,
    signed,
    truncate,
)
from anybpf.verifier.tnum import U64

__all__ = ("SIGNED_DIV", "SIGNED_MOD", "apply", "byte_swap", "concrete")

#: Keys for the signed variants of division and modulo, beside the ``ALU_*`` numbers (which are below 0x100).
SIGNED_DIV: Final = op.ALU_DIV | 0x100
SIGNED_MOD: Final = op.ALU_MOD | 0x100

_CACHE_LIMIT: Final = 100_000
_Range = tuple[int, int]
_memo: dict[tuple[int, int, Scalar, Scalar], Scalar] = {}


def apply(operation: int, bits: int, a: Scalar, b: Scalar) -> Scalar:
    """The result of ``a <operation>= b`` in ``bits`` (32 or 64) bits; 32-bit results are zero-extended.

    :param operation: an ``ALU_*`` number, or :data:`SIGNED_DIV`, :data:`SIGNED_MOD`. ``ALU_NEG`` ignores ``b``.
    """
    key = (operation, bits, a, b)
    found = _memo.get(key)
    if found is None:
        if len(_memo) > _CACHE_LIMIT:
            _memo.clear()
        found = _memo[key] = _compute(operation, bits, a, b)
    return found


def concrete(operation: int, bits: int, a: int, b: int) -> int:
    """The same operation on unsigned 64-bit numbers: the ISA's own arithmetic."""
    mask = (1 << bits) - 1
    a, b = a & mask, b & mask
    if operation == op.ALU_ADD:
        return a + b & mask
    if operation == op.ALU_SUB:
        return a - b & mask
    if operation == op.ALU_MUL:
        return a * b & mask
    if operation == op.ALU_AND:
        return a & b
    if operation == op.ALU_OR:
        return a | b
    if operation == op.ALU_XOR:
        return a ^ b
    if operation == op.ALU_NEG:
        return -a & mask
    if operation == op.ALU_DIV:
        return a // b if b else 0
    if operation == op.ALU_MOD:
        return a % b if b else a
    if operation == op.ALU_LSH:
        return a << b % bits & mask
    if operation == op.ALU_RSH:
        return a >> b % bits
    if operation == op.ALU_ARSH:
        return signed(a, bits) >> b % bits & mask
    dividend, divisor = signed(a, bits), signed(b, bits)
    quotient = 0 if not divisor else abs(dividend) // abs(divisor)
    if (dividend < 0) != (divisor < 0):
        quotient = -quotient
    if operation == SIGNED_DIV:
        return quotient & mask
    if operation == SIGNED_MOD:
        return dividend - quotient * divisor & mask if divisor else a
    raise ValueError(f"no ALU operation {operation:#x}")


def byte_swap(a: Scalar, bits: int) -> Scalar:
    """The low ``bits`` (16, 32, 64) bits in reversed byte order, zero-extended."""
    size = bits // 8
    if a.known is not None:
        return constant(int.from_bytes((a.known & (1 << bits) - 1).to_bytes(size, "little"), "big"))
    value = int.from_bytes((a.value & (1 << bits) - 1).to_bytes(size, "little"), "big")
    mask = int.from_bytes((a.mask & (1 << bits) - 1).to_bytes(size, "little"), "big")
    return possible(_bits(value, mask))


def _compute(operation: int, bits: int, a: Scalar, b: Scalar) -> Scalar:
    if a.known is not None and (b.known is not None or operation == op.ALU_NEG):
        return constant(concrete(operation, bits, a.known, b.known or 0))
    if operation == op.ALU_NEG:
        return _compute(op.ALU_SUB, bits, constant(0), a)
    if bits == 64:
        return _OPERATIONS[operation](a, b)
    # 32 bits: compute on the operands widened to 64, where nothing overflows that matters, and take the low half.
    # Reading the operands unsigned and signed loses different things, so do both and keep what they agree on.
    if operation in _SHIFTS:
        b = _mask_shift(b, 32)
    wide = (
        truncate(_OPERATIONS[operation](truncate(a, 32), truncate(b, 32)), 32) if operation in _UNSIGNED_VIEW else None
    )
    if operation not in _SIGNED_VIEW:
        assert wide is not None
        return wide
    right = truncate(b, 32) if operation in _SHIFTS else sign_extend(b, 32)
    narrow = truncate(_OPERATIONS[operation](sign_extend(a, 32), right), 32)
    if wide is None:
        return narrow
    return meet(wide, narrow) or wide


def _bits(value: int, mask: int) -> Bounds:
    return Bounds(value, mask, S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32)


def _wrap(low: int, high: int, bits: int, is_signed: bool) -> _Range:
    """The range low..high of exact results after reduction to ``bits`` bits, if it stays one range; else everything."""
    full = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
    if high - low >= 1 << bits:
        return full
    mask = (1 << bits) - 1
    first, last = (signed(low, bits), signed(high, bits)) if is_signed else (low & mask, high & mask)
    return (first, last) if first <= last else full


def _from_exact(bits: tnum.Tnum, s: _Range, u: _Range, s32: _Range, u32: _Range) -> Scalar:
    """A scalar from known bits and the ranges of exact (unbounded) results in the four readings."""
    return possible(
        Bounds(*bits, *_wrap(*s, 64, True), *_wrap(*u, 64, False), *_wrap(*s32, 32, True), *_wrap(*u32, 32, False))
    )


def _add(a: Scalar, b: Scalar) -> Scalar:
    return _from_exact(
        tnum.add((a.value, a.mask), (b.value, b.mask)),
        (a.smin + b.smin, a.smax + b.smax),
        (a.umin + b.umin, a.umax + b.umax),
        (a.s32min + b.s32min, a.s32max + b.s32max),
        (a.u32min + b.u32min, a.u32max + b.u32max),
    )


def _subtract(a: Scalar, b: Scalar) -> Scalar:
    return _from_exact(
        tnum.subtract((a.value, a.mask), (b.value, b.mask)),
        (a.smin - b.smax, a.smax - b.smin),
        (a.umin - b.umax, a.umax - b.umin),
        (a.s32min - b.s32max, a.s32max - b.s32min),
        (a.u32min - b.u32max, a.u32max - b.u32min),
    )


def _products(a: _Range, b: _Range) -> _Range:
    corners = [x * y for x in a for y in b]
    return min(corners), max(corners)


def _multiply(a: Scalar, b: Scalar) -> Scalar:
    return _from_exact(
        tnum.multiply((a.value, a.mask), (b.value, b.mask)),
        _products((a.smin, a.smax), (b.smin, b.smax)),
        (a.umin * b.umin, a.umax * b.umax),
        _products((a.s32min, a.s32max), (b.s32min, b.s32max)),
        (a.u32min * b.u32min, a.u32max * b.u32max),
    )


def _and(a: Scalar, b: Scalar) -> Scalar:
    bounds = _bits(*tnum.and_((a.value, a.mask), (b.value, b.mask)))
    return possible(bounds._replace(umax=min(a.umax, b.umax), u32max=min(a.u32max, b.u32max)))


def _or(a: Scalar, b: Scalar) -> Scalar:
    bounds = _bits(*tnum.or_((a.value, a.mask), (b.value, b.mask)))
    return possible(bounds._replace(umin=max(a.umin, b.umin), u32min=max(a.u32min, b.u32min)))


def _xor(a: Scalar, b: Scalar) -> Scalar:
    return possible(_bits(*tnum.xor((a.value, a.mask), (b.value, b.mask))))


def _mask_shift(b: Scalar, bits: int) -> Scalar:
    """The shift count that the machine uses: the low 5 or 6 bits."""
    return b if b.umax < bits else _and(b, constant(bits - 1))


def _shift_left(a: Scalar, b: Scalar) -> Scalar:
    b = _mask_shift(b, 64)
    low, high = b.umin, b.umax
    bits = tnum.shift_left((a.value, a.mask), low) if low == high else tnum.UNKNOWN
    return _from_exact(
        bits,
        _products((a.smin, a.smax), (1 << low, 1 << high)),
        (a.umin << low, a.umax << high),
        _products((a.s32min, a.s32max), (1 << low, 1 << high)),
        (a.u32min << low, a.u32max << high),
    )


def _shift_right(a: Scalar, b: Scalar) -> Scalar:
    b = _mask_shift(b, 64)
    low, high = b.umin, b.umax
    bits = tnum.shift_right((a.value, a.mask), low) if low == high else tnum.UNKNOWN
    return possible(_bits(*bits)._replace(umin=a.umin >> high, umax=a.umax >> low))


def _shift_right_signed(a: Scalar, b: Scalar) -> Scalar:
    b = _mask_shift(b, 64)
    low, high = b.umin, b.umax
    bits = tnum.shift_right_signed((a.value, a.mask), low) if low == high else tnum.UNKNOWN
    corners = [x >> y for x in (a.smin, a.smax) for y in (low, high)]
    return possible(_bits(*bits)._replace(smin=min(corners), smax=max(corners)))


def _divide(a: Scalar, b: Scalar) -> Scalar:
    if not b.umax:
        return constant(0)
    low = a.umin // b.umax if b.umin else 0
    return range_of(low, a.umax // max(b.umin, 1))


def _modulo(a: Scalar, b: Scalar) -> Scalar:
    if not b.umax or a.umax < b.umin:
        return a
    if b.umin:
        if b.known is not None and not b.known & b.known - 1:
            return _and(a, constant(b.known - 1))
        return range_of(0, min(a.umax, b.umax - 1))
    return range_of(0, a.umax)


def _signed_divide(a: Scalar, b: Scalar) -> Scalar:
    if b.smin <= 0:
        # Zero gives zero, -1 overflows at the least number: say only what the size of the dividend says.
        size = max(abs(a.smin), abs(a.smax))
        return range_of(-size, size) if size <= S64_MAX else TOP
    corners = [concrete(SIGNED_DIV, 64, x & U64, y & U64) for x in (a.smin, a.smax) for y in (b.smin, b.smax)]
    return _signed_range(min(map(signed, corners)), max(map(signed, corners)))


def _signed_modulo(a: Scalar, b: Scalar) -> Scalar:
    # The result has the dividend's sign and is no larger than it; and smaller than a divisor that is not zero.
    low, high = min(a.smin, 0), max(a.smax, 0)
    if b.smin > 0 or b.smax < 0:
        largest = max(abs(b.smin), abs(b.smax)) - 1
        low, high = max(low, -largest), min(high, largest)
    return _signed_range(low, high)


def _signed_range(low: int, high: int) -> Scalar:
    return possible(TOP.bounds._replace(smin=low, smax=high))


_OPERATIONS: Final[dict[int, Callable[[Scalar, Scalar], Scalar]]] = {
    op.ALU_ADD: _add,
    op.ALU_SUB: _subtract,
    op.ALU_MUL: _multiply,
    op.ALU_AND: _and,
    op.ALU_OR: _or,
    op.ALU_XOR: _xor,
    op.ALU_LSH: _shift_left,
    op.ALU_RSH: _shift_right,
    op.ALU_ARSH: _shift_right_signed,
    op.ALU_DIV: _divide,
    op.ALU_MOD: _modulo,
    SIGNED_DIV: _signed_divide,
    SIGNED_MOD: _signed_modulo,
}
_SHIFTS: Final = frozenset({op.ALU_LSH, op.ALU_RSH, op.ALU_ARSH})
_SIGNED_VIEW: Final = frozenset({op.ALU_ADD, op.ALU_SUB, op.ALU_MUL, op.ALU_LSH, op.ALU_ARSH, SIGNED_DIV, SIGNED_MOD})
_UNSIGNED_VIEW: Final = frozenset(_OPERATIONS) - {op.ALU_ARSH, SIGNED_DIV, SIGNED_MOD}
