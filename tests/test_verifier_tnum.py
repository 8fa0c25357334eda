"""Known bits: every operation, exhaustively at small widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from anybpf.verifier import tnum
from anybpf.verifier.tnum import U64, Tnum

WIDTH = 3
MASK = (1 << WIDTH) - 1


def all_tnums() -> Iterator[Tnum]:
    """Every pair of at most WIDTH bits, and the same with all upper bits set and all unknown."""
    for mask in range(MASK + 1):
        for value in range(MASK + 1):
            if not value & mask:
                yield value, mask
                yield value | U64 & ~MASK, mask


TNUMS = list(all_tnums())


def members(t: Tnum) -> list[int]:
    """The numbers that ``t`` stands for."""
    return [t[0] | bits for bits in range(MASK + 1) if not bits & ~t[1]]


@pytest.mark.parametrize(
    ("operation", "exact"),
    [
        (tnum.add, lambda a, b: a + b),
        (tnum.subtract, lambda a, b: a - b),
        (tnum.multiply, lambda a, b: a * b),
        (tnum.and_, lambda a, b: a & b),
        (tnum.or_, lambda a, b: a | b),
        (tnum.xor, lambda a, b: a ^ b),
    ],
    ids=lambda f: f.__name__,
)
def test_operations_hold_every_result(
    operation: Callable[[Tnum, Tnum], Tnum], exact: Callable[[int, int], int]
) -> None:
    """The result of each operation stands for the result on every pair of members."""
    for a in TNUMS:
        for b in TNUMS:
            result = operation(a, b)
            assert not result[0] & result[1]
            for x in members(a):
                for y in members(b):
                    assert tnum.contains(result, exact(x, y) & U64), (a, b, x, y, result)


@pytest.mark.parametrize("operation", [tnum.and_, tnum.or_, tnum.xor])
def test_bitwise_operations_are_exact(operation: Callable[[Tnum, Tnum], Tnum]) -> None:
    """Bitwise operations say no more is possible than is: each unknown bit of the result takes both values."""
    exact = {tnum.and_: int.__and__, tnum.or_: int.__or__, tnum.xor: int.__xor__}[operation]
    for a in TNUMS:
        for b in TNUMS:
            results = [exact(x, y) for x in members(a) for y in members(b)]
            ones, zeros = 0, 0
            for result in results:
                ones |= result
                zeros |= ~result & U64
            assert operation(a, b)[1] == ones & zeros


@pytest.mark.parametrize("bits", range(4))
def test_shifts_hold_every_result(bits: int) -> None:
    """Shifted pairs stand for the shifted members, also where the sign bit is unknown."""
    signs: list[Tnum] = [(0, 1 << 63), (1 << 63, 0), (0, U64)]
    for a in TNUMS + signs:
        for x in members(a) if a not in signs else [a[0], a[0] | a[1]]:
            assert tnum.contains(tnum.shift_left(a, bits), x << bits & U64)
            assert tnum.contains(tnum.shift_right(a, bits), x >> bits)
            signed = (x ^ 1 << 63) - (1 << 63)
            assert tnum.contains(tnum.shift_right_signed(a, bits), signed >> bits & U64)


def test_ranges_hold_their_numbers() -> None:
    """from_range stands for every number between its ends."""
    for low in range(40):
        for high in range(low, 40):
            t = tnum.from_range(low, high)
            assert all(tnum.contains(t, number) for number in range(low, high + 1))


def test_lattice_operations() -> None:
    """join covers both, intersect keeps exactly the common members, subset says what members say."""
    for a in TNUMS:
        for b in TNUMS:
            joined = tnum.join(a, b)
            common = set(members(a)) & set(members(b))
            both = tnum.intersect(a, b)
            assert tnum.subset(a, joined)
            assert tnum.subset(b, joined)
            assert (set(members(both)) if both is not None else set()) == common
            assert tnum.subset(a, b) == (set(members(a)) <= set(members(b)))
