"""What an object that somebody uploads may take: bytes, instructions, time, maps.

Reads: the object's specification, before anything of it is verified or made. Raises: LoadError, which says what is too
much and how much would do.
"""

from __future__ import annotations

from dataclasses import dataclass

from anybpf.errors import InstructionError, LoadError
from anybpf.isa import decode
from anybpf.isa import opcodes as op
from anybpf.platforms import MapKind, Platform
from anybpf.spec import MapSpec, ObjectSpec

__all__ = ("Limits", "map_memory")

#: Bytes that the engine keeps for an entry with a key beside key and value, at most.
_ENTRY = 64
#: Bytes of a perf ring that does not say; a perf event array has one for each cpu.
_PERF_RING = 1 << 18
_PAGE = 4096
_POINTER = 8
_UNKEYED = frozenset({MapKind.ARRAY, MapKind.PERCPU_ARRAY, MapKind.QUEUE, MapKind.STACK})
_PER_CPU = frozenset({MapKind.PERCPU_ARRAY, MapKind.PERCPU_HASH, MapKind.LRU_PERCPU_HASH})


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one object. The defaults suit a policy of a few hundred lines; a hostile object is refused soon.

    :param object_bytes: of the file. :param programs: how many programs it may hold.
    :param instructions: of all its programs together, in slots of 8 bytes.
    :param visits: instructions that the verifier may step through, for all programs together: 10 to 30 microseconds
        and up to a kilobyte of memory each. A program that it accepts, and that calls nothing back
        (``service_helpers.REPEATING``), runs no more instructions than that for an event (34 times as many when it
        tail-calls), so this bounds the time of a run.
    :param maps: how many maps, data sections included. :param map_bytes: of all their memory.
    :param value_bytes: of one key or value, or one data section: about what a helper copies in one call.
    :param may_goto: it may use ``may_goto``, which lets a loop go on up to eight million times unproven.
    :param pinning: its maps may be pinned by name, and so shared with other objects of the same execution context.
    """

    object_bytes: int = 1 << 20
    programs: int = 16
    instructions: int = 16_384
    visits: int = 100_000
    maps: int = 32
    map_bytes: int = 16 << 20
    value_bytes: int = 16 << 10
    may_goto: bool = False
    pinning: bool = False

    def require_size(self, size: int) -> None:
        """Raise LoadError when an object has more than ``object_bytes`` bytes."""
        if size > self.object_bytes:
            raise LoadError(f"the object has {size} bytes; {self.object_bytes} are allowed here")

    def require(self, spec: ObjectSpec, platform: Platform, cpus: int) -> None:
        """Raise LoadError when an object takes more than is allowed.

        :param cpus: values of an entry of a per-CPU map.
        """
        self._require_count("programs", len(spec.programs), self.programs)
        self._require_count("instructions", sum(p.slots for p in spec.programs), self.instructions)
        self._require_count("maps", len(spec.maps), self.maps)
        self._require_count("bytes of maps", sum(map_memory(m, platform, cpus) for m in spec.maps), self.map_bytes)
        for found in spec.maps:
            if (largest := max(found.key_size, found.value_size)) > self.value_bytes:
                raise LoadError(
                    f"map {found.name!r} has keys or values of {largest} bytes; {self.value_bytes} are allowed here"
                )
        pinned = next((m.name for m in spec.maps if m.pinning), None)
        if pinned is not None and not self.pinning:
            raise LoadError(f"map {pinned!r} is to be pinned by name, which is not allowed here; remove its pinning")
        for program in spec.programs:
            if not self.may_goto and _has_may_goto(program.code):
                raise LoadError(f"program {program.name!r} uses may_goto, which is not allowed here; bound its loops")

    def _require_count(self, what: str, count: int, most: int) -> None:
        if count > most:
            raise LoadError(f"the object has {count} {what}; {most} are allowed here")


def map_memory(spec: MapSpec, platform: Platform, cpus: int) -> int:
    """Return how many bytes a map may take at most; for kinds that the platform does not have, 0."""
    kind = platform.map_types.get(spec.type)
    value = -(-spec.value_size // 8) * 8 * (cpus if kind in _PER_CPU else 1)
    match kind:
        case None:
            return 0
        case MapKind.RINGBUF:  # rings take their bytes twice, so that no record is split
            return 2 * max(_PAGE, 1 << (spec.max_entries - 1).bit_length())
        case MapKind.PERF_EVENT_ARRAY:
            return 2 * cpus * (spec.map_extra or _PERF_RING)
        case MapKind.BLOOM_FILTER:  # at most 15 bits of each entry are set, in a filter of a power of two
            return 8 * spec.max_entries
        case MapKind.PROG_ARRAY | MapKind.ARRAY_OF_MAPS | MapKind.HASH_OF_MAPS:
            inner = map_memory(spec.inner, platform, cpus) if spec.inner is not None else 0
            return spec.max_entries * (_ENTRY + spec.key_size + _POINTER) + inner
        case MapKind.LPM_TRIE:  # a node for each entry, and one for each fork
            return 2 * spec.max_entries * (_ENTRY + spec.key_size + value)
        case _:
            return spec.max_entries * (value if kind in _UNKEYED else _ENTRY + spec.key_size + value)


def _has_may_goto(code: bytes) -> bool:
    try:
        return any(i is not None and i.opcode == op.OP_MAY_GOTO for i in decode(code))
    except InstructionError:
        return False  # the verifier will say where
