"""Which platform an object is for, and which type a program has."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybpf import elf
from anybpf.errors import ObjectError, PlatformError
from anybpf.isa import assemble, decode
from anybpf.platforms import by_name, linux, program_type_for, raw, recognise, windows
from anybpf.spec import ObjectSpec, ProgramSpec


def program(section: str, source: str = "r0 = 0\nexit", context: str = "", name: str = "p") -> ProgramSpec:
    """A program of a few instructions."""
    return ProgramSpec(name, section, assemble(source), context_type=context)


def test_names():
    """Platforms are found by name, and an unknown name is answered with the names there are."""
    assert [by_name(n) for n in ("linux", "windows", "raw")] == [linux, windows, raw]
    with pytest.raises(PlatformError, match="linux, windows, raw"):
        by_name("plan9")


@pytest.mark.parametrize(
    ("section", "context", "expected"),
    [
        ("xdp", "xdp_md", linux),
        ("xdp", "xdp_md_t", windows),
        ("xdp", "", linux),
        ("bind", "", windows),
        ("bind_1", "", windows),
        ("bind", "bind_md_t", windows),
        ("cgroup/connect4", "bpf_sock_addr", linux),
        ("cgroup/connect4", "bpf_sock_addr_t", windows),
        ("cgroup/connect4", "", linux),
        ("cgroup/recv_accept6", "", windows),
        ("cgroup/connect_authorization4", "", windows),
        ("cgroup/listen6", "", windows),
        ("sockops", "bpf_sock_ops_t", windows),
        ("sockops", "", linux),
        ("sample_ext/1", "sample_program_context_t", windows),
        (".text", "", linux),
    ],
)
def test_recognition(section, context, expected):
    """The context's name decides, else a section that one platform alone has, else it is Linux."""
    assert recognise(ObjectSpec("o", (program(section, context=context),))) is expected


def test_context_beats_section():
    """A Linux context in an object outweighs a section that only Windows has."""
    spec = ObjectSpec("o", (program("bind_it"), program("xdp", context="xdp_md", name="q")))
    assert recognise(spec) is linux


@pytest.mark.parametrize(
    ("section", "name", "attach_type"),
    [
        ("xdp", "xdp", "xdp"),
        ("xdp.frags", "xdp", "xdp"),
        ("xdp/devmap", "xdp", "xdp_devmap"),
        ("xdp.frags/cpumap", "xdp", "xdp_cpumap"),
        ("xdp_prog0", "xdp", "xdp"),
        ("xdp1", "xdp", "xdp"),
        ("tc", "sched_cls", ""),
        ("tc/egress", "sched_cls", "tcx_egress"),
        ("tcx/ingress", "sched_cls", "tcx_ingress"),
        ("netkit/peer", "sched_cls", "netkit_peer"),
        ("tc_mark", "sched_cls", ""),
        ("classifier", "sched_cls", ""),
        ("action", "sched_act", ""),
        ("socket", "socket_filter", ""),
        ("socket1", "socket_filter", ""),
        ("socket/3", "socket_filter", ""),
        ("sockops", "sock_ops", "cgroup_sock_ops"),
        ("kprobe/sys_open", "kprobe", ""),
        ("kretprobe/sys_open", "kprobe", ""),
        ("kprobe.multi/tcp_*", "kprobe", "trace_kprobe_multi"),
        ("uprobe.multi.s//bin/bash:readline", "kprobe", "trace_uprobe_multi"),
        ("uprobe//bin/bash:readline", "kprobe", ""),
        ("ksyscall/openat", "kprobe", ""),
        ("usdt//usr/lib/libc.so:libc:setjmp", "kprobe", ""),
        ("tracepoint/sched/sched_switch", "tracepoint", ""),
        ("tp/sched/sched_switch", "tracepoint", ""),
        ("raw_tp/sched_switch", "raw_tracepoint", ""),
        ("raw_tp.w/nbd_send_request", "raw_tracepoint_writable", ""),
        ("tp_btf/sched_switch", "tracing", "trace_raw_tp"),
        ("fentry/tcp_connect", "tracing", "trace_fentry"),
        ("fexit.s/tcp_connect", "tracing", "trace_fexit"),
        ("fmod_ret/security_file_open", "tracing", "modify_return"),
        ("iter/task", "tracing", "trace_iter"),
        ("freplace/old", "ext", ""),
        ("lsm/file_open", "lsm", "lsm_mac"),
        ("lsm_cgroup/socket_bind", "lsm", "lsm_cgroup"),
        ("syscall", "syscall", ""),
        ("perf_event", "perf_event", ""),
        ("lwt_xmit", "lwt_xmit", ""),
        ("lwt_seg6local", "lwt_seg6local", ""),
        ("sk_skb/stream_parser", "sk_skb", "sk_skb_stream_parser"),
        ("sk_skb", "sk_skb", ""),
        ("sk_msg", "sk_msg", "sk_msg_verdict"),
        ("lirc_mode2", "lirc_mode2", "lirc_mode2"),
        ("flow_dissector", "flow_dissector", "flow_dissector"),
        ("cgroup_skb/egress", "cgroup_skb", "cgroup_inet_egress"),
        ("cgroup/skb", "cgroup_skb", ""),
        ("cgroup/sock", "cgroup_sock", "cgroup_inet_sock_create"),
        ("cgroup/sock1", "cgroup_sock", "cgroup_inet_sock_create"),
        ("cgroup/sock_release", "cgroup_sock", "cgroup_inet_sock_release"),
        ("cgroup/post_bind6", "cgroup_sock", "cgroup_inet6_post_bind"),
        ("cgroup/bind4", "cgroup_sock_addr", "cgroup_inet4_bind"),
        ("cgroup/connect6", "cgroup_sock_addr", "cgroup_inet6_connect"),
        ("cgroup/connect_unix", "cgroup_sock_addr", "cgroup_unix_connect"),
        ("cgroup/sendmsg4", "cgroup_sock_addr", "cgroup_udp4_sendmsg"),
        ("cgroup/getsockname6", "cgroup_sock_addr", "cgroup_inet6_getsockname"),
        ("cgroup/dev", "cgroup_device", "cgroup_device"),
        ("cgroup/sysctl", "cgroup_sysctl", "cgroup_sysctl"),
        ("cgroup/setsockopt", "cgroup_sockopt", "cgroup_setsockopt"),
        ("struct_ops/init", "struct_ops", "struct_ops"),
        ("sk_reuseport/migrate", "sk_reuseport", "sk_reuseport_select_or_migrate"),
        ("sk_lookup", "sk_lookup", "sk_lookup"),
        ("netfilter", "netfilter", "netfilter"),
    ],
)
def test_linux_sections(section, name, attach_type):
    """Every section that libbpf knows, and those of older objects, mean their program type and attach type."""
    found = program_type_for(linux, program(section))
    assert (found.name, found.attach_type) == (name, attach_type)


@pytest.mark.parametrize(
    ("section", "name", "attach_type"),
    [
        ("xdp", "xdp", "xdp"),
        ("bind/0", "bind", "bind"),
        ("cgroup/connect4", "sock_addr", "cgroup_inet4_connect"),
        ("cgroup/connect_authorization6", "sock_addr", "cgroup_inet6_connect_authorization"),
        ("cgroup/recv_accept4", "sock_addr", "cgroup_inet4_recv_accept"),
        ("cgroup/bind6", "sock_addr", "cgroup_inet6_bind"),
        ("cgroup/listen4", "sock_addr", "cgroup_inet4_listen"),
        ("sockops", "sockops", "cgroup_sock_ops"),
        ("sample_ext_1", "sample", "sample"),
        ("process", "process", "process"),
        ("netevent", "netevent", "netevent"),
        (".text", "unspec", ""),
    ],
)
def test_windows_sections(section, name, attach_type):
    """A section means the type whose name begins it, as in eBPF for Windows."""
    found = program_type_for(windows, program(section))
    assert (found.name, found.attach_type) == (name, attach_type)


def test_given_type_wins():
    """A type given by name or by section beats the program's own section; an unknown one is answered with the list."""
    assert program_type_for(linux, program("xdp"), "sched_cls").name == "sched_cls"
    assert program_type_for(linux, program(".text"), "cgroup/connect4").attach_type == "cgroup_inet4_connect"
    assert program_type_for(linux, program("xdp/devmap"), "xdp").attach_type == "xdp_devmap"
    with pytest.raises(PlatformError, match="types are unspec, xdp"):
        program_type_for(linux, program("xdp"), "chocolate")


def test_context_names_the_type():
    """In a section without a meaning, the context's name tells the type."""
    assert program_type_for(linux, program("test", context="bpf_sock_ops")).name == "sock_ops"
    assert program_type_for(windows, program("test", context="bind_md_t")).name == "bind"


def test_raw_takes_everything():
    """On the raw platform each program is of the one type, whatever its section."""
    for section in (".text", "prog/alu", "xdp", ""):
        assert program_type_for(raw, program(section)).context.memory


READS_PACKET = """
    r2 = *(u32 *)(r1 + {end})
    r1 = *(u32 *)(r1 + {start})
    r0 = 1
    exit
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("r0 = 0\nexit", "unspec"),
        ("call 7\nr0 = 0\nexit", "unspec"),  # get_prandom_u32: every type has it
        (READS_PACKET.format(start=0, end=4), "xdp"),
        (READS_PACKET.format(start=76, end=80), "sched_cls"),
        ("r6 = r1\nr0 = *(u32 *)(r6 + 0)\nexit", "sched_cls"),  # without the packet's end it is __sk_buff's len
        ("r0 = r1\ncall 7\nr0 = *(u32 *)(r0 + 0)\nexit", "unspec"),  # a call's result is no context
        ("call 44\nr0 = 0\nexit", "xdp"),  # xdp_adjust_head
        ("call 13\nr0 = 0\nexit", "sched_cls"),  # clone_redirect
        ("r0 = *(u64 *)(r1 + 112)\nexit", "unspec"),  # no guess allows it
    ],
)
def test_inference(source, expected):
    """What a nameless program does decides between XDP, tc and nothing."""
    assert program_type_for(linux, program("2/7", source)).name == expected


def test_neighbours_count():
    """A nameless program that could be either follows what its nameless neighbours show."""
    unclear = program("2/1", READS_PACKET.format(start=0, end=4))
    clear = program("2/2", "call 34\nr0 = 0\nexit", name="q")  # get_hash_recalc
    assert program_type_for(linux, unclear).name == "xdp"
    both = (program("2/1", "call 23\nr0 = 0\nexit"), clear)  # redirect: XDP and tc have it
    assert program_type_for(linux, both[0]).name == "xdp"
    assert program_type_for(linux, both[0], spec=ObjectSpec("o", both)).name == "sched_cls"


@given(st.binary(max_size=64))
def test_any_bytes_have_a_type(code):
    """Choosing a type never fails on bytes that are no program: the verifier will say what is wrong with them."""
    assert program_type_for(linux, ProgramSpec("p", ".text", code)).name in {"unspec", "xdp", "sched_cls"}


@pytest.mark.corpus
def test_corpus(corpus: Path):
    """Every program of the corpus that deserves acceptance has a type that offers all helpers that it calls."""
    objects = {}
    with (corpus / "labels.csv").open(encoding="utf-8") as labels:
        rows = [row for row in csv.DictReader(labels) if row["expect"] == "accept"]
    assert len(rows) > 200
    for row in rows:
        name = row["object"]
        if name not in objects:
            try:
                objects[name] = elf.open(corpus / "objects" / name)
            except ObjectError:
                pytest.fail(f"{name} does not parse")
        spec = objects[name]
        found = next(p for p in spec.programs if (p.section, p.name) == (row["section"], row["function"]))
        platform = recognise(spec)
        program_type = program_type_for(platform, found, spec=spec)
        calls = {i.imm for i in decode(found.code) if i is not None and i.opcode == 0x85 and i.src == 0}
        helpers = {number: platform.find_helper(number, program_type) for number in calls}
        missing = [n for n, h in helpers.items() if h is None or h.name not in program_type.helpers]
        assert not missing, f"{name} {row['function']} as {program_type.name}: helpers {missing}"
