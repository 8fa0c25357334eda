"""A hook of your own service: other people's programs decide what your code asks them.

::

    policy = Service(
        "http_request",
        fields=[U32("method"), U16("port"), Bytes("client", 16), Buffer("path"), U32("tag", writable=True)],
        returns={"ALLOW": 0, "DENY": 1, "LIMIT": 2, "TAG": 3},
        fallback="ALLOW",
    )
    with policy.load(uploaded) as obj, obj.programs["decide"].attach(policy):
        outcome = policy(method=1, port=80, client=address, path=b"/index.html")
        if outcome.name == "DENY": ...

From the declaration follow a platform with one program type, which the verifier and the engine go by, and what the
authors of programs need: :meth:`Service.header` and :meth:`Service.btf`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from anybpf import elf
from anybpf.errors import LINUX_ERRNO, EventError, HookError, PlatformError
from anybpf.hooks import service_helpers as own
from anybpf.hooks.hook import Hook
from anybpf.hooks.service_call import compile_fire, compile_pack
from anybpf.hooks.service_fields import Field, lay_out, require_name
from anybpf.hooks.service_header import btf_of, header_of
from anybpf.hooks.service_limits import Limits
from anybpf.platforms import ChainRule, Helper, Platform, ProgramType, Section, linux
from anybpf.runtime import AttachPoint, Context, Link, Map, Mode, Object, Program, default_context, load
from anybpf.runtime.engine import ffi, lib
from anybpf.runtime.link import DEFAULT_PRIORITY
from anybpf.spec import ObjectSpec

__all__ = ("Outcome", "Service")

_NOTHING: Mapping[str, int | bytes] = MappingProxyType({})
#: The greatest value that a program may return and that means something (see ChainRule).
_GREATEST = 63


class Outcome(NamedTuple):
    """What programs decided about one event.

    :param value: the verdict; :param name: what the service calls it.
    :param written: writable fields that programs changed, by name: their values after the run.
    """

    value: int
    name: str
    written: Mapping[str, int | bytes] = _NOTHING

    def __repr__(self) -> str:
        written = "".join(f", {name}={value!r}" for name, value in self.written.items())
        return f"<{self.name} ({self.value}){written}>"


class _Turn(NamedTuple):
    """What one thread needs to fire: the engine's ``ab_fire_turn *``, its event, and a view of the event's context."""

    native: Any
    event: Any
    context: Any


class Service(Hook):
    """A hook that the service itself fires: ``hook(**fields)`` or :meth:`batch`. Threads may fire it at once.

    Programs run in the order of their links. The verdict is that of the first whose value is not in ``proceed``, else
    the last one's.

    :param name: of the hook, of the section that programs stand in, and of the struct that they get.
    :param fields: what programs see of an event (:mod:`anybpf.hooks.service_fields`).
    :param returns: what programs may return: name → value, 0 to 63. Where the values have no gap, the verifier refuses
        programs that may return another; where they have, such a return counts as ``fallback``.
    :param fallback: the verdict when nothing is attached and when a program faults, which only unverified ones can:
        one that lets pass fails open, one that denies fails closed.
    :param proceed: names of returns after which the next program is asked; by default the first of ``returns``.
    :param helpers: names of helpers that programs may call; by default those that are useful everywhere and run
        shortly (:data:`anybpf.hooks.service_helpers.GENERAL`).
    :param extra: functions of the service's own that they may call (:func:`anybpf.hooks.service_helpers.function`).
        Programs call them by their place in this list, so add new ones at its end.
    :param context: the execution context of the programs; by default the process's.
    :raises HookError: the declaration makes no sense; the message says what to change.
    """

    def __init__(
        self,
        name: str,
        *,
        fields: Iterable[Field],
        returns: Mapping[str, int],
        fallback: str,
        proceed: Iterable[str] | None = None,
        helpers: Iterable[str] = own.GENERAL,
        extra: Iterable[Helper] = (),
        context: Context | None = None,
    ) -> None:
        self.layout = lay_out(name, fields)
        _require_returns(name, returns)
        self.returns = MappingProxyType(dict(returns))
        proceed = [next(iter(returns))] if proceed is None else list(proceed)
        for used in (fallback, *proceed):
            if used not in returns:
                raise HookError(f"{name} has no return value {used!r}; it has {', '.join(returns)}")
        values = sorted(returns.values())
        chosen = own.available(frozenset(helpers))
        functions = _numbered(name, extra, {helper.name for helper in chosen.values()})
        self.program_type = ProgramType(
            name,
            0,
            self.layout.context,
            sections=(Section(name),),
            helpers=frozenset(helper.name for helper in (*chosen.values(), *functions.values())),
            returns=(values[0], values[-1]) if values[-1] - values[0] == len(values) - 1 else None,
            actions={value: action for action, value in returns.items()},
            own_helpers=functions,
            chain=ChainRule(
                known=frozenset(values),
                proceed=frozenset(returns[one] for one in proceed),
                otherwise=returns[fallback],
                fault=returns[fallback],
                empty=returns[fallback],
            ),
        )
        self.platform = Platform(
            name,
            (self.program_type,),
            helpers=chosen,
            map_types={number: kind for number, kind in linux.map_types.items() if kind in own.KINDS},
            map_rules=linux.map_rules,
            default_type=name,
        )
        self.context = context or default_context()
        self._point = AttachPoint(self.context, self.program_type)
        self._turns: list[_Turn] = []  # those that no thread uses
        self._outcomes = {value: Outcome(value, action) for action, value in returns.items()}
        # Calling an object looks for __call__ in its class, so each service has a class of its own.
        fire = self._compile_fire()
        methods = {"fire": fire, "__call__": fire, "pack": compile_pack(self.layout)}
        self.__class__ = type(
            "Service", (Service,), {"__module__": __name__, "__doc__": self.__doc__, "name": name, **methods}
        )

    if TYPE_CHECKING:  # the real ones have the fields as parameters (service_call.py)

        def __call__(self, **fields: int | bytes) -> Outcome:
            """Fire the hook for one event, whose fields are given by name; those that are writable may be left out.

            :raises TypeError: a field is missing or unknown. :raises EventError: a value does not fit its field.
            """

        def fire(self, **fields: int | bytes) -> Outcome:
            """Do the same without Python's detour through ``__call__``, which costs a third of a microsecond."""

        def pack(self, **fields: int | bytes) -> bytes:
            """Return the fields as a record for :meth:`batch`. Raises as calling does."""

    def batch(self, records: Any) -> bytes:
        """Fire the hook for many events in one crossing; returns one verdict a byte, in order.

        :param records: what :meth:`pack` returned, one behind the other, in any bytes-like object. Where its memory is
            writable (a bytearray), what programs change is changed there.
        :raises EventError: a record is cut short or too long; the events before it have happened.
        """
        try:
            memory = ffi.from_buffer("uint8_t[]", records)
        except (TypeError, ValueError, BufferError) as problem:
            raise EventError(f"records of {self.name} are {type(records).__name__}; give bytes: {problem}") from None
        verdicts = bytearray(len(memory) // self.layout.context.size)
        batch = ffi.new(
            "ab_fire_batch *",
            {
                "records": memory,
                "length": len(memory),
                "write_back": bool(self._writable) and not memoryview(records).readonly,
                "verdicts": ffi.from_buffer("uint8_t[]", verdicts),
                "capacity": len(verdicts),
            },
        )
        try:
            turn = self._turns.pop()
        except IndexError:
            turn = self._make()
        error = lib.ab_fire_records(turn[0], batch)
        self._turns.append(turn)
        if error:
            raise EventError(
                f"record {batch.count}, at byte {batch.position} of {len(memory)}, makes no event of {self.name}: "
                f"{_PROBLEMS.get(error, LINUX_ERRNO.get(-error, error))}"
            )
        return bytes(memoryview(verdicts)[: batch.count])

    def load(
        self,
        source: bytes | bytearray | memoryview | str | os.PathLike[str],
        *,
        limits: Limits | None = None,
        mode: Mode = None,
        maps: Mapping[str, Map] | None = None,
    ) -> Object:
        """Load an object that anybody may have made: verify it against this declaration, within ``limits``.

        Verifying is work in Python: 10 to 30 microseconds for each of ``limits.visits``, three seconds at most. Call
        this in a thread (``asyncio.to_thread``) where others wait.

        :param source: the object's bytes, or its path. :param limits: by default those of :class:`Limits`.
        :param mode, maps: as :func:`anybpf.load` has them.
        :raises LoadError: the object exceeds a limit, or cannot run here. :raises ObjectError: it is no usable object.
        :raises PlatformError: it holds programs for something else. :raises VerificationError: a program is not safe.
        :raises OSError: ``source`` is a path, and cannot be read.
        """
        limits = limits or Limits()
        if isinstance(source, (bytes, bytearray, memoryview)):
            data, name = bytes(source), self.name
            limits.require_size(len(data))
        else:
            with open(source, "rb") as file:  # no more of it than is allowed: it may have no end
                data, name = file.read(limits.object_bytes + 1), os.fspath(source)
                limits.require_size(max(len(data), os.fstat(file.fileno()).st_size))
        spec = elf.parse(data, name)
        limits.require(spec, self.platform, self.context.cpus)
        self._require_sections(spec)
        return load(
            spec,
            platform=self.platform,
            context=self.context,
            target_btf=self.btf(),
            mode=mode,
            maps=maps,
            budget=limits.visits,
        )

    def _require_sections(self, spec: ObjectSpec) -> None:
        """Reject objects with programs that are not this hook's, or with none."""
        for program in spec.entries:
            if not self.program_type.sections[0].matches(program.section):
                raise PlatformError(
                    f"program {program.name!r} is in section {program.section!r}, but programs of this hook are in "
                    f'SEC("{self.name}")'
                )
        if not spec.entries:
            raise PlatformError(f'the object has no program; put one in SEC("{self.name}")')

    def require(self, program: Program) -> None:
        """Raise HookError unless ``program`` was loaded by this service: another's fields would be misread."""
        if program.platform is not self.platform:
            raise HookError(
                f"program {program.name!r} was not loaded for this {self.name} hook; load its object with the hook's "
                "own load()"
            )

    def attach(self, program: Program, *, priority: int = DEFAULT_PRIORITY) -> Link:
        """Attach ``program``, which :meth:`load` has loaded; it decides on all events from now on.

        :param priority: programs of lower priority are asked earlier; of equals, the one attached earlier.
        """
        self.require(program)
        return self._point.attach(program, self, priority=priority)

    @property
    def links(self) -> tuple[Link, ...]:
        """The attached programs' links, in the order in which they run."""
        return self._point.links

    def header(self) -> str:
        """Return the C header that authors of programs need, and no other."""
        functions = self.platform.helpers_of(self.program_type).values()
        return header_of(self.layout, self.returns, self.platform, functions)

    def btf(self) -> bytes:
        """Return the declaration as type information, a ``.BTF`` section (:func:`anybpf.btf.load` reads it)."""
        return btf_of(self.layout, self.returns)

    @cached_property
    def _writable(self) -> int:
        """What programs may change, as the engine wants to know it."""
        fields = any(scalar.writable for scalar in self.layout.scalars)
        buffers = any(buffer.writable for buffer in self.layout.buffers)
        return int(lib.AB_FIRE_FIELDS) * fields | int(lib.AB_FIRE_BUFFERS) * buffers

    def _compile_fire(self) -> Any:
        calls = {
            "fire": lib.ab_fire,
            "pop": self._turns.pop,
            "push": self._turns.append,
            "make": self._make,
            "outcomes": self._outcomes.get,
            "other": self._other,
        }
        return compile_fire(self.layout, calls)

    def _make(self) -> _Turn:
        event = lib.ab_event_create(lib.AB_EVENT_PLAIN, self.layout.context.size, 0)
        if event == ffi.NULL:
            raise EventError(f"no memory for an event of {self.name}")
        lib.ab_event_set_buffers(event, len(self.layout.buffers))
        owned = ffi.gc(event, lib.ab_event_destroy)
        native = ffi.new("ab_fire_turn *", {"chain": self._point.handle, "event": owned, "writable": self._writable})
        return _Turn(native, owned, ffi.buffer(lib.ab_event_context(event), self.layout.context.size))

    def _other(self, turn: _Turn, verdict: int, context: bytes, data: bytes) -> Outcome:
        """Return the outcome where something was changed, or raise why there is none. Gives the event back."""
        _, event, left = turn
        if verdict < 0:
            self._turns.append(turn)
            problem = _PROBLEMS.get(verdict, LINUX_ERRNO.get(-verdict, verdict))
            raise EventError(f"{len(data)} bytes of buffers make no event of {self.name}: {problem}")
        data_left = data
        if self._writable & lib.AB_FIRE_BUFFERS:
            data_left = bytes(ffi.buffer(lib.ab_event_data(event), len(data)))
        changed = self.layout.changes(context, left, data, data_left)
        self._turns.append(turn)
        value, name, _ = self._outcomes[verdict & _VERDICT]
        return Outcome(value, name, changed)


_VERDICT = ~int(lib.AB_FIRE_CHANGED)
#: What the engine's errors mean here.
_PROBLEMS = {-22: "it is cut short", -90: "they are too long, 16 MiB together is the most"}


def _require_returns(name: str, returns: Mapping[str, int]) -> None:
    if not isinstance(returns, Mapping) or not returns:
        raise HookError(f"{name} declares no return values; give at least one, as name → value")
    for action, value in returns.items():
        require_name(action)
        if not isinstance(value, int) or not 0 <= value <= _GREATEST:
            raise HookError(f"{name} returns {value} for {action}; values are from 0 to {_GREATEST}")
    if len(set(returns.values())) != len(returns):
        raise HookError(f"{name} has two names for one return value; give each its own")


def _numbered(name: str, extra: Iterable[Helper], taken: set[str]) -> dict[int, Helper]:
    """Return the service's own functions by the numbers that programs call them by."""
    numbered = {number: replace(declared, id=number) for number, declared in enumerate(extra, start=own.FIRST_OWN)}
    seen = set(taken)
    for declared in numbered.values():
        if declared.name in seen:
            raise HookError(f"{name} has two functions called {declared.name}; give each its own name")
        seen.add(declared.name)
    return numbered
