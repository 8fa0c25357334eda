"""Calling the engine's helpers: one by one from Python, or from a program that runs in every mode."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anybpf.runtime.object as runtime
from anybpf.isa import assemble
from anybpf.platforms import Platform, linux
from anybpf.runtime._engine import ffi, lib
from anybpf.runtime.events import Event, layout_of
from anybpf.spec import MapSpec, ObjectSpec, ProgramSpec
from livekernel import Outcome

MASK = (1 << 64) - 1
ARRAY, RDONLY_PROG = 2, 0x80


class Helpers:
    """The helpers of a fresh engine with two cpu slots, called on one of them: ``helpers.csum_diff(0, 0, b"…", 4, 0)``.

    Their names may be given without ``bpf_``.

    Arguments are numbers, or bytes and cffi buffers whose address is passed. Results are signed 64-bit numbers.
    """

    def __init__(self) -> None:
        self.engine = ffi.gc(lib.ab_engine_create(2), lib.ab_engine_destroy)
        self.slot = lib.ab_slot_acquire(self.engine)
        self.event: Event | None = None

    def __getattr__(self, name: str) -> Any:
        address = lib.ab_helper_address(f"bpf_{name}".encode()) or lib.ab_helper_address(name.encode())
        if not address:
            raise AttributeError(f"neither bpf_{name} nor {name} is offered")

        def call(*arguments: Any) -> int:
            held = [ffi.from_buffer(a) if isinstance(a, bytes) else a for a in arguments]
            numbers = [a & MASK if isinstance(a, int) else int(ffi.cast("uintptr_t", a)) for a in held]
            event = self.event.handle if self.event else ffi.NULL
            result = lib.ab_helper_call(address, *numbers, *[0] * (5 - len(numbers)), self.slot, event)
            return result - (1 << 64) if result >> 63 else result

        return call

    @contextmanager
    def on(self, kind: str, packet: bytes, context: bytes = b"", platform: Platform = linux) -> Iterator[Any]:
        """Let the helpers called inside see this event; gives the address of its context."""
        with Event(layout_of(platform.program_type(kind))) as event:
            event.load(packet, context)
            self.event = event
            yield lib.ab_event_context(event.handle)
            self.event = None

    def close(self) -> None:
        """Give the cpu slot back."""
        lib.ab_slot_release(self.slot)


def load(
    kind: str, source: str, maps: tuple[MapSpec, ...] = (), platform: str = "linux", **others: str
) -> runtime.Object:
    """Load a program called "test" that uses ``maps`` by index, without verification; close what this gives.

    :param others: further programs of the same kind: source by name.
    """
    programs = [ProgramSpec(name, kind, assemble(text)) for name, text in {"test": source, **others}.items()]
    spec = ObjectSpec("test", tuple(programs), maps, license="GPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return runtime.load(spec, platform=platform, type_name=kind, trust=True)


def run(
    kind: str, source: str, data: bytes, context: bytes = b"", *, mode: str = "interpreter", read_only: bytes = b""
) -> Outcome:
    """Run a Linux program once. Map 0, if the source uses it, holds ``read_only`` as its one value."""
    maps: tuple[MapSpec, ...] = ()
    if read_only:
        maps = (MapSpec(".rodata", ARRAY, 4, len(read_only), 1, RDONLY_PROG, contents=read_only, is_data=True),)
    with load(kind, source, maps) as loaded:
        result = loaded.programs["test"].test_run(data, context=context or None, mode=mode)
    return Outcome(result.retval & 0xFFFFFFFF, result.data, result.context[: len(context)])


class Stack(int):
    """A place on the stack: so many bytes from r10, a negative number."""


def stack_bytes(offset: int, contents: bytes) -> str:
    """Assembly that puts ``contents``, padded to a multiple of 8, at r10 + ``offset`` (negative); uses r1."""
    padded = contents.ljust(-(-len(contents) // 8) * 8, b"\0")
    words = (int.from_bytes(padded[at : at + 8], "little") for at in range(0, len(padded), 8))
    return "".join(f"r1 = {word} ll\n*(u64 *)(r10 - {-offset - 8 * i}) = r1\n" for i, word in enumerate(words))


def call(number: int, *arguments: int | str) -> str:
    """Assembly that calls helper ``number``. The program keeps its context in r6.

    Arguments are numbers; "context"; "value", the value of map 0; or :class:`Stack` places.
    """
    lines = []
    for register, argument in enumerate(arguments, start=1):
        if argument == "context":
            lines.append(f"r{register} = r6")
        elif argument == "value":
            lines.append(f"r{register} = map_value[0] + 0 ll")
        elif isinstance(argument, Stack):
            lines += [f"r{register} = r10", f"r{register} += {int(argument)}"]
        else:
            lines.append(f"r{register} = {int(argument) % 2**64} ll")
    return "\n".join([*lines, f"call {number}\n"])
