"""The rules, one small program each: what is accepted, and with which code the rest is refused."""

from __future__ import annotations

import pytest

from anybpf.btf.core import POISON
from anybpf.verifier import FAILURES
from verifying import GUARDED_VALUE, LOOKUP, PACKET, RETURN, VALUE, verdict_of

# (what the program does, source); programs of type xdp unless a section stands third.
ACCEPTED: list[tuple[str, str] | tuple[str, str, str]] = [
    ("returns a constant", "r0 = 2\nexit"),
    ("reads a proven byte of the packet", PACKET + "r0 = *(u8 *)(r7 + 13)" + "\nr0 &= 1\nexit"),
    ("writes a proven byte of the packet", PACKET + "*(u8 *)(r7 + 13) = 1" + RETURN),
    (
        "keeps the outcome of a bounds check in a flag",
        """
        r2 = *(u32 *)(r1 + 0)
        r3 = *(u32 *)(r1 + 4)
        r4 = 0
        r5 = r2
        r5 += 4
        if r5 > r3 goto short
        r4 = 1
    short:
        r0 = 0
        if r4 == 0 goto out
        r0 = *(u32 *)(r2 + 0)
        r0 &= 3
    out:
        exit
        """,
    ),
    (
        "finds a header behind a variable one",
        PACKET
        + """
        r2 = *(u8 *)(r7 + 0)
        r2 &= 15
        r2 <<= 2
        r7 += r2
        r3 = r7
        r3 += 4
        if r3 > r8 goto out
        r4 = *(u32 *)(r7 + 0)
    out:
        r0 = 0
        exit
        """,
    ),
    (
        "computes the same packet pointer twice",
        PACKET
        + """
        r2 = *(u8 *)(r7 + 0)
        r3 = r7
        r3 += r2
        r3 += 2
        if r3 > r8 goto out
        r4 = r7
        r4 += r2
        r5 = *(u16 *)(r4 + 0)
    out:
        r0 = 0
        exit
        """,
    ),
    (
        "reads the metadata before the packet",
        """
        r2 = *(u32 *)(r1 + 8)
        r3 = *(u32 *)(r1 + 0)
        r4 = r2
        r4 += 4
        r0 = 0
        if r4 > r3 goto out
        r0 = *(u32 *)(r2 + 0)
    out:
        exit
        """,
    ),
    ("tests a lookup and uses it", VALUE + "r1 = 1\nlock *(u64 *)(r0 + 8) += r1" + RETURN),
    ("tests one copy and uses the other", LOOKUP + "r6 = r0\nr0 = 0\nif r6 == 0 goto +1\nr0 = *(u8 *)(r6 + 15)\nexit"),
    (
        "indexes a map value by a masked number",
        VALUE + "r1 = *(u32 *)(r0 + 0)\nr1 &= 12\nr0 += r1\nr0 = *(u32 *)(r0 + 0)\nexit",
    ),
    (
        "indexes a map value by a compared number",
        VALUE + "r1 = *(u32 *)(r0 + 0)\nif r1 > 15 goto out\nr0 += r1\nr1 = *(u8 *)(r0 + 0)\nout:" + RETURN,
    ),
    (
        "learns about a number from its spilled copy",
        VALUE
        + """
        r1 = *(u64 *)(r0 + 0)
        *(u64 *)(r10 - 16) = r1
        if r1 > 8 goto out
        r2 = *(u64 *)(r10 - 16)
        r0 += r2
        r1 = *(u64 *)(r0 + 0)
    out:
        r0 = 0
        exit
        """,
    ),
    (
        "learns about a number from the low half of its spilled copy",
        VALUE
        + """
        r1 = *(u32 *)(r0 + 0)
        *(u64 *)(r10 - 16) = r1
        r2 = *(u32 *)(r10 - 16)
        if r2 > 15 goto out
        r0 += r1
        r1 = *(u8 *)(r0 + 0)
    out:
        r0 = 0
        exit
        """,
    ),
    (
        "uses the length of a string as a size",
        """
        r1 = map[2] ll
        *(u64 *)(r10 - 16) = 0
        *(u64 *)(r10 - 8) = 0
        r1 = r10
        r1 += -16
        r2 = 16
        r3 = 0
        call 45
        if r0 s<= 0 goto out
        r1 = map[2] ll
        r2 = r10
        r2 += -16
        r3 = r0
        r4 = 0
        call 130
    out:
        r0 = 0
        exit
        """,
        "kprobe/sys_write",
    ),
    (
        "learns about a number from a copy at a distance",
        VALUE
        + """
        r1 = *(u32 *)(r0 + 0)
        r2 = r1
        r2 += 4
        if r2 > 12 goto out
        r0 += r1
        r1 = *(u32 *)(r0 + 0)
    out:
        r0 = 0
        exit
        """,
    ),
    (
        "reads constant data as constants",
        "r1 = map_value[5] 9 ll\nr2 = *(u32 *)(r1 + 0)\nr0 = 0\nif r2 == 5 goto +1\nr0 = r9\nexit",
    ),
    ("spills and fills a pointer", "*(u64 *)(r10 - 8) = r1\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 12)\nexit"),
    (
        "reads an initialised array at any index",
        "*(u64 *)(r10 - 8) = 0\ncall 7\nr0 &= 7\nr1 = r10\nr1 += r0\nr0 = *(u8 *)(r1 - 8)\nexit",
    ),
    ("counts to a hundred", "r0 = 0\nagain:\nr0 += 1\nif r0 != 100 goto again\nr0 = 0\nexit"),
    (
        "counts down from a number it does not know",
        VALUE + "r1 = *(u8 *)(r0 + 0)\nagain:\nif r1 == 0 goto out\nr1 += -1\ngoto again\nout:" + RETURN,
    ),
    ("calls a subprogram", "r1 = 1\nr6 = 7\ncall add\nr0 += r6\nexit\nadd:\nr0 = r1\nr0 += 1\nexit"),
    (
        "lets a subprogram fill its caller's variable",
        "r1 = r10\nr1 += -8\ncall fill\nr0 = *(u64 *)(r10 - 8)\nexit\nfill:\n*(u64 *)(r1 + 0) = 5\nr0 = 0\nexit",
    ),
    (
        "loops by callback",
        """
        *(u64 *)(r10 - 8) = 0
        r1 = 100
        r2 = function[body] ll
        r3 = r10
        r3 += -8
        r4 = 0
        call 181
        r0 = *(u64 *)(r10 - 8)
        exit
    body:
        r3 = *(u64 *)(r2 + 0)
        r3 += 1
        *(u64 *)(r2 + 0) = r3
        r4 = 0
    inner:
        r4 += 1
        if r4 < 4 goto inner
        r0 = 0
        exit
        """,
    ),
    (
        "visits every element of a map",
        """
        r1 = map[0] ll
        r2 = function[visit] ll
        r3 = 0
        r4 = 0
        call 164
        r0 = 0
        exit
    visit:
        r0 = *(u32 *)(r2 + 0)
        *(u64 *)(r3 + 8) = 1
        r0 = 0
        exit
        """,
    ),
    (
        "repeats with may_goto for ever, as far as it can tell",
        VALUE + "again:\nmay_goto out\nr1 = *(u32 *)(r0 + 0)\nif r1 != 0 goto again\nout:" + RETURN,
    ),
    (
        "submits a ring-buffer record on every path",
        """
        r1 = map[2] ll
        r2 = 8
        r3 = 0
        call 131
        if r0 == 0 goto out
        *(u64 *)(r0 + 0) = 1
        r1 = r0
        r2 = 0
        call 132
    out:
        r0 = 0
        exit
        """,
    ),
    (
        "takes a lock, counts, releases it",
        GUARDED_VALUE + "r6 = r0\nr1 = r0\ncall 93\n*(u32 *)(r6 + 4) = 1\nr1 = r6\ncall 94" + RETURN,
        "tc",
    ),
    (
        "looks up an inner map",
        LOOKUP.replace("map[0]", "map[4]")
        + "if r0 == 0 goto out\nr1 = r0\nr2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto out\nr1 = *(u64 *)(r0 + 0)\nout:"
        + RETURN,
    ),
    ("tail-calls", "r2 = map[3] ll\nr3 = 0\ncall 12" + RETURN),
    ("prints a constant text", "r1 = map_value[5] 0 ll\nr2 = 9\nr3 = 1\ncall 6" + RETURN),
    ("calls an undefined function with the name of a helper", "call kfunc[1]\nr0 = 0\nexit"),
    ("uses the legacy packet loads", "r6 = r1\nr0 = *(u8 *)skb[12]\nexit", "socket"),
    ("leaves code that no path reaches", "r0 = 0\nexit\nr0 = r9\nexit"),
    ("divides by zero", "r0 = 1\nr1 = 0\nr0 /= r1\nr0 %= 0x10\nexit"),
    ("takes the distance of packet pointers", PACKET + "r8 -= r7\nr0 = r8\nexit"),
    (
        "copies by variable size",
        VALUE + "r2 = *(u32 *)(r0 + 0)\nr2 &= 7\nr2 += 1\nr1 = r0\nr3 = 0\nr4 = 0\nr5 = 0\ncall 28" + RETURN,
    ),
    ("writes a scratch field of the context", "*(u32 *)(r1 + 48) = 1\n*(u32 *)(r1 + 8) = 2" + RETURN, "tc"),
    (
        "stores several sizes and loads the whole",
        "*(u32 *)(r10 - 8) = 1\n*(u16 *)(r10 - 4) = 2\n*(u16 *)(r10 - 2) = 0\nr0 = *(u64 *)(r10 - 8)\nexit",
    ),
]

# (code, what the program does, source[, section])
REFUSED: list[tuple[str, str, str] | tuple[str, str, str, str]] = [
    (
        "map-value-bounds",
        "checks a number and uses another that is its copy on one path only",
        VALUE
        + """
        r1 = *(u8 *)(r0 + 0)
        r2 = *(u8 *)(r0 + 1)
        r3 = *(u8 *)(r0 + 2)
        if r3 == 0 goto other
        r2 = r1
    other:
        if r1 > 15 goto out
        r0 += r2
        r1 = *(u8 *)(r0 + 0)
    out:
        r0 = 0
        exit
        """,
    ),
    (
        "map-value-bounds",
        "uses a constant that is too large on one path only",
        VALUE
        + """
        r3 = *(u8 *)(r0 + 2)
        r2 = 15
        if r3 == 0 goto other
        r2 = 16
    other:
        r4 = r2
        *(u64 *)(r10 - 16) = r4
        r5 = *(u64 *)(r10 - 16)
        r0 += r5
        r1 = *(u8 *)(r0 + 0)
        r0 = 0
        exit
        """,
    ),
    (
        "map-value-bounds",
        "skips the check on one path, decided by a flag",
        VALUE
        + """
        r1 = *(u8 *)(r0 + 0)
        r3 = *(u8 *)(r0 + 2)
        r2 = 1
        if r3 == 0 goto other
        r2 = 0
    other:
        if r2 != 0 goto use
        if r1 > 15 goto out
    use:
        r0 += r1
        r1 = *(u8 *)(r0 + 0)
    out:
        r0 = 0
        exit
        """,
    ),
    (
        "packet-bounds",
        "proves less of the packet on one path",
        PACKET
        + """
        r2 = *(u8 *)(r7 + 0)
        r3 = 20
        if r2 == 0 goto other
        r3 = 16
    other:
        r4 = r7
        r4 += r3
        if r4 > r8 goto out
        r5 = *(u8 *)(r7 + 19)
    out:
        r0 = 0
        exit
        """,
    ),
    ("falls-off-end", "has no exit", "r0 = 0"),
    ("falls-off-end", "ends in a conditional jump", "r0 = 0\nif r0 == 0 goto -2"),
    ("falls-off-end", "runs into the next function", "call next\nr0 = 0\nnext:\nr0 = 0\nexit"),
    ("unbounded-loop", "jumps to itself", "r0 = 0\nagain:\ngoto again\nexit"),
    (
        "unbounded-loop",
        "waits for a number to change",
        VALUE + "again:\nr1 = *(u32 *)(r0 + 0)\nif r1 != 0 goto again" + RETURN,
    ),
    ("unbounded-loop", "toggles", "r0 = 0\nagain:\nr0 ^= 1\nif r0 != 7 goto again\nexit"),
    ("call-depth", "recurses", "call test\nexit\ntest:\ncall test\nexit"),
    (
        "call-depth",
        "calls nine deep",
        "call f1\nexit\n" + "".join(f"f{n}:\ncall f{n + 1}\nexit\n" for n in range(1, 8)) + "f8:\nr0 = 0\nexit",
    ),
    (
        "stack-depth",
        "needs 592 bytes of stack",
        "*(u64 *)(r10 - 296) = 0\ncall more\nexit\nmore:\n*(u64 *)(r10 - 296) = 0\nr0 = 0\nexit",
    ),
    ("uninitialised-register", "returns nothing", "exit"),
    ("uninitialised-register", "reads a register after a call", "r1 = 0\ncall 7\nr0 = r1\nexit"),
    (
        "uninitialised-register",
        "initialises on one path only",
        PACKET + "r2 = *(u8 *)(r7 + 0)\nif r2 == 0 goto +1\nr9 = 1\nr0 = r9\nexit",
    ),
    ("uninitialised-stack", "reads stack it did not write", "r0 = *(u64 *)(r10 - 8)\nexit"),
    ("uninitialised-stack", "reads padding", "*(u8 *)(r10 - 8) = 1\nr0 = *(u16 *)(r10 - 8)\nexit"),
    ("uninitialised-stack", "passes a key it did not write", "r2 = r10\nr2 += -4\nr1 = map[0] ll\ncall 1" + RETURN),
    ("partial-pointer", "reads half a pointer", "*(u64 *)(r10 - 8) = r1\nr0 = *(u32 *)(r10 - 8)\nexit"),
    ("pointer-arithmetic", "adds two pointers", PACKET + "r7 += r6" + RETURN),
    ("pointer-arithmetic", "masks a pointer", "r1 &= -8" + RETURN),
    ("pointer-arithmetic", "moves a map reference", "r1 = map[0] ll\nr1 += 8" + RETURN),
    ("pointer-arithmetic", "moves the end of the packet", PACKET + "r8 += 1" + RETURN),
    ("pointer-arithmetic", "truncates a pointer", "w2 = w1" + RETURN),
    ("pointer-comparison", "compares the packet with the stack", PACKET + "if r7 > r10 goto +0" + RETURN),
    ("pointer-comparison", "compares a pointer with a number", "if r1 > 5 goto +0" + RETURN),
    ("pointer-leak", "returns a pointer", "r0 = r1\nexit"),
    ("pointer-leak", "stores a pointer into a map value", VALUE + "*(u64 *)(r0 + 0) = r10" + RETURN),
    (
        "pointer-leak",
        "uses a pointer as a key",
        "*(u64 *)(r10 - 8) = r1\nr2 = r10\nr2 += -8\nr1 = map[1] ll\ncall 1" + RETURN,
    ),
    ("pointer-leak", "returns the address of a local variable", "call leak\nr0 = 0\nexit\nleak:\nr0 = r10\nexit"),
    (
        "pointer-leak",
        "leaves the address of a local variable in its caller's frame",
        "r1 = r10\nr1 += -8\ncall leak\nexit\nleak:\n*(u64 *)(r1 + 0) = r10\nr0 = 0\nexit",
    ),
    ("number-expected", "adds a pointer atomically", VALUE + "lock *(u64 *)(r0 + 0) += r10" + RETURN),
    ("not-a-pointer", "dereferences a number", "r1 = 4096\nr0 = *(u8 *)(r1 + 0)\nexit"),
    ("not-a-pointer", "dereferences NULL", LOOKUP + "if r0 != 0 goto +1\nr1 = *(u8 *)(r0 + 0)" + RETURN),
    ("null-pointer", "does not test a lookup", LOOKUP + "r0 = *(u8 *)(r0 + 0)\nexit"),
    ("null-pointer", "moves a pointer before testing it", LOOKUP + "r0 += 4" + RETURN),
    ("stack-bounds", "writes below the frame", "*(u64 *)(r10 - 520) = 0" + RETURN),
    ("stack-bounds", "writes above the frame", "*(u64 *)(r10 + 0) = 0" + RETURN),
    (
        "stack-bounds",
        "indexes the stack by any byte",
        VALUE + "r1 = *(u8 *)(r0 + 0)\nr2 = r10\nr2 += r1\n*(u8 *)(r2 - 64) = 0" + RETURN,
    ),
    ("packet-bounds", "checks nothing", "r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nexit"),
    ("packet-bounds", "reads one byte too far", PACKET + "r0 = *(u16 *)(r7 + 13)\nexit"),
    ("packet-bounds", "reads before the packet", PACKET + "r0 = *(u8 *)(r7 - 1)\nexit"),
    (
        "packet-bounds",
        "checks the wrong way round",
        "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\n"
        "r4 += 4\nif r4 <= r3 goto out\nr0 = *(u8 *)(r2 + 0)\nout:" + RETURN,
    ),
    (
        "packet-bounds",
        "forgets that >= leaves no byte more",
        "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr0 = 0\nif r2 >= r3 goto +1\nr0 = *(u16 *)(r2 + 0)\nexit",
    ),
    (
        "packet-bounds",
        "adds another number than it checked",
        PACKET + "r2 = *(u8 *)(r7 + 0)\nr3 = *(u8 *)(r7 + 1)\nr4 = r7\nr4 += r2\n"
        "r4 += 2\nif r4 > r8 goto out\nr7 += r3\nr5 = *(u8 *)(r7 + 0)\nout:" + RETURN,
    ),
    (
        "packet-bounds",
        "adds a number that may be huge",
        PACKET
        + "r2 = *(u64 *)(r7 + 0)\nr7 += r2\nr3 = r7\nr3 += 1\nif r3 > r8 goto out\nr4 = *(u8 *)(r7 + 0)\nout:"
        + RETURN,
    ),
    ("map-value-bounds", "reads behind a map value", VALUE + "r0 = *(u64 *)(r0 + 9)\nexit"),
    ("map-value-bounds", "reads before a map value", VALUE + "r0 = *(u8 *)(r0 - 1)\nexit"),
    (
        "map-value-bounds",
        "checks an index signed only",
        VALUE + "r1 = *(u64 *)(r0 + 0)\nif r1 s> 15 goto out\nr0 += r1\nr1 = *(u8 *)(r0 + 0)\nout:" + RETURN,
    ),
    (
        "memory-bounds",
        "writes behind a record",
        "r1 = map[2] ll\nr2 = 8\nr3 = 0\ncall 131\nif r0 == 0 goto +1\n*(u64 *)(r0 + 1) = 1" + RETURN,
    ),
    ("context-access", "reads behind the context", "r0 = *(u32 *)(r1 + 24)\nexit"),
    ("context-access", "reads half a packet pointer", "r0 = *(u16 *)(r1 + 0)\nexit"),
    (
        "context-access",
        "reads the context at a varying offset",
        PACKET + "r2 = *(u8 *)(r7 + 0)\nr2 &= 4\nr6 += r2\nr0 = *(u32 *)(r6 + 0)\nexit",
    ),
    (
        "mixed-access",
        "loads the packet's start and a variable by one instruction",
        "r6 = r1\n*(u64 *)(r10 - 8) = 0\ncall 7\nr2 = r6\nif r0 == 0 goto +2\nr2 = r10\nr2 += -8\nr0 = *(u32 *)(r2 + 0)"
        + RETURN,
    ),
    ("read-only", "writes constant data", "r1 = map_value[5] 0 ll\n*(u8 *)(r1 + 0) = 1" + RETURN),
    ("read-only", "writes a context field that is not its own", "*(u32 *)(r1 + 12) = 1" + RETURN),
    ("not-accessible", "reads a map's inside", "r1 = map[0] ll\nr0 = *(u64 *)(r1 + 0)\nexit"),
    (
        "not-accessible",
        "reads the packet after moving it",
        PACKET + "r1 = r6\nr2 = 0\ncall 44\nr0 = *(u8 *)(r7 + 0)\nexit",
    ),
    ("special-field", "writes a lock", GUARDED_VALUE + "*(u32 *)(r0 + 0) = 0" + RETURN),
    ("special-field", "reads a timer", GUARDED_VALUE + "r0 = *(u64 *)(r0 + 16)\nexit"),
    ("special-field", "reads a kernel pointer", GUARDED_VALUE + "r0 = *(u64 *)(r0 + 24)\nexit"),
    ("atomic-access", "adds to the packet atomically", PACKET + "r1 = 1\nlock *(u32 *)(r7 + 0) += w1" + RETURN),
    ("atomic-access", "adds across an alignment", VALUE + "r1 = 1\nlock *(u64 *)(r0 + 4) += r1" + RETURN),
    ("legacy-packet", "uses legacy loads in XDP", "r6 = r1\nr0 = *(u8 *)skb[12]\nexit"),
    ("legacy-packet", "uses legacy loads without the context in r6", "r6 = 0\nr0 = *(u8 *)skb[12]\nexit", "socket"),
    ("unknown-helper", "calls a number that nothing has", "call 60000" + RETURN),
    ("missing-type", "uses a field that CO-RE did not find", f"call {POISON}" + RETURN),
    (
        "helper-not-allowed",
        "calls a helper of other program types",
        "r2 = 0\nr3 = r10\nr4 = 0\nr5 = 0\ncall 9" + RETURN,
    ),
    ("unknown-function", "calls an undefined function", "call kfunc[0]" + RETURN),
    ("helper-argument", "passes a number as a map", "r1 = 1\nr2 = r10\ncall 1" + RETURN),
    ("helper-argument", "passes a moved context", "r1 += 4\nr2 = 0\ncall 44" + RETURN),
    (
        "helper-memory",
        "has a key that reaches over the stack's end",
        "r2 = r10\nr2 += -2\nr1 = map[0] ll\ncall 1" + RETURN,
    ),
    (
        "helper-memory",
        "copies a size that may be negative",
        VALUE + "r2 = *(u64 *)(r0 + 0)\nr1 = r0\nr3 = 0\nr4 = 0\nr5 = 0\ncall 28" + RETURN,
    ),
    ("map-kind", "tail-calls through an array", "r2 = map[0] ll\nr3 = 0\ncall 12" + RETURN),
    ("constant-expected", "reserves a varying size", "call 7\nr2 = r0\nr1 = map[2] ll\nr3 = 0\ncall 131" + RETURN),
    (
        "callback",
        "has a callback that returns a pointer",
        "r1 = 4\nr2 = function[body] ll\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit\nbody:\nr0 = r10\nexit",
    ),
    ("reference-leak", "forgets a record", "r1 = map[2] ll\nr2 = 8\nr3 = 0\ncall 131" + RETURN),
    (
        "reference-leak",
        "forgets a record on one path",
        "r1 = map[2] ll\nr2 = 8\nr3 = 0\ncall 131\nif r0 == 0 goto out\n"
        "r1 = *(u64 *)(r0 + 0)\nif r1 == 5 goto out\nr1 = r0\nr2 = 0\ncall 132\nout:" + RETURN,
    ),
    (
        "reference-released",
        "submits what it did not reserve",
        "r1 = map[2] ll\nr2 = 8\nr3 = 0\ncall 131\nif r0 == 0 goto out\nr1 = r0\nr1 += 4\nr2 = 0\ncall 132\nout:"
        + RETURN,
    ),
    (
        "uninitialised-register",
        "uses a record after submitting it",
        "r1 = map[2] ll\nr2 = 8\nr3 = 0\ncall 131\nif r0 == 0 goto out\n"
        "r6 = r0\nr1 = r0\nr2 = 0\ncall 132\n*(u64 *)(r6 + 0) = 1\nout:" + RETURN,
    ),
    ("lock", "ends with a lock held", GUARDED_VALUE + "r1 = r0\ncall 93" + RETURN, "tc"),
    (
        "lock",
        "calls a helper with a lock held",
        GUARDED_VALUE + "r6 = r0\nr1 = r0\ncall 93\ncall 7\nr1 = r6\ncall 94" + RETURN,
        "tc",
    ),
    ("lock", "releases a lock that it does not hold", GUARDED_VALUE + "r1 = r0\ncall 94" + RETURN, "tc"),
    ("return-value", "returns what its type does not allow", "r0 = 7\nexit", "cgroup/connect4"),
]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case[0].replace(" ", "-"))
def test_accepted(case: tuple[str, ...]) -> None:
    """A safe program is accepted."""
    verdict = verdict_of(case[1], *case[2:])
    assert verdict.failure is None
    assert verdict.ok
    assert verdict.visited > 0


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}-{case[1]}".replace(" ", "-"))
def test_refused(case: tuple[str, ...]) -> None:
    """An unsafe program is refused, for the right reason, with a message, an instruction and a suggestion."""
    verdict = verdict_of(case[2], *case[3:])
    assert verdict.failure is not None
    assert verdict.failure.code == case[0], verdict.failure.message
    assert verdict.failure.message
    assert verdict.failure.suggestion
    assert verdict.failure.text or case[0] == "invalid-instruction"
    assert not verdict.ok


def test_gpl_only_helpers() -> None:
    """A helper for GPL-compatible programs is refused to others, and the licence is named."""
    source = "r1 = map_value[5] 0 ll\nr2 = 9\ncall 6" + RETURN
    failure = verdict_of(source, license="Proprietary").failure
    assert failure is not None
    assert failure.code == "gpl-only"
    assert "Proprietary" in failure.message
    assert verdict_of(source, license="Dual MIT/GPL").ok


def test_budget() -> None:
    """A program that takes more visits than the budget is refused as too complex, in bounded time."""
    source = "r0 = 0\nagain:\nr0 += 1\nif r0 != 5000 goto again" + RETURN
    failure = verdict_of(source, budget=1000).failure
    assert failure is not None
    assert failure.code == "too-complex"
    assert verdict_of(source, budget=20_000).ok


def _flags(count: int) -> str:
    """Sets as many flags, each on one of two ways, and tests each of them afterwards: 2 ** count paths."""
    lines = ["r6 = *(u64 *)(r0 + 0)", "r7 = r0"]
    for flag in range(count):
        lines += ["r1 = 0", f"if r6 & {1 << flag} goto +1", "r1 = 1", f"*(u64 *)(r10 - {16 + 8 * flag}) = r1"]
    for flag in range(count):
        lines += [f"r1 = *(u64 *)(r10 - {16 + 8 * flag})", "if r1 == 0 goto +1", "r2 = *(u8 *)(r7 + 3)"]
    return VALUE + "\n".join(lines) + RETURN


def test_paths_do_not_multiply() -> None:
    """Programs with very many paths that differ in numbers only are verified in few visits."""
    assert verdict_of(_flags(20), budget=20_000).ok
    counted = "r6 = r0\nr7 = 0\nr8 = 0\nagain:\nr3 = *(u64 *)(r6 + 0)\nif r3 == 0 goto +1\nr8 += 1\nr7 += 1\n"
    assert verdict_of(VALUE + counted + "if r7 != 100 goto again\nif r8 == 50 goto +0" + RETURN, budget=20_000).ok


def test_generalising_is_given_up_where_it_fails() -> None:
    """Where many paths carry different constants that are all good, a general number would not be; each is tried."""
    ladder = "r1 = *(u8 *)(r0 + 0)\nr2 = 15\n"
    for n in range(15):
        ladder += f"if r1 != {n} goto next{n}\nr2 = {n}\ngoto use\nnext{n}:\n"
    use = "use:\nr0 += r2\nr1 = *(u8 *)(r0 + {offset})"
    assert verdict_of(VALUE + ladder + use.format(offset=0) + RETURN).ok
    failure = verdict_of(VALUE + ladder + use.format(offset=1) + RETURN).failure
    assert failure is not None
    assert failure.code == "map-value-bounds"
    assert "offset 16 is outside" in failure.message


def test_every_code_is_tested() -> None:
    """Each failure in the table is shown by a program above; those that no assembly can show are listed here."""
    shown = {case[0] for case in REFUSED} | {"gpl-only", "too-complex"}
    assert set(FAILURES) - shown == {"invalid-instruction", "internal-error"}
