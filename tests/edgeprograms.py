"""Random programs near the edge of what is safe: most bounds are right, some are off by a little.

Every program starts with an element of map 0 (an array of one value, :attr:`EdgeProgram.value_size` bytes) in r9 and,
where it reads packets, with a few proven bytes of the packet in r7. Branches depend on the contents of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

COMPARISONS = ("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")
OPERATIONS = ("+=", "-=", "*=", "&=", "|=", "^=", "/=", "%=", "s/=", "s%=")
SHIFTS = ("<<=", ">>=", "s>>=")
SLOTS = (-16, -24, -32, -40)


@dataclass
class EdgeProgram:
    """One program: assembly text, and the size of the map's value."""

    random: Random
    value_size: int = 0
    lines: list[str] = field(default_factory=list)
    _labels: int = 0
    _pending: list[str] = field(default_factory=list)
    _calls: bool = False

    @property
    def source(self) -> str:
        """The assembly text."""
        return "\n".join(self.lines)

    def emit(self, *lines: str) -> None:
        """Append instructions."""
        self.lines += lines

    def forward(self) -> str:
        """A label that stands somewhere further on."""
        self._labels += 1
        self._pending.append(f"L{self._labels}")
        return self._pending[-1]

    def arrive(self, chance: float) -> None:
        """Place some of the pending labels here."""
        while self._pending and self.random.random() < chance:
            self.emit(self._pending.pop(self.random.randrange(len(self._pending))) + ":")

    def end(self) -> None:
        """Place what is left, return, and add the subprogram that calls refer to."""
        self.arrive(1.1)
        self.emit("OUT:", "r0 = 2", "exit")
        if self._calls:
            self.emit("SUB:", "r6 = *(u64 *)(r1 + 0)")
            for _ in range(self.random.randrange(1, 5)):
                self.emit(
                    self.random.choice(
                        (
                            f"if r6 {self.random.choice(COMPARISONS)} {self.random.randrange(9)} goto SUB_END",
                            f"r6 += {self.random.randrange(-1, 3)}",
                            "*(u64 *)(r1 + 0) = r6",
                        )
                    )
                )
            self.emit("SUB_END:", "r0 = r6", "exit")

    def call_subprogram(self) -> None:
        """Call the subprogram, which reads and may change a stack slot of its caller."""
        self._calls = True
        self.emit("r1 = r10", f"r1 += {self.random.choice(SLOTS)}", "call SUB")
        self.emit(*(f"r{register} = {self.random.randrange(9)}" for register in range(1, 6)))

    def begin(self, value_size: int) -> None:
        """Look up the map's element; r6 = context."""
        self.value_size = value_size
        self.emit("r6 = r1", "*(u32 *)(r10 - 4) = 0", "r2 = r10", "r2 += -4", "r1 = map[0] ll", "call 1")
        self.emit("if r0 == 0 goto OUT", "r9 = r0")
        self.emit(*(f"*(u64 *)(r10 - {-slot}) = {self.random.randrange(9)}" for slot in SLOTS))

    def access(self, base: str, index: str, scratch: str, offset: int, size: int) -> None:
        """Load or store at ``base + index + offset``."""
        place = f"*(u{8 * size} *)({scratch} {'-' if offset < 0 else '+'} {abs(offset)})"
        self.emit(f"{scratch} = {base}", f"{scratch} += {index}")
        self.emit(
            *((f"{scratch} = {place}", f"{scratch} &= 7") if self.random.random() < 0.5 else (f"{place} = {index}",))
        )
        self.emit(f"{scratch} = {self.random.randrange(9)}")


def flag_program(random: Random) -> EdgeProgram:
    """Small numbers that depend on the path, kept in registers and stack slots, compared and used as offsets."""
    p = EdgeProgram(random)
    p.begin(random.choice((24, 32, 64)))
    p.emit("r7 = *(u64 *)(r9 + 0)", "r8 = *(u8 *)(r9 + 8)")
    p.emit(*(f"r{register} = {random.randrange(9)}" for register in range(6)))
    for _ in range(random.randrange(10, 60)):
        p.arrive(0.35)
        d, s, t = (f"r{n}" for n in random.sample(range(6), 3))
        slot = -random.choice(SLOTS)
        kind = random.randrange(16)
        if kind < 3:
            p.emit(f"if r7 & {1 << random.randrange(30)} goto {p.forward()}")
        elif kind == 3:
            operand = random.choice((s, str(random.randrange(12))))
            p.emit(f"if {d} {random.choice(COMPARISONS)} {operand} goto {p.forward()}")
        elif kind == 4:
            p.emit(random.choice((f"{d} = {random.randrange(9)}", f"{d} = {s}")))
        elif kind == 5:
            p.emit(random.choice((f"{d} += {random.choice((1, 2, -1, 3))}", f"{d} += {s}\n{d} &= 15")))
        elif kind == 6:
            p.emit(f"{d} = r8", random.choice((f"{d} &= 7", f"if {d} > {random.randrange(3, 12)} goto OUT")))
        elif kind < 9:
            p.emit(f"*(u64 *)(r10 - {slot}) = {s}")
        elif kind < 11:
            p.emit(f"{d} = *(u64 *)(r10 - {slot})")
        elif kind == 11:
            p.emit(f"*(u{random.choice((8, 16, 32))} *)(r10 - {slot}) = {random.choice((s, '5'))}")
        elif kind == 12:
            p.call_subprogram()
        elif kind == 13:
            # Copies of a number, of which one is tested and the other used.
            p.emit(f"{d} = r8", random.choice((f"{t} = {d}", f"{t} = r7\n{t} &= 255")))
            p.emit(f"if r7 & {1 << random.randrange(30)} goto {p.forward()}")
            p.emit(
                random.choice(
                    (f"{t} = {d}", f"{t} += 1", f"*(u64 *)(r10 - {slot}) = {d}\n{t} = *(u64 *)(r10 - {slot})")
                )
            )
            p.arrive(0.6)
            p.emit(f"if {d} > {random.randrange(3, 12)} goto OUT")
            p.access("r9", t, s, random.randrange(8), 1)
        else:
            size = random.choice((1, 2, 4))
            p.access("r9", s, d, max(0, p.value_size - size - random.randrange(6, 16)), size)
    p.end()
    return p


def packet_program(random: Random) -> EdgeProgram:
    """Arithmetic on numbers from the packet and the map, which become offsets into packet, map value and stack."""
    p = EdgeProgram(random)
    p.begin(random.choice((8, 16, 24)))
    proven = random.choice((4, 8, 14))
    p.emit("r7 = *(u32 *)(r6 + 0)", "r8 = *(u32 *)(r6 + 4)", "r1 = r7", f"r1 += {proven}", "if r1 > r8 goto OUT")
    for register in range(6):
        size = random.choice((1, 2, 4))
        base, room = random.choice((("r7", proven), ("r9", p.value_size)))
        p.emit(f"r{register} = *(u{8 * size} *)({base} + {random.randrange(room - size + 1)})")

    def immediate() -> int:
        return random.choice((random.randrange(-8, 70), random.choice((1, 7, 31, 63, 255, 0x7FFFFFFF, -0x80000000))))

    loop, left = "", 0
    for _ in range(random.randrange(5, 50)):
        if loop and not left:
            p.arrive(1.1)
            p.emit("r0 = *(u64 *)(r10 - 48)", "r0 += 1", "*(u64 *)(r10 - 48) = r0")
            p.emit(f"if r0 {random.choice(('<', '!=', 's<'))} {random.choice((2, 3, 5))} goto LOOP")
        left -= 1
        p.arrive(0.3)
        d, s, t = (f"r{n}" for n in random.sample(range(6), 3))
        kind = random.randrange(14)
        if kind < 4:
            half = random.random() < 0.4
            a, b = (d.replace("r", "w"), s.replace("r", "w")) if half else (d, s)
            if random.random() < 0.3:
                p.emit(f"{a} {random.choice(SHIFTS)} {random.choice((str(random.randrange(32)), b))}")
            else:
                p.emit(f"{a} {random.choice(OPERATIONS)} {random.choice((str(immediate() or 3), b))}")
        elif kind == 4:
            p.emit(random.choice((f"{d} = {s}", f"{d} = {immediate()}", f"{d} = (s{random.choice((8, 16, 32))}){s}")))
        elif kind < 8:
            half = random.random() < 0.4
            a, b = (d.replace("r", "w"), s.replace("r", "w")) if half else (d, s)
            target = "OUT" if random.random() < 0.35 else p.forward()
            p.emit(f"if {a} {random.choice(COMPARISONS)} {random.choice((str(immediate()), b))} goto {target}")
        elif kind < 10:
            size = random.choice((1, 2, 4, 8))
            if random.random() < 0.7:
                p.emit(f"{s} &= {random.choice((3, 7, 15, 1))}")
            else:
                p.emit(
                    f"if {s} s> {random.randrange(p.value_size)} goto OUT",
                    f"if {s} s< {random.randrange(-1, 3)} goto OUT",
                )
            p.access("r9", s, d, random.randrange(-1, max(1, p.value_size - size)), size)
        elif kind < 12:
            size, offset = random.choice((1, 2, 4, 8)), random.randrange(12)
            p.emit(f"{s} &= {random.choice((3, 7, 15, 60, 255))}", f"{t} = r7", f"{t} += {s}")
            p.emit(f"{t} += {offset + size + random.choice((0, 0, 0, 1, -1))}")
            p.emit(f"if {random.choice((f'{t} > r8', f'r8 < {t}', f'{t} >= r8'))} goto OUT", f"{t} = 1")
            p.access("r7", s, d, offset, size)
        elif kind == 12:
            p.emit(f"{s} &= {random.choice((3, 7, 15))}")
            p.access("r10", s, d, -random.randrange(1, 41), random.choice((1, 2, 4)))
        elif not loop:
            p.arrive(1.1)
            p.emit("*(u64 *)(r10 - 48) = 0", "LOOP:")
            loop, left = "LOOP", random.randrange(2, 8)
    p.end()
    return p
