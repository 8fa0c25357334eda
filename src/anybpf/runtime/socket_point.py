"""Where socket calls meet programs: an attach point whose events are calls, brought one by one from Python."""

from __future__ import annotations

import struct
from typing import NamedTuple

from anybpf.errors import LoadError
from anybpf.platforms import ProgramType
from anybpf.runtime._engine import ffi, lib
from anybpf.runtime.context import Context
from anybpf.runtime.events import layout_of
from anybpf.runtime.link import AttachPoint

__all__ = ("Caller", "Outcome", "SocketPoint")

_TASK = struct.Struct("=QQQQ16s")  # ab_task


class Caller(NamedTuple):
    """On whose behalf a call is made, as programs are told.

    :param pid_tgid: process id << 32 | thread id; 0: the calling thread, whose user and name are asked for when needed.
    :param uid_gid: group id << 32 | user id. :param cookie: the socket's own number; 0: unknown.
    :param comm: the thread's name; at most 15 bytes are shown.
    """

    pid_tgid: int = 0
    uid_gid: int = 0
    cookie: int = 0
    comm: bytes = b""


class Outcome(NamedTuple):
    """What the programs at a point made of a call.

    :param verdict: as the program type's chain rule has it; negative: the engine could not run them.
    :param retval: what ``bpf_get_retval`` would answer now: 0, or the negative error number to fail the call with.
    :param context: the context as the programs left it.
    :param bind: the socket address (Linux's layout, 16 or 28 bytes) given to ``bpf_bind``; empty: none.
    :param redirect_context: the bytes given to ``bpf_sock_addr_set_redirect_context``.
    """

    verdict: int
    retval: int
    context: bytes
    bind: bytes = b""
    redirect_context: bytes = b""


class _Turn:
    """What one run needs of the engine's memory; made once for each thread that runs at the same time as others."""

    __slots__ = ("call", "context", "event", "task", "task_bytes")

    def __init__(self, program_type: ProgramType) -> None:
        layout = layout_of(program_type)
        event = lib.ab_event_create(layout.kind, layout.context.size, 0)
        if event == ffi.NULL:
            raise LoadError("no memory for the event of a socket call")
        self.event = ffi.gc(event, lib.ab_event_destroy)
        self.context = ffi.buffer(lib.ab_event_context(event), layout.context.size)
        self.call = ffi.new("ab_socket_call *")
        self.task = ffi.new("ab_task *")
        self.task_bytes = ffi.buffer(self.task)


class SocketPoint(AttachPoint):
    """A place where socket calls are decided by programs of one type."""

    def __init__(self, context: Context, program_type: ProgramType) -> None:
        super().__init__(context, program_type)
        self._turns: list[_Turn] = []

    def fire(self, context: bytes, data: bytes = b"", caller: Caller | None = None) -> Outcome:
        """Run the programs that are attached on one call. Any number of threads may do so at once.

        :param context: all bytes of the context, data pointers zero. :param data: what these bound.
        :param caller: None: the calling thread.
        """
        try:
            turn = self._turns.pop()
        except IndexError:
            turn = _Turn(self.program_type)
        call, task = turn.call, ffi.NULL
        if caller is not None:
            _TASK.pack_into(turn.task_bytes, 0, caller.pid_tgid, caller.uid_gid, caller.cookie, 0, caller.comm[:15])
            task = turn.task
        verdict = lib.ab_socket_fire(self.handle, turn.event, data, len(data), context, task, call)
        outcome = Outcome(
            verdict,
            call.retval,
            turn.context[:],
            bytes(ffi.buffer(call.source, call.source_length)) if call.source_length else b"",
            bytes(ffi.buffer(call.redirect, call.redirect_length)) if call.redirect_length else b"",
        )
        self._turns.append(turn)
        return outcome
