"""Maps against models: random operations on a map and on a plain Python structure give the same results."""

# ruff: noqa: D102 -- the rules of a machine are named after the operation that they try

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from anybpf.errors import MapError
from anybpf.platforms import MapKind
from anybpf.runtime import Context
from anybpf.runtime._engine import ffi
from anybpf.runtime.maps import EXIST, NOEXIST, Map
from anybpf.spec import MapSpec
from helpercalls import Helpers

KEYS = st.integers(0, 12)
VALUES = st.integers(0, (1 << 64) - 1)


def code(operation: Any, *arguments: Any) -> int:
    """The errno that an operation ends in, 0 for success."""
    try:
        operation(*arguments)
    except MapError as error:
        return error.code
    return 0


class HashMachine(RuleBasedStateMachine):
    """A hash map is a dict that holds eight entries."""

    kind = MapKind.HASH
    entries = 8

    def __init__(self) -> None:
        super().__init__()
        self.context = Context(cpus=2)
        self.map = Map(self.context.engine, MapSpec("m", 1, 4, 8, self.entries), self.kind)
        self.model: dict[int, int] = {}

    @rule(key=KEYS, value=VALUES, flags=st.sampled_from([0, NOEXIST, EXIST]))
    def update(self, key: int, value: int, flags: int) -> None:
        expected = 0
        if key in self.model:
            expected = 17 if flags == NOEXIST else 0
        elif flags == EXIST:
            expected = 2
        elif len(self.model) == self.entries:
            expected = 7
        assert code(self.map.update, key, value, flags) == expected
        if not expected:
            self.model[key] = value

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        assert self.map.pop(key, None) == self.model.pop(key, None)

    @rule(key=KEYS)
    def look_up(self, key: int) -> None:
        assert self.map.get(key) == self.model.get(key)

    @rule(keys=st.lists(KEYS, unique=True))
    def update_batch(self, keys: list[int]) -> None:
        taken = [key for key in keys if key in self.model]
        self.map.update_batch({key: key for key in taken})
        self.model.update({key: key for key in taken})

    @rule()
    def clear(self) -> None:
        self.map.clear()
        self.model.clear()

    @invariant()
    def same_entries(self) -> None:
        assert dict(self.map.items()) == self.model
        assert sorted(self.map) == sorted(self.model)
        assert len(self.map) == len(self.model)

    def teardown(self) -> None:
        self.context.close()


class LruMachine(RuleBasedStateMachine):
    """An LRU hash gives up the oldest entry that no program has used since it became the newest, and never refuses."""

    entries = 4

    @initialize()
    def create(self) -> None:
        self.helpers = Helpers()
        self.map = Map(self.helpers.engine, MapSpec("m", 9, 4, 8, self.entries), MapKind.LRU_HASH)
        self.model: OrderedDict[int, list[Any]] = OrderedDict()  # oldest first: [value, used]

    @rule(key=KEYS, value=VALUES)
    def update(self, key: int, value: int) -> None:
        used = self.model.pop(key, None) is not None
        if len(self.model) == self.entries:
            while True:
                oldest, (kept, marked) = self.model.popitem(last=False)
                if not marked:
                    break
                self.model[oldest] = [kept, False]
        self.model[key] = [value, used]
        self.map[key] = value

    @rule(key=KEYS)
    def a_program_looks_up(self, key: int) -> None:
        found = self.helpers.map_lookup_elem(self.map.native.handle, struct.pack("=I", key))
        assert bool(found) == (key in self.model)
        if found:
            assert ffi.cast("uint64_t *", found)[0] == self.model[key][0]
            self.model[key][1] = True

    @rule(key=KEYS)
    def the_user_looks_up(self, key: int) -> None:
        assert self.map.get(key) == (self.model[key][0] if key in self.model else None)

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        expected = self.model.pop(key, [None])[0]
        assert self.map.pop(key, None) == expected

    @invariant()
    def same_entries(self) -> None:
        if hasattr(self, "map"):
            assert dict(self.map.items()) == {key: value for key, (value, _) in self.model.items()}

    def teardown(self) -> None:
        if hasattr(self, "map"):
            self.map.close()
            self.helpers.close()


class QueueMachine(RuleBasedStateMachine):
    """A queue and a stack are deques of five values, used from one end or both."""

    entries = 5

    def __init__(self) -> None:
        super().__init__()
        self.context = Context(cpus=1)
        self.queue = Map(self.context.engine, MapSpec("q", 22, 0, 8, self.entries), MapKind.QUEUE)
        self.stack = Map(self.context.engine, MapSpec("s", 23, 0, 8, self.entries), MapKind.STACK)
        self.queued: deque[int] = deque()
        self.stacked: deque[int] = deque()

    @rule(value=VALUES, flags=st.sampled_from([0, EXIST]))
    def push(self, value: int, flags: int) -> None:
        for m, model in ((self.queue, self.queued), (self.stack, self.stacked)):
            full = len(model) == self.entries
            assert code(m.push, value, flags) == (7 if full and not flags else 0)
            if full and flags:
                model.popleft()
            if not full or flags:
                model.append(value)

    @rule()
    def pop(self) -> None:
        if self.queued:
            assert self.queue.peek() == self.queued[0]
            assert self.queue.pop() == self.queued.popleft()
        if self.stacked:
            assert self.stack.peek() == self.stacked[-1]
            assert self.stack.pop() == self.stacked.pop()

    @invariant()
    def same_lengths(self) -> None:
        assert len(self.queue) == len(self.queued)
        assert len(self.stack) == len(self.stacked)

    def teardown(self) -> None:
        self.context.close()


PREFIXES = st.tuples(st.sampled_from([0, 1, 2, 8, 15, 16]), st.sampled_from([0, 1, 0x4000, 0x7FFF, 0x8000, 0xFFFF]))


class LpmMachine(RuleBasedStateMachine):
    """A trie finds the longest prefix that a search through all of them finds."""

    def __init__(self) -> None:
        super().__init__()
        self.context = Context(cpus=1)
        self.map = Map(self.context.engine, MapSpec("t", 11, 6, 8, 100, flags=1), MapKind.LPM_TRIE)
        self.model: dict[tuple[int, int], int] = {}

    @staticmethod
    def key(length: int, address: int) -> bytes:
        return struct.pack("=I", length) + address.to_bytes(2, "big")

    @staticmethod
    def masked(length: int, address: int) -> tuple[int, int]:
        return length, address >> (16 - length)

    @rule(prefix=PREFIXES, value=VALUES)
    def update(self, prefix: tuple[int, int], value: int) -> None:
        self.map[self.key(*prefix)] = value
        self.model[self.masked(*prefix)] = value

    @rule(prefix=PREFIXES)
    def delete(self, prefix: tuple[int, int]) -> None:
        try:
            del self.map[self.key(*prefix)]
            there = True
        except KeyError:
            there = False
        assert there == (self.model.pop(self.masked(*prefix), None) is not None)

    @rule(prefix=PREFIXES)
    def look_up(self, prefix: tuple[int, int]) -> None:
        length, address = prefix
        containing = [self.masked(shorter, address) for shorter in range(length, -1, -1)]
        expected = next((self.model[each] for each in containing if each in self.model), None)
        assert self.map.get(self.key(*prefix)) == expected

    @invariant()
    def same_entries(self) -> None:
        entries = list(self.map.items())
        found = {self.masked(struct.unpack("=I", k[:4])[0], int.from_bytes(k[4:], "big")): v for k, v in entries}
        assert found == self.model
        assert len(entries) == len(self.map) == len(self.model)
        assert list(self.map) == [key for key, _ in entries]

    def teardown(self) -> None:
        self.context.close()


for machine in (HashMachine, LruMachine, QueueMachine, LpmMachine):
    machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

TestHash = HashMachine.TestCase
TestLru = LruMachine.TestCase
TestQueue = QueueMachine.TestCase
TestLpm = LpmMachine.TestCase
