"""How the native engine is built: the cffi extension ``anybpf.runtime._engine`` from every C file of ``_engine/``.

What Python may call is declared in ``_engine/api_*.h``; cffi reads those headers without their preprocessor lines.
setup.py finds :data:`ffibuilder` here; nothing else imports this module.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from cffi import FFI

__all__ = ("ffibuilder",)

SOURCE = Path(__file__).resolve().parent / "_engine"

#: Silences, for the wrapper code that cffi writes and no other, warnings that -Wextra gives about it.
_WRAPPER_PRAGMAS = """
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wcast-function-type"
#endif
"""


def _compile_flags() -> list[str]:
    if sys.platform == "win32":
        return ["/std:c11", "/experimental:c11atomics", "/O2", "/W3"]
    # Hidden symbols let the compiler inline and call within a file without the detour for interposition.
    # A compiler newer than ours may warn of more, which must not keep a user from installing: errors are for us.
    strict = ["-Werror"] if os.environ.get("ANYBPF_WERROR") else []
    return ["-std=c11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra", *strict]


def _in_order_of_use() -> list[Path]:
    """Return the headers for cffi, each behind those that it includes."""
    ordered: dict[Path, None] = {}

    def visit(header: Path) -> None:
        for name in re.findall(r'^#include "(api_\w+\.h)"', header.read_text(encoding="ascii"), re.MULTILINE):
            visit(SOURCE / name)
        ordered[header] = None

    for header in sorted(SOURCE.glob("api_*.h")):
        visit(header)
    return list(ordered)


def _declarations(headers: list[Path]) -> str:
    lines = [line for header in headers for line in header.read_text(encoding="ascii").splitlines()]
    opaque = "\n".join(f"typedef struct {name} {name};" for name in ("ab_engine", "ab_slot", "ab_map", "ab_program"))
    return opaque + "\n" + "\n".join(line for line in lines if not line.startswith("#"))


def _builder() -> FFI:
    headers = _in_order_of_use()
    builder = FFI()
    builder.cdef(_declarations(headers))
    builder.set_source(
        "anybpf.runtime._engine",
        _WRAPPER_PRAGMAS + "".join(f'#include "{header.name}"\n' for header in headers),
        sources=[_relative(path) for path in sorted(SOURCE.glob("*.c"))],
        depends=[_relative(path) for path in sorted(SOURCE.glob("*.h"))],
        include_dirs=[_relative(SOURCE)],
        extra_compile_args=_compile_flags(),
    )
    return builder


def _relative(path: Path) -> str:
    """``path`` as setuptools wants it: relative to the project root, with forward slashes."""
    return path.relative_to(SOURCE.parents[3]).as_posix()


ffibuilder = _builder()
