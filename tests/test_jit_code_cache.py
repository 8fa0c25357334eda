"""Machine code on disk: found again, never trusted when it could be another's, never grown past its limit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from anybpf.errors import LoadError
from anybpf.runtime import code_cache
from anybpf.runtime.code_cache import CodeCache
from anybpf.runtime.jit import compile_program, default_cache
from anybpf.runtime.jit_bindings import Bindings
from machine_code import ENTRY, program

NAME = code_cache.key("some", "program")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="file modes do not say who may write on Windows")


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    """An empty cache."""
    return CodeCache(tmp_path / "code", limit=10_000)


def entry_of(cache_directory: Path) -> Path:
    """The one entry of a cache."""
    (entry,) = cache_directory.glob("*.code")
    return entry


def test_what_is_stored_is_found(cache: CodeCache) -> None:
    """An entry comes back as it was stored; another name finds nothing."""
    assert cache.get(NAME) is None
    assert cache.put(NAME, b"code")
    assert cache.get(NAME) == b"code"
    assert cache.get(code_cache.key("another")) is None


def test_key_depends_on_every_part_and_its_bounds() -> None:
    """Parts are hashed one by one, so moving text from one to the next gives another key."""
    keys = {code_cache.key(*parts) for parts in (("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("c", "ab"))}
    assert len(keys) == 5


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "renamed"])
def test_damaged_entries_count_as_absent(cache: CodeCache, tmp_path: Path, damage: str) -> None:
    """A file that is not exactly what was stored under that name is ignored, and can be replaced."""
    cache.put(NAME, bytes(100))
    path = entry_of(tmp_path / "code")
    data = bytearray(path.read_bytes())
    other = code_cache.key("other")
    match damage:
        case "cut":
            path.write_bytes(data[:-1])
        case "flip":
            data[-1] ^= 1
            path.write_bytes(data)
        case "empty":
            path.write_bytes(b"")
        case "renamed":
            path.rename(path.with_name(other + ".code"))
    assert cache.get(other if damage == "renamed" else NAME) is None
    assert cache.put(NAME, b"again")
    assert cache.get(NAME) == b"again"


def test_an_entry_that_is_being_read_may_be_stored_again(cache: CodeCache, tmp_path: Path) -> None:
    """Windows refuses to replace or remove an open file: then the old entry stays, and no half-made file does."""
    cache.put(NAME, b"code")
    with entry_of(tmp_path / "code").open("rb"):
        stored = cache.put(NAME, b"new code")
        cache.shrink()
        assert cache.get(NAME) == (b"new code" if stored else b"code")
    assert [path.suffix for path in (tmp_path / "code").iterdir()] == [".code"]


@posix_only
def test_only_this_user_can_read_or_write_what_is_stored(cache: CodeCache, tmp_path: Path) -> None:
    """The directory is made with mode 0700 and entries with 0600, whatever the umask."""
    before = os.umask(0)
    try:
        cache.put(NAME, b"code")
    finally:
        os.umask(before)
    assert (tmp_path / "code").stat().st_mode & 0o777 == 0o700
    assert entry_of(tmp_path / "code").stat().st_mode & 0o777 == 0o600


@posix_only
@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_directory_that_others_may_write_is_not_used(cache: CodeCache, tmp_path: Path, mode: int) -> None:
    """Neither reads nor writes touch a directory in which somebody else could have put code."""
    cache.put(NAME, b"code")
    (tmp_path / "code").chmod(mode)
    assert cache.get(NAME) is None
    assert not cache.put(NAME, b"code")


@posix_only
def test_entry_that_others_may_write_is_not_used(cache: CodeCache, tmp_path: Path) -> None:
    """An entry that is group-writable is not run."""
    cache.put(NAME, b"code")
    entry_of(tmp_path / "code").chmod(0o660)
    assert cache.get(NAME) is None


@posix_only
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="giving a file away needs root")
@pytest.mark.parametrize("what", ["entry", "directory"])
def test_what_belongs_to_another_user_is_not_used(cache: CodeCache, tmp_path: Path, what: str) -> None:
    """Code that another user owns is not run, even by root."""
    cache.put(NAME, b"code")
    os.chown(entry_of(tmp_path / "code") if what == "entry" else tmp_path / "code", 65534, 65534)
    assert cache.get(NAME) is None


@posix_only
def test_symbolic_link_to_a_directory_is_not_used(cache: CodeCache, tmp_path: Path) -> None:
    """The directory itself must be this user's; a link says nothing about who can change where it leads."""
    cache.put(NAME, b"code")
    (tmp_path / "link").symlink_to(tmp_path / "code")
    assert CodeCache(tmp_path / "link").get(NAME) is None


def test_size_is_bounded_and_the_least_recently_used_go_first(cache: CodeCache, tmp_path: Path) -> None:
    """Past the limit, entries that were not used for longest are removed; the newest stay."""
    names = [code_cache.key(str(number)) for number in range(10)]
    for age, name in enumerate(names[:9]):
        cache.put(name, bytes(1000))
        os.utime(tmp_path / "code" / f"{name}.code", ns=(age * 10**9, age * 10**9))
    cache.shrink()
    assert all((tmp_path / "code" / f"{name}.code").exists() for name in names[:9])
    assert cache.get(names[0]) is not None  # used now, so no longer the oldest
    cache.put(names[9], bytes(1000))
    cache.shrink()
    assert sum(path.stat().st_size for path in (tmp_path / "code").iterdir()) <= 7_500
    assert cache.get(names[0]) is not None
    assert cache.get(names[9]) is not None
    assert cache.get(names[1]) is None


def test_storing_keeps_the_size_bounded(cache: CodeCache, tmp_path: Path) -> None:
    """However many entries are stored, the directory never takes much more than the limit."""
    for number in range(300):
        cache.put(code_cache.key(str(number)), bytes(400))
    assert sum(path.stat().st_size for path in (tmp_path / "code").iterdir()) <= 10_000 + 60 * 500


def test_unusable_directory_is_no_error(tmp_path: Path) -> None:
    """Where nothing can be stored, nothing is cached and nothing fails."""
    (tmp_path / "file").write_bytes(b"")
    cache = CodeCache(tmp_path / "file" / "code")
    assert not cache.put(NAME, b"code")
    assert cache.get(NAME) is None


def test_environment_chooses_or_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ANYBPF_CODE_CACHE names the directory; "off" means none."""
    monkeypatch.setenv(code_cache.VARIABLE, str(tmp_path / "mine"))
    assert code_cache.default_directory() == tmp_path / "mine"
    monkeypatch.setenv(code_cache.VARIABLE, "off")
    assert code_cache.default_directory() is None
    assert default_cache() is None
    monkeypatch.delenv(code_cache.VARIABLE)
    if sys.platform not in ("win32", "darwin"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert code_cache.default_directory() == tmp_path / "anybpf" / "code"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert code_cache.default_directory() == tmp_path / ".cache" / "anybpf" / "code"


def test_compiled_programs_come_from_the_cache(cache: CodeCache, tmp_path: Path) -> None:
    """The second compilation of the same program takes the code from disk; a damaged entry is compiled again."""
    source = program("r0 = r1\nr0 *= 3\nexit")
    for cached in (False, True):
        with compile_program(source, Bindings(), cache) as code:
            assert code.cached is cached
            assert ENTRY(code.entry)(14, 0, 0) == 42
    path = entry_of(tmp_path / "code")
    path.write_bytes(path.read_bytes()[:-8])
    with compile_program(source, Bindings(), cache) as code:
        assert not code.cached
        assert ENTRY(code.entry)(14, 0, 0) == 42
    with compile_program(program("r0 = r1\nr0 *= 4\nexit"), Bindings(), cache) as code:
        assert not code.cached


def test_entry_that_cannot_be_linked_is_compiled_again(cache: CodeCache, tmp_path: Path) -> None:
    """An intact entry that is no object file (another build of LLVM wrote it) does not stop the program."""
    source = program("r0 = 5\nexit")
    with compile_program(source, Bindings(), cache):
        name = entry_of(tmp_path / "code").stem
    assert cache.put(name, b"no object file at all")
    with compile_program(source, Bindings(), cache) as code:
        assert not code.cached
        assert ENTRY(code.entry)(0, 0, 0) == 5


def test_cached_code_still_needs_its_helpers(cache: CodeCache) -> None:
    """A hit does not hide that a helper has no address in this process."""
    source = program("call 9\nexit")
    with compile_program(source, Bindings(helpers={9: 4096}), cache):
        pass
    with pytest.raises(LoadError, match="linked"):
        compile_program(source, Bindings(), cache)
