"""Calls in machine code: local functions, helpers, callbacks, tail calls, array maps, packet loads."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from anybpf import elf
from anybpf.errors import InstructionError, LoadError, ObjectError
from anybpf.isa import Instruction, decode, encode
from anybpf.isa import opcodes as op
from anybpf.runtime.jit import translate_program
from anybpf.runtime.jit_bindings import Bindings, MapBinding, bind
from anybpf.runtime.jit_symbols import LOAD_PACKET, TAIL_CALL, ArrayLayout
from anybpf.runtime.lowering import Lowered, functions_of, helpers_of
from machine_code import Engine, address, helper, program, run

LOOKUP, UPDATE, LOOP = 1, 2, 181
HELPERS = {LOOKUP: "bpf_map_lookup_elem", UPDATE: "bpf_map_update_elem", LOOP: "bpf_loop"}


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine with a few of Linux's helpers."""
    with Engine(HELPERS) as made:
        yield made


def test_local_calls_keep_r6_to_r9_and_give_a_frame_each(engine: Engine) -> None:
    """A callee has its own registers and stack; it may use the caller's stack through a pointer."""
    result = engine.run_in_both(
        """
        r6 = 1
        r7 = 2
        *(u64 *)(r10 - 8) = 100
        r1 = r10
        r1 += -8
        r2 = 5
        call add
        r0 += r6
        r0 += r7
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        exit
        add:
        r6 = 1000
        r7 = 1000
        *(u64 *)(r10 - 8) = 7
        r3 = *(u64 *)(r1 + 0)
        r3 += r2
        *(u64 *)(r1 + 0) = r3
        r0 = *(u64 *)(r10 - 8)
        exit"""
    )
    assert result == 7 + 1 + 2 + 105


def test_eight_frames_deep(engine: Engine) -> None:
    """Eight nested functions with 512 bytes of stack each: more than may be merged into one frame."""
    source = "call f1\nexit\n"
    for depth in range(1, 8):
        call = f"call f{depth + 1}" if depth < 7 else "r0 = 0"
        source += f"""
        f{depth}:
        *(u64 *)(r10 - 512) = {depth}
        {call}
        r1 = *(u64 *)(r10 - 512)
        r0 *= 10
        r0 += r1
        exit"""
    assert engine.run_in_both(source) == 7654321


def test_a_function_that_is_never_called_is_not_needed() -> None:
    """A function reference may be the only use of a function; an unused one changes nothing."""
    assert run("r0 = function[f] ll\nif r0 == 0 goto out\nr0 = 1\nout:\nexit\nf:\nr0 = 2\nexit") == 1


def test_helpers_get_five_arguments_and_the_slot() -> None:
    """A helper sees r1 to r5 and the slot; its result is r0, and r1 to r5 read as 0 afterwards."""
    seen = []
    function = helper(lambda *arguments: seen.append(arguments) or 0x1234567890)
    source = "r1 = -1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncall 77\nr0 += r1\nr0 += r5\nexit"
    assert run(source, bindings=Bindings(helpers={77: address(function)}), slot=0x5151) == 0x1234567890
    assert seen == [(2**64 - 1, 2, 3, 4, 5, 0x5151)]


def test_callbacks_run_in_machine_code(engine: Engine) -> None:
    """bpf_loop calls the function that a reference names, with the index and the caller's stack as its context."""
    result = engine.run_in_both(
        f"""
        *(u64 *)(r10 - 8) = 0
        r1 = 10
        r2 = function[body] ll
        r3 = r10
        r3 += -8
        r4 = 0
        call {LOOP}
        r6 = r0
        r0 = *(u64 *)(r10 - 8)
        r6 <<= 32
        r0 |= r6
        exit
        body:
        r3 = *(u64 *)(r2 + 0)
        r3 += r1
        *(u64 *)(r2 + 0) = r3
        r0 = 0
        exit"""
    )
    assert result == 10 << 32 | 45


@pytest.mark.parametrize("kind", ["array", "percpu_array"])
def test_array_lookups_need_no_call(engine: Engine, kind: str) -> None:
    """An inlined lookup gives the same element as the helper, and null for keys that are too large."""
    engine.map("hash", 4, 4, 1)
    engine.map(kind, 4, 12, 5)
    source = f"""
        r6 = r1
        r0 = *(u32 *)(r1 + 0)
        *(u32 *)(r10 - 4) = r0
        r2 = r10
        r2 += -4
        r1 = map[1] ll
        call {LOOKUP}
        if r0 == 0 goto none
        r1 = *(u32 *)(r0 + 8)
        r1 += 3
        *(u32 *)(r0 + 8) = r1
        *(u64 *)(r6 + 8) = r0
        r0 = r1
        exit
        none:
        r0 = -1
        exit"""
    slot_of_call = 7
    assert program(source).text[slot_of_call] == Instruction(op.OP_CALL, imm=LOOKUP)
    by_helper, _ = engine.program(source)
    inlined, _ = engine.program(source, {slot_of_call: 1})
    assert "@helper_1(" not in translate_program(
        program(source, {slot_of_call: 1}), bind(engine.maps, {LOOKUP: 1}, None)
    ).replace("declare i64 @helper_1(", "")
    for key in (0, 1, 4, 5, 6, 0x80000000, 0xFFFFFFFF):
        memory = bytearray(struct.pack("<IIQ", key, 0, 0))
        other = bytearray(memory)
        first = engine.run(by_helper, memory)
        assert first == (3 if key < 5 else 2**64 - 1)
        assert engine.run(inlined, other) == (6 if key < 5 else 2**64 - 1)
        assert memory == other  # the same address


def test_values_of_data_maps_are_addressed_directly(engine: Engine) -> None:
    """map_value[] plus an offset reads and writes the map's memory."""
    engine.map("array", 4, 16, 1)
    source = "r1 = map_value[0] + 8 ll\nr0 = *(u64 *)(r1 + 0)\nr0 += 1\n*(u64 *)(r1 + 0) = r0\nexit"
    created, _ = engine.program(source)
    assert [engine.run(created, bytearray(8), interpreter=bool(i % 2)) for i in range(4)] == [1, 2, 3, 4]


def test_tail_calls() -> None:
    """A tail call's result ends the function that made it; a failed one goes on with a negative error in r0."""
    seen = []
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint64] * 3, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint64))

    @prototype
    def tail_call(context, table, index, slot, result):
        seen.append((table, index, slot))
        result[0] = 77 if index == 1 else 2**64 - 2
        return index == 1

    source = "r2 = map[0] ll\nr3 = *(u64 *)(r1 + 0)\ncall 12\nr0 += 1000\nexit"
    bindings = Bindings({0: MapBinding(0xAAAA0)}, {}, {TAIL_CALL: address(tail_call)}, 12)
    assert run(source, struct.pack("<Q", 1), bindings, slot=0x5151) == 77
    assert run(source, struct.pack("<Q", 9), bindings, slot=0x5151) == 998
    assert seen == [(0xAAAA0, 1, 0x5151), (0xAAAA0, 9, 0x5151)]


def test_packet_loads() -> None:
    """LD_ABS and LD_IND ask the engine; outside the packet the function ends with 0."""
    seen = []
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_uint64, ctypes.c_int64, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint64)
    )

    @prototype
    def load(event, offset, size, value):
        seen.append((event, offset, size))
        value[0] = 0xABCD
        return 0 if offset < 20 else -14

    source = "r6 = r1\nr7 = 4\nr0 = *(u16 *)skb[12]\nr8 = r0\nr0 = *(u32 *)skb[r7 - 8]\nr0 += r8\n"
    bindings = Bindings(engine={LOAD_PACKET: address(load)}, event_size=64)
    memory = bytearray(8)
    assert run(source + "exit", memory, bindings) == 0xABCD * 2
    assert [entry[1:] for entry in seen] == [(12, 2), (-4, 4)]
    assert seen[0][0] == seen[1][0] == ctypes.addressof(ctypes.c_char.from_buffer(memory)) - 64
    assert run(source + "r0 = *(u8 *)skb[20]\nr0 = 5\nexit", memory, bindings) == 0


def test_pointers_and_integers_meet(engine: Engine) -> None:
    """A register that is a pointer on one path and a number on another, differences of pointers, spilled pointers."""
    source = """
        r6 = r1
        r7 = *(u64 *)(r1 + 0)
        r3 = r10
        r3 += -16
        *(u64 *)(r3 + 0) = 11
        *(u64 *)(r3 + 8) = 22
        if r7 == 0 goto other
        r3 = r6
        r3 += 8
        other:
        r0 = *(u64 *)(r3 + 0)
        r3 += 8
        r4 = *(u64 *)(r3 + 0)
        r0 += r4
        *(u64 *)(r10 - 24) = r3
        r5 = *(u64 *)(r10 - 24)
        r5 -= r3
        r0 += r5
        r8 = r6
        r8 += r2
        r8 -= r6
        r0 += r8
        r9 = r7
        r9 += r6
        if r7 == 0 goto number
        r9 = 8
        number:
        if r7 != 0 goto index
        r9 -= r6
        index:
        r9 += r6
        r4 = *(u64 *)(r9 + 0)
        r0 += r4
        exit"""
    assert engine.run_in_both(source, struct.pack("<QQQ", 1, 300, 4000)) == 4300 + 24 + 300
    assert engine.run_in_both(source, struct.pack("<QQQ", 0, 300, 4000)) == 33 + 24


def test_text_is_the_same_in_every_process(engine: Engine) -> None:
    """The IR, and so the cached code, depends on shapes and not on addresses."""
    engine.map("array", 4, 8, 16)
    source = f"""
        *(u32 *)(r10 - 4) = 0
        r2 = r10
        r2 += -4
        r1 = map[0] ll
        call {LOOKUP}
        r1 = map_value[0] + 0 ll
        r2 = function[f] ll
        call {LOOP}
        exit
        f:
        r0 = 0
        exit"""
    lowered = program(source, {5: 0})
    here = bind(engine.maps, {LOOKUP: 4096, LOOP: 8192}, 12)
    elsewhere = Bindings(
        {0: MapBinding(0x7000_0000_1000, 0x7000_0000_2000, ArrayLayout(16, 8, 0))},
        {LOOKUP: 0x6000, LOOP: 0x6001},
        dict.fromkeys(here.engine, 1),
        12,
        here.cpu_offset,
        here.event_size,
    )
    text = translate_program(lowered, here)
    assert text == translate_program(lowered, elsewhere)
    for known in here.symbols().values():
        assert str(known) not in text.split("\n", 1)[1] or known < 10000


def test_what_cannot_be_compiled_is_refused_with_its_instruction() -> None:
    """Kernel functions and variables have no address here, nor has the entry; the message names the instruction."""
    with pytest.raises(LoadError, match="instruction 0: kernel function 3"):
        run(encode([Instruction(op.OP_CALL, src=op.CALL_KFUNC, imm=3), Instruction(op.OP_EXIT)]))
    with pytest.raises(LoadError, match="instruction 0: lddw"):
        run(encode([Instruction(op.OP_LDDW, src=op.LDDW_VARIABLE), None, Instruction(op.OP_EXIT)]))
    with pytest.raises(LoadError, match="instruction 1 refers to the program's entry"):
        run("again:\nr0 = 1\ncall again\nexit")


def test_an_entry_that_takes_more_than_two_arguments_gets_zeros() -> None:
    """Only r1 and r2 are given to a program; a third register, even one used as a pointer, is 0."""
    assert run("r0 = r3\nif r3 == 0 goto out\nr0 = *(u64 *)(r3 + 0)\nout:\nexit", bytes(8)) == 0


@pytest.mark.corpus
def test_every_program_of_the_corpus_becomes_valid_ir(corpus: Path) -> None:
    """Real programs of every size translate to IR that LLVM's own verifier accepts."""
    llvm = pytest.importorskip("llvmlite.binding")
    count = 0
    for path in sorted(corpus.glob("objects/*/*.o")):
        try:
            programs = [(spec, decode(spec.code)) for spec in elf.open(path)]
        except (InstructionError, ObjectError):
            continue  # what they are is the loader's business
        for spec, text in programs:
            if any(i is not None and i.opcode == op.OP_CALL and i.src == op.CALL_KFUNC for i in text):
                continue
            lowered = Lowered(text, spec.code, functions_of(text), helpers_of(text, ()))
            with llvm.parse_assembly(
                translate_program(lowered, Bindings(tail_call=12)), llvm.create_context()
            ) as module:
                module.verify()
            count += 1
    assert count > 250


def test_a_missing_helper_is_a_load_error() -> None:
    """Machine code whose helper has no address is never run."""
    with pytest.raises(LoadError, match="linked"):
        run("call 999\nexit")
