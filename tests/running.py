"""Short ways to load programs written in assembly, for tests of the runtime."""

from __future__ import annotations

import warnings
from typing import Any

import anybpf
from anybpf.elf import from_instructions
from anybpf.isa import assemble
from anybpf.runtime import Object, Program

MASK = 2**64 - 1
TIERS = ("checked", "interpreter", "jit")


def load(source: str | bytes, section: str = "raw", **options: Any) -> Object:
    """Load one program, given as assembly or as its bytes; without other options it is trusted."""
    code = assemble(source) if isinstance(source, str) else source
    platform = {"platform": "raw"} if section == "raw" else {}
    trust = {} if {"unverified", "verified"} & options.keys() else {"trust": True}
    options.pop("verified", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anybpf.load(from_instructions(code, section, "program"), **platform, **trust, **options)


def program(source: str | bytes, section: str = "raw", **options: Any) -> Program:
    """The program of :func:`load`."""
    return load(source, section, **options).programs["program"]
