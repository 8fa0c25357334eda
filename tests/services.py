"""A service for tests, and programs for it: C text compiled against the header that the service gives."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from anybpf.compile import compile_source
from anybpf.hooks import Service
from anybpf.hooks.service_fields import U16, U32, Buffer, Bytes
from compiling import require_clang


def request_policy(**options: object) -> Service:
    """A service with fields of every kind; ``options`` replace parts of its declaration."""
    declaration: dict[str, object] = {
        "fields": [
            U32("method"),
            U16("port"),
            Bytes("client", 16),
            Buffer("path"),
            Buffer("scratch", writable=True),
            U32("tag", writable=True),
        ],
        "returns": {"ALLOW": 0, "DENY": 1, "LIMIT": 2, "TAG": 3},
        "fallback": "ALLOW",
    }
    return Service("http_request", **{**declaration, **options})  # type: ignore[arg-type]


@cache
def _compiled(header: str, name: str, source: str) -> bytes:
    with TemporaryDirectory() as directory:
        (Path(directory) / f"{name}.h").write_text(header, encoding="utf-8")
        path = Path(directory) / "program.c"
        path.write_text(f'#include "{name}.h"\n{source}\n', encoding="utf-8")
        return compile_source(path, warnings=("all", "error"))


def compiled_for(service: Service, source: str) -> bytes:
    """The object of ``source``, compiled with the service's header alone; skips the test where there is no clang."""
    require_clang()
    return _compiled(service.header(), service.name, source)


def program_for(service: Service, body: str) -> bytes:
    """The object of one program, called ``decide``, of which ``body`` is the text."""
    return compiled_for(service, f'SEC("{service.name}") int decide(struct {service.name} *ctx)\n{{\n{body}\n}}\n')
