"""Helpers that need a program around them: maps, callbacks, records, redirects."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anybpf.runtime._engine import lib
from anybpf.spec import MapSpec
from helpercalls import Stack, call, load, stack_bytes

HASH, ARRAY, PERF, PERCPU_HASH, PERCPU_ARRAY, DEVMAP, QUEUE, RINGBUF = 1, 2, 4, 5, 6, 14, 22, 27
E2BIG, EFAULT, EINVAL, EAGAIN, ENOENT, EEXIST = (2**32 - e for e in (7, 14, 22, 11, 2, 17))
MODES = ("interpreter", "checked", "jit")
XDP, SCHED = "xdp", "sched_cls"
EXIT = "exit\n"
PACKET = bytes(range(64))

every_mode = pytest.mark.parametrize("mode", MODES)


def retval(loaded, mode, packet: bytes = PACKET) -> int:
    """What the program returns, 32 bits."""
    return loaded.programs["test"].test_run(packet, mode=mode).retval


def on_map(number: int, *arguments) -> str:
    """Call a helper on map 0."""
    text = call(number, 0, *arguments)
    return text.replace("r1 = 0 ll", "r1 = map[0] ll", 1)


@every_mode
def test_update_lookup_delete(mode):
    """A program's updates are the user's entries, flags and errors are Linux's, and lookups give the value itself."""
    key = stack_bytes(-8, (5).to_bytes(4, "little"))
    value = stack_bytes(-16, (77).to_bytes(8, "little"))
    maps = (MapSpec("m", HASH, 4, 8, 2),)
    noexist = 1
    with load(XDP, key + value + on_map(2, Stack(-8), Stack(-16), noexist) + EXIT, maps) as loaded:
        assert retval(loaded, mode) == 0
        assert dict(loaded.maps["m"]) == {5: 77}
        assert retval(loaded, mode) == EEXIST
    increment = "if r0 == 0 goto +3\nr1 = *(u64 *)(r0 + 0)\nr1 += 1\n*(u64 *)(r0 + 0) = r1\n"
    with load(XDP, key + on_map(1, Stack(-8)) + increment + EXIT, maps) as loaded:
        loaded.maps["m"][5] = 1
        retval(loaded, mode)
        assert dict(loaded.maps["m"]) == {5: 2}
    with load(XDP, key + on_map(3, Stack(-8)) + EXIT, maps) as loaded:
        assert retval(loaded, mode) == ENOENT
        loaded.maps["m"][5] = 1
        assert retval(loaded, mode) == 0
        assert len(loaded.maps["m"]) == 0


@every_mode
def test_queues(mode):
    """push, pop and peek; an empty queue is -ENOENT, a full one -E2BIG."""
    maps = (MapSpec("m", QUEUE, 0, 8, 1),)
    value = stack_bytes(-8, (9).to_bytes(8, "little"))
    with load(XDP, value + on_map(87, Stack(-8), 0) + EXIT, maps) as loaded:
        assert [retval(loaded, mode), retval(loaded, mode)] == [0, E2BIG]
        assert loaded.maps["m"].pop() == 9
    for helper in (88, 89):
        got = "if r0 != 0 goto +1\nr0 = *(u64 *)(r10 - 8)\n"
        with load(XDP, stack_bytes(-8, bytes(8)) + on_map(helper, Stack(-8)) + got + EXIT, maps) as loaded:
            assert retval(loaded, mode) == ENOENT
            loaded.maps["m"].push(42)
            assert retval(loaded, mode) == 42


@every_mode
@pytest.mark.parametrize("kind", [PERCPU_ARRAY, PERCPU_HASH])
def test_lookup_percpu(mode, kind):
    """A program reads any cpu's value; a cpu that the engine does not have, or a missing key, gives NULL."""
    source = (
        "r1 = *(u32 *)(r1 + 0)\nr6 = *(u8 *)(r1 + 0)\nr7 = *(u8 *)(r1 + 1)\n" + stack_bytes(-8, bytes(8))
        + "*(u32 *)(r10 - 8) = r7\n" + on_map(195, Stack(-8), 0).replace("r3 = 0 ll", "r3 = r6")
        + "if r0 == 0 goto +1\nr0 = *(u64 *)(r0 + 0)\n" + EXIT
    )  # fmt: skip
    with load(XDP, source, (MapSpec("m", kind, 4, 8, 1),)) as loaded:
        cpus = loaded.context.cpus
        loaded.maps["m"][0] = [100 + cpu for cpu in range(cpus)]
        for cpu in range(cpus):
            assert retval(loaded, mode, bytes([cpu, 0]) + PACKET) == 100 + cpu
        assert retval(loaded, mode, bytes([cpus, 0]) + PACKET) == 0
        assert retval(loaded, mode, bytes([0, 1]) + PACKET) == 0


def for_each(after: str) -> str:
    """A program that walks map 0 and adds its values up at the top of its stack; ``after`` ends the callback."""
    return (
        stack_bytes(-8, bytes(8)) + "r1 = map[0] ll\nr2 = function[each] ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall 164\n"
        "r1 = *(u64 *)(r10 - 8)\nr0 <<= 16\nr0 += r1\nexit\n"
        "each:\nr6 = r1\nr7 = r2\nr8 = *(u64 *)(r3 + 0)\nr5 = *(u64 *)(r4 + 0)\nr5 += r8\n*(u64 *)(r4 + 0) = r5\n"
        + after
    )


@every_mode
@pytest.mark.parametrize("kind", [HASH, ARRAY])
def test_for_each_map_element(mode, kind):
    """The callback sees every element once, and the result is how many; a non-zero return ends the walk."""
    with load(XDP, for_each("r0 = 0\nexit\n"), (MapSpec("m", kind, 4, 8, 20),)) as loaded:
        for key in range(20):
            loaded.maps["m"][key] = key
        assert retval(loaded, mode) == 20 << 16 | sum(range(20))
    with load(XDP, for_each("r0 = 1\nexit\n"), (MapSpec("m", kind, 4, 8, 20),)) as loaded:
        loaded.maps["m"][3] = 3
        assert retval(loaded, mode) >> 16 == 1


@every_mode
def test_for_each_may_delete_what_it_sees(mode):
    """Deleting the element under the walk neither ends nor repeats it."""
    delete = "r1 = r6\nr2 = r7\ncall 3\nr0 = 0\nexit\n"
    with load(XDP, for_each(delete), (MapSpec("m", HASH, 4, 8, 100),)) as loaded:
        for key in range(100):
            loaded.maps["m"][key] = key
        assert retval(loaded, mode) == 100 << 16 | sum(range(100))
        assert len(loaded.maps["m"]) == 0


@every_mode
@pytest.mark.parametrize(
    ("count", "flags", "stop", "expected"),
    [(0, 0, 99, 0), (5, 0, 99, 5), (5, 0, 2, 3), (2**23 + 1, 0, 0, E2BIG), (5, 1, 0, EINVAL)],
)
def test_loop(mode, count, flags, stop, expected):
    """bpf_loop counts rounds from 0, stops when the callback returns non-zero, refuses flags and huge counts."""
    source = (
        f"r1 = {count}\nr2 = function[round] ll\nr3 = 0\nr4 = {flags}\ncall 181\nexit\n"
        f"round:\nr0 = 0\nif r1 != {stop} goto +1\nr0 = 1\nexit\n"
    )
    with load(XDP, source) as loaded:
        assert retval(loaded, mode) == expected


def test_spin_lock_excludes_other_threads():
    """Increments under bpf_spin_lock from several threads are not lost."""
    source = (
        stack_bytes(-8, bytes(8)) + on_map(1, Stack(-8)) + "if r0 == 0 goto done\nr6 = r0\nr7 = 2000\n"
        "again:\nr1 = r6\ncall 93\nr1 = *(u64 *)(r6 + 8)\nr1 += 1\n*(u64 *)(r6 + 8) = r1\nr1 = r6\ncall 94\n"
        "r7 += -1\nif r7 != 0 goto again\ndone:\nr0 = 2\nexit\n"
    )
    with load(XDP, source, (MapSpec("m", ARRAY, 4, 16, 1),)) as loaded:
        program = loaded.programs["test"]
        program.compile()
        threads = [threading.Thread(target=program.run_batch, args=([PACKET] * 50,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lock_and_count = loaded.maps["m"].raw[bytes(4)]
        assert lock_and_count == bytes(8) + (4 * 50 * 2000).to_bytes(8, "little")


@every_mode
def test_ringbuf(mode):
    """Output and reserved records arrive in order, discarded ones do not; a query tells the ring's size."""
    reserve = on_map(131, 8, 0) + "if r0 == 0 goto +4\n*(u64 *)(r0 + 0) = 2\nr1 = r0\nr2 = 0\n"
    source = (
        stack_bytes(-8, (1).to_bytes(8, "little")) + on_map(130, Stack(-8), 8, 0)
        + reserve + "call 132\n" + reserve + "call 133\n"
        + on_map(130, Stack(-8), 5, 0) + on_map(134, 1) + EXIT
    )  # fmt: skip
    with load(XDP, source, (MapSpec("m", RINGBUF, 0, 0, 4096),)) as loaded:
        assert retval(loaded, mode) == 4096
        one, two = ((n).to_bytes(8, "little") for n in (1, 2))
        assert loaded.maps["m"].drain() == [one, two, one[:5]]


@every_mode
def test_a_full_ringbuf_refuses(mode):
    """Without room bpf_ringbuf_output is -EAGAIN and bpf_ringbuf_reserve NULL; unknown flags are -EINVAL."""
    maps = (MapSpec("m", RINGBUF, 0, 0, 4096),)
    fill = stack_bytes(-512, bytes(512)) + on_map(130, Stack(-512), 504, 0) + EXIT
    with load(XDP, fill, maps) as loaded:
        results = [retval(loaded, mode) for _ in range(10)]
        assert results[:8] == [0] * 8
        assert results[8:] == [EAGAIN] * 2
    with load(XDP, on_map(131, 8192, 0) + EXIT, maps) as loaded:
        assert retval(loaded, mode) == 0
    with load(XDP, stack_bytes(-8, bytes(8)) + on_map(130, Stack(-8), 8, 4) + EXIT, maps) as loaded:
        assert retval(loaded, mode) == EINVAL


@every_mode
@pytest.mark.parametrize("kind", [XDP, SCHED])
def test_perf_event_output(mode, kind):
    """The record is the data, then as many bytes of the packet as the flags' bits 32 to 51 say."""
    current = 0xFFFFFFFF

    def output(flags: int) -> str:
        text = call(25, "context", 0, flags, Stack(-8), 8).replace("r2 = 0 ll", "r2 = map[0] ll", 1)
        return "r6 = r1\n" + stack_bytes(-8, b"8 bytes!") + text + EXIT

    maps = (MapSpec("m", PERF, 4, 4, 0),)
    for flags, expected, record in (
        (current, 0, b"8 bytes!"),
        (current | 10 << 32, 0, b"8 bytes!" + PACKET[:10]),
        (current | 64 << 32, 0, b"8 bytes!" + PACKET),
        (current | 65 << 32, EFAULT, None),
        (current | 1 << 60, EINVAL, None),
        (5000, E2BIG, None),
    ):
        with load(kind, output(flags), maps) as loaded:
            assert retval(loaded, mode) == expected
            assert loaded.maps["m"].drain() == ([] if record is None else [record])


@every_mode
def test_redirect_map(mode):
    """A target in the map means XDP_REDIRECT; none, or an unknown flag, the action that Linux takes."""
    maps = (MapSpec("m", DEVMAP, 4, 4, 4),)
    for key, flags, expected in (
        (1, 0, 4),
        (1, 2, 4),
        (2, 0, 0),
        (2, 2, 2),
        (2, 3, 3),
        (9, 2, 2),
        (1, 4, 0),
        (1, 64, 0),
    ):
        with load(XDP, on_map(51, key, flags) + EXIT, maps) as loaded:
            loaded.maps["m"][1] = 7
            result = loaded.programs["test"].test_run(PACKET, mode=mode)
            assert result.retval == expected
            assert (result.redirect is not None) == (expected == 4)
            if result.redirect:
                assert (result.redirect.map, result.redirect.target) == ("m", 1)


@every_mode
def test_redirect_to_an_interface(mode):
    """bpf_redirect and its kin note the interface and how to reach it; flags that they do not know drop the packet."""
    for kind, source, expected, flags in (
        (XDP, call(23, 5, 0), 4, 0),
        (SCHED, call(23, 5, 1), 7, 1),
        (SCHED, call(155, 5, 0), 7, lib.AB_REDIRECT_PEER),
        (SCHED, call(152, 5, 0, 0, 0), 7, lib.AB_REDIRECT_NEIGH),
    ):
        with load(kind, source + EXIT) as loaded:
            result = loaded.programs["test"].test_run(PACKET, mode=mode)
            assert (result.retval, result.redirect.target, result.redirect.flags) == (expected, 5, flags)
    for source in (call(23, 5, 2), call(155, 5, 1), call(152, 5, 0, 0, 1)):
        with load(SCHED, source + EXIT) as loaded:
            result = loaded.programs["test"].test_run(PACKET, mode=mode)
            assert (result.retval, result.redirect) == (2, None)


@settings(max_examples=30, deadline=None)
@given(entries=st.dictionaries(st.integers(0, 2**32 - 1), st.integers(0, 1000), min_size=1, max_size=50))
def test_for_each_agrees_with_python(entries):
    """Whatever is in the map, the walk's sum and count are Python's."""
    with load(XDP, for_each("r0 = 0\nexit\n"), (MapSpec("m", HASH, 4, 8, 64),)) as loaded:
        loaded.maps["m"].update(entries)
        assert retval(loaded, "interpreter") == (len(entries) << 16) + sum(entries.values())
