"""The ASGI middleware: asks the hook about every request before the application sees it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from anybpf.hooks import Outcome, Service
from anybpf.samples.request_policy.hook import ALLOW, LIMIT

__all__ = ("PolicyMiddleware",)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_TAG = b"x-policy-tag"


class PolicyMiddleware:
    """Passes requests on that the policy allows. Denied ones get a 403, limited ones a 429 with ``Retry-After``.

    Where the policy writes a tag, the application finds it in ``scope["policy_tag"]`` and the client in the header
    ``x-policy-tag``.
    """

    def __init__(self, application: Application, hook: Service) -> None:
        self._application = application
        self._ask = hook.fire

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one connection scope, as ASGI says."""
        if scope["type"] == "lifespan":
            return self._application(scope, receive, send)
        agent, length = b"", 0
        for name, value in scope["headers"]:
            if name == b"user-agent":
                agent = value
            elif name == b"content-length" and value.isdigit():
                length = min(int(value[:20]), 0xFFFFFFFFFFFFFFFF)
        client = scope.get("client")
        outcome = self._ask(
            client=_address(client[0]) if client else b"",
            method=_method(scope.get("method", "GET")),
            content_length=length,
            path=scope["path"].encode(errors="surrogatepass"),
            query=scope["query_string"],
            user_agent=agent,
        )
        if outcome.written:
            send = _tagged(scope, send, outcome.written)
        if outcome.value == ALLOW:
            return self._application(scope, receive, send)
        return _refuse(scope, receive, send, outcome)


@lru_cache(64)
def _method(name: str) -> bytes:
    """As much of a method's name as the field holds."""
    return name.encode(errors="replace")[:8]


@lru_cache(4096)
def _address(host: str) -> bytes:
    """The address as 16 bytes; nothing for what is no address."""
    host = host.partition("%")[0]
    try:
        return socket.inet_pton(socket.AF_INET6, host if ":" in host else f"::ffff:{host}")
    except OSError:
        return b""


def _tagged(scope: Scope, send: Send, written: Mapping[str, int | bytes]) -> Send:
    """Tell the application the tag, and return a ``send`` that tells the client."""
    tag = written.get("tag")
    if tag is None:
        return send
    scope["policy_tag"] = tag
    header = (_TAG, b"%d" % int(tag))

    def tell(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), header]
        return send(message)

    return tell


async def _refuse(scope: Scope, receive: Receive, send: Send, outcome: Outcome) -> None:
    """Answer in the application's place."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": "denied by policy"})
        return
    status, text = (429, b"too many requests\n") if outcome.value == LIMIT else (403, b"denied by policy\n")
    headers: Iterable[tuple[bytes, bytes]] = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]
    if outcome.value == LIMIT:
        headers = [*headers, (b"retry-after", str(outcome.written.get("retry_after", 1)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
