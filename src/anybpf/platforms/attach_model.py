"""How programs attach, as data: what differs between the attach types of a program type, and what several come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ("AttachRule", "ChainRule")


@dataclass(frozen=True, slots=True)
class ChainRule:
    """How the return values of programs become a verdict where they are attached, one program or several.

    They run in the order of their links. All values here are from 0 to 63.

    :param known: values that mean something; any other counts as ``otherwise``. Empty: all of them.
    :param proceed: values after which the next program runs; None: any.
    :param denied: values that fail the call with EPERM unless a program has set another error (``bpf_set_retval``).
    :param ranks: the value of the highest rank (0 where none is given) is the verdict, the later one of equals.
    :param fault: what a program that faults (unverified ones can) counts as.
    :param empty: the verdict when no program is attached.
    :param single: only one program may be attached at a time.
    :param watched: context fields, adjacent: once a program has changed one of them, no further program runs.
    """

    known: frozenset[int] = frozenset()
    proceed: frozenset[int] | None = None
    denied: frozenset[int] = frozenset()
    ranks: Mapping[int, int] = field(default_factory=dict, hash=False)
    otherwise: int = 0
    fault: int = 0
    empty: int = 0
    single: bool = False
    watched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttachRule:
    """How one attach type of a program type differs from the type's own rules.

    :param returns: bounds of r0 at exit in place of the type's, or None to keep them.
    :param chain: the chain rule in place of the type's, or None to keep it.
    """

    returns: tuple[int, int] | None = None
    chain: ChainRule | None = None
    more_helpers: frozenset[str] = frozenset()
    fewer_helpers: frozenset[str] = frozenset()
