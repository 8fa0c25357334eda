"""The values of registers within a basic block, as LLVM IR text.

A value has several forms (64 bits, 32 bits, as loaded, pointer); each is computed when it is first asked for, and once.
"""

from __future__ import annotations

from anybpf.isa import opcodes as op
from anybpf.runtime.jit_flow import REGISTERS, Block


class Value:
    """What a register holds within a block, in the forms computed so far. Each form is LLVM text: a name or a number.

    :param constant: its value, unsigned, when known. :param frame: its byte offset from the start of the stack frame.
    :param wide: as i64. :param word: low half as i32; a value made from it has zeros above.
    :param narrow: the i8 or i16 (``bits``) that was loaded; the rest is zero. :param pointer: as ptr.
    """

    __slots__ = ("bits", "constant", "frame", "is_pointer", "narrow", "pointer", "wide", "word")

    def __init__(
        self,
        *,
        wide: str = "",
        word: str = "",
        narrow: str = "",
        bits: int = 0,
        pointer: str = "",
        frame: int | None = None,
        constant: int | None = None,
    ) -> None:
        self.wide = wide
        self.word = word
        self.narrow = narrow
        self.bits = bits
        self.pointer = pointer
        self.frame = frame
        self.constant = constant
        self.is_pointer = bool(pointer) or frame is not None


def signed(value: int, bits: int) -> int:
    """The number that the low ``bits`` bits of ``value`` are in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def constant_value(value: int) -> Value:
    """A known 64-bit value; ``value`` may be signed or not."""
    value &= 0xFFFFFFFFFFFFFFFF
    return Value(wide=str(signed(value, 64)), constant=value)


class Emitter:
    """Collects the lines of one LLVM function, and what each register holds in the current block.

    LLVM numbers unnamed values itself, so names must be given in the order of the text.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._next = 0
        self._labels = 0
        self._begin(Block(0))

    def _begin(self, block: Block) -> None:
        """Start ``block``: what registers hold is what its predecessors left in memory."""
        self._block = block
        self._changed = 0
        self._registers: list[Value | None] = [None] * (REGISTERS - 1) + [Value(frame=op.STACK_SIZE)]

    def _emit(self, line: str) -> None:
        self._lines.append("  " + line)

    def _define(self, expression: str) -> str:
        name = f"%{self._next}"
        self._next += 1
        self._lines.append(f"  {name} = {expression}")
        return name

    def _label(self, name: str) -> None:
        self._lines.append(name + ":")

    def _new_label(self) -> str:
        self._labels += 1
        return f"l{self._labels}"

    def _register(self, r: int) -> Value:
        value = self._registers[r]
        if value is None:
            if self._block.pointers_in >> r & 1:
                value = Value(pointer=self._define(f"load ptr, ptr %p{r}"))
            else:
                value = Value(wide=self._define(f"load i64, ptr %v{r}"))
            self._registers[r] = value
        return value

    def _wide(self, value: Value) -> str:
        if not value.wide:
            if value.is_pointer:
                value.wide = self._define(f"ptrtoint ptr {self._pointer(value)} to i64")
            elif value.narrow:
                value.wide = self._define(f"zext i{value.bits} {value.narrow} to i64")
            else:
                value.wide = self._define(f"zext i32 {value.word} to i64")
        return value.wide

    def _word(self, value: Value) -> str:
        if not value.word:
            if value.constant is not None:
                value.word = str(signed(value.constant, 32))
            elif value.narrow:
                value.word = self._define(f"zext i{value.bits} {value.narrow} to i32")
            else:
                value.word = self._define(f"trunc i64 {self._wide(value)} to i32")
        return value.word

    def _pointer(self, value: Value) -> str:
        if not value.pointer:
            if value.frame is not None:
                value.pointer = self._define(f"getelementptr i8, ptr %frame, i64 {value.frame}")
            else:
                value.pointer = self._define(f"inttoptr i64 {self._wide(value)} to ptr")
        return value.pointer

    def _of_bits(self, value: Value, bits: int) -> str:
        """The low ``bits`` bits, as an integer of that width."""
        if bits == 64:
            return self._wide(value)
        if bits == 32:
            return self._word(value)
        if value.constant is not None:
            return str(signed(value.constant, bits))
        if value.narrow and value.bits == bits:
            return value.narrow
        if value.word or value.narrow:
            return self._define(f"trunc i32 {self._word(value)} to i{bits}")
        return self._define(f"trunc i64 {self._wide(value)} to i{bits}")

    def _zero_extended(self, name: str, bits: int) -> Value:
        if bits == 64:
            return Value(wide=name)
        return Value(word=name) if bits == 32 else Value(narrow=name, bits=bits)

    def _set(self, r: int, value: Value) -> None:
        self._registers[r] = value
        self._changed |= 1 << r
