"""Commands whose socket calls are decided by programs: seccomp user notification, on Linux, without privileges.

The command and all its descendants run under a filter that holds up the system calls that attached programs want to
see, and no others. Each is decided and then carried out here, on our descriptor of the caller's socket.

Fail-open where a program faults, as for all socket hooks; fail-closed where the supervisor does: when it ends or cannot
look into a caller, the calls it holds up fail (ENOSYS, EPERM), and no caller hangs.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from anybpf.errors import HookError, UnsupportedError
from anybpf.hooks import seccomp_filter
from anybpf.hooks.seccomp_calls import Calls
from anybpf.hooks.seccomp_supervisor import Supervisor
from anybpf.hooks.socket_call import Operation
from anybpf.hooks.socket_hook import SocketHook
from anybpf.runtime.engine import ffi, lib

__all__ = ("CommandError", "Seccomp")

#: What no program can see of a command here: sockets are closed without a system call of their own.
_UNSEEN: Final = frozenset({"cgroup_inet_sock_release"})
#: The program type whose context shows which program the caller runs.
_SHOWS_APPS: Final = "bind"
#: Operation → what Landlock denies to a caller that gets past us: LANDLOCK_ACCESS_NET_BIND_TCP and _CONNECT_TCP.
_LANDLOCK: Final = {Operation.BIND: 1, Operation.POST_BIND: 1, Operation.CONNECT: 2}
_SHELL: Final = b"/bin/sh"


class CommandError(HookError):
    """The command cannot be executed.

    :param error: the error number: ENOENT when there is no such program.
    """

    def __init__(self, command: str, error: int) -> None:
        self.error = error
        super().__init__(f"{command}: {os.strerror(error)}")


class Seccomp(SocketHook):
    """Socket calls of one command and its descendants. Attach programs first, then start the command."""

    name = "seccomp"
    takes = tuple(
        replace(taken, attach_types=tuple(one for one in taken.attach_types if one not in _UNSEEN))
        for taken in SocketHook.takes
    )

    def __init__(self) -> None:
        super().__init__()
        self._held: frozenset[Operation] | None = None

    def _changed(self) -> None:
        if self._held is not None and not self.operations <= self._held:
            raise HookError(
                "the command runs already, and what its filter holds up can no longer change; "
                "attach programs for other calls before it starts"
            )

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[int, Supervisor]:
        """Start ``command``; returns its process id, to be waited for, and the supervisor, whose ``serve`` must run.

        :param command: the program, looked for in ``PATH`` as a shell does, and its arguments.
        :raises CommandError: it cannot be executed. :raises UnsupportedError: this system has no seccomp notification.
        :raises HookError: another supervisor holds up the calls of this process already.
        """
        if not sys.platform.startswith("linux"):
            raise UnsupportedError(f"commands can be supervised on Linux only, by seccomp; this is {sys.platform}")
        target = seccomp_filter.architecture()
        with self._changing:
            self._held = operations = self.operations
        calls = Calls(self)
        try:
            process, listener = _start(command, environment or os.environ, operations, target)
        except BaseException:
            calls.close()
            raise
        apps = any(link.program.type.name == _SHOWS_APPS for link in self.links)
        return process, Supervisor(listener, calls, seccomp_filter.calls_for(operations), target, executables=apps)


def _start(
    command: Sequence[str],
    environment: Mapping[str, str],
    operations: frozenset[Operation],
    target: seccomp_filter.Architecture,
) -> tuple[int, int]:
    """Return the process started and the listener of its calls."""
    found = shutil.which(command[0], path=environment.get("PATH", os.defpath))
    path, arguments = os.fsencode(found or command[0]), [os.fsencode(argument) for argument in command]
    if found is None and b"/" not in path:
        raise CommandError(command[0], errno.ENOENT)
    variables = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
    filtered = seccomp_filter.build(operations, target)
    child = ffi.new("ab_seccomp_child *")
    ruleset = _ruleset(operations)
    try:
        error = _attempt(filtered, ruleset, path, arguments, variables, child)
        if error == -errno.ENOEXEC:  # a script that does not say what runs it: a shell does
            error = _attempt(filtered, ruleset, _SHELL, [_SHELL, path, *arguments[1:]], variables, child)
    finally:
        if ruleset >= 0:
            os.close(ruleset)
    if error == 0:
        return child.process, child.listener
    if child.step == lib.AB_SECCOMP_EXECUTE:
        raise CommandError(command[0], -error)
    raise _refusal(child.step, -error)


def _attempt(
    filtered: bytes, ruleset: int, path: bytes, arguments: Sequence[bytes], variables: Sequence[bytes], child: Any
) -> int:
    """Start a program; returns 0 or a negative error number."""
    kept = [[ffi.new("char[]", text) for text in texts] for texts in (arguments, variables)]
    lists = [ffi.new("char *[]", [*texts, ffi.NULL]) for texts in kept]
    count = len(filtered) // seccomp_filter.INSTRUCTION_SIZE
    return int(lib.ab_seccomp_start(filtered, count, ruleset, path, *lists, child))


def _ruleset(operations: frozenset[Operation]) -> int:
    """Return a Landlock ruleset that denies what only we may do; -1 where the kernel has none for the network."""
    denied = 0
    for operation in operations:
        denied |= _LANDLOCK.get(operation, 0)
    return int(lib.ab_landlock_ruleset(denied)) if denied else -1


def _refusal(step: int, error: int) -> HookError | UnsupportedError:
    """Return why a filter could not be put on."""
    if error == errno.EBUSY:
        return HookError("the socket calls of this process are supervised already, and one filter has one supervisor")
    if step == lib.AB_SECCOMP_LISTENER:
        return HookError(f"this process may not look into its children ({os.strerror(error)}), as supervision needs to")
    if error in (errno.EINVAL, errno.ENOSYS):
        return UnsupportedError("this kernel has no seccomp user notification; it takes Linux 5.14 or later")
    return HookError(f"the command could not be put under supervision: {os.strerror(error)}")
