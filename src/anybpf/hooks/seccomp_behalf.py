"""Calls made in a caller's place: as its user, with its capabilities, from its directory, with its umask.

Of capabilities, a caller in a user namespace of its own has none here: they count in that namespace only.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from errno import EACCES, ENOENT, EPERM, ESRCH
from pathlib import Path
from typing import Any, Final

from anybpf.hooks.seccomp_held import HeldCall
from anybpf.hooks.seccomp_memory import MemoryFault
from anybpf.hooks.socket_address import family_of
from anybpf.runtime.engine import ffi, lib

__all__ = ("bind", "connect", "listen", "send")

_AF_UNIX: Final = 1
_PATH_AT: Final = 2  # in a struct sockaddr_un; a path that begins with a zero byte is no path, but an abstract name
_MOST_GROUPS: Final = 1024


def bind(held: HeldCall, address: bytes) -> int:
    """Bind the socket; returns 0 or a negative error number."""
    return _make(held, lib.AB_BEHALF_BIND, address=address)


def connect(held: HeldCall, address: bytes) -> int:
    """Connect the socket, or begin to; returns 0 or a negative error number."""
    return _make(held, lib.AB_BEHALF_CONNECT, held.waits, address)


def listen(held: HeldCall, backlog: int) -> int:
    """Let the socket listen; returns 0 or a negative error number."""
    return _make(held, lib.AB_BEHALF_LISTEN, backlog)


def send(held: HeldCall, data: bytes, control: bytes, address: bytes, flags: int) -> int:
    """Send without waiting; returns how many bytes were sent, or a negative error number."""
    return _make(held, lib.AB_BEHALF_SEND, flags, address, data, control)


def _make(
    held: HeldCall, operation: int, number: int = 0, address: bytes = b"", data: bytes = b"", control: bytes = b""
) -> int:
    with ExitStack() as opened:
        try:
            who = _identity(held.thread)
            path = _path(address)
            if path:
                _require_same_files(held.thread)
            if path and not path.startswith(b"/"):
                who.directory = os.open(f"/proc/{held.thread}/cwd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, who.directory)
        except OSError as error:
            raise MemoryFault(ESRCH if error.errno == ENOENT else error.errno or EPERM) from None
        waiting = lib.ab_seccomp_waits(held.listener, held.id)  # now it is known of whom all that was
        if waiting != 0:
            raise MemoryFault(-waiting)
        parts = {name: ffi.from_buffer("uint8_t[]", part) for name, part in
                 (("address", address), ("data", data), ("control", control))}  # fmt: skip
        sizes = {"length": len(address), "size": len(data), "control_size": len(control)}
        call = {"operation": operation, "socket": held.socket, "number": number, **sizes, **parts}
        return int(lib.ab_behalf_make(who, ffi.new("ab_behalf_call *", call)))


def _identity(thread: int) -> Any:
    """Return an ``ab_behalf *`` that says who a thread is."""
    status = Path(f"/proc/{thread}/status").read_text(encoding="utf-8", errors="replace")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    user, effective_user, _, files_user = map(int, fields["Uid"].split())
    group, effective_group, _, files_group = map(int, fields["Gid"].split())
    groups = [int(one) for one in fields["Groups"].split()]
    if (files_user, files_group) != (effective_user, effective_group) or len(groups) > _MOST_GROUPS:
        raise MemoryFault(EACCES)  # it acts for somebody else, as file servers do
    ids = ((user, effective_user), (group, effective_group))
    change = ids != (os.getresuid()[:2], os.getresgid()[:2]) or set(groups) != set(os.getgroups())
    capabilities = int(fields["CapEff"], 16) if _same(thread, "ns/user") else 0
    return ffi.new(
        "ab_behalf *",
        {
            "change": change, "user": user, "effective_user": effective_user, "group": group,
            "effective_group": effective_group, "group_count": len(groups), "groups": groups,
            "capabilities": capabilities, "directory": -1, "mask": int(fields["Umask"], 8),
        },
    )  # fmt: skip


def _path(address: bytes) -> bytes:
    """Return the path that an address is, empty for one that is none."""
    if family_of(address) != _AF_UNIX or address[_PATH_AT : _PATH_AT + 1] in (b"", b"\0"):
        return b""
    return address[_PATH_AT:]


def _require_same_files(thread: int) -> None:
    """Refuse a thread to which paths mean other files than to us."""
    if not (_same(thread, "ns/mnt") and _same(thread, "root")):
        raise MemoryFault(EACCES)


def _same(thread: int, what: str) -> bool:
    """Whether a thread has the same namespace or directory as we do."""
    return os.path.samestat(os.stat(f"/proc/{thread}/{what}"), os.stat(f"/proc/self/{what}"))
