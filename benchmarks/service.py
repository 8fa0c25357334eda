"""What it costs a service to ask a program: one event from Python, and packed events in one crossing.

The context has eight fields, one of them a buffer. The program returns at once, and what it takes by itself, measured
in the engine, is subtracted; a program that looks at every field is measured beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from measure import Figure, alternate

from anybpf.compile import compile_source
from anybpf.hooks import Service
from anybpf.hooks.service_fields import U8, U16, U32, U64, Buffer, Bytes
from anybpf.runtime import Context

SECTION = "service"
CALLS = 500  # in one timing: short ones find the machine's quiet moments
SLICES = 40  # timings of each in a round
RECORDS = 5_000
REPEAT = 200_000

FIELDS = [U32("a"), U32("b"), U16("c"), U16("d"), U64("e"), Bytes("f", 16), U8("g"), Buffer("path")]
VALUES = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": bytes(16), "g": 7, "path": b"/index.html"}
PROGRAMS = {
    "empty": "return OK;",
    "busy": """
    const __u8 *path = ctx->path;
    __u64 sum = ctx->a + ctx->b + ctx->c + ctx->d + ctx->e + ctx->g;
    for (int i = 0; i < 16; i++) sum += ctx->f[i];
    for (int i = 0; i < 8; i++) {
        if (path + i + 1 > ctx->path_end) break;
        sum = sum * 31 + path[i];
    }
    return sum == 12345 ? NO : OK;""",
}


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Time a plain call of a Python function with the same arguments, firing, and batches."""
    plain = each(call_plain)
    with ExitStack() as stack:
        context = stack.enter_context(Context())
        services = {name: attached(name, folder, context, stack) for name in PROGRAMS}
        empty, busy = services["empty"][0], services["busy"][0]
        records = empty.pack(**VALUES) * RECORDS
        alone, alone_busy = (program_ns(*services[name]) for name in ("empty", "busy"))
        function, called, fired, called_busy, batched, batched_busy = alternate(
            (
                plain,
                each(lambda n: call_hook(empty, n)),
                each(lambda n: call_fire(empty.fire, n)),
                each(lambda n: call_hook(busy, n)),
                lambda: batch_ns(empty, records),
                lambda: batch_ns(busy, records),
            ),
            rounds,
        )
    note = f"program alone {alone:.1f} ns; a Python function with these arguments {function:.0f} ns"
    yield Figure(SECTION, "hook(...), 8 fields, beyond the program", "ns/event", called - alone, 1000, note)
    yield Figure(SECTION, "hook.fire(...), beyond the program", "ns/event", fired - alone, 1000)
    yield Figure(SECTION, "hook(...), beyond a program that reads all", "ns/event", called_busy - alone_busy, 1000)
    yield Figure(SECTION, "hook(...) ÷ plain Python call", "×", called / function)
    yield Figure(SECTION, "hook.fire(...) ÷ plain Python call", "×", fired / function)
    note = f"{len(records) // RECORDS} bytes a record"
    yield Figure(SECTION, "hook.batch(), beyond the program", "ns/event", batched - alone, 20, note)
    yield Figure(SECTION, "hook.batch(), beyond one that reads all", "ns/event", batched_busy - alone_busy, 20)


def attached(name: str, folder: Path, context: Context, stack: ExitStack) -> tuple[Service, object]:
    """A service with its program, compiled to machine code, attached."""
    service = Service(name, fields=FIELDS, returns={"OK": 0, "NO": 1}, fallback="OK", context=context)
    (folder / f"{name}.h").write_text(service.header(), encoding="utf-8")
    source = folder / f"{name}.c"
    source.write_text(f'#include "{name}.h"\nSEC("{name}") int f(struct {name} *ctx) {{ {PROGRAMS[name]} }}\n')
    loaded = stack.enter_context(service.load(compile_source(source), mode="jit"))
    stack.enter_context(loaded.programs["f"].attach(service))
    return service, loaded.programs["f"]


def program_ns(service: Service, program: object) -> float:
    """Time of one run of the program alone, in the engine: the least of several."""
    record = service.pack(**VALUES)
    size = service.layout.context.size
    runs = [program.test_run(record[size:], record[:size], repeat=REPEAT) for _ in range(10)]  # type: ignore[attr-defined]
    return float(min(run.duration_ns for run in runs))


def each(calls: Callable[[int], None]) -> Callable[[], float]:
    """A function that gives the nanoseconds of one call, the least of several timings."""

    def timed() -> float:
        least = float("inf")
        for _ in range(SLICES):
            start = time.perf_counter_ns()
            calls(CALLS)
            least = min(least, (time.perf_counter_ns() - start) / CALLS)
        return least

    return timed


def plain_function(*, a, b, c, d, e, f, g, path):
    """What a service would write in Python, less its body."""
    return 0


def call_plain(times: int) -> None:
    for _ in range(times):
        plain_function(a=1, b=2, c=3, d=4, e=5, f=b"0123456789abcdef", g=7, path=b"/index.html")


def call_hook(hook, times: int) -> None:
    for _ in range(times):
        hook(a=1, b=2, c=3, d=4, e=5, f=b"0123456789abcdef", g=7, path=b"/index.html")


def call_fire(fire, times: int) -> None:
    for _ in range(times):
        fire(a=1, b=2, c=3, d=4, e=5, f=b"0123456789abcdef", g=7, path=b"/index.html")


def batch_ns(service: Service, records: bytes) -> float:
    least = float("inf")
    for _ in range(SLICES):
        start = time.perf_counter_ns()
        service.batch(records)
        least = min(least, (time.perf_counter_ns() - start) / RECORDS)
    return least
