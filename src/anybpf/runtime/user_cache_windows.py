"""Windows: where this user's caches are, and which files only this user can have written."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path:
    """Return the folder of this user's caches, in the profile. RuntimeError when the user has none."""
    local = os.environ.get("LOCALAPPDATA")
    return Path(local) if local else Path.home() / "AppData" / "Local"


def is_ours(status: os.stat_result) -> bool:
    """Whether only this user can have written what ``status`` describes: always, for a profile admits nobody else.

    File modes say nothing of that here. Who chooses another folder answers for its permissions.
    """
    return True
