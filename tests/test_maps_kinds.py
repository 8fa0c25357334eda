"""Every kind of map as a Python mapping: what it stores, what it refuses and with which error."""

from __future__ import annotations

import gc
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from anybpf.errors import MapError
from anybpf.platforms import MapKind
from anybpf.runtime import Context
from anybpf.runtime.maps import EXIST, NOEXIST, Map
from anybpf.spec import MapSpec

E2BIG, EBADF, EEXIST, EINVAL, EPERM, ENOENT, ENOSPC, EOPNOTSUPP, ENOTSUPP = 7, 9, 17, 22, 1, 2, 28, 95, 524
CPUS = 3

HASHES = (MapKind.HASH, MapKind.LRU_HASH, MapKind.PERCPU_HASH, MapKind.LRU_PERCPU_HASH)
ARRAYS = (MapKind.ARRAY, MapKind.PERCPU_ARRAY)


@pytest.fixture
def context() -> Iterator[Context]:
    """An execution context with three cpu slots."""
    with Context(cpus=CPUS) as opened:
        yield opened


def make(context: Context, kind: MapKind, key: int = 4, value: int = 8, entries: int = 10, **more: Any) -> Map:
    """A map of ``entries`` entries."""
    return Map(context.engine, MapSpec("m", 0, key, value, entries, **more), kind)


def of(opened: Map, number: int) -> Any:
    """A value made from ``number``: a list of different ones for per-CPU kinds."""
    return [number + cpu for cpu in range(CPUS)] if "percpu" in opened.kind.value else number


@contextmanager
def refused(code: int) -> Iterator[None]:
    """Expect a MapError with this errno."""
    with pytest.raises(MapError) as caught:
        yield
    assert caught.value.code == code


@pytest.mark.parametrize("kind", HASHES)
@pytest.mark.parametrize("key_size", [4, 8])
def test_hash_kinds_are_mappings(context: Context, kind: MapKind, key_size: int) -> None:
    """Set, get, contains, replace, delete, iterate, pop and clear work as with a dict."""
    m = make(context, kind, key_size)
    for number in range(10):
        m[number] = of(m, number)
    m[3] = of(m, 33)
    expected = {number: of(m, 33 if number == 3 else number) for number in range(10)}
    assert dict(m.items()) == expected
    assert {key: m[key] for key in m} == expected
    assert len(m) == 10
    assert 3 in m
    assert 77 not in m
    del m[3]
    assert 3 not in m
    assert m.get(3) is None
    assert m.pop(4) == of(m, 4)
    assert m.pop(4, None) is None
    assert len(m) == 8
    m.clear()
    assert dict(m) == {}


@pytest.mark.parametrize("kind", HASHES + ARRAYS)
def test_a_key_that_is_missing_is_a_key_error(context: Context, kind: MapKind) -> None:
    """Subscripts and batches raise KeyError with the key; arrays have no key beyond their end."""
    m = make(context, kind)
    with pytest.raises(KeyError, match="77"):
        m[77]
    with pytest.raises(KeyError, match="77"):
        m.lookup_batch([77])


@pytest.mark.parametrize("kind", [MapKind.HASH, MapKind.PERCPU_HASH])
def test_a_full_hash_refuses_exactly_one_more(context: Context, kind: MapKind) -> None:
    """max_entries entries fit, one more is E2BIG, replacing still works, and a deletion makes room for one."""
    m = make(context, kind)
    m.update({number: of(m, number) for number in range(10)})
    with refused(E2BIG):
        m[10] = of(m, 10)
    m[9] = of(m, 90)
    del m[0]
    m[10] = of(m, 10)
    with refused(E2BIG):
        m[11] = of(m, 11)
    assert sorted(m) == list(range(1, 11))


@pytest.mark.parametrize("kind", HASHES)
def test_update_flags(context: Context, kind: MapKind) -> None:
    """NOEXIST refuses what is there, EXIST what is not; both leave the map alone; other flags are EINVAL."""
    m = make(context, kind)
    with refused(ENOENT):
        m.update(1, of(m, 1), EXIST)
    m.update(1, of(m, 1), NOEXIST)
    with refused(EEXIST):
        m.update(1, of(m, 2), NOEXIST)
    assert m[1] == of(m, 1)
    m.update(1, of(m, 3), EXIST)
    for flags in (NOEXIST | EXIST, 4, 8):
        with refused(EINVAL):
            m.update(1, of(m, 4), flags)
    assert dict(m) == {1: of(m, 3)}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_hold_all_their_elements(context: Context, kind: MapKind) -> None:
    """Elements start as zeros; none can be created or deleted; an index beyond the end is E2BIG."""
    m = make(context, kind)
    zero = of(m, 0) if kind is MapKind.ARRAY else [0] * CPUS
    assert dict(m.items()) == dict.fromkeys(range(10), zero)
    m[9] = of(m, 5)
    assert m[9] == of(m, 5)
    with refused(E2BIG):
        m[10] = of(m, 5)
    with refused(EEXIST):
        m.update(0, of(m, 5), NOEXIST)
    with refused(EINVAL):
        del m[0]
    with refused(EINVAL):
        m.clear()
    with refused(ENOTSUPP):
        m.take(0)


@pytest.mark.parametrize("kind", HASHES + ARRAYS)
def test_raw_shows_the_same_entries_in_bytes(context: Context, kind: MapKind) -> None:
    """raw gives and takes bytes; per-CPU kinds a list of bytes, one for each cpu slot."""
    m = make(context, kind, value=4)
    key = struct.pack("=I", 3)
    m[3] = of(m, 7)
    expected: Any = struct.pack("=I", 7)
    if "percpu" in kind.value:
        expected = [struct.pack("=I", 7 + cpu) for cpu in range(CPUS)]
    assert m.raw[key] == expected
    m.raw[struct.pack("=I", 4)] = expected
    assert m[4] == m[3]
    assert dict(m.raw.items())[key] == expected


def test_keys_and_values_that_do_not_fit_are_einval(context: Context) -> None:
    """Numbers out of range, bytes and lists of another length are refused; the map stays as it was."""
    m, cpus = make(context, MapKind.HASH), make(context, MapKind.PERCPU_HASH)
    m[1] = 1
    for key, value in ((-1, 0), (1 << 32, 0), (b"abc", 0), ("a", 0), (1, 1 << 64), (1, b"abc"), (1, None)):
        with refused(EINVAL):
            m[key] = value
    for value in ([1, 2], 1, [1, 2, 3, 4], [1, 2, -1]):
        with refused(EINVAL):
            cpus[1] = value
    with refused(EINVAL):
        m.raw[b"abc"]
    assert dict(m) == {1: 1}
    assert not cpus


@pytest.mark.parametrize("kind", HASHES)
def test_batches(context: Context, kind: MapKind) -> None:
    """Batches store, read and delete many entries; a batch stops at what is refused and keeps what came before."""
    m = make(context, kind, entries=1000)
    entries = {number: of(m, number) for number in range(1000)}
    m.update(entries)
    assert dict(m.items()) == entries
    assert m.lookup_batch(range(500, 510)) == [of(m, number) for number in range(500, 510)]
    m.delete_batch(range(100))
    assert len(m) == 900
    with pytest.raises(KeyError, match="50"):
        m.delete_batch([100, 50, 101])
    assert sorted(m) == list(range(101, 1000))
    with refused(EEXIST):
        m.update_batch([(2000, of(m, 1)), (101, of(m, 1)), (2001, of(m, 1))], NOEXIST)
    assert 2000 in m
    assert 2001 not in m


def test_entries_can_be_taken_in_batches(context: Context) -> None:
    """Reading with take empties the map and gives every entry once."""
    m = make(context, MapKind.HASH, entries=5000)
    m.update({number: number for number in range(5000)})
    taken = [struct.unpack("=I", key)[0] for key, _ in m.native.entries(take=True)]
    assert sorted(taken) == list(range(5000))
    assert len(m) == 0


def test_next_key_visits_every_entry_once(context: Context) -> None:
    """From None on, next_key gives each key; an unknown key starts over; None follows the last."""
    for kind in HASHES:
        m = make(context, kind)
        m.update({number: of(m, number) for number in range(10)})
        seen = []
        key = m.next_key()
        while key is not None:
            seen.append(key)
            key = m.next_key(key)
        assert sorted(seen) == list(range(10))
        assert m.next_key(99) == seen[0]


def test_lpm_finds_the_longest_prefix(context: Context) -> None:
    """A lookup gives the longest prefix that contains the address; prefixes are deleted one by one."""
    m = make(context, MapKind.LPM_TRIE, 8, 4, flags=1)

    def prefix(text: str) -> bytes:
        address, length = text.split("/")
        return struct.pack("=I", int(length)) + bytes(map(int, address.split(".")))

    for number, text in enumerate(("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32")):
        m[prefix(text)] = number
    asked = {"10.1.2.3": 4, "10.1.2.4": 3, "10.1.3.4": 2, "10.2.3.4": 1, "11.2.3.4": 0}
    assert {text: m[prefix(f"{text}/32")] for text in asked} == asked
    del m[prefix("10.1.0.0/16")]
    assert m[prefix("10.1.3.4/32")] == 1
    with pytest.raises(KeyError):
        del m[prefix("10.1.0.0/16")]
    assert len(m) == 4
    with refused(EINVAL):
        m[struct.pack("=I", 33) + bytes(4)] = 1


def test_a_full_trie_is_enospc(context: Context) -> None:
    """A trie holds exactly max_entries prefixes, whatever branching they need."""
    m = make(context, MapKind.LPM_TRIE, 8, 4, 16, flags=1)
    for number in range(16):
        m[struct.pack("=I", 32) + bytes([number * 16, 0, 0, 0])] = number
    with refused(ENOSPC):
        m[struct.pack("=I", 32) + bytes([1, 0, 0, 0])] = 1
    assert len(m) == 16
    m.clear()
    assert len(m) == 0


def test_queues_and_stacks(context: Context) -> None:
    """A queue gives the oldest value first, a stack the newest; full ones refuse, or with EXIST drop the oldest."""
    queue, stack = make(context, MapKind.QUEUE, 0, 4, 3), make(context, MapKind.STACK, 0, 4, 3)
    for m in (queue, stack):
        for number in (1, 2, 3):
            m.push(number)
        with refused(E2BIG):
            m.push(4)
        m.push(4, EXIST)
        assert len(m) == 3
    assert queue.peek() == 2
    assert stack.peek() == 4
    assert [queue.pop() for _ in range(3)] == [2, 3, 4]
    assert [stack.pop() for _ in range(3)] == [4, 3, 2]
    for m in (queue, stack):
        with pytest.raises(KeyError, match="is empty"):
            m.pop()
        with pytest.raises(KeyError, match="is empty"):
            m.peek()
        with refused(EINVAL):
            m.push(1, NOEXIST)


def test_bloom_filter(context: Context) -> None:
    """What was added is always found; of ten thousand other values few are; values cannot be listed or taken."""
    m = make(context, MapKind.BLOOM_FILTER, 0, 4, 100)
    for number in range(100):
        m.push(number)
    assert all(m.may_contain(number) for number in range(100))
    assert sum(m.may_contain(number) for number in range(1000, 11000)) < 500
    with refused(ENOTSUPP):
        m.pop()
    with refused(EOPNOTSUPP):
        len(m)


def test_redirect_targets(context: Context) -> None:
    """devmap, cpumap and xskmap hold the targets that were set, by index; devmap hash by any key."""
    for kind in (MapKind.DEVMAP, MapKind.CPUMAP, MapKind.XSKMAP, MapKind.DEVMAP_HASH):
        m = make(context, kind, 4, 4, 5)
        m[2] = 9
        assert dict(m) == {2: 9}
        del m[2]
        with pytest.raises(KeyError):
            m[2]
    devmap = make(context, MapKind.DEVMAP, 4, 8, 5)
    devmap[1] = struct.pack("=II", 7, 0)
    devmap[1] = 0  # interface 0: no target
    assert 1 not in devmap
    with refused(E2BIG):
        devmap[5] = 1
    with refused(EINVAL):
        make(context, MapKind.DEVMAP_HASH, 4, 4, 5)[1] = 0


def test_arrays_show_their_memory(context: Context) -> None:
    """memory() is the values themselves, in both directions; it outlives the map; other kinds have none."""
    m = make(context, MapKind.ARRAY, value=6, entries=4)
    memory = m.memory()
    assert len(memory) == 4 * 8
    m[1] = b"abcdef"
    assert bytes(memory[8:14]) == b"abcdef"
    memory[16:22] = b"ghijkl"
    assert m[2] == b"ghijkl"
    m.close()
    del m
    gc.collect()
    assert bytes(memory[16:22]) == b"ghijkl"
    with refused(EOPNOTSUPP):
        make(context, MapKind.HASH).memory()


def test_data_maps_have_their_contents(context: Context) -> None:
    """A data section's map holds its bytes; when read-only it is frozen, and its memory cannot be written."""
    spec = MapSpec(".rodata", 0, 4, 8, 1, 0x80, contents=b"abc", is_data=True, read_only=True)
    rodata = Map(context.engine, spec, MapKind.ARRAY)
    assert rodata.raw[bytes(4)] == b"abc\0\0\0\0\0"
    with refused(EPERM):
        rodata.raw[bytes(4)] = bytes(8)
    assert rodata.memory().readonly
    data = Map(context.engine, MapSpec(".data", 0, 4, 8, 1, contents=b"12345678", is_data=True), MapKind.ARRAY)
    data.memory()[0:1] = b"9"
    assert data.raw[bytes(4)] == b"92345678"


def test_access_flags_bind_the_user(context: Context) -> None:
    """BPF_F_RDONLY and BPF_F_WRONLY are about this side: EPERM."""
    read_only, write_only = make(context, MapKind.HASH, flags=0x8), make(context, MapKind.HASH, flags=0x10)
    with refused(EPERM):
        read_only[1] = 1
    assert 1 not in read_only
    write_only[1] = 1
    with refused(EPERM):
        write_only[1]


@pytest.mark.parametrize("kind", [k for k in MapKind if k.value in {"hash", "array", "lpm_trie", "queue", "ringbuf"}])
def test_declarations_that_cannot_be_say_what_the_kind_needs(context: Context, kind: MapKind) -> None:
    """A refused declaration is EINVAL and the message tells what the kind demands and what was declared."""
    with pytest.raises(MapError, match=rf"\({kind.value}\) needs .*; declared are") as caught:
        make(context, kind, key=3, value=0, entries=0)
    assert caught.value.code == EINVAL


def test_kinds_that_the_engine_lacks_are_named(context: Context) -> None:
    """A kind without an implementation is EOPNOTSUPP, with its name."""
    with pytest.raises(MapError, match="no maps of kind stack_trace") as caught:
        make(context, MapKind.STACK_TRACE)
    assert caught.value.code == EOPNOTSUPP


def test_a_closed_map_is_ebadf(context: Context) -> None:
    """After close, or after its with block, every operation says so."""
    with make(context, MapKind.HASH) as m:
        m[1] = 1
    for operation in (lambda: m[1], lambda: m.update({2: 2}), lambda: list(m), lambda: m.memory(), m.clear):
        with refused(EBADF):
            operation()


def test_a_map_equals_itself_only(context: Context) -> None:
    """Two maps of the same entries are different maps; a map can be in a set."""
    one, other = make(context, MapKind.HASH), make(context, MapKind.HASH)
    assert one != other
    assert len({one, other, one}) == 2
    assert one.id != other.id
    assert "hash" in repr(one)


def test_maps_outlive_their_context(context: Context) -> None:
    """A map keeps the engine it lives in, whatever is dropped first."""
    alone = Context(cpus=1)
    m = make(alone, MapKind.HASH)
    del alone
    gc.collect()
    m[1] = 2
    assert dict(m) == {1: 2}
