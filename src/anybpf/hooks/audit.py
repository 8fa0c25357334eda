"""Programs on the socket calls of this very Python process, by its audit events, on every operating system.

::

    import anybpf.hooks.audit
    anybpf.hooks.audit.install("policy.o")

CPython (tried: 3.11 to 3.13, on Linux and Windows) raises these events before the call is made:

===================  ========================================================================================
``socket.__new__``   ``socket.socket(…)``: programs see SOCKET. Not so where a descriptor is only wrapped, as in
                     ``accept`` and ``dup``
``socket.bind``      ``bind``, ``socket.create_server``: BIND
``socket.connect``   ``connect`` and ``connect_ex``, which raises when it is denied: CONNECT
``socket.sendto``,   ``sendto``, and ``sendmsg`` with an address: SENDMSG; CONNECT for stream sockets, since that is
``socket.sendmsg``   how TCP Fast Open connects
===================  ========================================================================================

There is none for ``listen``, ``accept`` and ``close``, and none after a bind. Programs that decide or watch only these
(``post_bind``, ``recv_accept``, ``listen``, ``sock_release``) are refused. ``bind`` programs see the UNBIND of a socket
that was closed, or whose bind failed, late: before the next socket, bind, connection or datagram of this process is
decided. A socket whose descriptor was taken out of it (``detach``) counts as closed.

* A denied call raises PermissionError with errno EPERM (Linux's programs) or EACCES (Windows'), or the OSError of the
  error that a program has set with ``bpf_set_retval``.
* An audit hook cannot change a call. Where a program rewrites the address, or asks for a source with ``bpf_bind``, the
  call is refused: a PermissionError with EACCES that says so.
* CPython resolves a host name before it raises the event, but does not tell the result. The name is resolved once more
  here, and the call goes on if the programs allow every address that this gives. Whoever answers for the name can
  answer otherwise the second time; ``Audit(names=False)`` refuses calls that name a host by anything but an address.
* Python's audit hooks stay until the process ends. There is one here, added when a program is first attached; when
  none is, it looks up the event's name and returns. Detaching a link takes effect at once.
* A forked child keeps what is attached. When the process ends, links are detached first (by ``atexit``).
* What does not come through Python's ``socket`` module is not seen: new processes, extensions that make sockets of
  their own (uvloop), connections of asyncio's proactor event loop, which is Windows' default. Hostile Python code can
  get round any audit hook. Other interpreters in the process have audit hooks of their own.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
import sys
import threading
from operator import index
from os import PathLike
from typing import Any, ClassVar

from anybpf.errors import LINUX_ERRNO, HookError
from anybpf.hooks.audit_bound import BoundSockets
from anybpf.hooks.socket_call import Address, Operation, SocketCall
from anybpf.hooks.socket_hook import SocketHook, accepted
from anybpf.runtime import Link, Program, load
from anybpf.runtime.link import DEFAULT_PRIORITY

__all__ = ("Audit", "install")

#: Linux's numbers of the Internet families, by this system's.
_FAMILIES = {int(socket.AF_INET): 2, int(socket.AF_INET6): 10}
_HOST_LENGTH = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
_SOCK_STREAM = int(socket.SOCK_STREAM)
_EACCES = 13
#: Event → what it may tell of. Each is an occasion to see which sockets have been closed.
_BROUGHT = {
    "socket.__new__": frozenset({Operation.SOCKET, Operation.UNBIND}),
    "socket.bind": frozenset({Operation.BIND, Operation.UNBIND}),
    "socket.connect": frozenset({Operation.CONNECT, Operation.UNBIND}),
    "socket.sendto": frozenset({Operation.SENDMSG, Operation.CONNECT, Operation.UNBIND}),
    "socket.sendmsg": frozenset({Operation.SENDMSG, Operation.CONNECT, Operation.UNBIND}),
}


class Audit(SocketHook):
    """Decides the socket calls of this interpreter's Python code. With several of these, all must allow a call.

    :param names: calls that name a host are decided by what the name means; otherwise they are refused.
    """

    name: ClassVar[str] = "audit"
    takes = accepted(frozenset().union(*_BROUGHT.values()))

    def __init__(self, *, names: bool = True) -> None:
        super().__init__()
        self.names = names
        self._bound = BoundSockets(_local)

    def require(self, program: Program) -> None:
        """Raise HookError when Python raises no event that programs of this type would see."""
        if not any(t.matches(program) for t in self.takes) and any(t.matches(program) for t in SocketHook.takes):
            raise HookError(
                f"program {program.name!r} ({program.type.attach_type}) decides calls that Python raises no audit "
                "event for; attach it to a hook that the operating system tells of these, such as anybpf exec"
            )
        super().require(program)

    def _changed(self) -> None:
        _activate(self)

    def created(self, family: int, kind: int, protocol: int) -> None:
        """Decide the making of a socket; -1: the default of ``socket.socket``. OSError refuses it."""
        self._tell_released()
        family = socket.AF_INET if family == -1 else family
        if family in _FAMILIES:
            kind = _SOCK_STREAM if kind == -1 else kind
            self._require(SocketCall(Operation.SOCKET, _FAMILIES[family], kind, max(protocol, 0)))

    def addressed(self, event: str, sock: socket.socket, named: Any) -> None:
        """Decide a call on a socket that names an address, as Python's programs write them. OSError refuses it."""
        self._tell_released()
        family, kind, protocol = _identity(sock)
        if family not in _FAMILIES or not isinstance(named, tuple):
            return
        if event == "socket.bind":
            operation = Operation.BIND
        elif event == "socket.connect" or kind == _SOCK_STREAM:
            operation = Operation.CONNECT
        else:
            operation = Operation.SENDMSG
        if operation not in self.operations:
            return
        local = _local(sock) if self.shows_local(operation) else None
        for address in _addresses(named, family, self.names):
            call = SocketCall(operation, _FAMILIES[family], kind, protocol, address, local)
            self._require(call)
        if operation is Operation.BIND and Operation.UNBIND in self.operations:
            self._bound.add(sock, call)

    def _tell_released(self) -> None:
        if Operation.UNBIND in self.operations:
            for call in self._bound.released():
                self.decide(call)

    def _require(self, call: SocketCall) -> None:
        decision = self.decide(call)
        if not decision.allowed:
            raise _refusal(decision.error, f"{_described(call)} was denied by an eBPF program")
        unchanged = decision.address is call.address or decision.address == call.address
        if decision.source is not None or not unchanged:
            raise _refusal(
                _EACCES,
                f"{_described(call)} was redirected by an eBPF program, which an audit hook cannot carry out; "
                "use anybpf exec for such programs",
            )


def install(
    source: str | PathLike[str] | bytes, *, names: bool = True, priority: int = DEFAULT_PRIORITY, **options: Any
) -> tuple[Link, ...]:
    """Load an object and put all its programs on this interpreter's socket calls; all of them, or none.

    :param names: see :class:`Audit`. :param options: of :func:`anybpf.load`. :returns: the links, in the order of the
        object's programs; detaching them ends it.
    :raises HookError: a program is of a type that Python raises no events for, or there are no programs.
    :raises VerificationError: and others, as :func:`anybpf.load` does.
    """
    loaded, hook, links = load(source, **options), Audit(names=names), list[Link]()
    try:
        for program in loaded.programs.values():
            hook.require(program)
        for program in loaded.programs.values():
            links.append(hook.attach(program, priority=priority))
        if not links:
            raise HookError(f"{loaded.spec.name} has no programs to decide socket calls by")
    except BaseException:
        for link in links:
            link.detach()
        loaded.close()
        raise
    return tuple(links)


# ---------------------------------------------------------------------------------------------------------------------
# The one hook of this interpreter

_lock = threading.Lock()
_audits: tuple[Audit, ...] = ()
_by_event: dict[str, tuple[Audit, ...]] = {}
_installed = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    audits = _by_event.get(event)
    if audits is None:
        return
    if event == "socket.__new__":
        if not _wraps_descriptor():
            for audit in audits:
                audit.created(*arguments[1:])
        return
    for audit in audits:
        audit.addressed(event, *arguments)


def _activate(audit: Audit) -> None:
    """Bring ``audit`` the events that its programs want to see now."""
    global _audits, _by_event
    with _lock:
        others = tuple(one for one in _audits if one is not audit)
        audits = (*others, audit) if audit.operations else others
        wanted = {
            event: tuple(one for one in audits if one.operations & operations)
            for event, operations in _BROUGHT.items()
        }  # fmt: skip
        if audits:
            _install()
        _audits, _by_event = audits, {event: ones for event, ones in wanted.items() if ones}


def _install() -> None:
    global _installed, _by_event
    if _installed:
        return
    sys.addaudithook(_hook)
    # An earlier hook may have refused ours without a word.
    probe = _Probe()
    before, _by_event = _by_event, {_PROBE: (probe,)}  # type: ignore[dict-item]
    try:
        sys.audit(_PROBE, None, None)
    finally:
        _by_event = before
    if not probe.heard:
        raise HookError("another audit hook of this process refuses further ones; anybpf's must be added before it")
    _installed = True


_PROBE = "anybpf.hooks.audit"


class _Probe:
    heard = False

    def addressed(self, event: str, *arguments: object) -> None:
        self.heard = True


def _wraps_descriptor() -> bool:
    """Whether the socket that is being made wraps a descriptor, which its event does not say but its caller knows."""
    frame = sys._getframe(2)
    return frame.f_code is _INIT and frame.f_locals.get("fileno") is not None


_INIT = socket.socket.__init__.__code__

# ---------------------------------------------------------------------------------------------------------------------
# What events say, in the words of SocketCall

#: Of the C class, whatever a subclass makes of the attributes.
_ATTRIBUTES = tuple(vars(_socket.socket)[name].__get__ for name in ("family", "type", "proto"))


def _identity(sock: socket.socket) -> tuple[int, int, int]:
    family, kind, protocol = (get(sock) for get in _ATTRIBUTES)
    return family, kind, protocol


def _local(sock: socket.socket) -> Address | None:
    """Return the socket's own address; None while it has none."""
    try:
        return _addresses(_socket.socket.getsockname(sock), _identity(sock)[0], True)[0]
    except OSError:
        return None


def _addresses(named: tuple[Any, ...], family: int, names: bool) -> tuple[Address, ...]:
    """Return what an address tuple of Python's may mean: one address, or all that its host name stands for.

    :raises OSError: the host is a name that cannot be resolved (any more), or names are not wanted.
    """
    host, port = named[0], index(named[1])
    flowinfo, scope = (*map(index, named[2:]), 0, 0)[:2] if len(named) > 2 else (0, 0)
    text = host if isinstance(host, str) else bytes(host).decode("latin-1")
    try:
        return (Address(socket.inet_pton(family, text), port, flowinfo, scope),)
    except OSError:
        pass
    if text == "":
        return (Address(bytes(_HOST_LENGTH[family]), port, flowinfo, scope),)
    if text == "<broadcast>":
        return (Address(b"\xff" * 4, port),)
    try:
        found = _socket.getaddrinfo(text, None, family, 0, 0, 0 if names else socket.AI_NUMERICHOST)
    except socket.gaierror:
        if names:
            raise
        raise _refusal(_EACCES, f"{text!r} is no address, and names are not accepted here") from None
    hosts = dict.fromkeys(socket.inet_pton(family, str(answer[4][0]).partition("%")[0]) for answer in found)
    return tuple(Address(one, port, flowinfo, scope) for one in hosts)


def _described(call: SocketCall) -> str:
    verb = call.operation.name.lower()
    if call.address is None:
        return f"{verb} of family {call.family}, type {call.type}, protocol {call.protocol}"
    family = socket.AF_INET if len(call.address.host) == 4 else socket.AF_INET6
    host = socket.inet_ntop(family, call.address.host)
    return f"{verb} {host if family == socket.AF_INET else f'[{host}]'}:{call.address.port}"


def _refusal(code: int, why: str) -> OSError:
    """Return the error of this operating system for Linux's ``code``; PermissionError for EPERM and EACCES."""
    local = getattr(errno, LINUX_ERRNO.get(code, ""), code)
    return OSError(local, f"{os.strerror(local)}: {why}")
