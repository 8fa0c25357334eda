"""Linux and the BSDs: where this user's caches are, and which files only this user can have written."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def cache_home() -> Path:
    """Return the folder of this user's caches (XDG base directories). RuntimeError when the user has no home."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return Path(chosen) if os.path.isabs(chosen) else Path.home() / ".cache"


def is_ours(status: os.stat_result) -> bool:
    """Whether only this user can have written what ``status`` describes."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
