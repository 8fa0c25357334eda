"""Events and the helpers that change packets: limits, contents, and what the context says afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from anybpf.errors import EventError
from anybpf.platforms import linux, windows
from anybpf.runtime._engine import ffi, lib
from anybpf.runtime.events import ETHERNET_HEADER, Event, layout_of
from helpercalls import Helpers, load

EFAULT, ENOMEM, EACCES, EINVAL, ENOENT, EAFNOSUPPORT, ENOTSUPP = -14, -12, -13, -22, -2, -97, -524
# Addresses are given, so that scapy asks no interface for them.
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
HOSTS = {"src": "10.0.0.1", "dst": "10.0.0.2"}
PACKET = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP() / bytes(range(22)))
SK_BUFF = linux.program_type("sched_cls").context
HEAD_ROOM = 256 - 40  # Linux keeps struct xdp_frame in it


@pytest.fixture(scope="module")
def helpers():
    """The helpers of an engine of their own."""
    made = Helpers()
    yield made
    made.close()


def field(event: Event, name: str) -> int:
    """A field of the event's context as it stands."""
    where = event.layout.context.field_named(name)
    return int.from_bytes(event.context()[where.offset : where.offset + where.size], "little")


# What an event is before anything runs


def test_the_engines_offsets_are_the_platforms():
    """The offsets in __sk_buff that C uses are those of the platform's table."""
    names = "len pkt_type mark queue_mapping protocol vlan_present vlan_tci vlan_proto priority ingress_ifindex ifindex"
    for name in f"{names} hash tstamp wire_len gso_segs gso_size tstamp_type".split():
        assert getattr(lib, f"AB_SKB_{name.upper()}") == SK_BUFF.field_named(name).offset
    assert SK_BUFF.size == lib.AB_SKB_SIZE


@pytest.mark.parametrize(
    ("platform", "name", "kind", "link_layer"),
    [
        (linux, "xdp", "XDP", True),
        (linux, "sched_cls", "SKB", True),
        (linux, "sched_act", "SKB", True),
        (linux, "socket_filter", "SKB", False),
        (linux, "cgroup_skb", "SKB", False),
        (linux, "lwt_xmit", "SKB", False),
        (linux, "kprobe", "PLAIN", True),
        (windows, "xdp", "XDP_WINDOWS", True),
        (windows, "bind", "PLAIN", True),
    ],
)
def test_layouts(platform, name, kind, link_layer):
    """Each program type has its kind of event; only traffic control's __sk_buff shows the link layer."""
    layout = layout_of(platform.program_type(name))
    assert layout.kind == getattr(lib, f"AB_EVENT_{kind}")
    assert layout.link_layer == link_layer


def test_socket_filters_on_packet_sockets_see_the_link_layer():
    """What a packet socket delivers begins at the link layer; no other program type changes."""
    assert layout_of(linux.program_type("socket_filter"), packet_socket=True).link_layer
    assert not layout_of(linux.program_type("cgroup_skb"), packet_socket=True).link_layer


@given(st.binary(max_size=9000))
def test_events_hold_what_was_loaded(packet):
    """Packets of any size, in a buffer made for a smaller one."""
    with Event(layout_of(linux.program_type("xdp")), 10) as event:
        for data in (packet, b"x", packet):
            event.load(data)
            assert event.data() == data
            assert field(event, "data_end") == len(data)
            assert field(event, "ingress_ifindex") == 1


def test_a_packet_behind_a_hidden_header():
    """Programs of the network layer get the packet without its Ethernet header, which comes back as zeros."""
    with Event(layout_of(linux.program_type("cgroup_skb"))) as event:
        event.load(PACKET)
        assert field(event, "len") == len(PACKET) - ETHERNET_HEADER
        assert field(event, "protocol") == 0x0008
        assert event.data() == bytes(ETHERNET_HEADER) + PACKET[ETHERNET_HEADER:]
        lib.ab_event_show_link_layer(event.handle)
        shown = ffi.buffer(lib.ab_event_data(event.handle), lib.ab_event_length(event.handle))
        assert bytes(shown) == PACKET
        with pytest.raises(EventError, match="Ethernet header"):
            event.load(PACKET[:13])


def test_given_contexts():
    """Given fields stay, the others get defaults; contexts that are too long, or set pointers, are refused."""
    layout = layout_of(linux.program_type("sched_cls"))
    given_context = bytearray(48)
    mark, ifindex = SK_BUFF.field_named("mark").offset, SK_BUFF.field_named("ifindex").offset
    given_context[mark], given_context[ifindex] = 5, 9
    with Event(layout) as event:
        event.load(PACKET, bytes(given_context))
        assert (field(event, "mark"), field(event, "ifindex"), field(event, "len")) == (5, 9, len(PACKET))
        with pytest.raises(EventError, match="193 bytes"):
            event.load(PACKET, bytes(193))
        with pytest.raises(EventError, match="pointer"):
            event.load(PACKET, bytes(168) + b"\1".ljust(24, b"\0"))


def test_metadata_in_a_given_context():
    """xdp_md.data counts bytes of metadata at the start of the data; lengths that do not fit are refused."""

    def context(start: int, end: int, meta: int = 0) -> bytes:
        return b"".join(n.to_bytes(4, "little") for n in (start, end, meta))

    with Event(layout_of(linux.program_type("xdp"))) as event:
        event.load(b"meta" + PACKET, context(4, 4 + len(PACKET)))
        assert event.data() == b"meta" + PACKET
        assert (field(event, "data"), field(event, "data_end")) == (4, 4 + len(PACKET))
        for bad in (context(4, 4), context(len(PACKET) + 1, len(PACKET)), context(0, 0, 4), context(4, 0)):
            with pytest.raises(EventError, match="data_end"):
                event.load(PACKET, bad)
        for size in (3, 256):
            with pytest.raises(EventError, match="multiple of 4"):
                event.load(bytes(400), context(size, 400))


def test_windows_contexts_hold_pointers_to_other_data():
    """bind's application id is the event's data; its 8-byte pointers come back as offsets."""
    program_type = windows.program_type("bind")
    with Event(layout_of(program_type)) as event:
        event.load("app.exe".encode("utf-16-le"), bytes(16) + (1234).to_bytes(8, "little"))
        assert field(event, "process_id") == 1234
        assert (field(event, "app_id_start"), field(event, "app_id_end")) == (0, 14)


# XDP


@given(st.integers(-300, 300))
def test_xdp_adjust_head(delta):
    """The head moves as far as the head room and the Ethernet header allow; what was there before stays."""
    helpers = Helpers()
    with helpers.on("xdp", PACKET) as context:
        possible = -HEAD_ROOM <= delta <= len(PACKET) - ETHERNET_HEADER
        assert helpers.xdp_adjust_head(context, delta) == (0 if possible else EINVAL)
        data = helpers.event.data()
        assert len(data) == len(PACKET) - (delta if possible else 0)
        assert data.endswith(PACKET[max(delta, 0) if possible else 0 :])
    helpers.close()


@given(st.integers(-100, 4000))
def test_xdp_adjust_tail(delta):
    """The tail moves down to the Ethernet header and up to a page; new bytes are zeros."""
    helpers = Helpers()
    with helpers.on("xdp", PACKET) as context:
        possible = ETHERNET_HEADER <= len(PACKET) + delta <= 3520
        assert helpers.xdp_adjust_tail(context, delta) == (0 if possible else EINVAL)
        expected = PACKET + bytes(max(delta, 0)) if delta > 0 else PACKET[: len(PACKET) + delta]
        assert helpers.event.data() == (expected if possible else PACKET)
    helpers.close()


def test_xdp_metadata(helpers):
    """Metadata grows in steps of four, moves with the head, and is part of what comes back."""
    with helpers.on("xdp", PACKET) as context:
        assert helpers.xdp_adjust_meta(context, -3) == EACCES
        assert helpers.xdp_adjust_meta(context, -HEAD_ROOM - 4) == EINVAL
        assert helpers.xdp_adjust_meta(context, -8) == 0
        meta = lib.ab_event_data(helpers.event.handle) - 8
        ffi.memmove(meta, b"metadata", 8)
        assert helpers.xdp_adjust_head(context, -4) == 0
        assert helpers.event.data()[:8] == b"metadata"
        assert len(helpers.event.data()) == 8 + 4 + len(PACKET)
        assert helpers.xdp_adjust_meta(context, 9) == EINVAL
        assert helpers.xdp_adjust_meta(context, 8) == 0
        assert helpers.xdp_get_buff_len(context) == len(PACKET) + 4


def test_windows_xdp_moves_its_head(helpers):
    """bpf_xdp_adjust_head of eBPF for Windows works on its own context."""
    with helpers.on("xdp", PACKET, platform=windows) as context:
        assert helpers.xdp_adjust_head(context, 14) == 0
        assert helpers.event.data() == PACKET[14:]
        assert field(helpers.event, "data_end") == len(PACKET) - 14


# __sk_buff


@given(st.integers(0, 20000), st.booleans())
def test_skb_grows_and_shrinks(size, head):
    """Any size from the network header's offset (head: any room) up to 16064; the context's length follows."""
    helpers = Helpers()
    with helpers.on("sched_cls", PACKET) as context:
        change = helpers.skb_change_head if head else helpers.skb_change_tail
        length = len(PACKET) + size if head else size
        possible = length <= 16064 and (head or length >= ETHERNET_HEADER)
        assert change(context, size, 0) == (0 if possible else EINVAL)
        expected = bytes(size) + PACKET if head else PACKET[:size].ljust(size, b"\0")
        assert helpers.event.data() == (expected if possible else PACKET)
        assert field(helpers.event, "len") == (length if possible else len(PACKET))
    helpers.close()


def test_vlan_push_and_pop(helpers):
    """The outer tag stands in the context, the inner one in the frame; popping takes them in the other order."""
    with helpers.on("sched_cls", PACKET) as context:
        assert helpers.skb_vlan_push(context, 0x0081, 5) == 0
        assert helpers.event.data() == PACKET
        tag = {name: field(helpers.event, f"vlan_{name}") for name in ("present", "tci", "proto")}
        assert tag == {"present": 1, "tci": 5, "proto": 0x0081}
        assert helpers.skb_vlan_push(context, 0xA888, 6) == 0
        assert helpers.event.data() == PACKET[:12] + b"\x81\x00\x00\x05" + PACKET[12:]
        assert field(helpers.event, "len") == len(PACKET) + 4
        assert (field(helpers.event, "vlan_tci"), field(helpers.event, "protocol")) == (6, 0x0081)
        assert helpers.skb_vlan_pop(context) == 0
        assert (field(helpers.event, "vlan_tci"), helpers.event.data()) == (5, PACKET)
        assert helpers.skb_vlan_pop(context) == 0
        assert field(helpers.event, "vlan_present") == 0
        assert helpers.skb_vlan_pop(context) == 0
        assert (helpers.event.data(), field(helpers.event, "protocol")) == (PACKET, 0x0008)


def test_a_sent_frame_carries_its_tag(helpers):
    """What leaves has the tag in the frame, as scapy writes it."""
    packet = ETHER / IP(**HOSTS) / UDP()
    tagged = ETHER / Dot1Q(vlan=100, prio=3) / IP(**HOSTS) / UDP()
    with helpers.on("sched_cls", bytes(packet)) as context:
        assert helpers.skb_vlan_push(context, 0x0081, 100 | 3 << 13) == 0
        assert lib.ab_event_insert_vlan(helpers.event.handle) == 0
        assert helpers.event.data() == bytes(tagged)
        assert lib.ab_event_insert_vlan(helpers.event.handle) == 0
        assert helpers.event.data() == bytes(tagged)


def test_changing_the_protocol(helpers):
    """IPv4 to IPv6 makes room for the longer header, and back; the hash is forgotten."""
    with helpers.on("sched_cls", PACKET) as context:
        helpers.set_hash(context, 5)
        assert helpers.skb_change_proto(context, 0x0608, 0) == ENOTSUPP
        assert helpers.skb_change_proto(context, 0xDD86, 1) == EINVAL
        assert helpers.skb_change_proto(context, 0xDD86, 0) == 0
        assert helpers.event.data() == PACKET[:14] + bytes(20) + PACKET[14:]
        assert (field(helpers.event, "protocol"), field(helpers.event, "hash")) == (0xDD86, 0)
        assert helpers.skb_change_proto(context, 0x0008, 0) == 0
        assert helpers.event.data() == PACKET[:14] + PACKET[14:]


ONE = IP(src="1.1.1.1", dst="2.2.2.2")
BACK = IP(src="2.2.2.2", dst="1.1.1.1")
OTHER = IP(src="1.1.1.1", dst="2.2.2.3")
FRAGMENT = IP(src="1.1.1.1", dst="2.2.2.2", frag=9)
WEB = {"sport": 1234, "dport": 80}
WEB_BACK = {"sport": 80, "dport": 1234}


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (ONE / TCP(**WEB), ONE / TCP(**WEB) / b"more", True),
        (ONE / TCP(**WEB), BACK / TCP(**WEB_BACK), True),
        (ONE / TCP(**WEB), ONE / UDP(**WEB), False),
        (ONE / TCP(**WEB), OTHER / TCP(**WEB), False),
        (ONE / TCP(**WEB), ONE / TCP(sport=1235, dport=80), False),
        (FRAGMENT / UDP(**WEB), FRAGMENT / UDP(), True),
        (IPv6(src="::1", dst="::2") / UDP(**WEB), IPv6(src="::2", dst="::1") / UDP(**WEB_BACK), True),
        (IPv6(src="::1", dst="::2") / UDP(**WEB), IPv6(src="::1", dst="::3") / UDP(**WEB), False),
        (ARP(psrc="1.1.1.1", hwsrc="02::1"), ONE / UDP(), False),
    ],
)
def test_hashes_tell_flows_apart(helpers, left, right, same):
    """Packets of a flow, both ways, hash alike, other flows do not; a hash is not 0 and stays until invalidated."""
    hashes = []
    for packet in (left, right):
        with helpers.on("sched_cls", bytes(ETHER / packet)) as context:
            hashes.append(helpers.get_hash_recalc(context))
            assert field(helpers.event, "hash") == hashes[-1] == helpers.get_hash_recalc(context) != 0
            helpers.set_hash_invalid(context)
            assert field(helpers.event, "hash") == 0
    assert (hashes[0] == hashes[1]) == same


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (ONE / TCP(**WEB), ONE / TCP(**WEB) / b"more", True),
        (ONE / TCP(**WEB), BACK / TCP(**WEB_BACK), True),
        (ONE / TCP(**WEB), ONE / UDP(**WEB), False),
        (ONE / TCP(**WEB), OTHER / TCP(**WEB), False),
        (IPv6(src="::1", dst="::2") / UDP(**WEB), IPv6(src="::2", dst="::1") / UDP(**WEB_BACK), True),
    ],
)
@pytest.mark.parametrize("kind", ["sched_cls", "socket_filter", "cgroup_skb"])
def test_cookies_tell_connections_apart(helpers, kind, left, right, same):
    """Packets of a connection, both ways, have one cookie, others another; it is not 0."""
    cookies = []
    for packet in (left, right):
        with helpers.on(kind, bytes(ETHER / packet)) as context:
            cookies.append(helpers.get_socket_cookie(context))
    assert (cookies[0] == cookies[1]) == same
    assert 0 not in cookies


@pytest.mark.parametrize("packet", [ARP(psrc="1.1.1.1", hwsrc="02::1"), ONE / ICMP(), FRAGMENT / UDP(), b"?" * 20])
def test_packets_without_ports_have_no_cookie(helpers, packet):
    """What belongs to no connection has the cookie 0, as in Linux where there is no socket."""
    with helpers.on("sched_cls", bytes(ETHER / packet)) as context:
        assert helpers.get_socket_cookie(context) == 0


@pytest.mark.parametrize(
    ("kind", "differs", "does_not_matter"),
    [
        ("cgroup_sock_addr", "user_port", None),
        ("cgroup_sock", "dst_port", "priority"),
        ("sock_ops", "remote_port", "op"),
    ],
)
def test_cookies_of_contexts(helpers, kind, differs, does_not_matter):
    """Events with the same addresses and ports have one cookie, others another; a context of zeros has none."""
    program_type = linux.program_type(kind)
    helper = linux.find_helper(46, program_type)
    cookie = getattr(helpers, helper.implementation)

    def of(**fields: int) -> int:
        context = bytearray(program_type.context.size)
        for name, value in fields.items():
            place = program_type.context.field_named(name).offset
            context[place : place + 4] = value.to_bytes(4, "little")
        with helpers.on(kind, b"", bytes(context)) as address:
            return cookie(address)

    assert of() == 0
    assert of(**{differs: 80}) == of(**{differs: 80}) != 0
    assert of(**{differs: 80}) != of(**{differs: 81})
    if does_not_matter:
        assert of(**{differs: 80, does_not_matter: 3}) == of(**{differs: 80})


def test_a_socket_itself_has_no_cookie(helpers):
    """Programs that trace the kernel may ask for the cookie of a socket, and have none to ask about."""
    helper = linux.find_helper(46, linux.program_type("tracing"))
    assert getattr(helpers, helper.implementation)(0) == 0


@given(st.binary(min_size=14, max_size=80))
def test_any_packet_can_be_hashed(packet):
    """Whatever a packet claims of its headers, hashing reads no byte outside it and gives the same number twice."""
    helpers = Helpers()
    numbers = []
    for _ in range(2):
        with helpers.on("sched_cls", packet) as context:
            numbers.append(helpers.get_hash_recalc(context))
    assert numbers[0] == numbers[1] != 0
    helpers.close()


def test_what_a_packet_without_a_socket_answers(helpers):
    """Lookups find nothing, classes and users are those of no socket, tunnel metadata is absent and read as zeros."""
    out = ffi.new("uint8_t[]", b"\xff" * 64)
    with helpers.on("sched_cls", PACKET) as context:
        assert helpers.sk_lookup_tcp(context, out, 12, 0, 0) == helpers.sk_lookup_udp(context, out, 12, 0, 0) == 0
        assert helpers.get_route_realm(context) == helpers.skb_cgroup_id(context) == 0
        assert helpers.get_cgroup_classid(context) == 0
        assert helpers.get_socket_uid(context) == 65534
        assert helpers.skb_get_tunnel_key(context, out, 28, 0) == EINVAL
        assert helpers.skb_get_tunnel_opt(context, out + 28, 8) == ENOENT
        assert helpers.skb_get_xfrm_state(context, 0, out + 36, 16, 0) == EINVAL
    assert bytes(ffi.buffer(out))[:53] == bytes(52) + b"\xff"


def test_fib_lookup_forwards_nothing(helpers):
    """Arguments are checked as in Linux; the answer for a good question is BPF_FIB_LKUP_RET_NOT_FWDED."""
    with helpers.on("xdp", PACKET) as context:
        for family, expected in ((2, 4), (10, 4), (1, EAFNOSUPPORT)):
            assert helpers.fib_lookup(context, bytes([family]) + bytes(63), 64, 0) == expected
        assert helpers.fib_lookup(context, bytes([2]) + bytes(62), 63, 0) == EINVAL
        assert helpers.fib_lookup(context, bytes([2]) + bytes(63), 64, 0x80) == EINVAL


# Batches


def test_nothing_writes_the_fields_that_batches_do_not_restore():
    """From data to flow_keys no program of any type may write a __sk_buff, so they stay what they were at the start."""
    for program_type in linux.program_types:
        for found in program_type.context.fields:
            if program_type.context.name == "__sk_buff" and found.writable:
                inside = found.offset >= lib.AB_SKB_DATA and found.offset + found.size <= lib.AB_SKB_TSTAMP
                assert not inside, (program_type.name, found.name)


#: Returns whatever it finds in the fields that should be zero; then changes them all.
CHANGE_ALL = """
    r6 = r1
    r0 = *(u32 *)(r6 + 12)
    r1 = *(u32 *)(r6 + 8)
    r0 |= r1
    r1 = *(u32 *)(r6 + 20)
    r0 |= r1
    r1 = *(u32 *)(r6 + 32)
    r0 |= r1
    r1 = *(u32 *)(r6 + 44)
    r0 |= r1
    r1 = *(u32 *)(r6 + 48)
    r0 |= r1
    r1 = *(u32 *)(r6 + 64)
    r0 |= r1
    r1 = *(u32 *)(r6 + 68)
    r0 |= r1
    r1 = *(u32 *)(r6 + 72)
    r0 |= r1
    r1 = *(u64 *)(r6 + 152)
    r0 |= r1
    r7 = r0
    r1 = 15
    *(u32 *)(r6 + 8) = r1
    *(u32 *)(r6 + 12) = r1
    *(u32 *)(r6 + 32) = r1
    *(u32 *)(r6 + 44) = r1
    *(u32 *)(r6 + 48) = r1
    *(u32 *)(r6 + 64) = r1
    *(u32 *)(r6 + 72) = r1
    *(u64 *)(r6 + 152) = r1
    r1 = r6
    r2 = 0x0081
    r3 = 5
    call 18
    r1 = r6
    r2 = 99
    call 48
    r0 = r7
    exit
"""


@pytest.mark.parametrize("mode", ["interpreter", "checked", "jit"])
def test_every_packet_of_a_batch_finds_its_context_unchanged(mode):
    """What a program wrote to its context, or helpers did, the next packet's run does not see."""
    with load("sched_cls", CHANGE_ALL) as loaded:
        assert set(loaded.programs["test"].run_batch([PACKET] * 5, mode=mode)) == {0}


@pytest.mark.parametrize("mode", ["interpreter", "checked", "jit"])
def test_every_packet_of_a_batch_is_described(mode):
    """len, protocol, pkt_type and wire_len are those of a test run on the same packet, whatever its size."""
    source = (
        "r0 = *(u32 *)(r1 + 0)\nr2 = *(u32 *)(r1 + 4)\nr0 <<= 2\nr0 += r2\nr2 = *(u32 *)(r1 + 16)\nr0 <<= 3\nr0 += r2\n"
        "r2 = *(u32 *)(r1 + 160)\nr0 <<= 3\nr0 += r2\nexit\n"
    )
    packets = [PACKET, bytes(14), b"\1" * 60, bytes(12) + b"\0\4\xff\xff" + bytes(60), PACKET + bytes(400)]
    with load("sched_cls", source) as loaded:
        program = loaded.programs["test"]
        expected = [program.test_run(packet, mode=mode).retval for packet in packets]
        assert len(set(expected)) == len(packets)
        assert list(program.run_batch(packets, mode=mode)) == expected
