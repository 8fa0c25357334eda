"""Arguments of helpers, checked by the kinds that their contract declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from anybpf.isa import opcodes as op
from anybpf.platforms import Arg, ArgKind, MapKind
from anybpf.verifier import stack
from anybpf.verifier.access import is_read_only, require_inside
from anybpf.verifier.failure import Rejection
from anybpf.verifier.helper_call import HelperCall
from anybpf.verifier.needs import register_bit, stack_bits
from anybpf.verifier.scalar import describe
from anybpf.verifier.special import KERNEL_POINTER
from anybpf.verifier.values import Pointer, Region, describe_value, number_of

__all__ = ("check_arguments",)

#: Memory sizes beyond this are refused, as Linux does (1 << 29).
_LARGEST_SIZE: Final = 1 << 29

#: Helpers that change what their map holds.
_MAP_WRITERS: Final = frozenset(
    {
        "bpf_map_update_elem", "bpf_map_delete_elem", "bpf_map_push_elem", "bpf_map_pop_elem",
        "bpf_map_lookup_and_delete_elem",
    }
)  # fmt: skip


def check_arguments(call: HelperCall) -> None:
    """Check every argument against the contract."""
    for index, arg in enumerate(call.helper.args):
        _CHECKS[arg.kind](call, index, arg)


# Arguments, kind by kind.


def _anything(call: HelperCall, index: int, arg: Arg) -> None:
    call.argument(index)


def _scalar(call: HelperCall, index: int, arg: Arg) -> None:
    value = call.argument(index)
    if number_of(value) is None:
        raise Rejection(
            "number-expected", what=f"argument {index + 1} of {call.helper.name}", value=describe_value(value)
        )


def _context(call: HelperCall, index: int, arg: Arg) -> None:
    pointer = call.pointer(index, "the context", Region.CONTEXT)
    if pointer.offset or pointer.variable is not None:
        raise call.wrong(index, "the context itself, not a pointer into it")


def _map(call: HelperCall, index: int, arg: Arg) -> None:
    pointer = call.pointer(index, "a map", Region.MAP)
    assert pointer.map is not None
    kind = call.subject.map_kind(pointer.map)
    if arg.maps and kind not in arg.maps:
        raise Rejection(
            "map-kind",
            helper=call.helper.name,
            map=pointer.map.name,
            kind=kind.value if kind is not None else f"number {pointer.map.type}, unknown here",
        )
    if call.helper.name in _MAP_WRITERS and is_read_only(pointer.map):
        raise Rejection("read-only", what=f"map {pointer.map.name!r}")
    call.map = pointer
    seen = call.subject.helper_maps.setdefault(call.state.slot, pointer.index)
    if seen != pointer.index:
        call.subject.helper_maps[call.state.slot] = -1


def _readable(call: HelperCall, index: int, pointer: Pointer, size: int) -> None:
    """Require ``size`` initialised readable bytes."""
    _require_memory(call, index, pointer, size, False)
    if pointer.region is not Region.STACK or not size:
        return
    low, high = pointer.low, pointer.high + size
    call.read |= stack_bits(low, high - low, call.state.depth - pointer.index)
    frame = call.state.frames[pointer.index]
    if not stack.initialised(frame, low, high):
        place, end = low + op.STACK_SIZE >> 3, high + op.STACK_SIZE + 7 >> 3
        held = next((slot for slot in frame[place:end] if isinstance(slot, Pointer)), None)
        if held is not None:
            raise Rejection(
                "pointer-leak", what=f"part of argument {index + 1} of {call.helper.name}", value=describe_value(held)
            )
        raise Rejection("uninitialised-stack", size=high - low, offset=low)


def _require_memory(call: HelperCall, index: int, pointer: Pointer, size: int, write: bool) -> None:
    packet = pointer.region in (Region.PACKET, Region.PACKET_META) and not pointer.buffer
    if packet and not call.helper.packet_access:  # it may move; buffers stay where they are
        raise call.wrong(index, "memory other than the packet")
    if not size:
        return
    try:
        require_inside(call.subject, call.state, pointer, 0, size, write, index + 1)
    except Rejection as cause:
        if cause.code in ("not-accessible", "read-only"):
            raise
        raise call.no_memory(index, size, cause.message) from None


def _memory_pointer(call: HelperCall, index: int) -> Pointer:
    return call.pointer(
        index, "memory", Region.STACK, Region.MAP_VALUE, Region.MEMORY, Region.PACKET, Region.PACKET_META
    )


def _map_key(call: HelperCall, index: int, arg: Arg) -> None:
    _readable(call, index, _memory_pointer(call, index), call.found_map(index).key_size)


def _map_value(call: HelperCall, index: int, arg: Arg) -> None:
    _readable(call, index, _memory_pointer(call, index), call.found_map(index).value_size)


def _map_value_or_null(call: HelperCall, index: int, arg: Arg) -> None:
    if not _is_null(call, index):
        _map_value(call, index, arg)


def _map_value_out(call: HelperCall, index: int, arg: Arg) -> None:
    found = call.found_map(index)
    if call.subject.map_kind(found) is MapKind.BLOOM_FILTER:
        _map_value(call, index, arg)  # looks for the value, and leaves it as it is
        return
    _writable(call, index, _memory_pointer(call, index), found.value_size, found.value_size)


def _is_null(call: HelperCall, index: int) -> bool:
    number = number_of(call.argument(index))
    if number is not None and number.known == 0:
        call.exact |= register_bit(index + 1)
        return True
    return False


def _sizes(call: HelperCall, index: int, arg: Arg) -> tuple[int, int]:
    """The least and greatest bytes of memory argument ``index``: fixed, or given by the argument behind it."""
    if arg.size:
        return arg.size, arg.size
    at = index + 1
    kind = call.helper.args[at].kind if at < len(call.helper.args) else None
    if kind not in (ArgKind.SIZE, ArgKind.SIZE_OR_ZERO):
        return 0, 0
    number = number_of(call.argument(at))
    call.exact |= register_bit(at + 1)
    if number is None:
        raise call.wrong(at, "a number of bytes")
    if number.umax > _LARGEST_SIZE:
        problem = "the size may be negative" if number.smin < 0 else "the size has no upper bound"
        raise call.no_memory(index, describe(number), f"{problem}, or a very large number")
    if kind is ArgKind.SIZE and not number.umin:
        raise Rejection(
            "helper-memory",
            number=index + 1,
            helper=call.helper.name,
            size=describe(number),
            problem="the size may be zero",
        )
    return number.umin, number.umax


def _memory(call: HelperCall, index: int, arg: Arg) -> None:
    _readable(call, index, _memory_pointer(call, index), _sizes(call, index, arg)[1])


def _memory_or_null(call: HelperCall, index: int, arg: Arg) -> None:
    if not _null_memory(call, index, arg):
        _memory(call, index, arg)


def _null_memory(call: HelperCall, index: int, arg: Arg) -> bool:
    """Whether the argument is NULL; with a size beside it, that must be zero."""
    if not _is_null(call, index):
        return False
    if not arg.size and _sizes(call, index, arg)[1]:
        raise Rejection(
            "helper-memory",
            number=index + 1,
            helper=call.helper.name,
            size=_sizes(call, index, arg)[1],
            problem="it is NULL",
        )
    return True


def _writable(call: HelperCall, index: int, pointer: Pointer, least: int, most: int) -> None:
    """Require ``most`` writable bytes, of which ``least`` will surely be written."""
    _require_memory(call, index, pointer, most, True)
    if pointer.region is Region.STACK and most:
        call.outputs.append((pointer, least, most))


def _memory_out(call: HelperCall, index: int, arg: Arg) -> None:
    least, most = _sizes(call, index, arg)
    _writable(call, index, _memory_pointer(call, index), least, most)


def _memory_out_or_null(call: HelperCall, index: int, arg: Arg) -> None:
    if not _null_memory(call, index, arg):
        _memory_out(call, index, arg)


def _memory_inout(call: HelperCall, index: int, arg: Arg) -> None:
    least, most = _sizes(call, index, arg)
    pointer = _memory_pointer(call, index)
    _readable(call, index, pointer, most)
    _writable(call, index, pointer, least, most)


def _size(call: HelperCall, index: int, arg: Arg) -> None:
    call.argument(index)  # its range was checked with the memory before it


def _alloc_size(call: HelperCall, index: int, arg: Arg) -> None:
    call.alloc = call.constant(index, "a constant number of bytes")
    if not 0 < call.alloc <= _LARGEST_SIZE:
        raise Rejection(
            "constant-expected", number=index + 1, helper=call.helper.name, expected=f"a size from 1 to {_LARGEST_SIZE}"
        )


def _string(call: HelperCall, index: int, arg: Arg) -> None:
    pointer = call.pointer(index, "text in read-only data", Region.MAP_VALUE)
    data = pointer.map.contents if pointer.map is not None and pointer.map.read_only else None
    start = pointer.offset
    if data is None or pointer.variable is not None or not 0 <= start < pointer.size:
        raise Rejection(
            "constant-expected", number=index + 1, helper=call.helper.name, expected="text in read-only data"
        )
    if b"\0" not in data[start:] and len(data) >= pointer.size:
        raise Rejection(
            "constant-expected", number=index + 1, helper=call.helper.name, expected="text that ends in a NUL byte"
        )


def _callback_context(call: HelperCall, index: int, arg: Arg) -> None:
    if not _is_null(call, index):
        call.pointer(index, "a pointer to the stack, or NULL", Region.STACK)


def _record(call: HelperCall, index: int, arg: Arg) -> None:
    pointer = call.pointer(index, "a ring-buffer record", Region.MEMORY)
    _release(call, index, pointer)


def _release(call: HelperCall, index: int, pointer: Pointer) -> None:
    held = any(identity == pointer.identity for identity, _ in call.state.references)
    if not pointer.identity or not held or pointer.offset or pointer.variable is not None:
        raise Rejection("reference-released", number=index + 1, helper=call.helper.name, value=describe_value(pointer))
    call.released = pointer.identity


def _field_pointer(call: HelperCall, index: int, field: str) -> Pointer:
    """A pointer to the lock, timer or kernel pointer called ``field`` of a map value."""
    pointer = call.pointer(index, f"the {field} of a map value", Region.MAP_VALUE)
    assert pointer.map is not None
    places = [start for start, _, name in call.subject.special_fields(pointer.map) if name == field]
    if pointer.variable is not None or pointer.offset not in places:
        raise call.wrong(index, f"the {field} of a map value")
    return pointer


def _spin_lock(call: HelperCall, index: int, arg: Arg) -> None:
    pointer = _field_pointer(call, index, "bpf_spin_lock")
    key = (pointer.identity or -1 - pointer.index, pointer.offset)
    state = call.state
    if call.helper.name == "bpf_spin_lock":
        if state.lock is not None:
            raise Rejection("lock", what="a lock is taken while another is held")
        state.lock = key
        return
    if state.lock != key:
        held = "no lock is held" if state.lock is None else "another lock is held"
        raise Rejection("lock", what=f"a lock is released, but {held}")
    state.lock = None


def _timer(call: HelperCall, index: int, arg: Arg) -> None:
    _field_pointer(call, index, "bpf_timer")


def _kptr(call: HelperCall, index: int, arg: Arg) -> None:
    _field_pointer(call, index, KERNEL_POINTER)


def _socket(call: HelperCall, index: int, arg: Arg) -> None:
    pointer = call.pointer(index, "a socket", Region.SOCKET)
    if pointer.offset or pointer.variable is not None:
        raise call.wrong(index, "the socket itself, not a pointer into it")


def _socket_or_null(call: HelperCall, index: int, arg: Arg) -> None:
    if not _is_null(call, index):
        _socket(call, index, arg)


def _socket_released(call: HelperCall, index: int, arg: Arg) -> None:
    _release(call, index, call.pointer(index, "a socket", Region.SOCKET))


def _kernel(call: HelperCall, index: int, arg: Arg) -> None:
    call.pointer(index, "a pointer to a kernel structure", Region.KERNEL, Region.SOCKET)


def _kernel_or_null(call: HelperCall, index: int, arg: Arg) -> None:
    if not _is_null(call, index):
        _kernel(call, index, arg)


def _unavailable(call: HelperCall, index: int, arg: Arg) -> None:
    raise call.wrong(index, f"a {arg.kind.value}, which this verifier does not follow yet")


def _function(call: HelperCall, index: int, arg: Arg) -> None:
    call.pointer(index, "a function of this program", Region.FUNCTION)


_CHECKS: Final[dict[ArgKind, Callable[[HelperCall, int, Arg], None]]] = {
    ArgKind.ANYTHING: _anything,
    ArgKind.SCALAR: _scalar,
    ArgKind.CONTEXT: _context,
    ArgKind.MAP: _map,
    ArgKind.MAP_KEY: _map_key,
    ArgKind.MAP_VALUE: _map_value,
    ArgKind.MAP_VALUE_OR_NULL: _map_value_or_null,
    ArgKind.MAP_VALUE_OUT: _map_value_out,
    ArgKind.MEMORY: _memory,
    ArgKind.MEMORY_OR_NULL: _memory_or_null,
    ArgKind.MEMORY_OUT: _memory_out,
    ArgKind.MEMORY_OUT_OR_NULL: _memory_out_or_null,
    ArgKind.MEMORY_INOUT: _memory_inout,
    ArgKind.SIZE: _size,
    ArgKind.SIZE_OR_ZERO: _size,
    ArgKind.ALLOC_SIZE: _alloc_size,
    ArgKind.STRING: _string,
    ArgKind.CALLBACK: _function,
    ArgKind.CALLBACK_CONTEXT: _callback_context,
    ArgKind.RECORD: _record,
    ArgKind.SPIN_LOCK: _spin_lock,
    ArgKind.TIMER: _timer,
    ArgKind.SOCKET: _socket,
    ArgKind.SOCKET_OR_NULL: _socket_or_null,
    ArgKind.SOCKET_RELEASED: _socket_released,
    ArgKind.KERNEL: _kernel,
    ArgKind.KERNEL_OR_NULL: _kernel_or_null,
    ArgKind.DYNPTR: _unavailable,
    ArgKind.DYNPTR_OUT: _unavailable,
    ArgKind.PERCPU: _unavailable,
    ArgKind.KPTR: _kptr,
}
