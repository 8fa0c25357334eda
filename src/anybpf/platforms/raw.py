"""The bare machine: r1 points to memory of r2 bytes, and there are no helpers.

This is what the BPF conformance suite and uBPF's programs expect. Any section is a program.
"""

from __future__ import annotations

from typing import Final

from anybpf.platforms.model import Context, Platform, ProgramType

__all__ = ("raw",)

raw: Final = Platform(
    "raw",
    program_types=(ProgramType("raw", 0, Context("", 0, memory=True)),),
    helpers={},
    map_types={},
    default_type="raw",
)
