"""Known bits: the tristate-number domain, on bare (value, mask) pairs of 64 bits.

A bit of ``mask`` that is 1 is unknown; where it is 0 the bit equals that of ``value``; ``value & mask == 0`` always.
The pair stands for every x with ``x & ~mask == value``. Sources: the algorithms are those published by Vishwanathan,
Shachnai, Narayana and Nagarakatte, "Sound, Precise, and Fast Abstract Interpretation with Tristate Numbers" (CGO 2022).
"""

from __future__ import annotations

from typing import Final

__all__ = (
    "U64",
    "UNKNOWN",
    "Tnum",
    "add",
    "and_",
    "contains",
    "from_range",
    "intersect",
    "join",
    "multiply",
    "or_",
    "shift_left",
    "shift_right",
    "shift_right_signed",
    "subset",
    "subtract",
    "xor",
)

Tnum = tuple[int, int]
U64: Final = (1 << 64) - 1
UNKNOWN: Final[Tnum] = (0, U64)


def contains(t: Tnum, number: int) -> bool:
    """Whether ``t`` stands for the unsigned ``number`` among others."""
    return number & ~t[1] & U64 == t[0]


def subset(small: Tnum, large: Tnum) -> bool:
    """Whether every number of ``small`` is one of ``large``."""
    return not small[1] & ~large[1] and small[0] & ~large[1] == large[0]


def from_range(low: int, high: int) -> Tnum:
    """The best pair for the unsigned numbers ``low`` to ``high``: the common upper bits are known."""
    unknown = (1 << (low ^ high).bit_length()) - 1
    return low & ~unknown, unknown


def intersect(a: Tnum, b: Tnum) -> Tnum | None:
    """What both say together, or None when they contradict each other."""
    if (a[0] ^ b[0]) & ~a[1] & ~b[1] & U64:
        return None
    mask = a[1] & b[1]
    return (a[0] | b[0]) & ~mask, mask


def join(a: Tnum, b: Tnum) -> Tnum:
    """The best pair that covers both."""
    mask = a[1] | b[1] | (a[0] ^ b[0])
    return a[0] & ~mask, mask


def add(a: Tnum, b: Tnum) -> Tnum:
    """Sums modulo 2**64."""
    sum_values = a[0] + b[0]
    unknown = ((a[1] + b[1] + sum_values) ^ sum_values | a[1] | b[1]) & U64
    return sum_values & ~unknown & U64, unknown


def subtract(a: Tnum, b: Tnum) -> Tnum:
    """Differences modulo 2**64."""
    difference = a[0] - b[0]
    unknown = ((difference + a[1]) ^ (difference - b[1]) | a[1] | b[1]) & U64
    return difference & ~unknown & U64, unknown


def multiply(a: Tnum, b: Tnum) -> Tnum:
    """Products modulo 2**64: long multiplication whose uncertain partial sums are added up apart."""
    product: Tnum = ((a[0] * b[0]) & U64, 0)
    uncertain: Tnum = (0, 0)
    value, mask = a
    other_value, other_mask = b
    while value or mask:
        if value & 1:
            uncertain = add(uncertain, (0, other_mask))
        elif mask & 1:
            uncertain = add(uncertain, (0, other_value | other_mask))
        value >>= 1
        mask >>= 1
        other_value = other_value << 1 & U64
        other_mask = other_mask << 1 & U64
    return add(product, uncertain)


def and_(a: Tnum, b: Tnum) -> Tnum:
    """Bitwise and."""
    value = a[0] & b[0]
    return value, (a[0] | a[1]) & (b[0] | b[1]) & ~value


def or_(a: Tnum, b: Tnum) -> Tnum:
    """Bitwise or."""
    value = a[0] | b[0]
    return value, (a[1] | b[1]) & ~value


def xor(a: Tnum, b: Tnum) -> Tnum:
    """Bitwise exclusive or."""
    mask = a[1] | b[1]
    return (a[0] ^ b[0]) & ~mask, mask


def shift_left(a: Tnum, bits: int) -> Tnum:
    """Shift left by a known number of bits, 0 to 63."""
    return a[0] << bits & U64, a[1] << bits & U64


def shift_right(a: Tnum, bits: int) -> Tnum:
    """Shift right, zeros come in, by a known number of bits, 0 to 63."""
    return a[0] >> bits, a[1] >> bits


def shift_right_signed(a: Tnum, bits: int) -> Tnum:
    """Shift right, the sign bit comes in (unknown when it is unknown), by a known number of bits, 0 to 63."""
    value = (a[0] ^ 1 << 63) - (1 << 63) >> bits & U64
    mask = (a[1] ^ 1 << 63) - (1 << 63) >> bits & U64
    return value & ~mask, mask
