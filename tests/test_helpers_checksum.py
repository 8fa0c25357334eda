"""Internet checksums: differences, and repaired header fields, against the definition and scapy."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from anybpf.runtime._engine import ffi, lib
from helpercalls import Helpers

EFAULT, EINVAL, EACCES, ENOTSUPP = -14, -22, -13, -524
IP_CHECKSUM, TCP_CHECKSUM, UDP_CHECKSUM = 14 + 10, 34 + 16, 34 + 6
PSEUDO_HDR, MARK_MANGLED_0, MARK_ENFORCE = 0x10, 0x20, 0x40
# Addresses are given, so that scapy asks no interface for them.
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
HOSTS = {"src": "10.0.0.1", "dst": "10.0.0.2"}
words = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def helpers():
    """The helpers of an engine of their own."""
    made = Helpers()
    yield made
    made.close()


def ones_sum(data: bytes) -> int:
    """One's complement sum of 16-bit words in this machine's order, by the definition."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"={len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def same(left: int, right: int) -> bool:
    """Equal as one's complement numbers, where 0 and 0xffff are both zero."""
    return left % 0xFFFF == right % 0xFFFF


@given(st.binary(max_size=120), st.binary(max_size=120), words)
def test_csum_diff_is_the_difference_of_sums(helpers, before, after, seed):
    """csum_diff(from, to, seed) is seed + sum(to) - sum(from), folded to 16 bits, for sizes that need not be even."""
    result = helpers.csum_diff(before, len(before), after, len(after), seed)
    assert 0 <= result <= 0xFFFF
    assert same(result, seed + ones_sum(after) - ones_sum(before))


def test_csum_diff_of_nothing_is_the_seed(helpers):
    """Without buffers the result is the folded seed."""
    assert helpers.csum_diff(0, 0, 0, 0, 0x12345) == 0x2346


def test_csum_diff_makes_a_header_checksum(helpers):
    """The complement of an IPv4 header's sum is the checksum that scapy computes."""
    header = bytes(IP(src="10.1.2.3", dst="192.168.0.9", ttl=7, id=0x1234, len=40))
    blank = header[:10] + b"\0\0" + header[12:]
    assert struct.pack("=H", ~helpers.csum_diff(0, 0, blank, 20, 0) & 0xFFFF) == header[10:12]


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_l3_csum_replace_keeps_the_header_right(helpers, old, new):
    """After an address changed, the repaired IPv4 checksum is the one computed afresh."""
    packet = bytes(ETHER / IP(src=".".join(map(str, old)), dst="9.9.9.9") / UDP())
    expected = bytes(ETHER / IP(src=".".join(map(str, new)), dst="9.9.9.9") / UDP())
    with helpers.on("sched_cls", packet) as context:
        change = [int.from_bytes(address, "little") for address in (old, new)]
        assert helpers.l3_csum_replace(context, IP_CHECKSUM, *change, 4) == 0
        assert helpers.event.data()[IP_CHECKSUM : IP_CHECKSUM + 2] == expected[IP_CHECKSUM : IP_CHECKSUM + 2]


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=20))
def test_l4_csum_replace_keeps_tcp_right(helpers, old, new, payload):
    """After a port changed, the repaired TCP checksum is the one computed afresh."""
    packet, expected = (bytes(ETHER / IP(**HOSTS) / TCP(dport=port) / payload) for port in (old, new))
    with helpers.on("sched_cls", packet) as context:
        change = [int.from_bytes(port.to_bytes(2, "big"), "little") for port in (old, new)]
        assert helpers.l4_csum_replace(context, TCP_CHECKSUM, *change, 2) == 0
        result = helpers.event.data()[TCP_CHECKSUM : TCP_CHECKSUM + 2]
    assert same(*(int.from_bytes(b, "big") for b in (result, expected[TCP_CHECKSUM : TCP_CHECKSUM + 2])))


def test_l4_csum_replace_takes_a_csum_diff(helpers):
    """With field size 0 the change is what csum_diff gave, and `from` must be zero."""
    packet = bytes(ETHER / IP(**HOSTS) / UDP(sport=1) / b"abcd")
    expected = bytes(ETHER / IP(**HOSTS) / UDP(sport=1) / b"wxyz")
    change = helpers.csum_diff(b"abcd", 4, b"wxyz", 4, 0)
    with helpers.on("sched_cls", packet) as context:
        assert helpers.l4_csum_replace(context, UDP_CHECKSUM, 1, change, PSEUDO_HDR) == EINVAL
        assert helpers.l4_csum_replace(context, UDP_CHECKSUM, 0, change, PSEUDO_HDR) == 0
        result = helpers.event.data()[UDP_CHECKSUM : UDP_CHECKSUM + 2]
    assert result == expected[UDP_CHECKSUM : UDP_CHECKSUM + 2]


def test_mangled_zero_leaves_an_absent_udp_checksum_alone(helpers):
    """A zero UDP checksum means there is none; BPF_F_MARK_MANGLED_0 keeps it, BPF_F_MARK_ENFORCE does not."""
    packet = bytes(ETHER / IP(**HOSTS) / UDP(chksum=0) / b"abcd")
    with helpers.on("sched_cls", packet) as context:
        assert helpers.l4_csum_replace(context, UDP_CHECKSUM, 0, 0x1234, MARK_MANGLED_0 | 2) == 0
        assert helpers.event.data() == packet
        assert helpers.l4_csum_replace(context, UDP_CHECKSUM, 0, 0x1234, MARK_MANGLED_0 | MARK_ENFORCE | 2) == 0
        assert helpers.event.data() != packet


def test_mangled_zero_never_writes_zero(helpers):
    """A checksum that becomes zero is written as 0xffff with BPF_F_MARK_MANGLED_0."""
    field = 0x4321
    packet = bytes(ETHER / IP(**HOSTS) / UDP(chksum=field) / b"abcd")
    raw = int.from_bytes(field.to_bytes(2, "big"), "little")
    for flags, expected in ((2, b"\0\0"), (2 | MARK_MANGLED_0, b"\xff\xff")):
        with helpers.on("sched_cls", packet) as context:
            assert helpers.l4_csum_replace(context, UDP_CHECKSUM, 0, raw, flags) == 0
            assert helpers.event.data()[UDP_CHECKSUM : UDP_CHECKSUM + 2] == expected


@pytest.mark.parametrize("name", ["l3_csum_replace", "l4_csum_replace"])
@pytest.mark.parametrize(
    ("offset", "size", "error"),
    [(25, 2, EFAULT), (63, 2, EFAULT), (64, 2, EFAULT), (0x10000, 2, EFAULT), (24, 3, EINVAL), (24, 0x100, EINVAL)],
)
def test_replacing_refuses_what_linux_refuses(helpers, name, offset, size, error):
    """Odd offsets, offsets outside the packet, unknown sizes and flags change nothing."""
    packet = bytes(range(64))
    with helpers.on("sched_cls", packet) as context:
        assert getattr(helpers, name)(context, offset, 1, 2, size) == error
        assert helpers.event.data() == packet


def test_csum_level_counts_checksums_known_to_be_good(helpers):
    """Levels start unknown (-EACCES), rise to at most 3, fall back to unknown; unknown operations are refused."""
    query, up, down, reset = range(4)
    with helpers.on("sched_cls", bytes(64)) as context:
        assert helpers.csum_level(context, query) == EACCES
        for expected in (0, 1, 2, 3, 3):
            assert helpers.csum_level(context, up) == 0
            assert helpers.csum_level(context, query) == expected
        assert helpers.csum_level(context, down) == 0
        assert helpers.csum_level(context, query) == 2
        assert helpers.csum_level(context, reset) == 0
        assert helpers.csum_level(context, query) == EACCES
        assert helpers.csum_level(context, 4) == EINVAL


def test_csum_update_needs_a_checksum_of_the_whole_packet(helpers):
    """No event has one, so the answer is Linux's -ENOTSUPP."""
    with helpers.on("sched_cls", bytes(64)) as context:
        assert helpers.csum_update(context, 1) == ENOTSUPP


def test_sums_of_large_buffers_do_not_overflow(helpers):
    """The sum of 16 MiB of ones is that of one word of ones."""
    size = 1 << 24
    memory = ffi.new("uint8_t[]", size)
    ffi.memmove(memory, b"\xff" * size, size)
    assert helpers.csum_diff(0, 0, memory, size, 0) == 0xFFFF
    assert lib.ab_helper_address(b"bpf_no_such_helper") == 0
