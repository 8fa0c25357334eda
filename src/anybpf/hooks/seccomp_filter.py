"""The seccomp filter that holds up socket calls, and nothing else: classic BPF, made from tables of system calls.

A filter sees numbers only: the system call's, its processor's, and its arguments. The kernel finds out once which
system calls it always lets through, and does not run it for those. Calls made in another mode of the processor, whose
numbers mean other things, and ``io_uring``, which binds and connects without system calls, are answered with ENOSYS.

Processes may not share a table of descriptors, as threads do, so that a process of one thread is sure of its own:
``clone`` with CLONE_FILES is refused where it makes no thread, and ``clone3``, whose flags no filter sees, is answered
with ENOSYS (C libraries then use ``clone``).
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from anybpf.errors import UnsupportedError
from anybpf.hooks.socket_call import Operation

__all__ = ("ARCHITECTURES", "CALLS", "INSTRUCTION_SIZE", "Architecture", "Call", "architecture", "build", "calls_for")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that can be held up; -1 stands for an argument that it does not have.

    :param name: as ``socket(2)`` and its kin are called. :param operations: it is held up for these.
    :param socket: which argument is the socket. :param address: which is an address. :param length: that one's length.
    :param flags: which argument may hold MSG_FASTOPEN, which connects.
    :param only_with: which argument it must have (not NULL) to be of interest.
    :param only_internet: its first argument must be AF_INET or AF_INET6 to be of interest.
    """

    name: str
    operations: frozenset[Operation]
    socket: int = 0
    address: int = -1
    length: int = -1
    flags: int = -1
    only_with: int = -1
    only_internet: bool = False


_BINDS: Final = frozenset({Operation.BIND, Operation.POST_BIND, Operation.UNBIND})
_SENDS: Final = frozenset({Operation.SENDMSG})
_ACCEPTS: Final = frozenset({Operation.ACCEPT})

CALLS: Final = (
    Call("socket", frozenset({Operation.SOCKET}), socket=-1, only_internet=True),
    Call("bind", _BINDS, address=1, length=2),
    Call("connect", frozenset({Operation.CONNECT}), address=1, length=2),
    Call("listen", frozenset({Operation.LISTEN})),
    Call("accept", _ACCEPTS),
    Call("accept4", _ACCEPTS),
    Call("sendto", _SENDS, address=4, length=5, flags=3, only_with=4),
    Call("sendmsg", _SENDS, flags=2),
    Call("sendmmsg", _SENDS, flags=3),
)
#: Never carried out. These numbers are the same on all processors.
_REFUSED: Final = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "clone3": 435}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A processor's system calls.

    :param audit: the number by which seccomp names it (AUDIT_ARCH_*). :param numbers: of :data:`CALLS`, by name.
    :param other: the same of the 32-bit processor that the kernel may stand in for, 0 where it does not.
    :param refused: numbers of that processor's calls that are not carried out. :param other_clone: of its ``clone``.
    :param beyond: system calls from this number on are not carried out either, 0: there are none.
    """

    audit: int
    numbers: dict[str, int]
    clone: int
    other: int
    refused: tuple[int, ...]
    other_clone: int
    beyond: int = 0


#: Machine, as ``uname -m`` says → its system calls (asm/unistd.h). The 32-bit ones refused are all that make, bind,
#: connect, listen, accept or send (socketcall among them).
ARCHITECTURES: Final = {
    "x86_64": Architecture(
        audit=0xC000003E,
        numbers={
            "socket": 41, "connect": 42, "accept": 43, "sendto": 44, "sendmsg": 46, "bind": 49, "listen": 50,
            "accept4": 288, "sendmmsg": 307, **_REFUSED,
        },
        clone=56,
        other=0x40000003,  # i386
        refused=(102, 345, 359, 361, 362, 363, 364, 369, 370, *_REFUSED.values()),
        other_clone=120,
        beyond=0x40000000,  # x32
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        numbers={
            "socket": 198, "bind": 200, "listen": 201, "accept": 202, "connect": 203, "sendto": 206, "sendmsg": 211,
            "accept4": 242, "sendmmsg": 269, **_REFUSED,
        },
        clone=220,
        other=0x40000028,  # arm
        refused=(102, 281, 282, 283, 284, 285, 290, 296, 366, 374, *_REFUSED.values()),
        other_clone=120,
    ),
}  # fmt: skip

_ALLOW, _NOTIFY, _ERROR = 0x7FFF0000, 0x7FC00000, 0x00050000  # SECCOMP_RET_*
_EPERM, _EOPNOTSUPP, _ENOSYS = 1, 95, 38
_CLONE_FILES, _CLONE_THREAD = 0x400, 0x10000
_MSG_FASTOPEN = 0x20000000
_INTERNET: Final = (2, 10)  # AF_INET, AF_INET6

# struct seccomp_data, little-endian as both processors are
_NUMBER, _PROCESSOR, _ARGUMENTS = 0, 4, 16

# Classic BPF (linux/bpf_common.h)
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_INSTRUCTION: Final = struct.Struct("=HBBI")
#: Bytes of an instruction.
INSTRUCTION_SIZE: Final = _INSTRUCTION.size


def architecture() -> Architecture:
    """Return this machine's.

    :raises UnsupportedError: its system calls are not in the tables.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise UnsupportedError(
            f"system calls of {machine} processors cannot be filtered yet, only those of {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[machine]


def calls_for(operations: Iterable[Operation]) -> tuple[Call, ...]:
    """Return the system calls by which any of ``operations`` can happen."""
    wanted = frozenset(operations)
    return tuple(call for call in CALLS if call.operations & wanted)


def build(operations: Iterable[Operation], target: Architecture) -> bytes:
    """Return the filter, as instructions of 8 bytes, that holds up the calls for ``operations`` on ``target``."""
    wanted = frozenset(operations)
    held = frozenset(call.name for call in calls_for(wanted))
    refused = b"".join(_if(_EQUAL, number, _give(_ERROR | _ENOSYS)) for number in target.refused)
    refused += _if(_EQUAL, target.other_clone, _CLONE)
    native = [_load(_NUMBER)]
    if target.beyond:
        native.append(_if(_AT_LEAST, target.beyond, _give(_ERROR | _ENOSYS)))
    native += [_if(_EQUAL, number, _give(_ERROR | _ENOSYS)) for number in _REFUSED.values()]
    native.append(_if(_EQUAL, target.clone, _CLONE))
    for call in CALLS:
        body = _of_call(call, held=call.name in held, connects=Operation.CONNECT in wanted)
        if body:
            native.append(_if(_EQUAL, target.numbers[call.name], body))
    return b"".join(
        (
            _load(_PROCESSOR),
            _if(_EQUAL, target.audit, b"".join(native) + _give(_ALLOW)),
            _if(_EQUAL, target.other, _load(_NUMBER) + refused + _give(_ALLOW)) if target.other else b"",
            _give(_ERROR | _ENOSYS),
        )
    )


def _of_call(call: Call, *, held: bool, connects: bool) -> bytes:
    """Return what is done about one system call, ending in a decision; nothing where it is let through."""
    code = b""
    if connects and call.flags >= 0:
        code += _load(_argument(call.flags)) + _if(_ANY_BIT, _MSG_FASTOPEN, _give(_ERROR | _EOPNOTSUPP))
    if not held:
        return code and code + _give(_ALLOW)
    if call.only_internet:
        families = b"".join(_if(_EQUAL, family, _give(_NOTIFY)) for family in _INTERNET)
        return code + _load(_argument(0)) + families + _give(_ALLOW)
    if call.only_with >= 0:
        for half in (_argument(call.only_with), _argument(call.only_with) + 4):
            code += _load(half) + _if(_AT_LEAST, 1, _give(_NOTIFY))
        return code + _give(_ALLOW)
    return code + _give(_NOTIFY)


def _argument(number: int) -> int:
    return _ARGUMENTS + 8 * number


def _load(offset: int) -> bytes:
    return _INSTRUCTION.pack(_LOAD, 0, 0, offset)


def _give(action: int) -> bytes:
    return _INSTRUCTION.pack(_RETURN, 0, 0, action)


def _if(test: int, value: int, body: bytes) -> bytes:
    """Return instructions that run ``body`` (at most 255 of them) if the number loaded last passes the test."""
    return _INSTRUCTION.pack(test, 0, len(body) // _INSTRUCTION.size, value) + body


#: What is done about ``clone``.
_CLONE: Final = (
    _load(_argument(0))
    + _if(_ANY_BIT, _CLONE_THREAD, _give(_ALLOW))
    + _if(_ANY_BIT, _CLONE_FILES, _give(_ERROR | _EPERM))
    + _give(_ALLOW)
)
