"""Maps in Python: mappings whose keys and values have the types that the object's BTF gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from anybpf.btf import Btf
from anybpf.errors import MapError
from anybpf.platforms import MapKind
from anybpf.runtime._engine import lib
from anybpf.runtime.map_view import MapView
from anybpf.runtime.native_map import ANY, EXIST, F_LOCK, NOEXIST, NativeMap
from anybpf.runtime.reference_map import REFERENCE_KINDS, ReferenceMap
from anybpf.runtime.typed import BytesCodec, Codec, Record, codec_for, spin_lock_offset
from anybpf.spec import MapSpec

if TYPE_CHECKING:
    from anybpf.runtime.records import RecordReader

__all__ = ("ANY", "EXIST", "F_LOCK", "NOEXIST", "Map", "MapView", "Record")

PERCPU_KINDS = frozenset({MapKind.PERCPU_HASH, MapKind.PERCPU_ARRAY, MapKind.LRU_PERCPU_HASH})

_EINVAL, _EOPNOTSUPP = 22, 95
_RING_PAGE = 4096
_INNER_MAP = 0x1000  # BPF_F_INNER_MAP: an inner array of any size will do


class Map(MapView):
    """A map in an execution context. Objects make theirs when they are loaded; a map can also be made on its own::

        with Map(context.engine, MapSpec("seen", 1, key_size=4, value_size=8, max_entries=100), MapKind.HASH) as seen:
            seen[7] = 1

    As a mapping it has typed keys and values (:mod:`anybpf.runtime.typed`): per-CPU kinds give and take a list with a
    value for each cpu slot, prog arrays and maps of maps give and take programs and maps. :attr:`raw` is the same
    mapping in bytes. What costs a crossing into the engine, :class:`MapView` says.

    :param engine: the ``ab_engine *`` of a context. :param kind: what ``spec.type`` means on the platform.
    :param btf: the types that ``spec`` refers to; without them 4- and 8-byte keys and values are unsigned ints, others
        bytes. :param inner_kind: what ``spec.inner.type`` means.
    :raises MapError: such a map cannot be made; the message says what the kind demands.
    """

    def __init__(
        self, engine: Any, spec: MapSpec, kind: MapKind, *, btf: Btf | None = None, inner_kind: MapKind | None = None
    ) -> None:
        self.spec = spec
        self.kind = kind
        self.btf = btf
        lock = spin_lock_offset(btf, spec.value_type)
        made = ReferenceMap if kind in REFERENCE_KINDS else NativeMap
        shape = _as_loaders_read(spec, kind, int(lib.ab_engine_cpus(engine)))
        self.max_entries = shape.max_entries
        native = made(
            engine, spec.name, kind, shape.key_size, shape.value_size, shape.max_entries, spec.flags,
            lock_offset=-1 if lock is None else lock, extra=spec.map_extra,
        )  # fmt: skip
        if isinstance(native, ReferenceMap) and spec.inner is not None and inner_kind is not None:
            native.inner = _shape(inner_kind, spec.inner)
        typed, raw = _codecs(native, spec, btf)
        super().__init__(native, typed)
        self.raw = MapView(native, raw)
        if spec.contents is not None:
            native.write(bytes(4), spec.contents.ljust(spec.value_size, b"\0"))
        if spec.is_data and spec.read_only:
            native.freeze()

    @property
    def name(self) -> str:
        """The name that the object gives it."""
        return self.spec.name

    @property
    def id(self) -> int:
        """A number that no other map of the execution context has had."""
        return self._native.id

    @property
    def shape(self) -> tuple[MapKind, int, int, int, int]:
        """What maps in the same map of maps must agree in: kind, sizes, entries (0: does not matter), flags."""
        return _shape(self.kind, self.spec)

    def __repr__(self) -> str:
        return f"<Map {self.name!r} ({self.kind.value}, id {self.id})>"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        """A map equals only itself: compare ``dict(map)`` to compare entries."""
        return self is other

    def memory(self) -> memoryview:
        """The values of an array as one piece of memory, which programs read and write at the same time.

        Values begin at multiples of their size rounded up to 8. Per-CPU arrays: blocks of equal size, one for each cpu
        slot. Read-only when the map is (``.rodata``).

        :raises MapError: EOPNOTSUPP, the kind is no array.
        """
        view = self._native.memory()
        if view is None:
            raise MapError(
                _EOPNOTSUPP, f"map {self.name!r} ({self.kind.value}) is no array, so it has no memory to show"
            )
        return view.toreadonly() if self.spec.read_only else view

    def records(
        self,
        *,
        typed: str | bool = False,
        timeout: float | None = None,
        on_lost: Callable[[Map, int, int], object] | None = None,
    ) -> RecordReader:
        """Read what programs write to a ring buffer or perf event array; see :class:`RecordReader` for the arguments.

        :raises MapError: EOPNOTSUPP, the kind keeps no records, or the object has no such type.
        """
        from anybpf.runtime.records import RecordReader

        return RecordReader([self], typed=typed, timeout=timeout, on_lost=on_lost)

    def drain(self) -> list[bytes]:
        """Take the records that wait: of a ring buffer the oldest first, of a perf event array cpu slot by cpu slot."""
        return [record for ring in range(self.rings()) for record in self._native.drain(ring)]

    @property
    def lost(self) -> int:
        """Records that programs could not write, because the ring buffer or perf event array was full."""
        return sum(map(self._native.lost, range(self.rings())))

    @property
    def unread(self) -> int:
        """Bytes of records that wait to be read, 8 more for each and rounded up to 8."""
        return sum(map(self._native.unread, range(self.rings())))

    def wait(self, seconds: float) -> bool:
        """Wait until there is a record to drain; False after so many seconds without one."""
        with self.records() as reader:
            return reader.wait(seconds)

    def rings(self) -> int:
        """Return how many rings of records there are: 1, or one for each cpu slot.

        :raises MapError: EOPNOTSUPP, the kind keeps no records.
        """
        if not self._native.rings:
            raise MapError(_EOPNOTSUPP, f"map {self.name!r} ({self.kind.value}) keeps no records")
        return self._native.rings

    def close(self) -> None:
        """Give the map up: further operations raise MapError EBADF. Programs that use it keep it alive."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _as_loaders_read(spec: MapSpec, kind: MapKind, cpus: int) -> MapSpec:
    """What a declaration of rings means, as libbpf and cilium/ebpf have it.

    Perf event arrays without a size have a ring for each cpu slot; ring buffers grow to a power of two of whole pages.
    A declared value is the type of the records, not of anything in the map.
    """
    if kind is MapKind.PERF_EVENT_ARRAY:
        return replace(spec, key_size=4, value_size=4, max_entries=spec.max_entries or cpus)
    if kind is MapKind.RINGBUF and spec.max_entries:
        size = max(_RING_PAGE, 1 << (spec.max_entries - 1).bit_length())
        return replace(spec, key_size=0, value_size=0, max_entries=size)
    return spec


def _shape(kind: MapKind, spec: MapSpec) -> tuple[MapKind, int, int, int, int]:
    fixed = kind in (MapKind.ARRAY, MapKind.PERCPU_ARRAY) and not spec.flags & _INNER_MAP
    return kind, spec.key_size, spec.value_size, spec.max_entries if fixed else 0, spec.flags


@dataclass(frozen=True, slots=True)
class _Entries:
    """The ordinary kinds."""

    key: Codec
    value: Codec

    def encode_key(self, key: Any) -> bytes:
        return self.key.encode(key)

    def decode_key(self, data: bytes) -> Any:
        return self.key.decode(data)

    def encode_value(self, value: Any) -> bytes:
        return self.value.encode(value)

    def decode_value(self, data: bytes) -> Any:
        return self.value.decode(data)


@dataclass(frozen=True, slots=True)
class _PerCpu(_Entries):
    """A list with each cpu slot's value; in the engine each is padded to 8 bytes."""

    cpus: int

    def encode_value(self, value: Any) -> bytes:
        if not isinstance(value, list | tuple) or len(value) != self.cpus:
            raise ValueError(f"needs a list of {self.cpus}, one for each cpu slot, not {value!r}")
        stride = self.value.size + 7 & ~7
        return b"".join(self.value.encode(each).ljust(stride, b"\0") for each in value)

    def decode_value(self, data: bytes) -> list[Any]:
        stride = len(data) // self.cpus
        return [self.value.decode(data[at : at + self.value.size]) for at in range(0, len(data), stride)]


@dataclass(frozen=True, slots=True)
class _References(_Entries):
    """Programs and maps as values."""

    native: ReferenceMap

    def encode_value(self, value: Any) -> bytes:
        return self.native.refer(value)

    def decode_value(self, data: bytes) -> Any:
        return self.native.referent(data)


def _codecs(native: NativeMap, spec: MapSpec, btf: Btf | None) -> tuple[_Entries, _Entries]:
    """The typed codec of a map and the one in bytes."""
    key, value = codec_for(btf, spec.key_type, spec.key_size), codec_for(btf, spec.value_type, spec.value_size)
    key_bytes, value_bytes = BytesCodec(spec.key_size), BytesCodec(spec.value_size)
    if isinstance(native, ReferenceMap):
        return _References(key, value, native), _References(key_bytes, value_bytes, native)
    if native.kind in PERCPU_KINDS:
        cpus = native.user_value_size // (spec.value_size + 7 & ~7)
        return _PerCpu(key, value, cpus), _PerCpu(key_bytes, value_bytes, cpus)
    return _Entries(key, value), _Entries(key_bytes, value_bytes)
