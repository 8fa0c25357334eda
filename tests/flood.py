"""Send frames as fast as they go, or at a rate, straight to an interface: ``flood.py INTERFACE FRAMES [RATE] [COUNT]``.

FRAMES is a file with one frame a line in hex; they are sent in turn, over and over, until COUNT (0: for ever) or SIGTERM.
Frames are prepared once and handed to the kernel a thousand a call. Prints the number sent when it ends. Linux, root.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import sys
import time
from pathlib import Path

BATCH = 1024


class Iovec(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32),
        ("vector", ctypes.POINTER(Iovec)), ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )  # fmt: skip


def messages(frames: list[bytes]) -> tuple[ctypes.Array[Message], list[object]]:
    """A batch of the frames in turn, and what must stay referenced while it is used."""
    kept: list[object] = []
    batch = (Message * BATCH)()
    for i in range(BATCH):
        frame = frames[i % len(frames)]
        buffer = ctypes.create_string_buffer(frame, len(frame))
        vector = Iovec(ctypes.addressof(buffer), len(frame))
        batch[i].vector, batch[i].vector_length = ctypes.pointer(vector), 1
        kept += [buffer, vector]
    return batch, kept


def main(interface: str, path: str, rate: str = "0", count: str = "0") -> None:
    """Send, and print how many frames the interface took."""
    frames = [bytes.fromhex(line) for line in Path(path).read_text(encoding="ascii").split()]
    batches = [messages(frames[at : at + BATCH]) for at in range(0, len(frames), BATCH)]
    libc = ctypes.CDLL(None, use_errno=True)
    sent, stopped = 0, False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as port:
        port.bind((interface, 0))
        print("sending", flush=True)
        began = time.monotonic()
        turn = 0
        while not stopped and not 0 < int(count) <= sent:
            batch, _ = batches[turn % len(batches)]
            size = min(BATCH, int(count) - sent) if int(count) else BATCH
            if int(rate):
                size = min(size, max(1, int(rate) // 100))
                time.sleep(max(0, began + sent / int(rate) - time.monotonic()))
            done = libc.sendmmsg(port.fileno(), batch, size, 0)
            sent += max(done, 0)
            turn += 1
    print(sent, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
