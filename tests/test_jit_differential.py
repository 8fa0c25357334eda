"""Random programs do the same in machine code and in the interpreter: r0 and memory agree."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from machine_code import Engine

# r1 points to 64 bytes of memory and r9 counts down; everything else holds any value.
REGISTERS = ("r0", "r3", "r4", "r5", "r6", "r7", "r8")
BINARY = ("+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "%=", "^=", "=", "s>>=", "s/=", "s%=")
COMPARE = ("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")
NUMBERS = st.sampled_from((0, 1, -1, 2, 7, 31, 63, 255, 0x7FFFFFFF, -0x80000000)) | st.integers(-(2**31), 2**31 - 1)
register = st.sampled_from(REGISTERS)


@st.composite
def arithmetic(draw: st.DrawFn) -> str:
    """One operation on registers, of 32 or 64 bits, or a byte swap."""
    target = draw(register)
    kind = draw(st.integers(0, 9))
    if kind == 0:
        order, bits = draw(st.sampled_from(("le", "be", "bswap"))), draw(st.sampled_from((16, 32, 64)))
        return f"{target} = {order}{bits} {target}"
    if kind == 1:
        return f"{target} = (s{draw(st.sampled_from((8, 16, 32)))}){draw(register)}"
    narrow = draw(st.booleans())
    left = target.replace("r", "w") if narrow else target
    if draw(st.booleans()):
        return f"{left} {draw(st.sampled_from(BINARY))} {draw(NUMBERS)}"
    right = draw(register)
    return f"{left} {draw(st.sampled_from(BINARY))} {right.replace('r', 'w') if narrow else right}"


@st.composite
def access(draw: st.DrawFn) -> str:
    """A load or store in memory or on the stack, at a fixed place or at one that a register chooses."""
    bits = draw(st.sampled_from((8, 16, 32, 64)))
    value = draw(register)
    pointer = draw(register.filter(lambda name: name != value))
    base, first = draw(st.sampled_from((("r1", 0), ("r10", -64))))
    place = first + draw(st.integers(0, 7)) * 8 + draw(st.integers(0, 8 - bits // 8))
    prepare = ""
    if draw(st.booleans()):
        index = draw(register.filter(lambda name: name != pointer))
        # The pointer is made by addition in either order or by subtraction, or moves by a constant.
        how = draw(st.integers(0, 3))
        if how == 0:
            prepare = f"{index} &= 56\n{pointer} = {base}\n{pointer} += {index}\n"
        elif how == 3:
            prepare = f"{index} &= 56\n{pointer} = {base}\n{pointer} += 56\n{pointer} -= {index}\n"
        elif how == 1:
            prepare = f"{pointer} = {index}\n{pointer} &= 56\n{pointer} += {base}\n"
        else:
            prepare = f"{pointer} = {base}\n{pointer} -= -8\n{pointer} += -8\n"
        base, place = pointer, first + draw(st.integers(0, 8 - bits // 8))
    # A pointer must not end up where r0 or memory would show it: its value differs between runs.
    after = f"\n{pointer} = 5" if prepare else ""
    loaded = pointer if prepare and draw(st.booleans()) else value
    match draw(st.integers(0, 3)):
        case 0:
            return f"{prepare}*(u{bits} *)({base} + {place}) = {draw(NUMBERS)}{after}"
        case 1:
            return f"{prepare}*(u{bits} *)({base} + {place}) = {value}{after}"
        case 2 if bits < 64:
            return f"{prepare}{loaded} = *(s{bits} *)({base} + {place}){'' if loaded == pointer else after}"
        case _:
            return f"{prepare}{loaded} = *(u{bits} *)({base} + {place}){'' if loaded == pointer else after}"


@st.composite
def programs(draw: st.DrawFn) -> str:
    """Blocks of instructions with forward jumps between them, inside a loop, and a subprogram that some blocks call."""
    count = draw(st.integers(1, 6))
    lines = [f"*(u64 *)(r10 - {8 * n}) = {n}" for n in range(1, 9)]
    lines += [f"{name} = *(u64 *)(r1 + {8 * n})" for n, name in enumerate(REGISTERS)]
    lines += [f"r9 = {draw(st.integers(1, 4))}", "again:"]
    for block in range(count):
        lines.append(f"block{block}:")
        lines += draw(st.lists(arithmetic() | access(), max_size=8))
        if draw(st.integers(0, 4)) == 0:
            lines += ["*(u64 *)(r10 - 72) = r1", "r2 = r0", "call sub", "r1 = *(u64 *)(r10 - 72)"]
            lines += [f"r{n} = r0" for n in (3, 4, 5)]
        if draw(st.booleans()):
            target = draw(st.integers(block + 1, count))
            right = draw(register | NUMBERS.map(str))
            lines.append(f"if {draw(register)} {draw(st.sampled_from(COMPARE))} {right} goto block{target}")
    lines += [f"block{count}:", "r9 -= 1", "if r9 != 0 goto again"]
    lines += [f"r0 ^= {name}" for name in REGISTERS[1:]]
    lines += ["exit", "sub:", "r0 = *(u32 *)(r1 + 12)", "r0 += r2", "*(u8 *)(r1 + 3) = r0", "r6 = 1", "exit"]
    return "\n".join(lines)


@settings(max_examples=120, deadline=None)
@given(programs(), st.binary(min_size=64, max_size=64))
def test_random_programs_agree(source: str, memory: bytes) -> None:
    """Whatever the program computes, both tiers leave the same r0 and the same memory."""
    with Engine() as engine:
        engine.run_in_both(source, memory)
