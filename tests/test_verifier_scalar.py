"""Numbers as the verifier knows them: what it says of a result holds for every result."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from anybpf.isa import opcodes as op
from anybpf.verifier import scalar as s
from anybpf.verifier import scalar_alu as alu
from anybpf.verifier import scalar_compare as compare
from anybpf.verifier.scalar import Scalar
from anybpf.verifier.tnum import U64

OPERATIONS = (
    op.ALU_ADD, op.ALU_SUB, op.ALU_MUL, op.ALU_DIV, op.ALU_OR, op.ALU_AND, op.ALU_LSH, op.ALU_RSH, op.ALU_NEG,
    op.ALU_MOD, op.ALU_XOR, op.ALU_ARSH, alu.SIGNED_DIV, alu.SIGNED_MOD,
)  # fmt: skip

EDGES = [
    0,
    1,
    2,
    7,
    31,
    63,
    64,
    255,
    0x7FFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    U64 - 1,
    U64,
]
numbers = st.one_of(
    st.sampled_from(EDGES),
    st.integers(0, 300),
    st.integers(0, s.U32),
    st.integers(0, U64),
    st.integers(1, 300).map(lambda n: U64 + 1 - n),
)


@st.composite
def scalars_with_member(draw: st.DrawFn) -> tuple[Scalar, int]:
    """A scalar and one of its members: hulls of numbers, known bits, signed and unsigned ranges, and their meets."""
    member = draw(numbers)
    scalar = s.constant(member)
    for _ in range(draw(st.integers(0, 3))):
        other = draw(numbers)
        kind = draw(st.integers(0, 4))
        if kind == 0:
            scalar = s.join(scalar, s.constant(other))
        elif kind == 1:
            unknown = s.make(s.TOP.bounds._replace(value=member & other, mask=U64 & ~other))
            assert unknown is not None
            scalar = s.join(scalar, unknown)
        elif kind == 2:
            scalar = s.join(scalar, s.constant(member + other % 40 - 20))
        elif kind == 3:
            scalar = s.join(scalar, s.of_size(draw(st.sampled_from([1, 2, 4, 8]))))
        else:
            low, high = sorted([s.signed(member), s.signed(other)])
            bounded = s.make(s.TOP.bounds._replace(smin=low, smax=high))
            assert bounded is not None
            met = s.meet(scalar, bounded)
            assert met is not None
            scalar = met
    assert scalar.contains(member)
    return scalar, member


pairs = scalars_with_member()


class TestArithmetic:
    @settings(max_examples=1500, deadline=None)
    @given(st.sampled_from(OPERATIONS), st.sampled_from([32, 64]), pairs, pairs)
    def test_every_result_is_a_member(
        self, operation: int, bits: int, a: tuple[Scalar, int], b: tuple[Scalar, int]
    ) -> None:
        """For members of the operands, what the machine computes is a member of the result."""
        result = alu.apply(operation, bits, a[0], b[0])
        assert result.contains(alu.concrete(operation, bits, a[1], b[1]))

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(OPERATIONS), st.sampled_from([32, 64]), numbers, numbers)
    def test_constants_give_constants(self, operation: int, bits: int, a: int, b: int) -> None:
        """On single numbers every operation is exact."""
        result = alu.apply(operation, bits, s.constant(a), s.constant(b))
        assert result.known == alu.concrete(operation, bits, a, b)

    @settings(max_examples=500, deadline=None)
    @given(pairs, st.sampled_from([8, 16, 32]))
    def test_truncation_and_extension(self, a: tuple[Scalar, int], bits: int) -> None:
        """Truncated and sign-extended members are members of the truncated and sign-extended scalar."""
        scalar, member = a
        assert s.truncate(scalar, bits).contains(member & (1 << bits) - 1)
        assert s.sign_extend(scalar, bits).contains(s.signed(member, bits) & U64)

    @settings(max_examples=300, deadline=None)
    @given(pairs, st.sampled_from([16, 32, 64]))
    def test_byte_swap(self, a: tuple[Scalar, int], bits: int) -> None:
        """A swapped member is a member of the swapped scalar."""
        scalar, member = a
        swapped = int.from_bytes((member & (1 << bits) - 1).to_bytes(bits // 8, "little"), "big")
        assert alu.byte_swap(scalar, bits).contains(swapped)

    def test_division_by_zero(self) -> None:
        """Division by zero gives zero and modulo by zero gives the dividend, as RFC 9669 section 4.1 says."""
        seven, zero = s.constant(7), s.constant(0)
        assert alu.apply(op.ALU_DIV, 64, seven, zero).known == 0
        assert alu.apply(op.ALU_MOD, 64, seven, zero).known == 7

    def test_precision_of_common_code(self) -> None:
        """Masks, shifts and sums of small ranges stay exact ranges: programs depend on it."""
        byte = s.of_size(1)
        masked = alu.apply(op.ALU_AND, 64, s.TOP, s.constant(15))
        assert (masked.umin, masked.umax) == (0, 15)
        words = alu.apply(op.ALU_LSH, 64, masked, s.constant(2))
        assert (words.umin, words.umax, words.value & 3, words.mask & 3) == (0, 60, 0, 0)
        total = alu.apply(op.ALU_ADD, 32, byte, s.constant(-1 & U64))
        assert (total.s32min, total.s32max) == (-1, 254)
        assert alu.apply(op.ALU_MOD, 64, s.TOP, s.constant(10)).umax == 9


class TestComparisons:
    @settings(max_examples=1500, deadline=None)
    @given(st.sampled_from(sorted(compare.NEGATION)), st.sampled_from([32, 64]), pairs, pairs)
    def test_what_holds_is_possible_and_kept(
        self, comparison: int, bits: int, a: tuple[Scalar, int], b: tuple[Scalar, int]
    ) -> None:
        """Members for which a comparison holds are members of what is assumed then; so no jump is decided wrongly."""
        holds = compare.concrete(comparison, bits, a[1], b[1])
        learnt = compare.assume(comparison if holds else compare.NEGATION[comparison], bits, a[0], b[0])
        assert learnt is not None
        assert learnt[0].contains(a[1])
        assert learnt[1].contains(b[1])

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(sorted(compare.NEGATION)), st.sampled_from([32, 64]), numbers, numbers)
    def test_constants_decide(self, comparison: int, bits: int, a: int, b: int) -> None:
        """A comparison of two single numbers is decided."""
        possible = compare.assume(comparison, bits, s.constant(a), s.constant(b)) is not None
        assert possible == compare.concrete(comparison, bits, a, b)

    def test_bounds_are_learnt(self) -> None:
        """Unsigned and signed comparisons with a constant bound the number from the right side."""
        below = compare.assume(op.JMP_JLT, 64, s.TOP, s.constant(10))
        assert below is not None
        assert below[0].umax == 9
        above = compare.assume(op.JMP_JSGT, 64, s.TOP, s.constant(-5))
        assert above is not None
        assert above[0].smin == -4
        assert compare.assume(op.JMP_JGT, 64, s.range_of(0, 9), s.constant(9)) is None
        counted = compare.assume(op.JMP_JNE, 64, s.range_of(0, 40), s.constant(40))
        assert counted is not None
        assert counted[0].umax == 39


class TestLattice:
    @settings(max_examples=500, deadline=None)
    @given(pairs, pairs)
    def test_join_and_meet(self, a: tuple[Scalar, int], b: tuple[Scalar, int]) -> None:
        """A join includes both operands; a meet keeps every common member; includes agrees with membership."""
        joined = s.join(a[0], b[0])
        assert s.includes(joined, a[0])
        assert s.includes(joined, b[0])
        if b[0].contains(a[1]):
            met = s.meet(a[0], b[0])
            assert met is not None
            assert met.contains(a[1])
            assert s.includes(a[0], met)
        elif s.includes(b[0], a[0]):
            raise AssertionError("includes() claims a member that is none")

    def test_contradictions_are_empty(self) -> None:
        """Bounds that no number satisfies give None, also when only bits and ranges together exclude everything."""
        odd = s.make(s.TOP.bounds._replace(value=1, mask=U64 & ~1))
        assert odd is not None
        assert s.meet(odd, s.constant(4)) is None
        assert s.make(s.TOP.bounds._replace(umin=5, umax=4)) is None
        assert s.make(s.TOP.bounds._replace(smin=-1, smax=-1, umax=7)) is None
