"""Cutting merged frames and completing checksums, against scapy; on damaged frames, under sanitizers."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from rawframes import NOTHING, Offload, merged, text

scapy = pytest.importorskip("scapy.all")

pytestmark = pytest.mark.linux_only

TESTS = Path(__file__).parent
ENGINE = TESTS.parent / "src/anybpf/runtime/_engine"
#: What segment.c is made of.
SOURCES = [TESTS / "segment_driver.c", *(ENGINE / name for name in ("segment.c", "checksum.c", "packet.c", "event.c"))]
FLAGS = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
EINVAL, EOPNOTSUPP = -22, -95
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80

Case = tuple[bytes, Offload]
Result = tuple[int, list[bytes]]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """segment_driver, built with AddressSanitizer and UBSan where they work."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("sanitizers are run on Linux with gcc or clang")
    folder = tmp_path_factory.mktemp("segment")
    made = folder / "segment_driver"
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    works = subprocess.run([compiler, *SANITIZERS, str(probe), "-o", str(made)], capture_output=True, check=False)
    if works.returncode or subprocess.run([str(made)], capture_output=True, check=False).returncode:
        pytest.skip(f"{compiler} cannot build programs with {SANITIZERS[0]} that run here")
    command = [compiler, *FLAGS, *SANITIZERS, f"-I{ENGINE}", *map(str, SOURCES), "-o", str(made)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return made


def run(driver: Path, cases: list[Case]) -> list[Result]:
    """What the driver makes of each frame: its error, or 0, and the packets."""
    given = b"".join(struct.pack("=I", len(frame)) + offload.bytes() + frame for frame, offload in cases)
    done = subprocess.run([str(driver)], input=given, capture_output=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    assert not done.stderr
    results, at = [], 0
    while at < len(done.stdout):
        (error,) = struct.unpack_from("=i", done.stdout, at)
        packets, at = [], at + 4
        while size := struct.unpack_from("=i", done.stdout, at)[0]:
            packets.append(done.stdout[at + 4 : at + 4 + size])
            at += 4 + size
        results.append((error, packets))
        at += 4
    assert len(results) == len(cases)
    return results


def whole_cases(seed: int, count: int) -> Iterator[Case]:
    """Frames as the kernel hands them over: any protocol, tags, flags, options, sizes."""
    random_ = random.Random(seed)
    for number in range(count):
        version = random_.choice((4, 6))
        kind = random_.choice((Offload.TCP4 if version == 4 else Offload.TCP6, Offload.UDP))
        size = random_.choice((0, 1, 7, 536, 1400, 1448, 9000))
        packets = random_.randrange(1, 8)
        payload = text(random_.randrange(max(size, 1) * packets + 1), number)
        tags = random_.choice(((), ((0x8100, 5),), ((0x88A8, 6), (0x8100, 7))))
        flags = random_.choice((ACK, ACK | PSH, ACK | FIN, ACK | PSH | CWR))
        yield merged(
            payload, kind, size, version=version, tags=tags, flags=flags, options=b"\x01" * 4 * random_.randrange(11)
        )


def expected(frame: bytes, offload: Offload) -> list[bytes]:
    """The packets that scapy makes of a merged frame: one header each, with what differs between them."""
    parsed = scapy.Ether(frame)
    layer = scapy.TCP if parsed.haslayer(scapy.TCP) else scapy.UDP
    payload = bytes(parsed[layer].payload)
    cuts = [*range(0, len(payload), offload.size or max(len(payload), 1)), len(payload)] if payload else [0, 0]
    packets = []
    for number, (start, end) in enumerate(pairwise(cuts)):
        packet = parsed.copy()
        packet[layer].remove_payload()
        packet[layer].add_payload(scapy.Raw(payload[start:end]))
        if packet.haslayer(scapy.IP):
            packet[scapy.IP].id += number
            del packet[scapy.IP].len, packet[scapy.IP].chksum
        else:
            del packet[scapy.IPv6].plen
        if layer is scapy.TCP:
            packet[layer].seq = (packet[layer].seq + start) % 2**32
            last = end == len(payload)
            cleared = (0 if last else FIN | PSH) | (CWR if number else 0)
            packet[layer].flags = int(packet[layer].flags) & ~cleared
        else:
            del packet[layer].len
        del packet[layer].chksum
        packets.append(bytes(packet))
    return packets


def test_packets_are_what_scapy_makes(driver: Path) -> None:
    """Each packet has the headers, sequence number, flags, lengths and checksums that scapy gives it."""
    cases = list(whole_cases(1, 300))
    for case, (error, packets) in zip(cases, run(driver, cases), strict=True):
        assert error == 0
        assert packets == expected(*case), case[1]


def test_nothing_left_to_do(driver: Path) -> None:
    """A frame of which nothing was left to the hardware stays as it is, whatever it is."""
    frames = [text(size, size) for size in (1, 13, 14, 60, 1514)]
    assert run(driver, [(frame, NOTHING) for frame in frames]) == [(0, [frame]) for frame in frames]


def damaged(seed: int, count: int) -> Iterator[Case]:
    """Whole frames with bytes or the offload changed, or cut short."""
    random_ = random.Random(seed)
    for frame, offload in whole_cases(seed, count):
        changed = bytearray(frame)
        what = random_.randrange(5)
        if what == 0:
            del changed[random_.randrange(len(changed)) :]
        elif what == 1:
            for _ in range(random_.randrange(1, 5)):
                changed[random_.randrange(min(len(changed), 90))] = random_.randrange(256)
        elif what == 2:
            offload = replace(offload, start=random_.choice((0, 13, 14, 33, 65535, random_.randrange(65536))))
        elif what == 3:
            offload = replace(offload, offset=random_.choice((0, 1, 65535, random_.randrange(65536))))
        else:
            kind = random_.choice((0, 1, 3, 4, 5, 0x81, 0x84, 6, 255))
            offload = replace(offload, kind=kind, size=random_.choice((0, 1, 65535)), checksum=random_.random() < 0.8)
        yield bytes(changed), offload


def test_damaged_frames_do_no_damage(driver: Path) -> None:
    """Whatever frame and offload say, no byte outside the buffers is touched, and packets hold together the payload."""
    cases = list(damaged(2, 3000))
    results = run(driver, cases)
    for (frame, offload), (error, packets) in zip(cases, results, strict=True):
        assert error in (0, EINVAL, EOPNOTSUPP)
        assert error == 0 or not packets
        assert offload.kind or error or not frame or [len(packet) for packet in packets] == [len(frame)]
        assert sum(map(len, packets)) >= (len(frame) if not error else 0)
    assert len({error for error, _ in results}) == 3


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"kind": 3}, EOPNOTSUPP),
        ({"kind": Offload.TCP6}, EINVAL),
        ({"kind": Offload.UDP}, EINVAL),
        ({"size": 0}, EINVAL),
        ({"checksum": False}, EINVAL),
        ({"start": 33}, EINVAL),
        ({"start": 60_000}, EINVAL),
    ],
)
def test_offloads_that_do_not_fit_the_frame(driver: Path, changes: dict[str, int], error: int) -> None:
    """What the headers contradict, and merging of an unknown kind, is refused."""
    frame, offload = merged(text(5000), Offload.TCP4, 1000)
    assert run(driver, [(frame, replace(offload, **changes))]) == [(error, [])]
    assert run(driver, [(frame, offload)])[0][0] == 0


@pytest.mark.parametrize("size", [0, 1000])
def test_a_checksum_is_never_zero(driver: Path, size: int) -> None:
    """In UDP a checksum of 0 means that there is none; where the sum comes to that, its equal 0xffff is written."""
    frame, offload = merged(bytes(2), Offload.UDP, size)
    at = offload.start + offload.offset
    ((_, (whole,)),) = run(driver, [(frame, offload)])
    frame, offload = merged(whole[at : at + 2], Offload.UDP, size)
    ((error, (packet,)),) = run(driver, [(frame, offload)])
    assert (error, packet[at : at + 2]) == (0, b"\xff\xff")


def test_headers_that_lie_about_their_length(driver: Path) -> None:
    """An IP header that does not end where the transport header begins, or a TCP header too long, is refused."""
    frame, offload = merged(text(20), Offload.TCP4, 10)
    for at, value in ((14, 0x46), (14, 0x44), (46, 0xF0), (46, 0x40), (23, 17)):
        changed = bytearray(frame)
        changed[at] = value
        assert run(driver, [(bytes(changed), offload)]) == [(EINVAL, [])], at
