"""A supervised command as a job of the shell that started it: three processes that look like one.

::

    shell ── stand-in ── supervisor ── command ── its children

The *stand-in* is the process that the shell knows. It stops when the command stops, passes on the signals that are sent
to it, and ends as the command ends. The *supervisor* answers the socket calls. It is an ancestor of all callers, as
Yama wants whoever looks into them to be: descendants whose parents end become its children. It has left the terminal,
and goes on for daemons when the command has ended. The *command* is in the stand-in's process group, so the terminal
treats it as it would without us.

If the stand-in is killed, the command is killed; if the supervisor is killed, the stand-in adopts the command.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from anybpf.hooks.seccomp_supervisor import Supervisor
from anybpf.runtime.engine import lib

__all__ = ("Job", "divide")

_STDIN, _STDOUT, _STDERR = range(3)
_ANY_CHILD: Final = -1
_MESSAGE: Final = struct.Struct("=Bi")
_STARTED, _STOPPED, _ENDED = range(3)  # with the command's process id, the signal that stopped it, its wait status
#: Signals that mean this process alone, or that cannot be waited for.
_OWN_SIGNALS: Final = frozenset(
    {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
)
_TERMINAL_SIGNALS: Final = (
    signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip
#: What the supervisor keeps of its capabilities, by number: to signal, to bind to low ports where a program says so,
#: and to look into callers of other users (CAP_KILL, CAP_NET_BIND_SERVICE, CAP_SYS_PTRACE).
_CAPABILITIES: Final = 1 << 5 | 1 << 10 | 1 << 19
#: What it can have again to act in a caller's place: its identity (CAP_SETGID, CAP_SETUID), and what it has itself that
#: counts for sockets (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW).
_IN_RESERVE: Final = 1 << 6 | 1 << 7 | 1 << 1 | 1 << 2 | 1 << 12 | 1 << 13


def divide() -> Job:
    """Fork. Returns in the supervisor only: the caller becomes the stand-in, and ends with the command.

    To be called before any thread is started.
    """
    _fill_standard_streams()
    stand_in, supervisor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child:
        supervisor.close()
        _StandIn(stand_in, child).run()
    stand_in.close()
    return Job(supervisor)


class Job:
    """The supervisor's side: it starts the command, and reports on it."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._front = os.getppid()
        self._command = 0
        self._handle = -1
        self.status: int | None = None
        lib.ab_supervisor_adopt()

    def outlast_keys(self) -> None:
        """Ignore, from now on, what the terminal sends to its processes; to be called before the command is started.

        This process leaves the terminal only after the command, which stays, has come from it. Handlers, other than
        signals that are ignored, do not pass to the command.
        """
        for number in _TERMINAL_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)

    def run(self, command: int, supervisor: Supervisor, ended: Callable[[int], None]) -> None:
        """Serve until no supervised process is left.

        :param ended: called with the command's wait status before the stand-in ends with it; it may write to standard
            error, which is let go of afterwards.
        """
        self._command = command
        self._handle = os.pidfd_open(command)
        with suppress(OSError):  # the stand-in is gone: what watches the link will find out
            socket.send_fds(self._link, [_MESSAGE.pack(_STARTED, command)], [self._handle])
        os.setsid()
        _let_go(_STDIN, _STDOUT)
        lib.ab_supervisor_protect(_CAPABILITIES, _IN_RESERVE)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # a call that waits is a descriptor here
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

        def children() -> None:
            os.read(awake, 4096)
            self._reap(supervisor, ended, os.WNOHANG)

        def front_gone() -> None:
            supervisor.forget(self._link.fileno())
            if self.status is None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

        supervisor.watch(awake, children)
        supervisor.watch(self._link.fileno(), front_gone)
        self._reap(supervisor, ended, os.WNOHANG)
        supervisor.serve()
        while self.status is None:
            self._reap(supervisor, ended, 0)

    def _reap(self, supervisor: Supervisor, ended: Callable[[int], None], options: int) -> None:
        """Take note of children that have stopped, gone on or ended."""
        with suppress(ChildProcessError):
            while True:
                process, status = os.waitpid(-1, options | os.WUNTRACED | os.WCONTINUED)
                if not process:
                    return
                if process != self._command or self.status is not None:
                    continue
                if os.WIFSTOPPED(status):
                    self._tell(_STOPPED, os.WSTOPSIG(status))
                elif os.WIFCONTINUED(status):
                    self._wake_stand_in()
                else:
                    self.status = status
                    supervisor.settle()
                    with suppress(OSError):  # nobody reads standard error any more
                        ended(status)
                    self._tell(_ENDED, status)
                    _let_go(_STDERR)
                    if not options:
                        return

    def _wake_stand_in(self) -> None:
        if os.getppid() == self._front:
            os.kill(self._front, signal.SIGCONT)

    def _tell(self, kind: int, value: int) -> None:
        with suppress(OSError):  # nobody is left to be told
            self._link.send(_MESSAGE.pack(kind, value))


class _StandIn:
    def __init__(self, link: socket.socket, supervisor: int) -> None:
        self._link = link
        self._supervisor = supervisor
        self._command = 0
        self._handle = -1
        self._early: list[int] = []

    def run(self) -> NoReturn:
        """Do what the command does, until it ends."""
        waited_for = signal.valid_signals() - _OWN_SIGNALS
        signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
        lib.ab_supervisor_adopt()
        _let_go(_STDIN, _STDOUT)
        # A message announces itself by a signal, so that there is one thing to wait for.
        fcntl.fcntl(self._link, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self._link, fcntl.F_SETFL, fcntl.fcntl(self._link, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
        while True:
            self._listen()
            received = signal.sigwaitinfo(waited_for)
            if received.si_signo not in (signal.SIGIO, signal.SIGCHLD):
                self._pass_on(received)

    def _pass_on(self, received: signal.struct_siginfo) -> None:
        """Pass on a signal that was sent to us; those of the terminal reach the command without us."""
        if received.si_code > 0 or received.si_pid == self._command:
            return
        if self._handle < 0:
            self._early.append(received.si_signo)  # there is no command yet
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, received.si_signo)

    def _listen(self) -> None:
        while self._supervisor:
            try:
                data, handles, _, _ = socket.recv_fds(self._link, _MESSAGE.size, 1)
            except BlockingIOError:
                return
            if not data:
                self._supervisor_gone()
                return
            kind, value = _MESSAGE.unpack(data)
            if kind == _STARTED:
                self._command, (self._handle,) = value, handles
                for number in self._early:
                    signal.pidfd_send_signal(self._handle, number)
            elif kind == _STOPPED:
                _stop(value)
            else:
                _end(value)
        self._adopted()

    def _supervisor_gone(self) -> None:
        """Go on without it: the command's calls fail from now on, and we are its parent."""
        _, status = os.waitpid(self._supervisor, 0)
        self._supervisor = 0
        if self._handle < 0:
            self._command = _ANY_CHILD  # if it was started, it is ours by now
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                _end(status)
        self._adopted()

    def _adopted(self) -> None:
        try:
            process, status = os.waitpid(self._command, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:  # it ended, and the supervisor took that with it
            os._exit(1)
        if process and os.WIFSTOPPED(status):
            _stop(os.WSTOPSIG(status))
        elif process:
            _end(status)


def _fill_standard_streams() -> None:
    """Open those that are closed, lest one of our own files take their numbers."""
    while (null := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(null, True)
    os.close(null)


def _let_go(*descriptors: int) -> None:
    """Leave files to the command: a pipe that it closes must not stay open here."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def _stop(number: int) -> None:
    """Stop as the command did; returns when this process is continued."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])


def _end(status: int) -> NoReturn:
    """End as the command did, by the same signal or with the same exit status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command's is the core that matters
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))
