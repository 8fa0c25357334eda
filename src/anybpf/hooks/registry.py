"""Hooks by name, built in or brought by other packages, for whoever gets the name at run time: the command line.

A package registers a hook through the entry-point group ``anybpf.hooks``::

    [project.entry-points."anybpf.hooks"]
    mirror = "my_package.mirror:from_argument"

The entry is a callable that takes one string (what the user wrote behind the name) and returns a
:class:`~anybpf.hooks.hook.Hook`; it raises HookError, in one sentence, when it can make nothing of the string.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from anybpf.errors import HookError
from anybpf.hooks.hook import Hook

__all__ = ("GROUP", "find", "names")

#: The entry-point group.
GROUP = "anybpf.hooks"


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def names() -> tuple[str, ...]:
    """Return the names of all hooks that are installed, in alphabetical order."""
    return tuple(sorted(_entries()))


def find(name: str) -> Callable[[str], Hook]:
    """Return what makes the hook called ``name`` from its argument.

    :raises HookError: no installed package has such a hook, or the package that has it cannot be imported.
    """
    entry = _entries().get(name)
    if entry is None:
        raise HookError(f"there is no hook called {name!r}; installed are {', '.join(names())}")
    try:
        made: Callable[[str], Hook] = entry.load()
    except (ImportError, AttributeError) as error:
        raise HookError(f"hook {name!r} ({entry.value}) cannot be imported: {error}") from error
    return made
