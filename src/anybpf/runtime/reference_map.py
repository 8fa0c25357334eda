"""Prog arrays and maps of maps: values that are addresses in the engine, and in Python programs and maps themselves."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from anybpf.platforms import MapKind
from anybpf.runtime._engine import ffi
from anybpf.runtime.native_map import ANY, NativeMap

if TYPE_CHECKING:
    from anybpf.runtime.maps import Map
    from anybpf.runtime.program import Program

__all__ = ("REFERENCE_KINDS", "ReferenceMap")

REFERENCE_KINDS = frozenset({MapKind.PROG_ARRAY, MapKind.ARRAY_OF_MAPS, MapKind.HASH_OF_MAPS})

_ADDRESS = struct.Struct("=Q")


class ReferenceMap(NativeMap):
    """Holds what its entries refer to, until it is replaced or deleted.

    All maps in a map of maps must have the shape of ``inner``, the declared one, or else of the first that was stored.
    """

    inner: tuple[MapKind, int, int, int, int] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._known: WeakValueDictionary[int, Program | Map] = WeakValueDictionary()
        self._held: dict[bytes, tuple[object, object]] = {}
        self._lock = threading.Lock()

    def refer(self, value: Any) -> bytes:
        """Return the bytes that stand for a program or map; ValueError when it does not belong here."""
        from anybpf.runtime.maps import Map
        from anybpf.runtime.program import Program

        if self.kind is MapKind.PROG_ARRAY:
            if not isinstance(value, Program):
                raise ValueError(f"needs a Program, not {value!r}")
        elif not isinstance(value, Map):
            raise ValueError(f"needs a Map, not {value!r}")
        else:
            self._check_shape(value)
        address = int(ffi.cast("uintptr_t", value.native.handle))
        self._known[address] = value
        return _ADDRESS.pack(address)

    def _check_shape(self, value: Map) -> None:
        if self.inner is None:
            self.inner = value.shape
        elif value.shape != self.inner:
            names = ("kind", "key size", "value size", "max_entries", "flags")
            wrong = [name for name, ours, theirs in zip(names, self.inner, value.shape, strict=True) if ours != theirs]
            raise ValueError(f"{value.name!r} differs from the declared inner map in its {' and '.join(wrong)}")

    def referent(self, data: bytes) -> Any:
        """Return the program or map that bytes of this map stand for."""
        return self._known[_ADDRESS.unpack(data)[0]]

    def _alive(self, value: bytes) -> tuple[object, object]:
        """What must live as long as an entry: the object, to be given out again, and what the address belongs to."""
        held: Any = self.referent(value)
        return held, held.native if self.kind is MapKind.PROG_ARRAY else held.native.handle

    def write(self, key: bytes, value: bytes, flags: int = ANY) -> None:
        """Store a reference."""
        with self._lock:
            kept = self._alive(value)
            super().write(key, value, flags)
            self._held[key] = kept

    def write_batch(self, keys: list[bytes], values: list[bytes], flags: int = ANY) -> None:
        """Store references one by one."""
        for key, value in zip(keys, values, strict=True):
            self.write(key, value, flags)

    def remove(self, key: bytes) -> bool:
        """Delete an entry; False when there was none."""
        with self._lock:
            removed = super().remove(key)
            self._held.pop(key, None)
            return removed

    def remove_batch(self, keys: list[bytes]) -> None:
        """Delete entries one by one; KeyError at the first that does not exist."""
        for key in keys:
            if not self.remove(key):
                raise KeyError(key)

    def clear(self) -> None:
        """Delete every entry."""
        with self._lock:
            super().clear()
            self._held.clear()
