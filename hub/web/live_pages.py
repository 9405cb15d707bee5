"""The addresses by which a page stays true: its parts one by one, and the stream of what has changed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from hub.access import Access
from hub.web.desk import Desk
from hub.web.guard import PageGuard, principal_of, refused
from hub.web.live import Digests, Pulse, stream
from hub.web.part import Part
from hub.web.render import PAGE_HEADERS

STREAM_CHECK_S: Final = 15.0  # so long after a session has ended, its open streams end too


class LivePages:
    """A room without pages."""

    nav = ()

    def __init__(self, desk: Desk, access: Access) -> None:
        self._desk = desk
        self._access = access
        self._pulse = Pulse(self._digests)

    def parts(self) -> Mapping[str, Part]:
        return {}

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [guard.part("/parts/{name}", self.part), guard.part("/events", self.events)]

    async def part(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not self._may_see(request, (name,)):
            return refused(404, "no such part")
        return await self._desk.part(request, name)

    async def events(self, request: Request) -> Response:
        """Of the parts that `?parts=a,b` names, in the scope that the rest of the query says."""
        names = tuple(name for name in request.query_params.get("parts", "").split(",") if name)
        if not self._may_see(request, names):
            return refused(404, "no such part")
        query = {key: value for key, value in request.query_params.items() if key != "parts"}
        shared = [name for name in names if not self._desk.parts[name].scope]
        scoped = [name for name in names if self._desk.parts[name].scope]

        async def digests() -> Digests:
            own = await run_in_threadpool(self._digests, scoped, query) if scoped else {}
            return {**await self._pulse.digests(shared), **own}

        events = stream(digests, _Gone(request, self._access, self._desk))
        return StreamingResponse(events, media_type="text/event-stream", headers={**PAGE_HEADERS, "X-Accel-Buffering": "no"})

    def _may_see(self, request: Request, names: tuple[str, ...]) -> bool:
        parts = [self._desk.parts.get(name) for name in names]
        return all(part is not None and principal_of(request).may(part.right) for part in parts)

    def _digests(self, names: list[str], query: Mapping[str, str] | None = None) -> Digests:
        def read(connection: Connection, now_ns: int) -> Digests:
            look = self._desk.look(now_ns, query)
            return {name: self._desk.parts[name].digest(connection, look) for name in names}

        digests: Digests = self._desk.read(read)
        return digests


class _Gone:
    """Whether a stream has nobody to go to any more: asked before each message. A session that has ended is noticed within
    STREAM_CHECK_S."""

    def __init__(self, request: Request, access: Access, desk: Desk) -> None:
        self._request = request
        self._access = access
        self._desk = desk
        self._checked_at = time.monotonic()

    async def __call__(self) -> bool:
        if self._desk.stopping() or await self._request.is_disconnected():
            return True
        if time.monotonic() - self._checked_at < STREAM_CHECK_S:
            return False
        self._checked_at = time.monotonic()
        return await self._access.principal(self._request) is None
