"""Lowered instructions to LLVM IR, as text.

Registers live in allocas between basic blocks and in SSA values within one, so that LLVM's SROA makes the phi nodes.
The text names no address of this process: what lies outside the program is a symbol
(:mod:`~anybpf.runtime.jit_symbols`), so the same text gives the same machine code in every process.

Everything that RFC 9669 defines is defined here too: shifts are masked, division by zero and of the least integer by -1
are tested for, additions wrap. Registers that a program reads before it writes them, and r1 to r5 after a call, are 0.
Two things are left to LLVM's own rules, as in any compiled C, because the verifier excludes them: an access outside the
object that its pointer was derived from, and a decision on stack bytes that were never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anybpf.errors import LoadError
from anybpf.isa import Instruction, Text, jump_target
from anybpf.isa import opcodes as op
from anybpf.runtime.jit_arithmetic import ArithmeticEmitter
from anybpf.runtime.jit_flow import CALLS, CONTEXT_REGISTER, REGISTERS, Block, Flow, analyse
from anybpf.runtime.jit_symbols import (
    CALL_BY_NUMBER,
    ENTRY,
    LOAD_PACKET,
    POP_FRAME,
    PUSH_FRAME,
    TAIL_CALL,
    Shapes,
    helper_symbol,
    map_symbol,
    values_symbol,
)
from anybpf.runtime.jit_values import Value, constant_value

#: Iterations that may_goto allows a function's frame (Linux's BPF_MAX_LOOPS).
MAY_GOTO_BUDGET = 8 * 1024 * 1024
#: Frames of 512 bytes that may be merged by inlining: together they stay within a page, which Windows probes.
INLINED_FRAMES = 6

_FRAME_ALIGNMENT = 16
_DECLARATIONS = f"""\
declare i32 @{TAIL_CALL}(i64, i64, i64, ptr, ptr) nounwind
declare i32 @{LOAD_PACKET}(ptr, i64, i32, ptr) nounwind
declare i64 @{CALL_BY_NUMBER}(i64, i64, i64, i64, i64, i64, ptr) nounwind
declare ptr @{PUSH_FRAME}(ptr) nounwind
declare void @{POP_FRAME}(ptr) nounwind
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
declare i64 @llvm.usub.sat.i64(i64, i64)
attributes #0 = {{ nounwind }}
attributes #1 = {{ nounwind noinline }}
"""

_BITS = {op.SIZE_B: 8, op.SIZE_H: 16, op.SIZE_W: 32, op.SIZE_DW: 64}
_ATOMICS = {
    op.ATOMIC_ADD: "add", op.ATOMIC_OR: "or", op.ATOMIC_AND: "and", op.ATOMIC_XOR: "xor", op.ATOMIC_XCHG: "xchg",
}  # fmt: skip


def translate(text: Text, functions: Sequence[int], shapes: Shapes) -> str:
    """Return LLVM IR that defines ``entry`` and declares every symbol that it uses.

    :param functions: entry slots: 0 first, then those that are called or passed to helpers.
    :raises LoadError: for what cannot be compiled, with the slot.
    """
    for slot, instruction in enumerate(text):
        refers = instruction is not None and (instruction.opcode == op.OP_CALL or instruction.is_wide)
        if instruction is not None and refers and jump_target(instruction, slot) == 0:
            raise LoadError(f"instruction {slot} refers to the program's entry, which only the runtime may call")
    flows = {entry: analyse(text, entry) for entry in functions}
    body = "".join(FunctionTranslator(text, flow, flows, shapes).translate() for flow in flows.values())
    maps = sorted({i.imm for i in text if i is not None and i.is_wide and i.src == op.LDDW_MAP_INDEX})
    values = {i.imm for i in text if i is not None and i.is_wide and i.src == op.LDDW_MAP_INDEX_VALUE}
    values.update(shapes.array_lookups.values())
    helpers = sorted({i.imm for i in text if i is not None and i.opcode == op.OP_CALL and i.src == op.CALL_HELPER})
    lines = [f"@{map_symbol(index)} = external global [0 x i8], align 8" for index in maps]
    lines += [f"@{values_symbol(index)} = external global [0 x i8], align 8" for index in sorted(values)]
    lines += [f"declare i64 @{helper_symbol(number)}(i64, i64, i64, i64, i64, ptr) nounwind" for number in helpers]
    return "\n".join((*lines, _DECLARATIONS, body))


class FunctionTranslator(ArithmeticEmitter):
    """Translates one function; :meth:`translate` may be called once.

    :param flows: the flow of every function of the program by entry slot, for the types of local calls' arguments.
    """

    def __init__(self, text: Text, flow: Flow, flows: Mapping[int, Flow], shapes: Shapes) -> None:
        super().__init__()
        self._text = text
        self._flow = flow
        self._flows = flows
        self._shapes = shapes
        self._uses_result = False
        self._uses_budget = False
        self._frame_in_slot = flow.uses_frame and shapes.slot_stack

    def translate(self) -> str:
        """Return the function's definition."""
        for block in self._flow.blocks.values():
            self._translate_block(block)
        flow = self._flow
        kinds = ["ptr" if flow.pointer_arguments >> r & 1 else "i64" for r in range(1, 6)]
        if flow.entry == 0:
            header = f"define i64 @{ENTRY}({kinds[0]} %r1, {kinds[1]} %r2, ptr %slot) #0 {{"
            arguments = flow.arguments & 0b110
        else:
            parameters = ", ".join(f"{kind} %r{r}" for r, kind in enumerate(kinds, 1))
            header = f"define internal i64 @f{flow.entry}({parameters}, ptr %slot) #{self._attributes()} {{"
            arguments = flow.arguments
        first = flow.blocks[flow.entry]
        prologue = [header, "begin:"]
        held = [block.pointers_in for block in flow.blocks.values()]
        for r in range(REGISTERS - 1):
            prologue.append(f"  %v{r} = alloca i64")
            if any(pointers >> r & 1 for pointers in held):
                prologue.append(f"  %p{r} = alloca ptr")
        if flow.uses_frame and not self._frame_in_slot:
            prologue.append(f"  %frame = alloca [{op.STACK_SIZE} x i8], align {_FRAME_ALIGNMENT}")
        if self._uses_result:
            prologue.append("  %result = alloca i64")
        if self._uses_budget:
            prologue += ["  %budget = alloca i64", f"  store i64 {MAY_GOTO_BUDGET}, ptr %budget"]
        for r in range(REGISTERS - 1):
            if first.live_in >> r & 1:
                pointer = first.pointers_in >> r & 1
                value = f"%r{r}" if arguments >> r & 1 else "null" if pointer else "0"
                prologue.append(f"  store {'ptr' if pointer else 'i64'} {value}, ptr %{'p' if pointer else 'v'}{r}")
        if self._frame_in_slot:
            prologue += [
                f"  %frame = call align {_FRAME_ALIGNMENT} ptr @{PUSH_FRAME}(ptr %slot)",
                "  %full = icmp eq ptr %frame, null",
                f"  br i1 %full, label %stop, label %b{flow.entry}",
                "stop:",
                "  ret i64 0",
            ]
        else:
            prologue.append(f"  br label %b{flow.entry}")
        return "\n".join((*prologue, *self._lines, "}\n"))

    def _attributes(self) -> int:
        """Number of the attribute group: 1 keeps a function from being inlined."""
        frames = sum(flow.uses_frame for flow in self._flows.values())
        return 1 if self._flow.uses_frame and frames > INLINED_FRAMES else 0

    # Blocks.

    def _translate_block(self, block: Block) -> None:
        self._begin(block)
        self._label(f"b{block.start}")
        for (slot, instruction), wanted in zip(block.instructions, block.wanted, strict=True):
            self._translate(slot, instruction, wanted)
        last = block.instructions[-1][1]
        if last.opcode == op.OP_EXIT:
            self._return(self._wide(self._register(0)))
            return
        condition = ""
        if len(block.successors) > 1:
            condition = self._may_goto() if last.opcode == op.OP_MAY_GOTO else self._condition(last)
        self._store_live(block)
        if condition:
            following, target = block.successors
            self._emit(f"br i1 {condition}, label %b{target}, label %b{following}")
        else:
            self._emit(f"br label %b{block.successors[0]}")

    def _return(self, result: str) -> None:
        if self._frame_in_slot:
            self._emit(f"call void @{POP_FRAME}(ptr %slot)")
        self._emit(f"ret i64 {result}")

    def _store_live(self, block: Block) -> None:
        """Leave every live register in the form that each successor expects."""
        blocks = [self._flow.blocks[start] for start in block.successors]
        for r in range(REGISTERS - 1):
            bit = 1 << r
            if not block.live_out & bit:
                continue
            was_pointer = bool(block.pointers_in & bit)
            for pointer in {bool(successor.pointers_in & bit) for successor in blocks if successor.live_in & bit}:
                if not self._changed & bit and pointer == was_pointer:
                    continue
                value = self._register(r)
                if pointer:
                    self._emit(f"store ptr {self._pointer(value)}, ptr %p{r}")
                else:
                    self._emit(f"store i64 {self._wide(value)}, ptr %v{r}")

    # Instructions.

    def _translate(self, slot: int, instruction: Instruction, wanted: int) -> None:
        match instruction.class_:
            case op.CLASS_ALU64 | op.CLASS_ALU:
                self._arithmetic(instruction)
            case op.CLASS_LDX:
                self._load(instruction, wanted)
            case op.CLASS_ST | op.CLASS_STX:
                if instruction.opcode & 0xE0 == op.MODE_ATOMIC:
                    self._atomic(instruction)
                else:
                    self._store(instruction)
            case op.CLASS_LD:
                if instruction.opcode == op.OP_LDDW:
                    self._load_wide(slot, instruction)
                else:
                    self._load_packet(instruction)
            case _:
                if instruction.opcode in CALLS:
                    self._call(slot, instruction, wanted)

    def _may_goto(self) -> str:
        """Jump when the frame's budget is spent, as Linux does; every may_goto of a function draws on the same one."""
        self._uses_budget = True
        left = self._define("load i64, ptr %budget")
        spent = self._define(f"icmp eq i64 {left}, 0")
        reduced = self._define(f"call i64 @llvm.usub.sat.i64(i64 {left}, i64 1)")
        self._emit(f"store i64 {reduced}, ptr %budget")
        return spent

    # Memory.

    def _address(self, r: int, offset: int, bits: int) -> tuple[str, int]:
        """The address ``offset`` bytes from register ``r``, and its known alignment in bytes."""
        value = self._register(r)
        if value.frame is not None:
            position = value.frame + offset
            aligned = min(position & -position or _FRAME_ALIGNMENT, bits // 8)
            return self._pointer(Value(frame=position)), aligned
        base = self._pointer(value)
        return self._define(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base, 1

    def _load(self, instruction: Instruction, wanted: int) -> None:
        bits = _BITS[instruction.opcode & 0x18]
        address, alignment = self._address(instruction.src, instruction.offset, bits)
        r = instruction.dst
        if instruction.opcode & 0xE0 == op.MODE_MEMSX:
            name = self._define(f"load i{bits}, ptr {address}, align {alignment}")
            self._set(r, Value(wide=self._define(f"sext i{bits} {name} to i64")))
        elif bits == 64 and wanted >> r & 1:
            self._set(r, Value(pointer=self._define(f"load ptr, ptr {address}, align {alignment}")))
        else:
            self._set(r, self._zero_extended(self._define(f"load i{bits}, ptr {address}, align {alignment}"), bits))

    def _store(self, instruction: Instruction) -> None:
        bits = _BITS[instruction.opcode & 0x18]
        is_register = instruction.class_ == op.CLASS_STX
        stored = self._register(instruction.src) if is_register else constant_value(instruction.imm)
        if bits == 64 and stored.is_pointer:
            content = f"ptr {self._pointer(stored)}"
        else:
            content = f"i{bits} {self._of_bits(stored, bits)}"
        address, alignment = self._address(instruction.dst, instruction.offset, bits)
        self._emit(f"store {content}, ptr {address}, align {alignment}")

    def _atomic(self, instruction: Instruction) -> None:
        """Without a result: relaxed; with one: sequentially consistent. Aligned, as the verifier requires."""
        bits = _BITS[instruction.opcode & 0x18]
        imm, size = instruction.imm, bits // 8
        if imm == op.ATOMIC_LOAD_ACQUIRE:
            address, _ = self._address(instruction.src, instruction.offset, bits)
            name = self._define(f"load atomic i{bits}, ptr {address} acquire, align {size}")
            self._set(instruction.dst, self._zero_extended(name, bits))
            return
        address, _ = self._address(instruction.dst, instruction.offset, bits)
        operand = self._of_bits(self._register(instruction.src), bits)
        if imm == op.ATOMIC_STORE_RELEASE:
            self._emit(f"store atomic i{bits} {operand}, ptr {address} release, align {size}")
        elif imm == op.ATOMIC_CMPXCHG:
            expected = self._of_bits(self._register(0), bits)
            pair = self._define(
                f"cmpxchg ptr {address}, i{bits} {expected}, i{bits} {operand} seq_cst seq_cst, align {size}"
            )
            name = self._define(f"extractvalue {{ i{bits}, i1 }} {pair}, 0")
            self._set(0, self._zero_extended(name, bits))
        else:
            fetch = bool(imm & op.ATOMIC_FETCH)
            operation = _ATOMICS[imm if imm == op.ATOMIC_XCHG else imm & ~op.ATOMIC_FETCH]
            order = "seq_cst" if fetch else "monotonic"
            name = self._define(f"atomicrmw {operation} ptr {address}, i{bits} {operand} {order}, align {size}")
            if fetch:
                self._set(instruction.src, self._zero_extended(name, bits))

    def _load_wide(self, slot: int, instruction: Instruction) -> None:
        r = instruction.dst
        match instruction.src:
            case op.LDDW_IMMEDIATE:
                self._set(r, constant_value(instruction.imm64))
            case op.LDDW_MAP_INDEX:
                self._set(r, Value(pointer=f"@{map_symbol(instruction.imm)}"))
            case op.LDDW_MAP_INDEX_VALUE:
                values = f"@{values_symbol(instruction.imm)}"
                self._set(r, Value(pointer=self._define(f"getelementptr i8, ptr {values}, i64 {instruction.next_imm}")))
            case op.LDDW_FUNCTION:
                self._set(r, Value(pointer=f"@f{jump_target(instruction, slot)}"))
            case other:
                raise LoadError(f"instruction {slot}: lddw with source register field {other} has no address here")

    def _load_packet(self, instruction: Instruction) -> None:
        """LD_ABS and LD_IND: outside the packet they end the function with r0 = 0."""
        self._uses_result = True
        size = _BITS[instruction.opcode & 0x18] // 8
        position = str(instruction.imm)
        if instruction.opcode & 0xE0 == op.MODE_IND:
            index = self._define(f"add i32 {self._word(self._register(instruction.src))}, {instruction.imm}")
            position = self._define(f"sext i32 {index} to i64")
        context = self._pointer(self._register(CONTEXT_REGISTER))
        event = self._define(f"getelementptr i8, ptr {context}, i64 {-self._shapes.event_size}")
        error = self._define(f"call i32 @{LOAD_PACKET}(ptr {event}, i64 {position}, i32 {size}, ptr %result)")
        inside, outside = self._new_label(), self._new_label()
        self._emit(f"br i1 {self._define(f'icmp eq i32 {error}, 0')}, label %{inside}, label %{outside}")
        self._label(outside)
        self._return("0")
        self._label(inside)
        self._clobber(Value(wide=self._define("load i64, ptr %result")))

    # Calls.

    def _clobber(self, result: Value) -> None:
        self._set(0, result)
        for r in range(1, 6):
            self._set(r, constant_value(0))

    def _call(self, slot: int, instruction: Instruction, wanted: int) -> None:
        if instruction.opcode == op.OP_CALLX:
            numbers = ", ".join(f"i64 {self._wide(self._register(r))}" for r in (instruction.dst, 1, 2, 3, 4, 5))
            self._clobber(Value(wide=self._define(f"call i64 @{CALL_BY_NUMBER}({numbers}, ptr %slot)")))
        elif instruction.src == op.CALL_LOCAL:
            target = jump_target(instruction, slot)
            assert target is not None
            self._call_local(self._flows[target])
        elif instruction.src != op.CALL_HELPER:
            raise LoadError(f"instruction {slot}: kernel function {instruction.imm} is not offered here")
        elif slot in self._shapes.array_lookups:
            self._look_up(self._shapes.array_lookups[slot])
        elif instruction.imm == self._shapes.tail_call:
            self._tail_call()
        else:
            arguments = ", ".join(f"i64 {self._wide(self._register(r))}" for r in range(1, 6))
            name = self._define(f"call i64 @{helper_symbol(instruction.imm)}({arguments}, ptr %slot)")
            self._clobber(Value(wide=name))
            if wanted & 1:
                self._registers[0] = Value(pointer=self._define(f"inttoptr i64 {name} to ptr"))

    def _call_local(self, callee: Flow) -> None:
        arguments = []
        for r in range(1, 6):
            pointer = callee.pointer_arguments >> r & 1
            if not callee.arguments >> r & 1:
                arguments.append("i64 poison")
            elif pointer:
                arguments.append(f"ptr {self._pointer(self._register(r))}")
            else:
                arguments.append(f"i64 {self._wide(self._register(r))}")
        name = self._define(f"call i64 @f{callee.entry}({', '.join(arguments)}, ptr %slot)")
        self._clobber(Value(wide=name))

    def _look_up(self, index: int) -> None:
        """An array map's lookup without a call: the value's address, or null when the key is too large."""
        layout = self._shapes.arrays[index]
        address, alignment = self._address(2, 0, 32)
        key = self._define(f"load i32, ptr {address}, align {alignment}")
        inside = self._define(f"icmp ult i32 {key}, {layout.max_entries}")
        base = f"@{values_symbol(index)}"
        if layout.cpu_stride:
            place = self._define(f"getelementptr i8, ptr %slot, i64 {self._shapes.cpu_offset}")
            cpu = self._define(f"load i32, ptr {place}, align 4")
            start = self._define(f"mul i64 {self._define(f'zext i32 {cpu} to i64')}, {layout.cpu_stride}")
            base = self._define(f"getelementptr inbounds i8, ptr {base}, i64 {start}")
        step = self._define(f"mul i64 {self._define(f'zext i32 {key} to i64')}, {layout.stride}")
        element = self._define(f"getelementptr inbounds i8, ptr {base}, i64 {step}")
        self._clobber(Value(pointer=self._define(f"select i1 {inside}, ptr {element}, ptr null")))

    def _tail_call(self) -> None:
        """ab_tail_call runs the target; when it did, the target's result ends this function too."""
        self._uses_result = True
        arguments = ", ".join(f"i64 {self._wide(self._register(r))}" for r in range(1, 4))
        ran = self._define(f"call i32 @{TAIL_CALL}({arguments}, ptr %slot, ptr %result)")
        result = self._define("load i64, ptr %result")
        done, label = self._new_label(), self._new_label()
        self._emit(f"br i1 {self._define(f'icmp ne i32 {ran}, 0')}, label %{done}, label %{label}")
        self._label(done)
        self._return(result)
        self._label(label)
        self._clobber(Value(wide=result))
