"""What machine code refers to outside itself, by name: helpers, maps and their values.

The names, and the shapes of what they name, are all that the translation knows of a loaded program's surroundings.
Addresses are given to the linker, so the same program gives the same machine code in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ENTRY = "entry"
TAIL_CALL = "ab_tail_call"
LOAD_PACKET = "ab_packet_load"
CALL_BY_NUMBER = "ab_call_by_number"
PUSH_FRAME = "ab_machine_push_frame"
POP_FRAME = "ab_machine_pop_frame"


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """How an array map lies in memory, for lookups without a call.

    :param stride: bytes from element to element. :param cpu_stride: bytes from cpu to cpu, 0 when all share the values.
    """

    max_entries: int
    stride: int
    cpu_stride: int = 0


@dataclass(frozen=True, slots=True)
class Shapes:
    """What the text depends on besides the instructions: shapes, never addresses.

    :param arrays: layout of the array maps by index.
    :param array_lookups: slots of calls that look up a key in the array map of that index.
    :param tail_call: the helper id that is the tail call, or None.
    :param cpu_offset: byte offset of the 32-bit ``cpu`` in ``struct ab_slot``.
    :param event_size: bytes of ``struct ab_event``, which stands directly before a context.
    :param slot_stack: functions have their stack frames in the cpu slot, where unproven reads are told from others.
    """

    arrays: Mapping[int, ArrayLayout]
    array_lookups: Mapping[int, int]
    tail_call: int | None
    cpu_offset: int
    event_size: int
    slot_stack: bool = False


def map_symbol(index: int) -> str:
    """Symbol of the map's ``ab_map``."""
    return f"map_{index}"


def values_symbol(index: int) -> str:
    """Symbol of the first value of an array or data map."""
    return f"values_{index}"


def helper_symbol(number: int) -> str:
    """Symbol of the helper with that id."""
    return f"helper_{number}"
