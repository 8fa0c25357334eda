"""What the worked example's middleware adds to a request: the same ASGI call with and without it, one after the other.

Each figure is a difference of medians over single requests, in microseconds. The requests have nine
headers, a path and a query; the application behind answers at once. The tagger tags every one of them.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from measure import Figure

from anybpf.compile import compile_source
from anybpf.runtime import Context
from anybpf.samples.request_policy import hook, middleware

REQUESTS = 2_000
TARGET = 5.0
SECTION = "request policy"
POLICIES = Path(hook.__file__).parent

HEADERS = [
    (b"host", b"shop.example"),
    (b"user-agent", b"curl/8.5.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"connection", b"keep-alive"),
    (b"cookie", b"session=0123456789abcdef0123456789abcdef"),
    (b"upgrade-insecure-requests", b"1"),
    (b"cache-control", b"max-age=0"),
]

Call = Callable[[Any, Any, Any], Awaitable[None]]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """The application."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def measure(folder: Path, rounds: int) -> Iterator[Figure]:
    """Time requests without the middleware, with it and no policy, and with each of the policies."""
    with ExitStack() as stack:
        context = stack.enter_context(Context())
        without = hook.declare(context)
        (folder / "http_request.h").write_text(without.header(), encoding="utf-8")
        calls: dict[str, Call] = {"": answer, "no policy": middleware.PolicyMiddleware(answer, without)}
        for name in ("guard", "tag", "rate_limit"):
            service = hook.declare(context)
            compiled = compile_source(POLICIES / f"{name}.c", include_dirs=[folder], defines=["ALLOWED=1000000000"])
            loaded = stack.enter_context(service.load(compiled, mode="jit"))
            stack.enter_context(loaded.programs[name].attach(service))
            calls[name] = middleware.PolicyMiddleware(answer, service)
        medians = asyncio.run(timed(list(calls.values()), rounds))
    for name, median in zip(list(calls)[1:], medians[1:], strict=True):
        target = None if name == "no policy" else TARGET
        yield Figure(SECTION, f"added by {name}", "µs", median - medians[0], target, f"a request: {median:.3g} µs")


async def timed(calls: Sequence[Call], rounds: int) -> list[float]:
    """The median time of a request by each call, in microseconds; the calls take turns, request by request."""
    times: list[list[int]] = [[] for _ in calls]

    async def send(message: Any) -> None:
        return None

    for _ in range(REQUESTS * rounds // 5):
        for call, taken in zip(calls, times, strict=True):
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/products/list",
                "query_string": b"page=3&sort=price",
                "headers": HEADERS,
                "client": ("203.0.113.7", 40000),
            }
            start = time.perf_counter_ns()
            await call(scope, None, send)
            taken.append(time.perf_counter_ns() - start)
    return [statistics.median(taken) / 1e3 for taken in times]
