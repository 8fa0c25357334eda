"""The Linux tables against the live kernel's own verifier: numbers, helpers, context accesses, return values."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

import kernelverifier
from anybpf import btf
from anybpf.btf import types as t
from anybpf.platforms import ArgKind, Context, FieldKind, Helper, MapKind, ProgramType, linux
from anybpf.spec import MapSpec
from kernelverifier import Kernel

pytestmark = pytest.mark.linux_only

#: The kernel whose answers the tables hold.
TABLES_ARE = (6, 18)

#: Offered to those who administer the whole machine only, or when the kernel was configured for it.
NEEDS_MORE = {"bpf_probe_write_user", "bpf_override_return"}

#: Fields of which the kernel's own struct names less than programs may read.
PARTLY = {("dst_port", 2), ("remote_port", 2), ("args", 0), ("cs", 2), ("ss", 2)}

EXIT = bytes.fromhex("9500000000000000")
WIDTHS = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
#: Bytes of long contexts that are compared: beyond, they repeat.
LONGEST = 256


@pytest.fixture(autouse=True, scope="module")
def _kernel() -> None:
    kernelverifier.require_kernel()


def instruction(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    """One instruction's 8 bytes."""
    return struct.pack("<BBhi", opcode, src << 4 | dst, offset, imm)


def move(register: int, value: int) -> bytes:
    """``register = value``."""
    return instruction(0xB7, register, imm=value)


def narrowed() -> Iterator[ProgramType]:
    """Each program type that some section names without an attach type, and each as its attach types narrow it."""
    for program_type in linux.program_types:
        if any(not section.attach_type for section in program_type.sections):
            yield program_type
        for attach_type in program_type.attach_types:
            yield program_type.for_attach_type(attach_type)


#: What a program of these attach types is attached to, of the kernel's functions and trace points.
TARGETS = {
    "trace_raw_tp": ("btf_trace_sched_switch", t.Typedef),
    "trace_iter": ("bpf_iter_task", t.Function),
    "trace_fentry": ("tcp_v4_connect", t.Function),
    "trace_fexit": ("tcp_v4_connect", t.Function),
    "modify_return": ("security_file_open", t.Function),
    "lsm_mac": ("bpf_lsm_file_open", t.Function),
    "lsm_cgroup": ("bpf_lsm_socket_bind", t.Function),
}


@cache
def kernel_for(program_type: ProgramType) -> Kernel:
    """The live verifier for programs of this type; skips the test when this kernel or process cannot have such."""
    number = program_type.attach_types.get(program_type.attach_type, 0)
    target = TARGETS.get(program_type.attach_type)
    found = Kernel(
        program_type.number,
        number,
        target=kernelverifier.type_id(*target) if target else 0,
        sleepable=program_type.name == "syscall",
    )
    if not any(found.accepts(move(0, value) + EXIT) for value in (0, 1)):
        pytest.skip(f"no {program_type.name} programs here: not in this kernel, or they need CAP_SYS_ADMIN")
    return found


TYPES = [pytest.param(p, id=f"{p.name}-{p.attach_type}" if p.attach_type else p.name) for p in narrowed()]


def numbers(enumeration: str, prefix: str) -> dict[str, int]:
    """The kernel's enumerators as the tables name them."""
    return {
        name.removeprefix(prefix).lower(): number for name, number in kernelverifier.enumeration(enumeration).items()
    }


class TestNumbers:
    """The tables' numbers against the enumerations in the kernel's type information."""

    def test_helpers(self):
        """Every helper has the kernel's number, and none is missing."""
        kernel = numbers("bpf_func_id", "BPF_FUNC_")
        ours = {helper.name.removeprefix("bpf_"): helper.id for helper in linux.helpers.values()}
        assert ours.items() <= kernel.items()
        assert kernel.keys() - ours.keys() == {"unspec", "__bpf_func_max_id"} & kernel.keys()

    def test_program_types(self):
        """Every program type has the kernel's number, and none is missing."""
        kernel = numbers("bpf_prog_type", "BPF_PROG_TYPE_")
        kernel.pop("__max_bpf_prog_type", None)
        assert {program_type.name: program_type.number for program_type in linux.program_types} == kernel

    def test_attach_types(self):
        """Every attach type has the kernel's number."""
        kernel = numbers("bpf_attach_type", "BPF_")
        for program_type in linux.program_types:
            assert program_type.attach_types.items() <= kernel.items()

    def test_map_types(self):
        """Every map kind has the kernel's number."""
        kernel = numbers("bpf_map_type", "BPF_MAP_TYPE_")
        assert {kind.value: number for number, kind in linux.map_types.items()}.items() <= kernel.items()

    @pytest.mark.parametrize("context", {p.context.name: p.context for p in narrowed()}.values(), ids=lambda c: c.name)
    def test_layouts(self, context: Context):
        """Fields stand where the kernel's struct of that name has them, with the same sizes."""
        types = btf.kernel()
        struct_id = types.find(context.name, t.Struct) if context.name else None
        if struct_id is None:
            pytest.skip("the kernel describes no struct of that name")
        layout = dict(members(types, struct_id))
        for field in context.fields:
            name, _, index = field.name.partition("[")
            skipped = int(index.rstrip("]")) * field.element if index else 0
            assert name in layout, field.name
            offset, size = layout[name]
            assert field.offset == offset + skipped, field.name
            assert field.size == size - skipped or (name, size) in PARTLY


def members(types: btf.Btf, struct_id: int, base: int = 0) -> Iterator[tuple[str, tuple[int, int]]]:
    """The named members of a struct, those of its nameless unions among them: name, (byte offset, size)."""
    found = types.resolve(struct_id)
    assert isinstance(found, t.Struct)
    for member in found.members:
        offset = base + member.bit_offset // 8
        inside = types.resolve(member.type)
        if isinstance(inside, t.Struct) and (not member.name or member.name == "regs"):
            yield from members(types, member.type, offset)
        elif not member.bit_size:
            yield member.name, (offset, types.size_of(member.type))


@pytest.mark.parametrize("program_type", TYPES)
def test_helpers_offered(program_type: ProgramType):
    """The kernel offers a program of this type the helpers that the table lists, and no others."""
    kernel = kernel_for(program_type)
    offered = set()
    for number, helper in linux.helpers.items():
        accepted, log = kernel.verdict(instruction(0x85, imm=number) + move(0, 1) + EXIT)
        refused = ("cannot use helper", "unknown func", "invalid func", "helper call is not allowed", "sleepable")
        if accepted or not any(phrase in log for phrase in refused):
            offered.add(helper.name)
    ours = program_type.helpers - NEEDS_MORE
    if program_type.attach_type == "trace_iter":
        ours -= {"bpf_d_path"}  # of some iterators only
        offered -= {"bpf_d_path"}
    assert offered - ours == set()
    if kernelverifier.release() == TABLES_ARE:
        assert ours - offered == set()


@pytest.mark.parametrize("program_type", TYPES)
def test_context_accesses(program_type: ProgramType):
    """A load or store of each width at each byte of the context is allowed exactly where the kernel allows it."""
    if any(field.kind is FieldKind.ARGUMENT for field in program_type.context.fields):
        pytest.skip("what such a context holds is known from the traced function's types")
    kernel = kernel_for(program_type)
    wrong = []
    for offset in range(min(program_type.context.size + 8, LONGEST)):
        for width in (w for w in WIDTHS if offset % w == 0):
            load = instruction(0x61 | WIDTHS[width], 2, 1, offset)
            store = move(2, 0) + instruction(0x63 | WIDTHS[width], 1, 2, offset)
            for write, access in ((False, load), (True, store)):
                ours = program_type.context.access(offset, width, write=write) is not None
                if kernel.accepts(access + move(0, 1) + EXIT) != ours:
                    wrong.append(f"{'store' if write else 'load'} of {width} at {offset}: ours {ours}")
    assert not wrong


@pytest.mark.parametrize("program_type", TYPES)
def test_return_values(program_type: ProgramType):
    """The kernel lets a program return the bounds of the table's range, and nothing beyond them."""
    if program_type.attach_type.startswith("lsm"):
        pytest.skip("depends on the hook's own type")
    kernel = kernel_for(program_type)
    if program_type.returns is None:
        assert all(kernel.accepts(move(0, value) + EXIT) for value in (-1, 0, 1, 2, 100))
        return
    low, high = program_type.returns
    assert kernel.accepts(move(0, low) + EXIT)
    assert kernel.accepts(move(0, high) + EXIT)
    assert not kernel.accepts(move(0, low - 1) + EXIT)
    assert not kernel.accepts(move(0, high + 1) + EXIT)


@pytest.mark.parametrize("attach", ["bpf_sock", "bpf_sock_common", "bpf_tcp_sock"])
def test_socket_structures(attach: str):
    """What a socket pointer shows is what the kernel shows, to the byte."""
    tc = Kernel(linux.program_type("sched_cls").number)
    leave = move(0, 0) + EXIT
    to_socket = instruction(0x79, 6, 1, 168) + instruction(0x55, 6, offset=2) + leave
    through = {"bpf_sock": "bpf_sk_fullsock", "bpf_tcp_sock": "bpf_tcp_sock"}.get(attach)
    if through is not None:
        number = next(helper.id for helper in linux.helpers.values() if helper.name == through)
        to_socket += instruction(0xBF, 1, 6) + instruction(0x85, imm=number)
        to_socket += instruction(0x55, 0, offset=2) + leave + instruction(0xBF, 6, 0)
    structure = linux.structures[attach]
    for offset in range(structure.size + 8):
        for width in (w for w in WIDTHS if offset % w == 0):
            access = instruction(0x61 | WIDTHS[width], 2, 6, offset)
            ours = structure.access(offset, width) is not None
            assert tc.accepts(to_socket + access + leave) == ours, (offset, width)


# ---------------------------------------------------------------------------------------------------------------------
# Arguments

#: Map kinds for whose maps a helper may be asked: key size, value size, entries, flags.
SHAPES = {
    MapKind.HASH: (4, 8, 4, 0),
    MapKind.ARRAY: (4, 8, 4, 0),
    MapKind.PERCPU_ARRAY: (4, 8, 4, 0),
    MapKind.PROG_ARRAY: (4, 4, 4, 0),
    MapKind.PERF_EVENT_ARRAY: (4, 4, 4, 0),
    MapKind.STACK_TRACE: (4, 64, 4, 0),
    MapKind.CGROUP_ARRAY: (4, 4, 4, 0),
    MapKind.DEVMAP: (4, 4, 4, 0),
    MapKind.XSKMAP: (4, 4, 4, 0),
    MapKind.SOCKMAP: (4, 4, 4, 0),
    MapKind.SOCKHASH: (4, 4, 4, 0),
    MapKind.REUSEPORT_SOCKARRAY: (4, 4, 4, 0),
    MapKind.QUEUE: (0, 8, 4, 0),
    MapKind.RINGBUF: (0, 0, 4096, 0),
    MapKind.CGROUP_STORAGE: (16, 8, 0, 0),
}
KIND_NUMBERS = {kind: number for number, kind in linux.map_types.items()}
#: Kinds of arguments that need more than a few instructions to make, or the kernel's types.
HARD = {
    ArgKind.CALLBACK, ArgKind.CALLBACK_CONTEXT, ArgKind.SPIN_LOCK, ArgKind.TIMER, ArgKind.RECORD, ArgKind.KERNEL,
    ArgKind.KERNEL_OR_NULL, ArgKind.DYNPTR, ArgKind.DYNPTR_OUT, ArgKind.PERCPU, ArgKind.KPTR, ArgKind.SOCKET,
    ArgKind.SOCKET_OR_NULL, ArgKind.SOCKET_RELEASED, ArgKind.STRING,
}  # fmt: skip
READ = {ArgKind.MEMORY, ArgKind.MEMORY_OR_NULL, ArgKind.MEMORY_INOUT, ArgKind.MAP_KEY, ArgKind.MAP_VALUE}
WRITTEN = {ArgKind.MEMORY_OUT, ArgKind.MEMORY_OUT_OR_NULL, ArgKind.MAP_VALUE_OUT}
ROOM = 64  # bytes of stack given to each memory argument


@cache
def map_of_kind(kind: MapKind) -> int:
    """A map of ``kind``, kept open for the test session."""
    descriptor = kernelverifier.create_map(KIND_NUMBERS[kind], *SHAPES[kind][:3], flags=SHAPES[kind][3])
    if descriptor < 0:
        pytest.skip(f"no {kind.value} map here: error {-descriptor}")
    return descriptor


def arguments(helper: Helper, *, initialised: bool) -> bytes:
    """Instructions that put what the table demands into r1–r5; r6 keeps the context."""
    code = instruction(0xBF, 6, 1)
    depth = 0
    for register, arg in enumerate(helper.args, start=1):
        if arg.kind is ArgKind.CONTEXT:
            code += instruction(0xBF, register, 6)
        elif arg.kind is ArgKind.MAP:
            kind = min(arg.maps or {MapKind.HASH}, key=list(MapKind).index)
            code += instruction(0x18, register, 1, imm=map_of_kind(kind)) + instruction(0)
        elif arg.kind in READ | WRITTEN:
            depth += ROOM
            if arg.kind in READ and initialised:
                code += b"".join(instruction(0x7A, 10, offset=-depth + at) for at in range(0, ROOM, 8))
            code += instruction(0xBF, register, 10) + instruction(0x07, register, imm=-depth)
        elif arg.kind is ArgKind.MAP_VALUE_OR_NULL:
            code += move(register, 0)
        elif arg.kind in (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO, ArgKind.ALLOC_SIZE):
            code += move(register, 16)
        else:
            code += move(register, 0)
    return code


def callable_helpers() -> Iterator[tuple[ProgramType, Helper]]:
    """Each helper whose arguments are easily made, with a type that may call it."""
    for helper in linux.helpers.values():
        kinds = {arg.kind for arg in helper.args}
        maps = {min(a.maps, key=list(MapKind).index) for a in helper.args if a.maps}
        if kinds & HARD or not maps <= SHAPES.keys() or helper.name in NEEDS_MORE or helper.acquires:
            continue
        for program_type in narrowed():
            if helper.name in program_type.helpers and program_type.attach_type not in TARGETS:
                yield program_type, linux.find_helper(helper.id, program_type) or helper
                break


CALLS = [pytest.param(p, h, id=h.name) for p, h in callable_helpers()]


@pytest.mark.parametrize(("program_type", "helper"), CALLS)
def test_arguments_taken(program_type: ProgramType, helper: Helper):
    """A call with the arguments that the table demands is one that the kernel takes."""
    accepted, log = kernel_for(program_type).verdict(
        arguments(helper, initialised=True) + instruction(0x85, imm=helper.id) + move(0, 1) + EXIT
    )
    assert accepted, log


def packet_of(program_type: ProgramType) -> tuple[int, int] | None:
    """Offsets of the context's packet fields, of types with 4-byte ones."""
    found = {field.kind: field.offset for field in program_type.context.fields if field.size == 4}
    start, end = found.get(FieldKind.PACKET), found.get(FieldKind.PACKET_END)
    return None if start is None or end is None else (start, end)


READING = [c for c in CALLS if {arg.kind for arg in c.values[1].args} & READ]


@pytest.mark.parametrize(("program_type", "helper"), CALLS)
def test_licence(program_type: ProgramType, helper: Helper):
    """The helpers that demand a GPL-compatible licence are those of which the kernel demands it."""
    code = arguments(helper, initialised=True) + instruction(0x85, imm=helper.id) + move(0, 1) + EXIT
    accepted, _ = kernel_for(program_type).verdict(code, licence=b"MIT")
    assert accepted != helper.gpl_only


@pytest.mark.parametrize(("program_type", "helper"), [c for c in CALLS if c.values[1].args])
def test_arguments_refused(program_type: ProgramType, helper: Helper):
    """With a number in the place of each pointer that the table demands, the kernel refuses the call."""
    code = arguments(helper, initialised=True)
    for register, arg in enumerate(helper.args, start=1):
        if arg.kind in {ArgKind.CONTEXT, ArgKind.MAP, *READ, *WRITTEN}:
            wrong = code + move(register, 77) + instruction(0x85, imm=helper.id) + move(0, 1) + EXIT
            assert not kernel_for(program_type).accepts(wrong), f"argument {register}"


@pytest.mark.parametrize(("program_type", "helper"), [c for c in READING if packet_of(c.values[0])])
def test_packet_arguments(program_type: ProgramType, helper: Helper):
    """Memory of the packet is taken as an argument by the helpers of which the table says so, and by no others."""
    code = arguments(helper, initialised=True)
    start, end = packet_of(program_type) or (0, 0)
    packet = instruction(0x61, 8, 6, start) + instruction(0x61, 9, 6, end)
    packet += instruction(0xBF, 7, 8) + instruction(0x07, 7, imm=ROOM)
    packet += instruction(0x3D, 9, 7, 2) + move(0, 1) + EXIT  # if r9 >= r7 goto past the exit
    for register, arg in enumerate(helper.args, start=1):
        if arg.kind in READ:
            call = code + packet + instruction(0xBF, register, 8) + instruction(0x85, imm=helper.id) + move(0, 1) + EXIT
            assert kernel_for(program_type).accepts(call) == helper.packet_access, f"argument {register}"


# ---------------------------------------------------------------------------------------------------------------------
# Maps

#: Kinds that take more than sizes and flags to create: BTF, or a structure of the kernel.
HARD_MAPS = {
    MapKind.SK_STORAGE, MapKind.INODE_STORAGE, MapKind.TASK_STORAGE, MapKind.CGRP_STORAGE, MapKind.STRUCT_OPS,
}  # fmt: skip
#: A declaration of each kind that is right.
RIGHT = {
    MapKind.LPM_TRIE: (8, 8, 4, 1),
    MapKind.STACK_TRACE: (4, 8, 4, 0),
    MapKind.QUEUE: (0, 8, 4, 0),
    MapKind.STACK: (0, 8, 4, 0),
    MapKind.BLOOM_FILTER: (0, 8, 4, 0),
    MapKind.RINGBUF: (0, 0, 4096, 0),
    MapKind.USER_RINGBUF: (0, 0, 4096, 0),
    MapKind.CGROUP_STORAGE: (16, 8, 0, 0),
    MapKind.PERCPU_CGROUP_STORAGE: (16, 8, 0, 0),
    MapKind.CPUMAP: (4, 4, 1, 0),
    MapKind.ARENA: (0, 0, 4, 1 << 10),
}
#: Values to put in the place of each of a declaration's numbers: key size, value size, entries.
OTHERS = (
    (0, 1, 2, 4, 5, 8, 16, 20, 260, 261, 512, 513, 70000),
    (0, 1, 4, 6, 8, 12, 16, 1016, 1024, 4096, 32768, 32769),
    (0, 1, 3, 4096, 5000),
)


@pytest.mark.parametrize("kind", [k for k in linux.map_rules if k not in HARD_MAPS], ids=lambda k: k.value)
def test_map_rules(kind: MapKind):
    """The kernel creates the maps that the rules allow, and refuses the others, whichever number is wrong."""
    rules = linux.map_rules[kind]
    right = RIGHT.get(kind, (4, 4, 4, 0))
    inner = kernelverifier.create_map(KIND_NUMBERS[MapKind.ARRAY], 4, 8, 1) if rules.nested else 0
    declared_inner = MapSpec("inner", KIND_NUMBERS[MapKind.ARRAY], 4, 8, 1)
    shapes = [right]
    for place, values in enumerate(OTHERS):
        if place == 2 and kind is MapKind.CPUMAP:
            continue  # bounded by the number of processors that the kernel was built for
        shapes += [(*right[:place], value, *right[place + 1 :]) for value in values]
    # All flags but BPF_F_NUMA_NODE, which needs a node, and those about file descriptors, which objects never hold.
    shapes += [(*right[:3], right[3] | 1 << bit) for bit in (0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 12)]
    for key_size, value_size, entries, flags in shapes:
        made = kernelverifier.create_map(KIND_NUMBERS[kind], key_size, value_size, entries, flags=flags, inner=inner)
        if made >= 0:
            os.close(made)
        spec = MapSpec("m", KIND_NUMBERS[kind], key_size, value_size, entries, flags, inner=declared_inner)
        problem = replace(rules, sizes_given=False).problem(spec)
        ours = problem is None and not (kind is MapKind.PERF_EVENT_ARRAY and entries == 0)  # loaders put the CPUs there
        assert ours == (made >= 0), (key_size, value_size, entries, hex(flags), made, problem)
