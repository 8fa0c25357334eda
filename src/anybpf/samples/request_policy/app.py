"""The application: ``uvicorn --factory anybpf.samples.request_policy.app:create_app``.

==============  ===================================================================================================
PUT /policy     puts the policy in the body, an object file, in force; 400, 413, 422 or 503 with the reason, if not
GET /policy     the policy in force: verdicts so far, time for a request
DELETE /policy  ends it
GET /header     the C header for authors of policies
GET /events     what policies have told of
/...            the application that is protected
==============  ===================================================================================================
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from anybpf.runtime import Context
from anybpf.samples.request_policy.holder import PolicyHolder, Refused
from anybpf.samples.request_policy.hook import LIMITS, declare
from anybpf.samples.request_policy.middleware import Application, PolicyMiddleware, Receive, Scope, Send
from anybpf.samples.request_policy.vetting import Refusal

__all__ = ("create_app", "greet")


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    """An application to protect: says hello, and how the policy tagged the request."""
    response = PlainTextResponse(f"hello {scope['path']!a}, tag {scope.get('policy_tag', 'none')}\n")
    await response(scope, receive, send)


def create_app(application: Application = greet) -> Starlette:
    """Return ``application`` behind a policy that anybody may upload. What manages the policy is not subject to it."""
    context = Context()
    holder = PolicyHolder(declare(context))

    async def install(request: Request) -> Response:
        upload = bytearray()
        try:
            async for chunk in request.stream():
                upload += chunk
                if len(upload) > LIMITS.object_bytes:
                    raise Refused(Refusal(413, f"the object has more than {LIMITS.object_bytes} bytes"))
            await holder.install(bytes(upload))
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody
        except Refused as refused:
            return JSONResponse(asdict(refused.refusal), status_code=refused.refusal.status)
        return JSONResponse(holder.status())

    async def show(request: Request) -> Response:
        return JSONResponse(holder.status())

    async def remove(request: Request) -> Response:
        await holder.remove()
        return Response(status_code=204)

    async def header(request: Request) -> Response:
        return PlainTextResponse(holder.hook.header(), media_type="text/x-c")

    async def events(request: Request) -> Response:
        return JSONResponse(list(holder.events))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await holder.close()
            context.close()

    return Starlette(
        routes=[
            Route("/policy", install, methods=["PUT"]),
            Route("/policy", show, methods=["GET"]),
            Route("/policy", remove, methods=["DELETE"]),
            Route("/header", header),
            Route("/events", events),
            Mount("/", app=PolicyMiddleware(application, holder.hook)),
        ],
        lifespan=lifespan,
    )
