"""What a program's references mean in this process: addresses for the linker, shapes for the translation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anybpf.runtime import _engine
from anybpf.runtime.jit_symbols import (
    CALL_BY_NUMBER,
    LOAD_PACKET,
    POP_FRAME,
    PUSH_FRAME,
    TAIL_CALL,
    ArrayLayout,
    helper_symbol,
    map_symbol,
    values_symbol,
)


@dataclass(frozen=True, slots=True)
class MapBinding:
    """Where a map is in this process.

    :param address: of its ``ab_map``.
    :param values: address of its first value (of cpu 0), for arrays and data maps; 0 for others.
    :param layout: how its values lie, for arrays.
    """

    address: int
    values: int = 0
    layout: ArrayLayout | None = None


@dataclass(frozen=True, slots=True)
class Bindings:
    """Addresses of this process, as integers. They are given to the linker and never enter the cached code.

    :param maps: by the index that the program's text uses.
    :param helpers: address of an ``ab_helper_fn`` by helper id.
    :param engine: addresses of the engine's own functions by the names in :mod:`~anybpf.runtime.jit_symbols`.
    :param tail_call: the helper id that is the platform's tail call.
    :param cpu_offset: byte offset of ``cpu`` in ``struct ab_slot``. :param event_size: bytes of ``struct ab_event``.
    :param slot_stack: it calls a helper that reads unproven addresses, so its stack frames must lie in the cpu slot.
    """

    maps: Mapping[int, MapBinding] = field(default_factory=dict)
    helpers: Mapping[int, int] = field(default_factory=dict)
    engine: Mapping[str, int] = field(default_factory=dict)
    tail_call: int | None = None
    cpu_offset: int = 0
    event_size: int = 0
    slot_stack: bool = False

    def symbols(self) -> dict[str, int]:
        """Return the address of every symbol that machine code may refer to."""
        symbols = dict(self.engine)
        for index, bound in self.maps.items():
            symbols[map_symbol(index)] = bound.address
            if bound.values:
                symbols[values_symbol(index)] = bound.values
        symbols.update((helper_symbol(number), address) for number, address in self.helpers.items())
        return symbols


def bind(maps: Iterable[Any], helpers: Mapping[int, int], tail_call: int | None) -> Bindings:
    """Bind a program to the engine.

    :param maps: its maps (cffi ``ab_map *``), in the order that its text counts them.
    :param helpers: address of each helper that it may call, by id. :param tail_call: the id that is the tail call.
    """
    machine = _engine.ffi.new("ab_machine *")
    _engine.lib.ab_machine_describe(machine)
    return Bindings(
        {index: _bind_map(described) for index, described in enumerate(maps)},
        dict(helpers),
        {
            TAIL_CALL: machine.tail_call,
            LOAD_PACKET: machine.packet_load,
            CALL_BY_NUMBER: machine.call_by_number,
            PUSH_FRAME: machine.push_frame,
            POP_FRAME: machine.pop_frame,
        },
        tail_call,
        machine.cpu_offset,
        machine.event_size,
        any(map(_engine.lib.ab_helper_reads_unproven, helpers.values())),
    )


def _bind_map(ab_map: Any) -> MapBinding:
    described = _engine.ffi.new("ab_machine_map *")
    _engine.lib.ab_machine_describe_map(ab_map, described)
    if not described.values:
        return MapBinding(described.address)
    layout = ArrayLayout(described.max_entries, described.value_stride, described.cpu_stride)
    return MapBinding(described.address, described.values, layout)
