"""Loaded programs: run them once, or over many events in one crossing."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from anybpf.errors import LINUX_ERRNO, EventError, LoadError
from anybpf.platforms import Platform, ProgramType
from anybpf.runtime import fault
from anybpf.runtime._engine import ffi, lib
from anybpf.runtime.context import Context
from anybpf.runtime.events import Event, EventLayout, layout_of
from anybpf.runtime.native import NativeProgram
from anybpf.spec import ProgramSpec
from anybpf.verifier.verdict import Verdict

if TYPE_CHECKING:
    from anybpf.runtime.object import Object

__all__ = ("Hook", "Mode", "Packets", "Program", "Redirect", "Replay", "RunResult", "require_mode")

#: How a program runs: machine code; the interpreter; the interpreter that checks every access; None: automatic, which
#: begins in the interpreter and goes on in machine code, which a background thread compiles when it runs often.
Mode = Literal["jit", "interpreter", "checked"] | None

#: Events after which an automatic program is compiled: a short test never loads LLVM.
HOT_EVENTS = 1000

_MODES = {
    None: lib.AB_MODE_AUTOMATIC,
    "jit": lib.AB_MODE_AUTOMATIC,
    "interpreter": lib.AB_MODE_INTERPRETER,
    "checked": lib.AB_MODE_CHECKED,
}
_FAULT = -14
_UINT32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Redirect:
    """What a redirect helper decided: interface index ``target``, or entry ``target`` of the map called ``map``."""

    target: int
    map: str | None = None
    flags: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came out of a run.

    :param retval: what the program returned: 32 bits, as Linux reports it; all 64 of r0 for programs on plain memory.
    :param data: the packet (before it its metadata), or the memory, as the last run left it.
    :param context: the bytes of the context as the last run left them.
    :param duration_ns: mean of the runs, whole nanoseconds.
    """

    retval: int
    data: bytes = field(repr=False)
    context: bytes = field(repr=False)
    duration_ns: int
    redirect: Redirect | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """What came out of many runs.

    :param results: what each returned, in order, as unsigned numbers (see :attr:`RunResult.retval`).
    :param counts: how many returned which number.
    :param kept: packets that were to be kept, as the program left them: pcap records with times in nanoseconds, in
        this machine's byte order.
    :param duration_ns: of all runs together, copying the packets included.
    """

    results: array[int] = field(repr=False)
    counts: Mapping[int, int]
    kept: bytes = field(repr=False)
    duration_ns: int


class Packets(Protocol):
    """Events in one piece of memory.

    ``data`` holds all bytes; event *i* is ``lengths[i]`` bytes long (unsigned 32-bit numbers) and begins at
    ``offsets[i]`` (unsigned 64-bit numbers); ``times`` are nanoseconds since 1970.
    """

    data: bytes
    offsets: array[int]
    lengths: array[int]
    times: array[int]


class Hook(Protocol):
    """An event source: :meth:`Program.attach` hands the program to it and returns the link that it makes."""

    @property
    def attach(self) -> Callable[..., Any]:
        """Called with the program, and parameters of the hook's own, to give events to it; returns the link."""


def require_mode(mode: Mode) -> Mode:
    """Return ``mode``; LoadError when it is none."""
    if mode not in _MODES:
        raise LoadError(f"no mode {mode!r}; there are jit, interpreter, checked, and None for automatic")
    return mode


class Program:
    """A program in an execution context. :func:`anybpf.load` makes them; closing its object closes it.

    :param spec: the program as the object file holds it. :param type: its program type on ``platform``.
    :param verdict: what the verifier said; None for programs loaded with ``trust`` or ``unverified``.
    :param mode: in which mode it runs when a call does not say.
    :param checked_only: it runs in the checked interpreter and nowhere else.
    """

    def __init__(
        self,
        context: Context,
        native: NativeProgram,
        spec: ProgramSpec,
        platform: Platform,
        type: ProgramType,
        verdict: Verdict | None,
        mode: Mode,
        checked_only: bool,
    ) -> None:
        self.context = context
        self.spec = spec
        self.platform = platform
        self.type = type
        self.verdict = verdict
        self.mode = mode
        self.checked_only = checked_only
        self.id = context.next_id()
        self.owner: Object | None = None
        self._native: NativeProgram | None = native
        self._events = 0
        context.programs[self.id] = self

    @property
    def name(self) -> str:
        """The function's name."""
        return self.spec.name

    @property
    def native(self) -> NativeProgram:
        """The engine's side of the program; LoadError after :meth:`close`."""
        if self._native is None:
            raise LoadError(f"program {self.name!r} is closed")
        return self._native

    @property
    def handle(self) -> Any:
        """The engine's ``ab_program *``."""
        return self.native.handle

    @property
    def runs_on_memory(self) -> bool:
        """Whether its argument is plain memory and not an event's context."""
        return self.type.context.memory

    def compile(self) -> None:
        """Compile to machine code now, in this thread. LoadError when that cannot be done."""
        if self.checked_only:
            raise LoadError(self._checked_only_reason())
        self.native.compile()

    def test_run(
        self, data: bytes = b"", context: bytes | None = None, *, mode: Mode = None, repeat: int = 1
    ) -> RunResult:
        """Run on one event, as Linux's ``BPF_PROG_TEST_RUN`` does.

        :param data: the packet, or the memory of programs that run on plain memory.
        :param context: bytes of the context to begin with; packet pointers in it are not the caller's to set, except
            that ``data`` of an ``xdp_md`` says how many bytes of ``data`` are metadata.
        :param repeat: so many runs, one after another, on what the run before has left.
        :raises ProgramFault: a checked run stopped at a bad access.
        :raises EventError: data or context make no event for this program.
        :raises LoadError: the program cannot run in that mode.
        """
        if not 1 <= repeat <= _UINT32:
            raise EventError(f"repeat is {repeat}; it must be from 1 to {_UINT32}")
        run = ffi.new("ab_run *", {"mode": self._prepare(mode, repeat), "repeat": repeat})
        native = self.native
        if self.runs_on_memory:
            memory = bytearray(data)
            pointer = ffi.from_buffer("uint8_t[]", memory) if data else ffi.NULL
            error = lib.ab_program_test(native.handle, ffi.NULL, pointer, len(data), run)
            self._check(error, run.fault)
            return RunResult(run.result, bytes(memory), b"", run.duration_ns // repeat)
        with Event(layout_of(self.type), len(data)) as event:
            event.load(data, context)
            error = lib.ab_program_test(native.handle, event.handle, ffi.NULL, 0, run)
            self._check(error, run.fault)
            return RunResult(
                run.result & _UINT32, event.data(), event.context(), run.duration_ns // repeat, self._redirect(run)
            )

    def run_batch(self, packets: Iterable[bytes], *, mode: Mode = None) -> array[int]:
        """Run on many events in one crossing; return what each run returned (see :attr:`Replay.results`).

        Memories of programs that run on plain memory are copied, so what such programs write is not seen.

        :raises ProgramFault: as :meth:`test_run`; the runs before have happened.
        """
        packets = packets if isinstance(packets, Sequence) else tuple(packets)
        lengths = array("I", map(len, packets))
        offsets = array("Q", accumulate(lengths, initial=0))
        return self._run(b"".join(packets), offsets, lengths, None, mode, (), packet_socket=False).results

    def replay(self, packets: Packets, *, mode: Mode = None, keep: Iterable[int] = ()) -> Replay:
        """Run on captured packets, as a packet socket or interface would deliver them.

        :param keep: packets for which the program returns one of these numbers are kept; 63 stands for all above, too.
        :raises ProgramFault: as :meth:`test_run`; the runs before have happened.
        """
        return self._run(packets.data, packets.offsets, packets.lengths, packets.times, mode, keep, packet_socket=True)

    def attach(self, hook: Hook, **parameters: Any) -> Any:
        """Attach to an event source; returns its link, a context manager that detaches at its end.

        :param parameters: the hook's own, such as ``priority``.
        """
        return hook.attach(self, **parameters)

    @property
    def engine_mode(self) -> int:
        """The engine's number of the mode in which it runs when nobody says."""
        return int(lib.AB_MODE_CHECKED if self.checked_only else _MODES[self.mode])

    def warm(self) -> None:
        """Have it compiled, in the background where its mode is automatic, since many events are to be expected."""
        if self.mode == "jit":
            self.native.compile()
        elif self.mode is None and not self.checked_only:
            self._warm(HOT_EVENTS)

    def _run(
        self,
        data: bytes,
        offsets: array[int],
        lengths: array[int],
        times: array[int] | None,
        mode: Mode,
        keep: Iterable[int],
        *,
        packet_socket: bool,
    ) -> Replay:
        count = len(lengths)
        results = array("Q", bytes(8 * count))
        native, layout, memory = self.native, layout_of(self.type, packet_socket=packet_socket), self.runs_on_memory
        # The structure holds addresses only, so these must stay referenced as long as it is used.
        bytes_run_on = bytearray(data) if memory else data
        context = b"" if memory else layout.context_bytes()
        batch = ffi.new(
            "ab_batch *",
            {
                "mode": self._prepare(mode, count),
                "data": ffi.from_buffer("uint8_t[]", bytes_run_on),
                "data_length": len(data),
                "offsets": ffi.from_buffer("uint64_t[]", offsets),
                "lengths": ffi.from_buffer("uint32_t[]", lengths),
                "times": ffi.NULL if times is None else ffi.from_buffer("uint64_t[]", times),
                "count": count,
                "context": ffi.from_buffer("uint8_t[]", context) if context else ffi.NULL,
                "context_length": len(context),
                "results": ffi.from_buffer("uint64_t[]", results),
                "keep": sum(1 << number for number in set(keep)),
            },
        )
        with _event(None if memory else layout) as event:
            try:
                error = lib.ab_batch_run(native.handle, event, batch)
                self._check(error, batch.fault)
                kept = bytes(ffi.buffer(batch.kept, batch.kept_length)) if batch.kept_length else b""
            finally:
                lib.ab_batch_release(batch)
        counted = {number: runs for number, runs in enumerate(batch.counts[0 : lib.AB_BATCH_COUNTED]) if runs}
        if batch.counts[lib.AB_BATCH_COUNTED]:
            counted = dict(Counter(results))
        return Replay(results, counted, kept, batch.duration_ns)

    def _prepare(self, mode: Mode, events: int) -> int:
        """Return the engine's number of the mode for a call that runs ``events`` events."""
        mode = require_mode(mode or self.mode)
        if self.checked_only:
            if mode not in (None, "checked"):
                raise LoadError(self._checked_only_reason())
            return int(lib.AB_MODE_CHECKED)
        if mode == "jit":
            self.native.compile()
        elif mode is None:
            self._warm(events)
        return int(_MODES[mode])

    def _warm(self, events: int) -> None:
        """Have the object's programs (others may be its tail calls) compiled in the background once this runs often."""
        cold = self._events < HOT_EVENTS
        self._events += events
        if cold and self._events >= HOT_EVENTS:
            for program in self.owner.programs.values() if self.owner else (self,):
                if not program.checked_only:
                    self.context.compiler.submit(program.native.compile_quietly)

    def _checked_only_reason(self) -> str:
        why = "was not verified" if self.verdict is None else "follows pointers that only a kernel has"
        return f"program {self.name!r} {why}, so it runs in mode 'checked' only"

    def _check(self, error: int, stopped: Any) -> None:
        """Raise what the engine's ``error`` and ``ab_fault`` mean."""
        if error == 0:
            return
        if error == _FAULT:
            where = next((p for p in list(self.context.programs.values()) if p.runs(stopped.program)), self)
            raise fault.describe(stopped, where.name, where.spec, self._map_name)
        raise EventError(f"program {self.name!r} cannot be run: {LINUX_ERRNO.get(-error, error)}")

    def runs(self, handle: Any) -> bool:
        """Whether ``handle`` is the engine's program behind this one."""
        return self._native is not None and bool(self._native.handle == handle)

    def _map_name(self, number: int) -> str:
        found = self.context.maps.get(number)
        return found.name if found is not None else f"number {number}"

    def _redirect(self, run: Any) -> Redirect | None:
        if not (run.redirect_target or run.redirect_map or run.redirect_flags):
            return None
        name = self._map_name(run.redirect_map) if run.redirect_map else None
        return Redirect(run.redirect_target, name, run.redirect_flags)

    def close(self) -> None:
        """Let go of the program: it is freed when no prog array holds it and nothing runs it. May be called again."""
        self._native = None
        self.context.programs.pop(self.id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Program {self.name!r} ({self.type.name}), id {self.id}{'' if self._native else ', closed'}>"


@contextmanager
def _event(layout: EventLayout | None) -> Iterator[Any]:
    """Give an ``ab_event *`` that grows with the packets; NULL for programs that run on plain memory."""
    if layout is None:
        yield ffi.NULL
        return
    with Event(layout) as event:
        yield event.handle
