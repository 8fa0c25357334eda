"""Recipe of the objects beside the sample sources: ``python -m anybpf.samples.build``.

They are what the demo and the tutorial fall back on where there is no clang. Sources that include eBPF for Windows'
headers are built for it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from anybpf.compile import compile_source

__all__ = ("SAMPLES", "SHIPPED", "build", "platform_of")

#: The folder with the sample sources.
SAMPLES: Final = Path(__file__).resolve().parent

#: Samples whose objects are shipped.
SHIPPED: Final = ("count", "droppacket", "droppacket_unsafe")

_WINDOWS: Final = '#include "bpf_helpers.h"'


def platform_of(source: Path) -> str:
    """Return the platform whose headers ``source`` includes: "linux" or "windows"."""
    return "windows" if _WINDOWS in source.read_text(encoding="utf-8") else "linux"


def build(name: str) -> bytes:
    """Return the object of the sample called ``name``; :class:`anybpf.errors.CompileError` without clang.

    It is compiled from inside its folder, so that the object names its source without this machine's paths.
    """
    with contextlib.chdir(SAMPLES):
        source = Path(f"{name}.c")
        return compile_source(source, platform=platform_of(source), warnings=("all", "extra", "error"))


if __name__ == "__main__":
    for shipped in SHIPPED:
        (SAMPLES / f"{shipped}.o").write_bytes(build(shipped))
