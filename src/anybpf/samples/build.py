"""Sample programs as objects.

``python -m anybpf.samples.build firewall`` compiles a sample into the current folder. Without a name it makes anew the
objects that stand beside the sources, which the demo and the tutorial fall back on where there is no clang. A source is
for the platform whose headers it includes, or for both.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Final

from anybpf.compile import compile_source
from anybpf.errors import CompileError

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
    """Return the object of the sample called ``name``; CompileError when there is none of this name, or no clang.

    It is compiled from inside its folder, so that the object names its source without this machine's paths.

    :param platform: "linux" or "windows", for sources that are for both; by default the first that the source is for.
    """
    there = sorted(source.stem for source in SAMPLES.glob("*.c"))
    if name not in there:
        raise CompileError(f"there is no sample {name!r}; there are {', '.join(there)}")
    with contextlib.chdir(SAMPLES):
        source = Path(f"{name}.c")
        platform = platform or platforms_of(source)[0]
        return compile_source(source, platform=platform, warnings=("all", "extra", "error"))


def main(names: list[str]) -> None:
    """Write the objects of these samples into the current folder, or, of no names, the shipped ones in their place."""
    folder = Path.cwd() if names else SAMPLES
    for name in names or SHIPPED:
        (folder / f"{name}.o").write_bytes(build(name))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CompileError as error:
        sys.exit(f"error: {error}")
