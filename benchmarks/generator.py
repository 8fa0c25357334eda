"""Send frames of 60 bytes (64 on a wire) as fast as one processor can: ``generator.py INTERFACE FLOWS PROCESSOR``.

UDP from 10.0.0.1 to 10.0.0.2, from FLOWS ports in turn, 1000 and up, to an Ethernet address that nobody has. Frames
stand in a mapped ring, so that one call of the kernel sends 1024 of them. Linux, root; ends when it is killed.
"""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct
import sys

SOL_PACKET, VERSION, TX_RING, LOSS, VNET_HDR, QDISC_BYPASS = 263, 10, 13, 14, 15, 20
TPACKET_V2, SEND_REQUEST = 1, 1
FRAMES, SIZE, BLOCK, DATA = 1024, 2048, 65536, 32
LENGTH = 60


def frame(port: int) -> bytes:
    ip = bytes.fromhex("4500002e00000000401166bd0a0000010a000002")
    return bytes.fromhex("02fffffffffe0200000000010800") + ip + struct.pack(">HHHH", port, 9, 26, 0) + bytes(18)


def main(interface: str, flows: str, processor: str) -> None:
    os.sched_setaffinity(0, {int(processor)})
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as port:
        for option, value in ((VERSION, TPACKET_V2), (VNET_HDR, 1), (LOSS, 1), (QDISC_BYPASS, 1)):
            port.setsockopt(SOL_PACKET, option, value)
        port.setsockopt(SOL_PACKET, TX_RING, struct.pack("4I", BLOCK, FRAMES * SIZE // BLOCK, SIZE, FRAMES))
        port.bind((interface, 0))
        ring = mmap.mmap(port.fileno(), FRAMES * SIZE)
        for number in range(FRAMES):
            # A struct virtio_net_hdr that wants the whole frame in one piece: the kernel would copy it otherwise.
            content = struct.pack("=BBHHHH", 0, 0, LENGTH, 0, 0, 0) + frame(1000 + number % int(flows))
            struct.pack_into("=II", ring, number * SIZE, 0, len(content))
            ring[number * SIZE + DATA : number * SIZE + DATA + len(content)] = content
        states = memoryview(ring).cast("I")[:: SIZE // 4]
        ready = memoryview(array.array("I", [SEND_REQUEST] * FRAMES))
        print("sending", flush=True)
        while True:
            states[:] = ready
            port.send(b"")


if __name__ == "__main__":
    main(*sys.argv[1:])
