"""Machine code kept on disk between processes: one directory per user, one file per program.

A file's name is the hash of everything that its contents depend on, so entries never go stale; they are only removed,
the least recently used first, when the directory grows past its limit. Since the contents are run as machine code, a
directory or file that somebody else could have written is not used: it must belong to this user, and only this user may
write it. An entry that is damaged counts as absent.

``ANYBPF_CODE_CACHE`` names another directory (on Windows its permissions are not looked at, so let it be one that only
you can write); ``ANYBPF_CODE_CACHE=off`` keeps nothing on disk.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

if sys.platform == "win32":
    from anybpf.runtime.user_cache_windows import cache_home, is_ours
elif sys.platform == "darwin":
    from anybpf.runtime.user_cache_macos import cache_home, is_ours
else:
    from anybpf.runtime.user_cache_posix import cache_home, is_ours

VARIABLE: Final = "ANYBPF_CODE_CACHE"
DEFAULT_LIMIT: Final = 64 << 20  # bytes

_SUFFIX: Final = ".code"
_UNFINISHED: Final = ".new"
_MAGIC: Final = b"anybpf code 1\n"
_DIGEST: Final = hashlib.sha256().digest_size


def key(*parts: str) -> str:
    """Return the name of the entry for what ``parts`` describe, in order; another order or split is another entry."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def default_directory() -> Path | None:
    """Return this user's directory, which need not exist yet; None when the environment says ``off`` or has no home."""
    chosen = os.environ.get(VARIABLE)
    if chosen is not None and chosen.lower() in ("off", "0", ""):
        return None
    if chosen is not None:
        return Path(chosen)
    try:
        return cache_home() / "anybpf" / "code"
    except RuntimeError:  # no home directory
        return None


class CodeCache:
    """The entries of one directory. Threads and processes may share it: entries are written whole, under a new name.

    Every failure of the file system means "not cached", never an error: the cache only saves time.

    :param directory: where the entries are; created, for this user alone, when the first one is stored.
    :param limit: bytes that all entries together may take, give or take a few entries.
    """

    def __init__(self, directory: Path, limit: int = DEFAULT_LIMIT) -> None:
        self._directory = directory
        self._limit = limit

    def get(self, name: str) -> bytes | None:
        """Return the contents of the entry, or None when there is none that can be trusted."""
        path = self._directory / (name + _SUFFIX)
        try:
            if not is_ours(os.stat(self._directory, follow_symlinks=False)):
                return None
            with open(path, "rb") as file:
                if not is_ours(os.fstat(file.fileno())):
                    return None
                data = file.read()
        except OSError:
            return None
        head = len(_MAGIC) + _DIGEST
        contents = data[head:]
        if data[:head] != _MAGIC + _digest(name, contents):
            return None
        with suppress(OSError):
            os.utime(path)  # mark as used
        return contents

    def put(self, name: str, contents: bytes) -> bool:
        """Store an entry; returns whether it was stored."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_ours(os.stat(self._directory, follow_symlinks=False)):
                return False
            temporary = self._directory / f"{os.getpid()}-{threading.get_ident()}{_UNFINISHED}"
            try:
                with open(temporary, "wb", opener=_open_for_owner) as file:
                    file.write(_MAGIC + _digest(name, contents) + contents)
                os.replace(temporary, self._directory / (name + _SUFFIX))
            except OSError:
                os.unlink(temporary)
                raise
            if name.startswith("0"):  # a sixteenth of all names, so that storing stays cheap in a full directory
                self.shrink()
        except OSError:
            return False
        return True

    def shrink(self) -> None:
        """When the entries pass the limit, remove the least recently used, so that three quarters of it are left."""
        entries = []
        for entry in os.scandir(self._directory):
            if entry.name.endswith((_SUFFIX, _UNFINISHED)):
                status = entry.stat(follow_symlinks=False)
                entries.append((status.st_mtime_ns, status.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        if total <= self._limit:
            return
        for _, size, path in sorted(entries):
            if total <= self._limit * 3 // 4:
                return
            os.unlink(path)
            total -= size


def _digest(name: str, contents: bytes) -> bytes:
    """Tie the contents to the name, so that neither damage nor a renamed file goes unnoticed."""
    return hashlib.sha256(name.encode() + contents).digest()


def _open_for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
