"""The registry, clocks, randomness, who runs the program, and Windows' memory and string helpers."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybpf.platforms import linux, windows
from anybpf.runtime._engine import ffi, lib
from helpercalls import Helpers

EINVAL = -22


@pytest.fixture(scope="module")
def helpers():
    """The helpers of an engine of their own."""
    made = Helpers()
    yield made
    made.close()


def offered() -> list[str]:
    """Names of all helpers that the engine offers."""
    names, index = [], 0
    while (name := lib.ab_helper_name(index)) != ffi.NULL:
        names.append(ffi.string(name).decode())
        index += 1
    return names


def test_every_offered_helper_is_known_to_a_platform():
    """The engine's table has no name twice, and none that no platform's table has."""
    names = offered()
    assert len(names) == len(set(names))
    known = [
        helper
        for platform in (linux, windows)
        for t in platform.program_types
        for helper in platform.helpers_of(t).values()
    ]
    assert set(names) <= {helper.implementation or helper.name for helper in known}


def test_unknown_helpers_are_not_offered():
    """A name that is not in the table has no address, so that loading can name it."""
    assert lib.ab_helper_address(b"bpf_no_such_helper") == 0
    assert lib.ab_helper_address(b"") == 0
    assert lib.ab_helper_name(len(offered())) == ffi.NULL


def test_clocks_run(helpers):
    """Clocks do not run backwards; milliseconds are nanoseconds in another unit; there are 250 jiffies a second."""
    for name in ("ktime_get_ns", "ktime_get_boot_ns", "ktime_get_tai_ns", "ktime_get_coarse_ns"):
        clock = getattr(helpers, name)
        readings = [clock() for _ in range(100)]
        assert readings == sorted(readings)
    assert abs(helpers.ktime_get_boot_ns() // 10**6 - helpers.ktime_get_boot_ms()) < 1000
    assert abs(helpers.ktime_get_ns() // 10**6 - helpers.ktime_get_ms()) < 1000
    start_ns, start = helpers.ktime_get_coarse_ns(), helpers.jiffies64()
    time.sleep(0.1)
    ticks = (helpers.ktime_get_coarse_ns() - start_ns) / 4_000_000
    assert abs(helpers.jiffies64() - start - ticks) <= 2


def test_monotonic_time_is_the_systems(helpers):
    """bpf_ktime_get_ns measures the same time as the system's clock, in nanoseconds."""
    before, start = time.monotonic_ns(), helpers.ktime_get_ns()
    time.sleep(0.02)
    ours, theirs = helpers.ktime_get_ns() - start, time.monotonic_ns() - before
    assert 0.015e9 < ours < 5e9
    assert abs(ours - theirs) < 1e9


def test_tai_is_near_wall_clock_time(helpers):
    """International atomic time is within a minute of UTC."""
    assert abs(helpers.ktime_get_tai_ns() - time.time_ns()) < 60e9


def test_random_numbers(helpers):
    """32 bits, all of which change, and another sequence in another engine."""
    numbers = [helpers.get_prandom_u32() for _ in range(1000)]
    assert all(0 <= n < 2**32 for n in numbers)
    assert len(set(numbers)) > 990
    for bit in range(32):
        assert 350 < sum(n >> bit & 1 for n in numbers) < 650
    other = Helpers()
    assert [other.get_prandom_u32() for _ in range(10)] != numbers[:10]
    other.close()


def test_processor_is_the_cpu_slot():
    """Two threads that run at once have different processors, below the engine's number of slots."""
    first, seen = Helpers(), []

    def work():
        slot = lib.ab_slot_acquire(first.engine)
        address = lib.ab_helper_address(b"bpf_get_smp_processor_id")
        seen.append(lib.ab_helper_call(address, 0, 0, 0, 0, 0, slot, ffi.NULL))
        lib.ab_slot_release(slot)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert {first.get_smp_processor_id(), *seen} == {0, 1}
    first.close()


def test_who_runs_the_program(helpers):
    """Process and thread ids are this thread's, the name is NUL-terminated and cut to the buffer."""
    both = helpers.get_current_pid_tgid()
    assert both >> 32 == os.getpid()
    assert both & 0xFFFFFFFF == threading.get_native_id() & 0xFFFFFFFF
    name = ffi.new("char[]", b"?" * 40)
    assert helpers.get_current_comm(name, 16) == 0
    full = ffi.string(name)
    assert 0 < len(full) < 16
    assert bytes(ffi.buffer(name, 40))[16:] == b"?" * 24
    assert helpers.get_current_comm(name, 4) == 0
    assert ffi.string(name) == full[:3]
    assert helpers.get_current_comm(name, 0) == 0
    assert ffi.string(name) == full[:3]
    assert helpers.get_numa_node_id() >= 0


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no user numbers")
def test_user_and_group(helpers):
    """The real user and group."""
    assert helpers.get_current_uid_gid() == os.getgid() << 32 | os.getuid()
    assert helpers.is_current_admin(0) == (os.geteuid() == 0)
    assert helpers.get_current_logon_id(0) == 0


def test_start_times(helpers):
    """A process keeps its start key; a thread was created after 2020 and not later than now (100 ns since 1601)."""
    assert helpers.get_current_process_start_key() == helpers.get_current_process_start_key() != 0
    created = helpers.get_current_thread_create_time() / 10**7 - 11644473600
    assert 1577836800 < created <= time.time() + 1


@pytest.mark.skipif(sys.platform != "win32", reason="logon sessions are Windows'")
def test_logon_session(helpers):
    """On Windows the logon session is the one in the process's token, and the user is an administrator or not."""
    token, size = ctypes.c_void_p(), ctypes.c_uint32()
    statistics = (ctypes.c_uint32 * 14)()  # TOKEN_STATISTICS: two words of token id, then the session's
    query, token_statistics, this_process = 8, 10, ctypes.c_void_p(-1)
    advapi32 = ctypes.WinDLL("advapi32")
    assert advapi32.OpenProcessToken(this_process, query, ctypes.byref(token))
    assert advapi32.GetTokenInformation(
        token, token_statistics, statistics, ctypes.sizeof(statistics), ctypes.byref(size)
    )
    assert helpers.get_current_logon_id(0) == statistics[3] << 32 | statistics[2]
    assert helpers.is_current_admin(0) in (0, 1)


@given(source=st.binary(max_size=20), room=st.integers(0, 24))
def test_memcpy_and_memmove_know_their_room(source, room):
    """A source that fits is copied; one that does not is an error and leaves the destination alone."""
    helpers = Helpers()
    for name in ("memcpy_s", "memmove_s"):
        target = ffi.new("char[24]", b"-" * 24)
        result = getattr(helpers, name)(target, room, source, len(source))
        fits = len(source) <= room
        assert result == (0 if fits else EINVAL)
        assert bytes(ffi.buffer(target)) == (source if fits else b"").ljust(24, b"-")
    helpers.close()


def test_memmove_overlaps(helpers):
    """The two may overlap."""
    memory = ffi.new("char[]", b"abcdef..")
    assert helpers.memmove_s(memory + 2, 6, memory, 6) == 0
    assert ffi.string(memory) == b"ababcdef"


@given(st.binary(max_size=8), st.binary(max_size=8))
def test_memcmp_orders_like_bytes(left, right):
    """-1, 0 or 1, as Python orders bytes: a prefix is less."""
    helpers = Helpers()
    assert helpers.memcmp_s(left, len(left), right, len(right)) == (left > right) - (left < right)
    helpers.close()


def test_memset_and_strnlen(helpers):
    """memset fills so many bytes; strnlen stops at a NUL, at the size, or at once for NULL."""
    memory = ffi.new("char[]", b"........")
    helpers.memset(memory, 3, 0x141)
    assert ffi.string(memory) == b"AAA....."
    assert [helpers.strnlen_s(b"abc\0", n) for n in (0, 2, 3, 4)] == [0, 2, 3, 3]
    assert helpers.strnlen_s(0, 5) == 0


def test_strncpy_and_strncat(helpers):
    """At most `count` characters and a NUL must fit, or the destination becomes empty and the result -EINVAL."""
    out = ffi.new("char[6]")
    assert helpers.strncpy_s(out, 6, b"hello\0", 6) == 0
    assert ffi.string(out) == b"hello"
    assert helpers.strncpy_s(out, 6, b"hello world\0", 3) == 0
    assert ffi.string(out) == b"hel"
    assert helpers.strncat_s(out, 6, b"lo\0", 3) == 0
    assert ffi.string(out) == b"hello"
    assert helpers.strncat_s(out, 6, b"!\0", 2) == EINVAL
    assert ffi.string(out) == b""
    assert helpers.strncpy_s(out, 6, b"too long\0", 9) == EINVAL
    assert ffi.string(out) == b""
    assert helpers.strncpy_s(out, 0, b"x\0", 2) == EINVAL
    assert helpers.strncpy_s(0, 6, b"x\0", 2) == EINVAL
