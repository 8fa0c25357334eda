"""Send frames as fast as they go, or at a rate, straight to an interface: ``flood.py INTERFACE FRAMES [RATE] [COUNT]``.

FRAMES is a file with one frame a line in hex; they are sent in turn until COUNT are sent (0: no end), or until SIGTERM.
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


class Header(ctypes.Structure):
    """struct msghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32),
        ("vector", ctypes.POINTER(Iovec)), ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_int),
    )  # fmt: skip


class Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (("header", Header), ("sent", ctypes.c_uint))


def messages(frames: list[bytes]) -> tuple[ctypes.Array[Message], list[object]]:
    """The frames in turn, at least a batch of them, and what must stay referenced while they are used."""
    kept: list[object] = []
    made = (Message * (len(frames) * -(-BATCH // len(frames))))()
    for i, message in enumerate(made):
        frame = frames[i % len(frames)]
        buffer = ctypes.create_string_buffer(frame, len(frame))
        vector = Iovec(ctypes.addressof(buffer), len(frame))
        message.header.vector, message.header.vector_length = ctypes.pointer(vector), 1
        kept += [buffer, vector]
    return made, kept


def main(interface: str, path: str, rate: str = "0", count: str = "0") -> None:
    """Send, and print how many frames the interface took."""
    frames, _kept = messages([bytes.fromhex(line) for line in Path(path).read_text(encoding="ascii").split()])
    pace, wanted = int(rate), int(count)
    most = max(1, min(BATCH, pace // 100)) if pace else BATCH
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
        while not stopped and not 0 < wanted <= sent:
            if pace:
                time.sleep(max(0, began + sent / pace - time.monotonic()))
            at = sent % len(frames)
            size = min(most, len(frames) - at, wanted - sent if wanted else most)
            sent += max(0, libc.sendmmsg(port.fileno(), ctypes.byref(frames, at * ctypes.sizeof(Message)), size, 0))
    print(sent, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
