"""Arithmetic and comparisons as LLVM IR (RFC 9669 §4)."""

from __future__ import annotations

import sys

from anybpf.isa import Instruction
from anybpf.isa import opcodes as op
from anybpf.runtime.jit_values import Emitter, Value, constant_value, signed

_BINARY = {
    op.ALU_ADD: "add", op.ALU_SUB: "sub", op.ALU_MUL: "mul", op.ALU_OR: "or", op.ALU_AND: "and", op.ALU_XOR: "xor",
}  # fmt: skip
_SHIFTS = {op.ALU_LSH: "shl", op.ALU_RSH: "lshr", op.ALU_ARSH: "ashr"}
_CONDITIONS = {
    op.JMP_JEQ: "eq", op.JMP_JNE: "ne", op.JMP_JGT: "ugt", op.JMP_JGE: "uge", op.JMP_JLT: "ult", op.JMP_JLE: "ule",
    op.JMP_JSGT: "sgt", op.JMP_JSGE: "sge", op.JMP_JSLT: "slt", op.JMP_JSLE: "sle",
}  # fmt: skip


class ArithmeticEmitter(Emitter):
    """Emits what is computed from registers and immediates alone."""

    def _operand(self, instruction: Instruction) -> Value:
        return self._register(instruction.src) if instruction.opcode & op.SOURCE_X else constant_value(instruction.imm)

    def _arithmetic(self, instruction: Instruction) -> None:
        opcode, r = instruction.opcode, instruction.dst
        bits = 64 if instruction.class_ == op.CLASS_ALU64 else 32
        code = opcode & 0xF0
        operand = self._operand(instruction)
        if code == op.ALU_MOV:
            self._set(r, self._moved(operand, instruction.offset, bits))
        elif code == op.ALU_END:
            self._set(r, self._byte_order(instruction))
        elif code == op.ALU_NEG:
            name = self._define(f"sub i{bits} 0, {self._of_bits(self._register(r), bits)}")
            self._set(r, self._zero_extended(name, bits))
        else:
            value = self._register(r)
            moved = self._pointer_sum(code, value, operand) if bits == 64 else None
            self._set(r, moved or self._zero_extended(self._binary(instruction, code, value, operand, bits), bits))

    def _moved(self, operand: Value, sign_extended: int, bits: int) -> Value:
        if sign_extended:
            if sign_extended == bits:
                return operand
            name = self._define(f"sext i{sign_extended} {self._of_bits(operand, sign_extended)} to i{bits}")
            return self._zero_extended(name, bits)
        if bits == 64:
            return operand
        if operand.constant is not None:
            return constant_value(operand.constant & 0xFFFFFFFF)
        if operand.narrow:
            return operand
        return Value(word=self._word(operand))

    def _pointer_sum(self, code: int, value: Value, operand: Value) -> Value | None:
        """An addition or subtraction that moves a pointer, as such; None when it is not one."""
        if code == op.ALU_ADD and value.is_pointer != operand.is_pointer:
            base, step = (value, operand) if value.is_pointer else (operand, value)
            if base.frame is not None and step.constant is not None:
                return Value(frame=signed(base.frame + step.constant, 64))
            return Value(pointer=self._define(f"getelementptr i8, ptr {self._pointer(base)}, i64 {self._wide(step)}"))
        if code == op.ALU_SUB and value.is_pointer and not operand.is_pointer:
            if value.frame is not None and operand.constant is not None:
                return Value(frame=signed(value.frame - operand.constant, 64))
            step = Value(wide=self._define(f"sub i64 0, {self._wide(operand)}"))
            return Value(pointer=self._define(f"getelementptr i8, ptr {self._pointer(value)}, i64 {step.wide}"))
        return None

    def _binary(self, instruction: Instruction, code: int, value: Value, operand: Value, bits: int) -> str:
        left = self._of_bits(value, bits)
        if code in _SHIFTS:
            if operand.constant is not None:
                amount = str(operand.constant & (bits - 1))
            else:
                amount = self._define(f"and i{bits} {self._of_bits(operand, bits)}, {bits - 1}")
            return self._define(f"{_SHIFTS[code]} i{bits} {left}, {amount}")
        right = self._of_bits(operand, bits)
        if code in _BINARY:
            return self._define(f"{_BINARY[code]} i{bits} {left}, {right}")
        if instruction.offset:
            return self._signed_division(code, left, right, bits)
        return self._division(code, left, right, bits)

    def _division(self, code: int, left: str, right: str, bits: int) -> str:
        """Unsigned: x / 0 is 0, x % 0 is x."""
        zero = self._define(f"icmp eq i{bits} {right}, 0")
        divisor = self._define(f"select i1 {zero}, i{bits} 1, i{bits} {right}")
        if code == op.ALU_DIV:
            result, otherwise = self._define(f"udiv i{bits} {left}, {divisor}"), "0"
        else:
            result, otherwise = self._define(f"urem i{bits} {left}, {divisor}"), left
        return self._define(f"select i1 {zero}, i{bits} {otherwise}, i{bits} {result}")

    def _signed_division(self, code: int, left: str, right: str, bits: int) -> str:
        """Signed, truncating: as unsigned for 0; x / -1 is -x (which wraps), x % -1 is 0."""
        zero = self._define(f"icmp eq i{bits} {right}, 0")
        minus_one = self._define(f"icmp eq i{bits} {right}, -1")
        either = self._define(f"or i1 {zero}, {minus_one}")
        divisor = self._define(f"select i1 {either}, i{bits} 1, i{bits} {right}")
        if code == op.ALU_DIV:
            result = self._define(f"sdiv i{bits} {left}, {divisor}")
            negated, otherwise = self._define(f"sub i{bits} 0, {left}"), "0"
        else:
            result = self._define(f"srem i{bits} {left}, {divisor}")
            negated, otherwise = "0", left
        result = self._define(f"select i1 {minus_one}, i{bits} {negated}, i{bits} {result}")
        return self._define(f"select i1 {zero}, i{bits} {otherwise}, i{bits} {result}")

    def _byte_order(self, instruction: Instruction) -> Value:
        bits = instruction.imm
        low = self._of_bits(self._register(instruction.dst), bits)
        wanted = "big" if instruction.opcode & op.SOURCE_X else "little"
        if instruction.class_ == op.CLASS_ALU64 or wanted != sys.byteorder:
            low = self._define(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {low})")
        return self._zero_extended(low, bits)

    def _condition(self, instruction: Instruction) -> str:
        bits = 64 if instruction.class_ == op.CLASS_JMP else 32
        value = self._register(instruction.dst)
        operand = self._operand(instruction)
        code = instruction.opcode & 0xF0
        if bits == 64 and value.is_pointer and code in _CONDITIONS:
            if operand.is_pointer:
                return self._define(f"icmp {_CONDITIONS[code]} ptr {self._pointer(value)}, {self._pointer(operand)}")
            if operand.constant == 0:
                return self._define(f"icmp {_CONDITIONS[code]} ptr {self._pointer(value)}, null")
        left, right = self._of_bits(value, bits), self._of_bits(operand, bits)
        if code == op.JMP_JSET:
            common = self._define(f"and i{bits} {left}, {right}")
            return self._define(f"icmp ne i{bits} {common}, 0")
        return self._define(f"icmp {_CONDITIONS[code]} i{bits} {left}, {right}")
