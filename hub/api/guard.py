"""Routes that look at who asks before they look at what was sent.

FastAPI takes in and parses a body before it resolves dependencies: behind a dependency alone, any stranger could make the
hub hold a body of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from hub.access import Access
from hub.api.bodies import read_body
from hub.api.problems import Problem

Handle = Callable[[Request], Coroutine[Any, Any, Response]]


def guarded_by(access: Access, max_body_bytes: int) -> type[APIRoute]:
    """A class of routes that answer 401 to whoever `access` does not allow, and 413 to bodies above the limit."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Handle:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                if not access.allows(request):
                    raise Problem(401, "unauthorized", "send the admin token as a bearer token", {"WWW-Authenticate": "Bearer"})
                body = await read_body(request, max_body_bytes)

                async def receive() -> Message:
                    return {"type": "http.request", "body": body, "more_body": False}

                return await handle(Request(request.scope, receive))

            return guarded

    return GuardedRoute
