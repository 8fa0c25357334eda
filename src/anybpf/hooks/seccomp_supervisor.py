"""The loop that receives the system calls of a supervised command, has them carried out, and answers.

It is one thread, and none of its steps waits: a call on a blocking socket that has to wait is put aside until its
socket is ready. A caller that is interrupted by a signal is let go by the kernel; what was done for it by then is
remembered, and told when the same call comes again.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from anybpf.errors import HookError
from anybpf.hooks.seccomp_calls import Calls
from anybpf.hooks.seccomp_filter import Architecture, Call
from anybpf.hooks.seccomp_held import Answer, Give, Gone, HeldCall, Outcome, Proceed, Wait
from anybpf.runtime.engine import ffi, lib

__all__ = ("Supervisor",)

#: How often it is looked whether callers still wait, and whether bound sockets were closed; seconds.
_CALLERS_EVERY: Final = 0.1
_SOCKETS_EVERY: Final = 0.25
_REMEMBERED: Final = 1024
#: The error of a call that its socket has had before.
_MADE_BEFORE: Final = {"bind": -errno.EINVAL, "connect": -errno.EISCONN}


@dataclass(slots=True)
class _Waiting:
    held: HeldCall
    wait: Wait
    deadline: float | None


class Supervisor:
    """Answers the calls that arrive at a listener. A context manager; afterwards such calls fail with ENOSYS.

    :param listener: its descriptor, which becomes this object's. :param calls: carries them out; closed with it.
    :param held: the system calls that its filter holds up. :param executables: callers' programs are of interest.
    """

    def __init__(
        self, listener: int, calls: Calls, held: tuple[Call, ...], architecture: Architecture, *, executables: bool
    ) -> None:
        self._listener = listener
        self._calls = calls
        self._names = {architecture.numbers[call.name]: call.name for call in held}
        shapes = [(architecture.numbers[call.name], call.socket, call.address, call.length) for call in held]
        receiver = lib.ab_seccomp_receiver_create(listener, shapes, len(shapes), executables)
        if receiver == ffi.NULL:
            raise HookError("no memory to receive system calls")
        self._receiver = ffi.gc(receiver, lib.ab_seccomp_receiver_destroy)
        self._received = ffi.new("ab_seccomp_call *")
        self._events = select.epoll()
        self._events.register(listener, select.EPOLLIN)
        self._waiting: dict[int, _Waiting] = {}
        self._watched: dict[int, Callable[[], None]] = {}
        self._remembered: dict[int, tuple[bytes, int]] = {}
        self._done: dict[int, bytes] = {}
        self.answered = 0

    def watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Call ``ready`` whenever ``descriptor`` can be read or has been hung up, until it is forgotten."""
        self._events.register(descriptor, select.EPOLLIN)
        self._watched[descriptor] = ready

    def forget(self, descriptor: int) -> None:
        """Watch ``descriptor`` no more."""
        self._events.unregister(descriptor)
        del self._watched[descriptor]

    def serve(self) -> None:
        """Answer calls until there is no process left that could make any."""
        looked = 0.0
        while True:
            for descriptor, event in self._events.poll(self._pause()):
                if descriptor == self._listener:
                    if event & select.EPOLLIN:
                        self._receive()
                    elif event & select.EPOLLHUP:
                        self.settle()
                        return
                elif descriptor in self._watched:
                    self._watched[descriptor]()
                elif descriptor in self._waiting:
                    self._try_again(descriptor)
            now = time.monotonic()
            if self._waiting and now - looked > _CALLERS_EVERY:
                self._look_after_callers(now)
                looked = now
            if self._calls.watches and now - looked > _SOCKETS_EVERY:
                self.settle()
                looked = now

    def settle(self) -> None:
        """Tell the programs what has happened by now and is not told of yet."""
        self._calls.report_closed()

    def _pause(self) -> float | None:
        if self._waiting:
            return _CALLERS_EVERY
        return _SOCKETS_EVERY if self._calls.watches else None

    def _receive(self) -> None:
        received = self._received
        if lib.ab_seccomp_receive(self._receiver, received) != 0:
            return  # the caller was interrupted, or is gone
        held = HeldCall(self._listener, self._names[received.number], received)
        told = self._remembered.pop(held.thread, None) if self._remembered else None
        if told is not None and told[0] == held.key:
            self._finish(held, Answer(told[1]))
            return
        self._finish(held, self._carried_out(held))

    def _carried_out(self, held: HeldCall, again: Callable[[], Outcome] | None = None) -> Outcome:
        try:
            return self._calls.carry_out(held, again)
        except Exception as error:  # whatever is wrong with us, the caller must not hang, and may not pass
            warnings.warn(f"{held.name} of process {held.task.pid} was denied: {error!r}", stacklevel=2)
            return Answer(-errno.EPERM)

    def _finish(self, held: HeldCall, outcome: Outcome) -> None:
        """Answer a call, or put it aside."""
        if isinstance(outcome, Wait):
            self._put_aside(held, outcome)
            return
        if held.socket >= 0:
            os.close(held.socket)  # before the answer: if the caller closes its own next, that shall be the last
        match outcome:
            case Answer(value, number):
                value = self._once(held, value)
                if number:
                    self._signal(held, number)
                if lib.ab_seccomp_answer(self._listener, held.id, value) != 0:
                    self._remember(held, value)
            case Proceed():
                lib.ab_seccomp_proceed(self._listener, held.id)
            case Give():
                self._give(held, outcome)
            case Gone():
                pass
        self.answered += 1

    def _once(self, held: HeldCall, value: int) -> int:
        """Return what to answer, where the call may be one that was answered already.

        A signal at the very moment makes the kernel take an answer and lose it. We are not told; the caller makes the
        same call again, and the socket is what the first one has made of it.
        """
        if held.name in _MADE_BEFORE and value in (0, _MADE_BEFORE[held.name]):
            if value == 0:
                if len(self._done) >= _REMEMBERED:
                    del self._done[next(iter(self._done))]
                self._done[held.thread] = held.key
            elif self._done.get(held.thread) == held.key:
                return 0
        return value

    def _signal(self, held: HeldCall, number: int) -> None:
        """Signal a caller that still waits: later it may no longer expect it. A handler interrupts the call."""
        handle = lib.ab_seccomp_open(held.thread)
        if handle >= 0:
            with suppress(OSError):  # it has ended meanwhile
                if lib.ab_seccomp_waits(self._listener, held.id) == 0:
                    signal.pidfd_send_signal(handle, number)
            os.close(handle)

    def _put_aside(self, held: HeldCall, wait: Wait) -> None:
        deadline = None if wait.seconds is None else time.monotonic() + wait.seconds
        self._waiting[held.socket] = _Waiting(held, wait, deadline)
        self._events.register(held.socket, wait.events)
        if held.received == self._received:
            self._received = ffi.new("ab_seccomp_call *")  # the other is the call's from now on

    def _give(self, held: HeldCall, given: Give) -> None:
        error = lib.ab_seccomp_give(self._listener, held.id, given.descriptor, given.close_on_exec)
        if error == -errno.ENOENT:
            self._calls.undelivered(held, given)
            return
        os.close(given.descriptor)
        if error < 0:  # its table of descriptors is full
            lib.ab_seccomp_answer(self._listener, held.id, error)

    def _remember(self, held: HeldCall, value: int) -> None:
        if len(self._remembered) >= _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[held.thread] = (held.key, value)

    def _put_back(self, descriptor: int) -> _Waiting:
        self._events.unregister(descriptor)
        return self._waiting.pop(descriptor)

    def _abandon(self, descriptor: int) -> None:
        """Let go of a call whose caller was interrupted; if it comes again it is told what was done."""
        waiting = self._put_back(descriptor)
        if waiting.wait.late >= 0:
            self._remember(waiting.held, waiting.wait.late)
        os.close(descriptor)

    def _try_again(self, descriptor: int) -> None:
        waiting = self._waiting[descriptor]
        if lib.ab_seccomp_waits(self._listener, waiting.held.id) != 0:
            self._abandon(descriptor)
            return
        outcome = self._carried_out(waiting.held, waiting.wait.again)
        if isinstance(outcome, Wait):
            waiting.wait = outcome
            return
        self._put_back(descriptor)
        self._finish(waiting.held, outcome)

    def _look_after_callers(self, now: float) -> None:
        """Let go of calls whose callers were interrupted, and end those that have waited for long enough."""
        for descriptor, waiting in list(self._waiting.items()):
            if lib.ab_seccomp_waits(self._listener, waiting.held.id) != 0:
                self._abandon(descriptor)
            elif waiting.deadline is not None and now >= waiting.deadline:
                self._put_back(descriptor)
                self._finish(waiting.held, Answer(waiting.wait.late))
            elif waiting.wait.events & select.EPOLLET:
                self._try_again(descriptor)

    def close(self) -> None:
        """Stop answering. Further calls do nothing."""
        if self._listener < 0:
            return
        for descriptor in list(self._waiting):
            self._put_back(descriptor)
            os.close(descriptor)
        self._events.close()
        ffi.release(self._receiver)
        os.close(self._listener)
        self._listener = -1
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

