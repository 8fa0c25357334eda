"""How things are timed here: alternately, many times, and the least of each is taken.

The machine is shared and its speed changes between runs; what both sides of a ratio meet in the same second does not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number.

    :param section: which benchmark. :param name: what was measured. :param unit: of ``value``; "×" for ratios.
    :param value: the number, or None where it could not be measured: then ``note`` says why.
    :param target: what the project aims at, in the same unit. :param note: what the number is made of.
    """

    section: str
    name: str
    unit: str
    value: float | None
    target: float | None = None
    note: str = ""


def alternate(functions: Sequence[Callable[[], float]], rounds: int) -> list[float]:
    """Call each function in turn, ``rounds`` times over; return the least number that each gave."""
    least = [math.inf] * len(functions)
    for _ in range(rounds):
        for index, function in enumerate(functions):
            least[index] = min(least[index], function())
    return least


def milliseconds(function: Callable[[], object]) -> float:
    """Run once; return the time taken."""
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def cpu_milliseconds(function: Callable[[], object]) -> float:
    """Run once; return the processor time that this thread took: what others do meanwhile does not count."""
    start = time.thread_time()
    function()
    return (time.thread_time() - start) * 1e3


def geometric_mean(values: Iterable[float]) -> float:
    """Return the n-th root of the product."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))
