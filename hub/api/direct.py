"""The calls that devices make all the time, answered without the framework around them.

Passing an envelope through the stack of middlewares and routers took a third of all that the hub's first thread did. Nothing of
it is for devices: their calls are plain in method and path, and their errors are the same problems. The routes stay in the app,
for its description, and for every other method.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hub.api.problems import is_known, problem_of

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectApp(FastAPI):
    """An app with a short way for POST to the paths in `direct`. `answered` is told of each answer there: path and status."""

    def __init__(self, direct: Mapping[str, Endpoint], answered: Callable[[str, int], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._direct = direct
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._direct.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if endpoint is None:
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive)
        bug = None
        try:
            response = await endpoint(request)
        except Exception as error:
            bug = None if is_known(error) else error
            response = problem_of(request, error)
        self._answered(scope["path"], response.status_code)
        await response(scope, receive, send)
        if bug is not None:
            raise bug  # the server logs it, as it does for every other path
