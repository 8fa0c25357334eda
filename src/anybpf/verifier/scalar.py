"""Numbers as the verifier knows them: known bits and four ranges that refine each other.

A :class:`Scalar` stands for a set of 64-bit numbers x: those whose bits agree with the known bits, whose unsigned and
signed readings lie in the 64-bit ranges, and whose low 32 bits lie in the 32-bit ranges. Scalars are immutable and
interned: equal contents are usually (never necessarily) the same object, so ``is`` is a cheap first test and results of
operations are memoised by operand.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from anybpf.verifier import tnum
from anybpf.verifier.tnum import U64

__all__ = (
    "S32_MAX",
    "S32_MIN",
    "S64_MAX",
    "S64_MIN",
    "TOP",
    "U32",
    "Bounds",
    "Scalar",
    "constant",
    "includes",
    "join",
    "make",
    "meet",
    "of_size",
    "possible",
    "range_of",
    "sign_extend",
    "signed",
    "truncate",
)

U32: Final = (1 << 32) - 1
S64_MIN: Final = -(1 << 63)
S64_MAX: Final = (1 << 63) - 1
S32_MIN: Final = -(1 << 31)
S32_MAX: Final = (1 << 31) - 1
_HIGH: Final = U64 ^ U32
_SIGN: Final = 1 << 63

#: More interned scalars than this are forgotten together, so that long-lived processes do not grow.
_CACHE_LIMIT: Final = 200_000


class Bounds(NamedTuple):
    """The contents of a scalar: known bits (``value``, ``mask``), then inclusive ranges of its four readings."""

    value: int
    mask: int
    smin: int
    smax: int
    umin: int
    umax: int
    s32min: int
    s32max: int
    u32min: int
    u32max: int


class Scalar:
    """A set of 64-bit numbers. ``known`` is its only member (unsigned), or None when there are several."""

    __slots__ = ("known", "mask", "s32max", "s32min", "smax", "smin", "u32max", "u32min", "umax", "umin", "value")

    known: int | None

    def __init__(self, bounds: Bounds) -> None:
        (
            self.value, self.mask, self.smin, self.smax, self.umin, self.umax,
            self.s32min, self.s32max, self.u32min, self.u32max,
        ) = bounds  # fmt: skip
        self.known = bounds.value if not bounds.mask else None

    @property
    def bounds(self) -> Bounds:
        """All ten numbers, as a tuple to change and give to :func:`make`."""
        return Bounds(
            self.value, self.mask, self.smin, self.smax, self.umin, self.umax,
            self.s32min, self.s32max, self.u32min, self.u32max,
        )  # fmt: skip

    def contains(self, number: int) -> bool:
        """Whether the unsigned 64-bit ``number`` is a member."""
        low = number & U32
        return (
            tnum.contains((self.value, self.mask), number)
            and self.umin <= number <= self.umax
            and self.smin <= signed(number) <= self.smax
            and self.u32min <= low <= self.u32max
            and self.s32min <= signed(low, 32) <= self.s32max
        )

    def __repr__(self) -> str:
        return f"Scalar({describe(self)})"


def describe(scalar: Scalar) -> str:
    """What is known of ``scalar``, in words for people: ``5``, ``0..255``, ``any number``."""
    if scalar.known is not None:
        number = signed(scalar.known)
        return str(number) if -65536 < number < 65536 else f"{scalar.known:#x}"
    if scalar is TOP or scalar.bounds == TOP.bounds:
        return "any number"
    if scalar.smin >= 0 or (scalar.umax != U64 and scalar.smin == S64_MIN):
        text = f"{scalar.umin}..{_bound(scalar.umax)}"
    else:
        text = f"{_bound(scalar.smin)}..{_bound(scalar.smax)}"
    if (scalar.value, scalar.mask) != tnum.from_range(scalar.umin, scalar.umax):
        text += f" with bits {scalar.value:#x}/{scalar.mask:#x}"
    return text


def _bound(number: int) -> str:
    return str(number) if abs(number) < 1 << 20 else hex(number)


def signed(number: int, bits: int = 64) -> int:
    """The two's-complement reading of an unsigned number of ``bits`` bits."""
    half = 1 << bits - 1
    return ((number & (1 << bits) - 1) ^ half) - half


_interned: dict[Bounds, Scalar] = {}


def make(bounds: Bounds) -> Scalar | None:
    """The scalar with these bounds, each refined by the others; None when no number satisfies them all."""
    found = _interned.get(bounds)
    if found is not None:
        return found
    refined = _refine(bounds)
    if refined is None:
        return None
    return _intern(refined)


def possible(bounds: Bounds) -> Scalar:
    """:func:`make` for bounds that some number satisfies if the operands that they come from have any member.

    Operands may be empty without showing it, on paths that cannot happen; then any result is right.
    """
    return make(bounds) or TOP


def _intern(bounds: Bounds) -> Scalar:
    found = _interned.get(bounds)
    if found is None:
        if len(_interned) > _CACHE_LIMIT:
            _interned.clear()
        found = _interned[bounds] = Scalar(bounds)
    return found


def _refine(bounds: Bounds) -> Bounds | None:
    """Let every part learn from the others, until nothing changes; None when they contradict each other."""
    while True:
        after = _refine_once(bounds)
        if after is None or after == bounds:
            return after
        bounds = after


def _refine_once(bounds: Bounds) -> Bounds | None:
    value, mask, smin, smax, umin, umax, s32min, s32max, u32min, u32max = bounds
    # Ranges learn from the known bits.
    umin, umax = max(umin, value), min(umax, value | mask)
    smin, smax = max(smin, signed(value | mask & _SIGN)), min(smax, signed(value | mask & ~_SIGN))
    low_value, low_mask = value & U32, mask & U32
    u32min, u32max = max(u32min, low_value), min(u32max, low_value | low_mask)
    s32min = max(s32min, signed(low_value | low_mask & 1 << 31, 32))
    s32max = min(s32max, signed(low_value | low_mask & ~(1 << 31), 32))
    if umin > umax or smin > smax or u32min > u32max or s32min > s32max:
        return None
    # The low half learns from 64-bit ranges that share their high half.
    if umin >> 32 == umax >> 32:
        u32min, u32max = max(u32min, umin & U32), min(u32max, umax & U32)
    if smin >> 32 == smax >> 32:
        u32min, u32max = max(u32min, smin & U32), min(u32max, smax & U32)
    if smin >= S32_MIN and smax <= S32_MAX:
        s32min, s32max = max(s32min, smin), min(s32max, smax)
    # Signed and unsigned readings learn from each other where they order numbers alike.
    if signed(u32min, 32) <= signed(u32max, 32):
        s32min, s32max = max(s32min, signed(u32min, 32)), min(s32max, signed(u32max, 32))
    if s32min & U32 <= s32max & U32:
        u32min, u32max = max(u32min, s32min & U32), min(u32max, s32max & U32)
    if signed(umin) <= signed(umax):
        smin, smax = max(smin, signed(umin)), min(smax, signed(umax))
    if smin & U64 <= smax & U64:
        umin, umax = max(umin, smin & U64), min(umax, smax & U64)
    # 64-bit bounds cannot have low halves outside the low half's range.
    umin, umax = max(umin, umin & _HIGH | u32min), min(umax, umax & _HIGH | u32max)
    smin, smax = max(smin, (smin & ~U32) | u32min), min(smax, (smax & ~U32) | u32max)
    if smin >= S32_MIN and smax <= S32_MAX:
        smin, smax = max(smin, s32min), min(smax, s32max)
    if umin > umax or smin > smax or u32min > u32max or s32min > s32max:
        return None
    # Known bits learn from the unsigned ranges.
    bits = tnum.intersect((value, mask), tnum.from_range(umin, umax))
    if bits is None:
        return None
    low = tnum.from_range(u32min, u32max)
    bits = tnum.intersect(bits, (low[0], low[1] | _HIGH))
    if bits is None:
        return None
    return Bounds(bits[0], bits[1], smin, smax, umin, umax, s32min, s32max, u32min, u32max)


_FULL: Final = Bounds(0, U64, S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32)

#: Any number at all.
TOP: Final = _intern(_FULL)

_constants: dict[int, Scalar] = {}


def constant(number: int) -> Scalar:
    """The scalar whose only member is ``number`` (taken modulo 2**64)."""
    number &= U64
    found = _constants.get(number)
    if found is None:
        if len(_constants) > _CACHE_LIMIT:
            _constants.clear()
        wide, low = signed(number), number & U32
        narrow = signed(low, 32)
        found = _constants[number] = _intern(Bounds(number, 0, wide, wide, number, number, narrow, narrow, low, low))
    return found


def range_of(low: int, high: int) -> Scalar:
    """The numbers ``low`` to ``high``, read unsigned when ``low`` is not negative, signed otherwise."""
    result = make(_FULL._replace(umin=low, umax=high)) if low >= 0 else make(_FULL._replace(smin=low, smax=high))
    if result is None:
        raise ValueError(f"empty range {low}..{high}")
    return result


_sizes: Final = {size: range_of(0, (1 << 8 * size) - 1) for size in (1, 2, 4)} | {8: TOP}


def of_size(size: int) -> Scalar:
    """Any number that ``size`` bytes hold, zero-extended; 1, 2, 4 or 8."""
    return _sizes[size]


def includes(large: Scalar, small: Scalar) -> bool:
    """Whether every member of ``small`` is known to be one of ``large``."""
    return large is small or (
        large.umin <= small.umin
        and large.umax >= small.umax
        and large.smin <= small.smin
        and large.smax >= small.smax
        and large.u32min <= small.u32min
        and large.u32max >= small.u32max
        and large.s32min <= small.s32min
        and large.s32max >= small.s32max
        and not small.mask & ~large.mask
        and small.value & ~large.mask == large.value
    )


def meet(a: Scalar, b: Scalar) -> Scalar | None:
    """The numbers in both, or None when there are none."""
    if a is b:
        return a
    bits = tnum.intersect((a.value, a.mask), (b.value, b.mask))
    if bits is None:
        return None
    return make(
        Bounds(
            *bits, max(a.smin, b.smin), min(a.smax, b.smax), max(a.umin, b.umin), min(a.umax, b.umax),
            max(a.s32min, b.s32min), min(a.s32max, b.s32max), max(a.u32min, b.u32min), min(a.u32max, b.u32max),
        )
    )  # fmt: skip


def join(a: Scalar, b: Scalar) -> Scalar:
    """The best scalar that has every member of both."""
    if a is b:
        return a
    return possible(
        Bounds(
            *tnum.join((a.value, a.mask), (b.value, b.mask)),
            min(a.smin, b.smin), max(a.smax, b.smax), min(a.umin, b.umin), max(a.umax, b.umax),
            min(a.s32min, b.s32min), max(a.s32max, b.s32max), min(a.u32min, b.u32min), max(a.u32max, b.u32max),
        )
    )  # fmt: skip


def truncate(a: Scalar, bits: int) -> Scalar:
    """The low ``bits`` bits (8, 16 or 32), zero-extended."""
    top = (1 << bits) - 1
    if a.umax <= top:
        return a
    bounds = _FULL._replace(value=a.value & top, mask=a.mask & top, umax=top)
    if a.umin >> bits == a.umax >> bits:
        bounds = bounds._replace(umin=a.umin & top, umax=a.umax & top)
    elif a.smin >> bits == a.smax >> bits:
        bounds = bounds._replace(umin=a.smin & top, umax=a.smax & top)
    if bits == 32:
        bounds = bounds._replace(s32min=a.s32min, s32max=a.s32max, u32min=a.u32min, u32max=a.u32max)
    return possible(bounds)


def sign_extend(a: Scalar, bits: int) -> Scalar:
    """The low ``bits`` bits (8, 16 or 32) read as signed, extended to 64."""
    half = 1 << bits - 1
    low = truncate(a, bits)
    if low.umax < half:
        return low
    bits_up = tnum.shift_right_signed(tnum.shift_left((low.value, low.mask), 64 - bits), 64 - bits)
    bounds = _FULL._replace(value=bits_up[0], mask=bits_up[1], smin=-half, smax=half - 1)
    if bits == 32:
        bounds = bounds._replace(
            smin=low.s32min, smax=low.s32max,
            s32min=low.s32min, s32max=low.s32max, u32min=low.u32min, u32max=low.u32max,
        )  # fmt: skip
    elif low.umin >= half:
        bounds = bounds._replace(smin=low.umin - 2 * half, smax=low.umax - 2 * half)
    elif a.smin >= -half and a.smax < half:
        bounds = bounds._replace(smin=a.smin, smax=a.smax)
    return possible(bounds)
