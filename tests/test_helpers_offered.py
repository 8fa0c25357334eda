"""Which helpers there are: what programs of a platform may call, the engine has, and a verified program can call."""

from __future__ import annotations

import warnings

import pytest

import anybpf.runtime.object as runtime
from anybpf.errors import LoadError
from anybpf.isa import assemble
from anybpf.platforms import ArgKind, Helper, MapKind, Platform, ProgramType, ReturnKind, linux, windows
from anybpf.runtime import binding
from anybpf.runtime.context import Context
from anybpf.spec import MapSpec, ObjectSpec, ProgramSpec
from conftest import ROOT
from helpercalls import load

EVERY_TYPE = "every type"
#: What Linux programs ask for most: who must be able to call it → names without ``bpf_``.
LINUX = {
    EVERY_TYPE: (
        "map_lookup_elem map_update_elem map_delete_elem map_push_elem map_pop_elem map_peek_elem "
        "map_lookup_percpu_elem for_each_map_elem loop tail_call spin_lock spin_unlock "
        "ktime_get_ns ktime_get_boot_ns jiffies64 get_prandom_u32 get_smp_processor_id "
        "get_current_pid_tgid get_current_uid_gid get_current_comm "
        "trace_printk trace_vprintk snprintf strtol strtoul strncmp "
        "ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard ringbuf_query "
        "probe_read_kernel probe_read_kernel_str probe_read_user probe_read_user_str"
    ),
    "kprobe tracepoint raw_tracepoint perf_event tracing": "probe_read probe_read_str perf_event_output",
    "xdp": (
        "ktime_get_coarse_ns csum_diff xdp_adjust_head xdp_adjust_tail xdp_adjust_meta xdp_load_bytes xdp_store_bytes "
        "redirect redirect_map perf_event_output fib_lookup"
    ),
    "sched_cls sched_act": (
        "ktime_get_coarse_ns csum_diff redirect perf_event_output fib_lookup get_socket_cookie get_hash_recalc "
        "skb_load_bytes skb_store_bytes skb_change_head skb_change_tail skb_vlan_push skb_vlan_pop "
        "l3_csum_replace l4_csum_replace"
    ),
    "socket_filter cgroup_skb": "skb_load_bytes perf_event_output get_socket_cookie",
    "cgroup_sock_addr cgroup_sock sock_ops": "get_socket_cookie perf_event_output",
}
#: The general helpers of eBPF for Windows, by number from 1 on.
WINDOWS = (
    "map_lookup_elem map_update_elem map_delete_elem map_lookup_and_delete_elem tail_call get_prandom_u32 "
    "ktime_get_boot_ns get_smp_processor_id ktime_get_ns csum_diff ringbuf_output trace_printk2 trace_printk3 "
    "trace_printk4 trace_printk5 map_push_elem map_pop_elem map_peek_elem get_current_pid_tgid get_current_logon_id "
    "is_current_admin memcpy_s memcmp_s memset memmove_s get_socket_cookie strncpy_s strncat_s strnlen_s "
    "ktime_get_boot_ms ktime_get_ms perf_event_output get_current_process_start_key get_current_thread_create_time "
    "redirect_map"
)
#: General ones that only one program type implements.
WINDOWS_ONLY = {"bpf_get_socket_cookie": "sock_addr", "bpf_redirect_map": "xdp"}
#: By program type: those from number 0x10000 on.
WINDOWS_OWN = {
    "xdp": "bpf_xdp_adjust_head",
    "sock_addr": (
        "bpf_sock_addr_get_current_pid_tgid bpf_sock_addr_set_redirect_context bpf_sock_addr_get_network_context"
    ),
    "sockops": "bpf_sock_ops_get_flow_id",
    "process": "bpf_process_get_image_path",
    "netevent": "bpf_netevent_push_event",
    "sample": (
        "sample_ebpf_extension_helper_function1 sample_ebpf_extension_find sample_ebpf_extension_replace "
        "sample_ebpf_extension_helper_implicit_1 sample_ebpf_extension_helper_implicit_2 "
        "sample_ext_helper_map_lookup_element sample_ext_helper_map_get_value"
    ),
}


def is_offered(helper: Helper) -> bool:
    """Whether the engine has it. A tail call is no function, but a way to leave the program."""
    return helper.returns is ReturnKind.NO_RETURN_ON_SUCCESS or binding.helper_address(helper) != 0


def by_name(platform: Platform, program_type: ProgramType) -> dict[str, Helper]:
    """What a program type may call."""
    known = platform.helpers_of(program_type).values()
    return {helper.name: helper for helper in known if helper.name in program_type.helpers}


@pytest.mark.parametrize("types", LINUX)
def test_linux_programs_find_their_helpers(types):
    """The helpers of each family are there for its program types, and the engine has them."""
    chosen = linux.program_types if types == EVERY_TYPE else [linux.program_type(name) for name in types.split()]
    for program_type in chosen:
        found = by_name(linux, program_type)
        for name in LINUX[types].split():
            assert is_offered(found[f"bpf_{name}"]), (program_type.name, name)


@pytest.mark.parametrize("program_type", windows.program_types, ids=lambda t: t.name)
def test_windows_programs_find_their_helpers(program_type):
    """All 35 general helpers have their numbers, each type may call what it implements, and the engine has them all."""
    known = windows.helpers_of(program_type)
    for number, name in enumerate(WINDOWS.split(), start=1):
        name = f"bpf_{name}"
        assert known[number].name == name
        assert (name in program_type.helpers) == (WINDOWS_ONLY.get(name, program_type.name) == program_type.name)
        assert is_offered(known[number]), name
    own = WINDOWS_OWN.get(program_type.name, "").split()
    assert {number: h.name for number, h in program_type.own_helpers.items()} == dict(enumerate(own, start=0x10000))
    for number in program_type.own_helpers:
        assert known[number].name in program_type.helpers
        assert is_offered(known[number]), known[number].name


def test_a_helper_that_is_not_offered_is_named():
    """Loading fails with the name of a helper that the verifier knows and the engine does not have."""
    with pytest.raises(LoadError, match="bpf_get_stackid"):
        load("kprobe", "r2 = map[0] ll\nr3 = 0\ncall 27\nr0 = 0\nexit\n", (MapSpec("m", 1, 4, 8, 4),))


def test_the_documentation_lists_what_is_not_offered():
    """docs/helpers.md names every helper that a platform has and the engine has not, and no other."""
    page = (ROOT / "docs" / "helpers.md").read_text(encoding="utf-8")
    listed = page.partition("## Not offered")[2].split("```")[1].split()
    known = [h for p in (linux, windows) for t in p.program_types for h in p.helpers_of(t).values()]
    assert listed == sorted({h.name.removeprefix("bpf_") for h in known if not is_offered(h)})


# Calls of everything that is offered, made from what the tables say of the arguments.

SIZE = 64
#: Shapes of maps by kind: key size, value size, entries. Others are like hash maps.
SHAPES = {
    MapKind.RINGBUF: (0, 0, 4096),
    MapKind.PERF_EVENT_ARRAY: (4, 4, 1),
    MapKind.PROG_ARRAY: (4, 4, 1),
    MapKind.QUEUE: (0, 8, 4),
    MapKind.STACK: (0, 8, 4),
    MapKind.XSKMAP: (4, 4, 4),
    MapKind.DEVMAP: (4, 4, 4),
    MapKind.PERCPU_ARRAY: (4, 8, 4),
}
#: Not made here: they want a lock in a map's value, which BTF describes, or a pointer that only a kernel has.
LEFT_OUT = {ArgKind.SPIN_LOCK, ArgKind.SOCKET, ArgKind.SOCKET_OR_NULL, ArgKind.SOCKET_RELEASED, ArgKind.KERNEL}
RESERVE, DISCARD, SK_RELEASE = 131, 133, 86


def calls() -> list[tuple[Platform, ProgramType, Helper]]:
    """Every helper that is offered and whose arguments can be made, with a program type that may call it."""
    found: dict[tuple[str, int, str, str], tuple[Platform, ProgramType, Helper]] = {}
    for platform in (linux, windows):
        for program_type in platform.program_types:
            for helper in by_name(platform, program_type).values():
                kinds = {arg.kind for arg in helper.args}
                if is_offered(helper) and not kinds & LEFT_OUT and program_type.name != "unspec":
                    key = (platform.name, helper.id, helper.name, helper.implementation)
                    found.setdefault(key, (platform, program_type, helper))
    return list(found.values())


class Caller:
    """Writes a program that calls one helper with arguments that the tables allow."""

    def __init__(self, platform: Platform, program_type: ProgramType, helper: Helper) -> None:
        self.platform = platform
        self.program_type = program_type
        self.helper = helper
        self.maps: list[MapSpec] = []

    def map(self, kinds: frozenset[MapKind]) -> str:
        """A reference to a new map of one of these kinds (of any: a hash map, or what the engine has)."""
        numbers = {kind: number for number, kind in reversed(self.platform.map_types.items())}
        wanted = [kind for kind in SHAPES if kind in kinds] or [MapKind.HASH]
        key, value, entries = SHAPES.get(wanted[0], (4, 8, 4))
        self.maps.append(MapSpec(f"m{len(self.maps)}", numbers[wanted[0]], key, value, entries))
        return f"map[{len(self.maps) - 1}] ll"

    def text(self) -> str:
        """A reference to read-only text."""
        data = MapSpec(".rodata", 2, 4, 8, 1, flags=0x80, contents=b"text\0", is_data=True, read_only=True)
        self.maps.append(data)
        return f"map_value[{len(self.maps) - 1}] + 0 ll"

    def argument(self, register: int, kind: ArgKind, size: int, kinds: frozenset[MapKind]) -> str:
        """Assembly that puts an argument into its register."""
        match kind:
            case ArgKind.CONTEXT:
                return f"r{register} = r6\n"
            case ArgKind.MAP:
                return f"r{register} = {self.map(kinds)}\n"
            case ArgKind.STRING:
                return f"r{register} = {self.text()}\n"
            case ArgKind.CALLBACK:
                return f"r{register} = function[back] ll\n"
            case ArgKind.SIZE | ArgKind.SIZE_OR_ZERO | ArgKind.ALLOC_SIZE:
                return f"r{register} = {SIZE}\n"
            case ArgKind.RECORD:
                return f"r{register} = r7\n"
            case ArgKind.ANYTHING | ArgKind.SCALAR:
                return f"r{register} = 0\n"
            case _:
                assert size <= SIZE, kind
                return f"r{register} = r10\nr{register} += -{SIZE * register}\n"

    def source(self) -> str:
        """The program: its stack cleared, the call, and what must be given back given back."""
        helper = self.helper
        lines = ["r6 = r1\n", *(f"*(u64 *)(r10 - {at}) = 0\n" for at in range(8, SIZE * 5 + 1, 8))]
        end = f"r0 = {self.program_type.returns[0] if self.program_type.returns else 0}\nexit\n"
        if any(arg.kind is ArgKind.RECORD for arg in helper.args):
            ring = self.map(frozenset({MapKind.RINGBUF}))
            lines.append(f"r1 = {ring}\nr2 = 8\nr3 = 0\ncall {RESERVE}\nif r0 == 0 goto out\nr7 = r0\n")
        lines += [
            self.argument(register, arg.kind, arg.size, arg.maps) for register, arg in enumerate(helper.args, start=1)
        ]
        lines.append(f"call {helper.id}\n")
        if helper.acquires:
            release = SK_RELEASE if helper.returns is ReturnKind.SOCKET_OR_NULL else DISCARD
            lines.append(f"if r0 == 0 goto out\nr1 = r0\nr2 = 0\ncall {release}\n")
        lines.append("out:\n" + end)
        if helper.callback is not None:
            lines.append("back:\nr0 = 0\nexit\n")
        return "".join(lines)

    def load(self, context: Context) -> runtime.Object:
        """Load the program, verified."""
        code = assemble(self.source())
        section = self.program_type.sections[0].name if self.program_type.sections else self.program_type.name
        spec = ObjectSpec("test", (ProgramSpec("test", section, code),), tuple(self.maps), license="GPL")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return runtime.load(spec, platform=self.platform, type_name=self.program_type.name, context=context)


@pytest.fixture(scope="module")
def context():
    """One execution context for all calls."""
    with Context(2) as made:
        yield made


@pytest.mark.parametrize(
    ("platform", "program_type", "helper"),
    [pytest.param(*each, id="-".join((each[0].name, each[1].name, each[2].name))) for each in calls()],
)
def test_a_verified_program_can_call_it(context, platform, program_type, helper):
    """The tables, the verifier and the engine agree on the arguments: the call is accepted and runs without a fault."""
    with Caller(platform, program_type, helper).load(context) as loaded:
        for mode in ("checked", "interpreter"):
            loaded.programs["test"].test_run(bytes(range(64)), mode=mode)
