"""macOS: where this user's caches are, and which files only this user can have written."""

from __future__ import annotations

from pathlib import Path

from anybpf.runtime.user_cache_posix import is_ours

__all__ = ("cache_home", "is_ours")


def cache_home() -> Path:
    """Return the folder of this user's caches. RuntimeError when the user has no home."""
    return Path.home() / "Library" / "Caches"
