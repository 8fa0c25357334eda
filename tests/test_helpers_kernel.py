"""Helpers against the live kernel: the same program, the same packet, the same result. Needs Linux and root."""

from __future__ import annotations

import itertools
import random

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

import livekernel
from anybpf.isa import assemble
from helpercalls import Stack, call, run, stack_bytes

pytestmark = pytest.mark.linux_only

ETHERNET = Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:01")
PACKET = bytes(ETHERNET / IP() / UDP() / bytes(range(64)))
LENGTH = len(PACKET)
MODES = ("interpreter", "checked")
SCHED, XDP = "sched_cls", "xdp"
EXIT = "exit\n"
EINVAL = 2**32 - 22
#: Ends a program that has its result in r7 and 128 bytes to show at r10 - 128: they become the start of the packet.
SHOW = call(9, "context", 0, Stack(-128), 64, 0) + "r0 = r7\n" + EXIT


@pytest.fixture(scope="module", autouse=True)
def _live_kernel():
    livekernel.require_live_kernel()


def agree(kind: str, source: str, packet: bytes = PACKET, context: bytes = b"", read_only: bytes = b"") -> None:
    """Run in the kernel and here, in both interpreters; return value, packet and context must be equal."""
    source = "r6 = r1\n" + source
    expected = livekernel.run(kind, assemble(source), packet, context, read_only=read_only)
    for mode in MODES:
        assert run(kind, source, packet, context, mode=mode, read_only=read_only) == expected, (mode, source)


ADJUST_HEAD, ADJUST_META, ADJUST_TAIL = 44, 54, 65
EDGES = (0, 1, -1, 4, -4, -216, -217, -220, -252, 14 - LENGTH, 13 - LENGTH, LENGTH - 14, LENGTH - 13, 3520 - LENGTH,
         3521 - LENGTH, 2**31 - 1, -(2**31))  # fmt: skip


@pytest.mark.parametrize("helper", [ADJUST_HEAD, ADJUST_META, ADJUST_TAIL])
def test_xdp_adjust(helper):
    """Head, metadata and tail move by the same distances, and by no others, and leave the same packet."""
    for delta in EDGES:
        agree(XDP, call(helper, "context", delta) + EXIT)


def test_xdp_adjust_head_moves_the_metadata_along():
    """Metadata stays before the packet when its head moves, and takes its room."""
    for delta in (-208, -209, -3, 4, 8, LENGTH - 14, LENGTH - 13):
        agree(XDP, call(ADJUST_META, "context", -8) + call(ADJUST_HEAD, "context", delta) + EXIT)


def test_xdp_bytes():
    """bpf_xdp_load_bytes and _store_bytes know the packet's end."""
    for offset, size in ((0, 8), (LENGTH - 8, 8), (LENGTH - 7, 8), (LENGTH, 1), (0x10000, 1), (0xFFFF, 1), (2**31, 4)):
        agree(XDP, stack_bytes(-8, b"storeme!") + call(190, "context", offset, Stack(-8), size) + EXIT)
        loaded = "r1 = *(u8 *)(r10 - 8)\nr0 += r1\n"
        agree(XDP, stack_bytes(-8, bytes(8)) + call(189, "context", offset, Stack(-8), size) + loaded + EXIT)


def test_redirects():
    """bpf_redirect's action depends on the program type, and on flags that only tc knows."""
    for kind, flags in itertools.product((XDP, SCHED), (0, 1, 2)):
        agree(kind, call(23, 5, flags) + EXIT)


@pytest.mark.parametrize("kind", [SCHED, "socket_filter"])
def test_skb_load_bytes(kind):
    """Loads inside the packet give its bytes, others zeros and -EFAULT; also from the header that is asked for."""
    for offset, size in (
        (0, 4),
        (LENGTH - 18, 4),
        (LENGTH - 4, 4),
        (LENGTH - 3, 4),
        (0x10000, 1),
        (2**31 - 1, 8),
        (2**32 - 1, 4),
    ):
        loaded = "r7 = *(u8 *)(r10 - 8)\nr0 += r7\n"
        agree(kind, stack_bytes(-8, b"unchange") + call(26, "context", offset, Stack(-8), size) + loaded + EXIT)
        for start in (0, 1, 2):
            agree(kind, stack_bytes(-8, bytes(8)) + call(68, "context", offset, Stack(-8), size, start) + loaded + EXIT)


def test_skb_store_bytes():
    """Stores know the packet's end and refuse unknown flags."""
    for offset, flags in itertools.product((0, LENGTH - 4, LENGTH - 3, 0x10000, 2**31), (0, 1, 2, 3, 4)):
        agree(SCHED, stack_bytes(-8, b"storeme!") + call(9, "context", offset, Stack(-8), 4, flags) + EXIT)


@pytest.mark.parametrize("helper", [38, 43])
def test_skb_change_tail_and_head(helper):
    """Packets grow with zeros and shrink, within the same limits, and the context's length follows."""
    for size in (0, 13, 14, 15, 34, LENGTH, LENGTH + 1, 1500, 4000, 16064 - LENGTH, 16064, 16065, 2**30):
        agree(SCHED, call(helper, "context", size, 0) + EXIT)
        agree(SCHED, call(helper, "context", size, 1) + EXIT)
        agree(SCHED, call(helper, "context", size, 0) + "r0 = *(u32 *)(r6 + 0)\n" + EXIT)


def test_skb_pull_data_and_change_type():
    """Pulling knows the packet's end; only four packet types may be set."""
    for size in (0, 1, LENGTH, LENGTH + 1, 2**31):
        agree(SCHED, call(39, "context", size) + EXIT)
    for kind in (0, 1, 3, 4, 255):
        agree(SCHED, call(32, "context", kind) + "r7 = r0\nr0 = *(u32 *)(r6 + 4)\nr0 += r7\n" + EXIT)


def test_skb_change_proto():
    """Between IPv4 and IPv6 the packet gains or loses 20 bytes behind its Ethernet header; nothing else is allowed."""
    ipv6 = PACKET[:12] + b"\x86\xdd" + PACKET[14:]
    seen = "r0 = *(u32 *)(r6 + 16)\nr1 = *(u32 *)(r6 + 0)\nr1 <<= 16\nr0 += r1\n"
    for packet, protocol, flags in itertools.product((PACKET, ipv6), (0x0008, 0xDD86, 0x0608), (0, 1)):
        agree(SCHED, call(31, "context", protocol, flags) + EXIT, packet)
        agree(SCHED, call(31, "context", protocol, flags) + seen + EXIT, packet)


PUSHES = {
    "802.1Q": call(18, "context", 0x0081, 0x123),
    "802.1ad": call(18, "context", 0xA888, 0x456),
    "other": call(18, "context", 0x1111, 0x10789),
    "pop": call(19, "context"),
}
FRAMES = {
    "untagged": PACKET,
    "tagged": bytes(ETHERNET / Dot1Q(vlan=7) / IP() / UDP()),
    "provider": bytes(Ether(dst="02:00:00:00:00:01", type=0x88A8) / Dot1Q(vlan=9) / Dot1Q(vlan=8) / IP() / UDP()),
    "802.3 inside": bytes(ETHERNET / Dot1Q(vlan=7, type=0x20) / bytes(40)),
    "raw IPX inside": bytes(ETHERNET / Dot1Q(vlan=7, type=0x20) / (b"\xff\xff" + bytes(40))),
    "cut off": PACKET[:12] + b"\x81\x00",
}


@pytest.mark.parametrize("frame", FRAMES)
def test_vlan_tags(frame):
    """After any three pushes and pops the packet and what __sk_buff says of its tags are the same."""
    seen = "r0 = *(u32 *)(r6 + 0)\n" + "".join(
        f"r1 = *(u32 *)(r6 + {offset})\nr0 *= 31\nr0 += r1\n" for offset in (16, 20, 24, 28)
    )
    for count in (1, 2, 3):
        for steps in itertools.product(PUSHES.values(), repeat=count):
            agree(SCHED, "".join(steps) + seen + EXIT, FRAMES[frame])


def test_checksum_replacement():
    """Fields are repaired, and refused, alike for every combination of flags."""
    numbers = random.Random(8)
    flags = [0, 1, 2, 3, 4, 5, 8, 0x10, 0x12, 0x14, 0x22, 0x24, 0x34, 0x64, 0x74, 0x84, 0x100]
    for helper, flag in itertools.product((10, 11), flags):
        for offset in (24, 40, 41, LENGTH - 2, LENGTH - 1, 0x10000):
            before = numbers.choice((0, 0xFFFF, numbers.getrandbits(32)))
            agree(SCHED, call(helper, "context", offset, before, numbers.getrandbits(32), flag) + EXIT)


def test_csum_diff():
    """Differences of buffers of all sizes, with and without a seed."""
    numbers = random.Random(8)
    for sizes in itertools.product((0, 2, 4, 7, 20, 64), repeat=2):
        contents = stack_bytes(-128, numbers.randbytes(128))
        seed = numbers.choice((0, 0xFFFF, numbers.getrandbits(32)))
        agree(SCHED, contents + call(28, Stack(-128), sizes[0], Stack(-64), sizes[1], seed) + EXIT)
    agree(SCHED, call(28, 0, 0, 0, 0, 0x12345) + EXIT)


def test_csum_level_and_update():
    """Levels rise, fall and are asked for alike in any order."""
    for steps in itertools.product(range(5), repeat=3):
        body = "".join(call(135, "context", step) + "r7 *= 7\nr7 += r0\n" for step in steps)
        agree(SCHED, f"r7 = 0\n{body}r0 = r7\n{EXIT}")
    agree(SCHED, call(40, "context", 5) + EXIT)


def test_hashes():
    """A hash that was set is given back, even zero; one that was made invalid is not seen."""
    for value in (77, 0):
        agree(SCHED, call(48, "context", value) + call(34, "context") + EXIT)
        agree(SCHED, call(48, "context", value) + call(41, "context") + "r0 = *(u32 *)(r6 + 68)\n" + EXIT)
    agree(SCHED, call(34, "context") + "r1 = *(u32 *)(r6 + 68)\nr0 -= r1\n" + EXIT)


def test_context_of_a_packet():
    """What __sk_buff says of a packet that was just made, for every kind of link-layer header."""
    frames = [PACKET, bytes(6) + PACKET[6:], b"\x01" + PACKET[1:], b"\x02" + PACKET[1:], *FRAMES.values()]
    frames += [PACKET[:12] + b"\x00\x20" + PACKET[14:], PACKET[:12] + b"\x00\x20\xff\xff" + PACKET[16:]]
    for frame in frames:
        for offset in (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 68, 72, 164, 176):
            agree(SCHED, f"r0 = *(u32 *)(r6 + {offset})\n{EXIT}", frame)
        for offset in (0, 4, 16, 20):
            agree("socket_filter", f"r0 = *(u32 *)(r6 + {offset})\n{EXIT}", frame)
    agree(XDP, f"r0 = *(u32 *)(r6 + 12)\n{EXIT}")
    agree(XDP, f"r0 = *(u32 *)(r6 + 16)\n{EXIT}")


def test_legacy_loads():
    """LD_ABS from the packet, the network and the link-layer header; outside, the program returns 0."""
    for kind in (SCHED, "socket_filter"):
        for offset in (0, 12, LENGTH - 18, LENGTH - 4, LENGTH - 3, -0x100000, -0x100000 + 9, -0x200000, -0x200000 + 12,
                       -0x200000 + LENGTH, -0x1000, -0x300000, 2**31 - 1):  # fmt: skip
            for size in ("u8", "u16", "u32"):
                agree(kind, f"r0 = *({size} *)skb[{offset}]\n{EXIT}")


def test_metadata_from_the_context():
    """xdp_md.data says how many bytes of the data are metadata, in and out."""
    context = (8).to_bytes(4, "little") + LENGTH.to_bytes(4, "little") + bytes(4) + (1).to_bytes(4, "little") + bytes(8)
    agree(XDP, f"r0 = *(u32 *)(r6 + 4)\nr1 = *(u32 *)(r6 + 0)\nr0 -= r1\n{EXIT}", context=context)
    agree(XDP, call(ADJUST_META, "context", -4) + EXIT, context=context)


NUMBERS = (
    b"0", b"1", b"-1", b"  42", b"\t\n 42x", b"0x1F", b"0X1f", b"0x", b"0xg", b"-0x10", b"017", b"08", b"-", b"- 5",
    b"+5", b"   ", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"-9223372036854775809",
    b"18446744073709551615", b"18446744073709551616", b"1" * 70, b"0" * 80 + b"5", b"0" * 62 + b"12345", b"12 34",
    b"\xa012", b"a", b"ff", b"-0", b"--5", b"5\x006", b" " * 70 + b"7", b"0x" + b"0" * 70, b"00x1", b"1_000",
)  # fmt: skip


@pytest.mark.parametrize("helper", [105, 106])
def test_strtol(helper):
    """Text becomes the same numbers, and is refused alike, in every base."""
    for text, flags in itertools.product(NUMBERS, (0, 8, 10, 16, 2, 32)):
        body = stack_bytes(-256, text) + stack_bytes(-128, b"\x77" * 64)
        agree(SCHED, f"{body}{call(helper, Stack(-256), len(text), flags, Stack(-128))}r7 = r0\n{SHOW}")


VALUES = (0, 1, -1, 42, -42, 255, 1 << 31, 1 << 32, 1 << 63, 123456789012, 65)
INTEGERS = ("d", "i", "u", "x", "X", "ld", "lu", "lx", "lX", "lli", "llu", "llx", "c")
FIELDS = ("", "5", "05", "-5", "+", "+5", " ", "20", "-20", "020", "+020", "-05", "0-5", "- 5", "+-8")
OTHERS = (
    "%pI5", "%pIx", "%f", "%e", "%o", "%n", "%hd", "%zd", "%lllx", "%", "%l", "%5", "abc%", "%%", "%%d", "100%% %d",
    "%.3d", "%*d", "%#x", "%p1", "%pks1", "\x01", "\x7f", "é", "%é", "\t\n\r", "%d%d", "%d %d %d", "%px", "%20px|",
    "%-20px|", "%pxab d", "%pS", "%20pS|", "%-20ps|", "%pB,", "%psx%d", "no",
)  # fmt: skip
FOLLOWED = (
    "%s", "%10s", "%-20s|", "%5s", "%s %s", "%05s", "%+s", "%sx", "%s,", "%pi4", "%pI4", "%pi6", "%pI6", "%30pI4",
    "%-30pI4|", "%pI4x", "%pI4 abc", "%pi6abc def", "%pks", "%20pks|", "é%sé",
)  # fmt: skip


def _snprintf(text: str, arguments: list[int | str], size: int = 64) -> None:
    """Format into the packet; an argument "text" is the address of ``hello world``."""
    body = stack_bytes(-40, b"hello world\0".ljust(32, b"\0")) + stack_bytes(-128, bytes(64))
    for i, argument in enumerate(arguments):
        value = "r1 = r10\nr1 += -40\n" if argument == "text" else f"r1 = {int(argument) % 2**64} ll\n"
        body += f"{value}*(u64 *)(r10 - {256 - 8 * i}) = r1\n"
    data = Stack(-256) if arguments else 0
    contents = text.encode()
    made = call(165, Stack(-128), size, "value", data, 8 * len(arguments))
    read_only = contents.ljust(-(-(len(contents) + 1) // 8) * 8, b"\0")
    source = f"{body}{made}r7 = r0\n{SHOW}"
    try:
        agree(SCHED, source, read_only=read_only)
    except livekernel.Refused as refused:
        if "Invalid format string" not in str(refused):
            raise
        # The kernel's verifier reads constant formats; here the helper does.
        assert run(SCHED, "r6 = r1\n" + source, PACKET, read_only=read_only).retval == EINVAL


@pytest.mark.parametrize("conversion", INTEGERS)
def test_snprintf_of_integers(conversion):
    """Integers of every size, in every field, print alike."""
    for i, field in enumerate(FIELDS):
        for value in (VALUES[i % len(VALUES)], VALUES[(3 * i + 1) % len(VALUES)]):
            _snprintf(f"<%{field}{conversion}>", [value])


def test_snprintf_of_everything_else():
    """Every other conversion prints alike, or is refused alike, with too few and with enough arguments."""
    for text in OTHERS:
        for count in range(4):
            _snprintf(text, [7, 0x1234, 5][:count])
    for text in FOLLOWED:
        for count in range(3):
            _snprintf(text, ["text"] * count)


def test_snprintf_truncates():
    """The result is the whole length with its NUL, whatever fits; a size of 0 writes nothing."""
    for size in (0, 1, 2, 5, 8, 9, 10):
        _snprintf("%d-%x!", [1234, 255], size)


def test_strncmp():
    """Equal up to a NUL or the size is 0; otherwise the first difference decides between -1 and 1."""
    for left, size in itertools.product(
        (b"hello\0zz", b"help!\0\0\0", b"hell\0\0\0\0", b"\xffello\0\0\0"), (1, 4, 5, 8)
    ):
        agree(SCHED, stack_bytes(-8, left) + call(182, Stack(-8), size, "value") + EXIT, read_only=b"hello\0\0\0")
