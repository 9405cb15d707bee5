"""Routes that look at who asks before they look at what was sent.

FastAPI takes in and parses a body before it resolves dependencies: behind a dependency alone, any stranger could make the
hub hold a body of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from hub.access import Access
from hub.api.bodies import read_body
from hub.api.problems import Problem
from hub.operators.rights import Principal, Right, right_of

Handle = Callable[[Request], Coroutine[Any, Any, Response]]


def guarded_by(access: Access, max_body_bytes: int) -> type[APIRoute]:
    """A class of routes that answer 401 to strangers, 403 to whoever has not the right that the table of rights asks for, and
    413 to bodies above the limit. A route without a stated right cannot be made (LookupError)."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Handle:
            handle = super().get_route_handler()
            rights = {method: right_of(method, self.path) for method in self.methods or ()}

            async def guarded(request: Request) -> Response:
                principal = await check(access, request, rights[request.method])
                body = await read_body(request, max_body_bytes)

                async def receive() -> Message:
                    return {"type": "http.request", "body": body, "more_body": False}

                inner = Request(request.scope, receive)
                inner.state.principal = principal
                return await handle(inner)

            return guarded

    return GuardedRoute


async def check(access: Access, request: Request, right: Right) -> Principal:
    """Whoever asks. Raises Problem: 401 a stranger, 403 without `right`."""
    principal = await access.principal(request)
    if principal is None:
        wanted = "sign in, and change things from the hub's own page; or send an API token or the admin token as a bearer token"
        raise Problem(401, "unauthorized", wanted, {"WWW-Authenticate": "Bearer"})
    if not principal.may(right):
        scopes = " or ".join(sorted(right.scopes | {"admin"}))
        raise Problem(403, "forbidden", f"{principal.name} may not: this takes the role {right.role}, or a token with {scopes}")
    return principal


def _actor(request: Request) -> str:
    principal: Principal = request.state.principal
    return principal.actor


def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


Actor = Annotated[str, Depends(_actor)]
Asking = Annotated[Principal, Depends(_principal)]
