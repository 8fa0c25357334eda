"""Recipe of the objects beside the sample sources: ``python -m anybpf.samples.build``.

They are what the demo and the tutorial fall back on where there is no clang. A source is for the platform whose headers
it includes, or for both.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from anybpf.compile import compile_source

__all__ = ("SAMPLES", "SHIPPED", "build", "platforms_of")

#: The folder with the sample sources.
SAMPLES: Final = Path(__file__).resolve().parent

#: Samples whose objects are shipped.
SHIPPED: Final = ("count", "droppacket", "droppacket_unsafe")

#: What a source includes that is for the platform.
_INCLUDES: Final = {"linux": "#include <bpf/bpf_helpers.h>", "windows": '#include "bpf_helpers.h"'}


def platforms_of(source: Path) -> tuple[str, ...]:
    """Return the platforms whose headers ``source`` includes: "linux", "windows", or both in this order."""
    text = source.read_text(encoding="utf-8")
    return tuple(platform for platform, include in _INCLUDES.items() if include in text)


def build(name: str, platform: str | None = None) -> bytes:
    """Return the object of the sample called ``name``; :class:`anybpf.errors.CompileError` without clang.

    It is compiled from inside its folder, so that the object names its source without this machine's paths.

    :param platform: "linux" or "windows", for sources that are for both; by default the first that the source is for.
    """
    with contextlib.chdir(SAMPLES):
        source = Path(f"{name}.c")
        platform = platform or platforms_of(source)[0]
        return compile_source(source, platform=platform, warnings=("all", "extra", "error"))


if __name__ == "__main__":
    for shipped in SHIPPED:
        (SAMPLES / f"{shipped}.o").write_bytes(build(shipped))
