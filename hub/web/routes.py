"""The addresses of the pages.

    /                            the overview; ?state=alarm shows only such assets; ?token=… signs in
    /parts/{name}                one part of it, for refreshing in place
    /assets/{device}/{asset}     one asset          /assets/{device}/{asset}/part and /scores.json for its refreshing and plot
    /events                      the stream of what has changed (server-sent events)
    /signin, /signout            the admin token as an HttpOnly cookie
    /static/…                    styles, scripts, pictures

1. Everything but signing in and static files needs the admin token; a page sends those without it to /signin.
2. Reading takes no lock in the state database, and happens in worker threads: a slow page stops no ingest.
3. What changes something (signing in and out) is a POST of this origin.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import Connection, Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from hub.access import COOKIE
from hub.state.database import reading
from hub.web.asset import profile_title, read_asset
from hub.web.inbox import read_asset_alerts
from hub.web.live import Digests, Pulse, digest, stream
from hub.web.overview import PARTS, Look, headline, read_digests, read_part, read_parts, state_filter
from hub.web.queries import read_tile
from hub.web.render import PAGE_HEADERS, ContentAddressedFiles, Templates
from hub.web.scores import read_scores
from hub.web.seams import Access, Windows
from hub.web.words import NS_PER_S

SILENT_AFTER_S: Final = 90.0  # three check-ins at the default pace
_MAX_FORM_BYTES: Final = 4096


def web_routes(
    engine: Engine,
    access: Access,
    lake: Windows,
    *,
    silent_after_s: float = SILENT_AFTER_S,
    profiles_dir: Path | None = None,
    clock: Callable[[], int] = time.time_ns,
    stopping: Callable[[], bool] = lambda: False,
) -> list[BaseRoute]:
    """Routes for the hub's app. `stopping` tells open streams to end, so that the server need not wait for them."""
    pages = _Pages(engine, access, lake, silent_after_s, profiles_dir, clock, stopping)
    return [
        Route("/", pages.overview),
        Route("/parts/{name}", pages.part),
        Route("/assets/{device}/{asset}", pages.asset),
        Route("/assets/{device}/{asset}/part", pages.asset_part),
        Route("/assets/{device}/{asset}/scores.json", pages.scores),
        Route("/events", pages.events),
        Route("/signin", pages.sign_in_form),
        Route("/signin", pages.sign_in, methods=["POST"]),
        Route("/signout", pages.sign_out, methods=["POST"]),
        Mount("/static", ContentAddressedFiles(), name="static"),
    ]


class _Pages:
    """The endpoints and what they share."""

    def __init__(
        self,
        engine: Engine,
        access: Access,
        lake: Windows,
        silent_after_s: float,
        profiles_dir: Path | None,
        clock: Callable[[], int],
        stopping: Callable[[], bool],
    ) -> None:
        self._engine = reading(engine)
        self._access = access
        self._lake = lake
        self._silent_after_ns = int(silent_after_s * NS_PER_S)
        self._profiles_dir = profiles_dir
        self._clock = clock
        self._stopping = stopping
        self._templates = Templates()
        self._pulse = Pulse(lambda: self._read(lambda connection, now_ns: read_digests(connection, self._heard_since(now_ns))))

    async def overview(self, request: Request) -> Response:
        token = request.query_params.get("token")
        if token is not None:
            return self._signed_in(request, token)
        if not self._access.allows(request):
            return _see_other("/signin")
        state = state_filter(request.query_params)

        def read(connection: Connection, now_ns: int) -> Response:
            parts = read_parts(connection, Look(self._heard_since(now_ns), state))
            fleet = parts["fleet"][0]
            return self._templates.page(
                "overview.html",
                parts=parts,
                headline=headline(fleet),
                state=state,
                now_ns=now_ns,
                events="/events",
                hub_url=str(request.base_url).rstrip("/"),
            )

        return await run_in_threadpool(self._read, read)

    async def part(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not self._access.allows(request):
            return _refused()
        if name not in PARTS:
            return PlainTextResponse("no such part", status_code=404, headers=PAGE_HEADERS)
        state = state_filter(request.query_params)

        def read(connection: Connection, now_ns: int) -> Response:
            view, known = read_part(connection, name, Look(self._heard_since(now_ns), state))
            sentence = headline(view) if name == "fleet" else ""
            return self._templates.page(
                f"parts/{name}.html", view=view, digest=known, state=state, now_ns=now_ns, headline=sentence
            )

        return await run_in_threadpool(self._read, read)

    async def asset(self, request: Request) -> Response:
        if not self._access.allows(request):
            return _see_other("/signin")
        return await self._asset_page(request, "asset.html")

    async def asset_part(self, request: Request) -> Response:
        if not self._access.allows(request):
            return _refused()
        return await self._asset_page(request, "parts/asset.html")

    async def scores(self, request: Request) -> Response:
        """What the asset's plot is drawn from; see `scores.read_scores`."""
        if not self._access.allows(request):
            return _refused()
        device, asset = request.path_params["device"], request.path_params["asset"]

        def read(connection: Connection, now_ns: int) -> Any:
            tile = read_tile(connection, self._heard_since(now_ns), device, asset)
            return tile and (tile, read_asset_alerts(connection, device, asset), now_ns)

        found = await run_in_threadpool(self._read, read)
        if found is None:
            return PlainTextResponse("no such asset", status_code=404, headers=PAGE_HEADERS)
        figures = await run_in_threadpool(read_scores, self._lake, *found)  # the state is not kept open meanwhile
        return JSONResponse(figures, headers=PAGE_HEADERS)

    async def events(self, request: Request) -> Response:
        if not self._access.allows(request):
            return _refused()

        async def gone() -> bool:
            return self._stopping() or await request.is_disconnected()

        events = stream(self._digests_for(request), gone)
        return StreamingResponse(events, media_type="text/event-stream", headers={**PAGE_HEADERS, "X-Accel-Buffering": "no"})

    async def sign_in_form(self, request: Request) -> Response:
        if self._access.allows(request):
            return _see_other("/")
        return self._templates.page("signin.html", wrong=False)

    async def sign_in(self, request: Request) -> Response:
        if not _same_origin(request):
            return PlainTextResponse("sign in from the hub's own page", status_code=403, headers=PAGE_HEADERS)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM_BYTES:
                return PlainTextResponse("form too large", status_code=413, headers=PAGE_HEADERS)
        fields = parse_qs(body.decode("utf-8", "replace"))
        return self._signed_in(request, fields.get("token", [""])[0].strip())

    async def sign_out(self, request: Request) -> Response:
        if not _same_origin(request):
            return PlainTextResponse("sign out from the hub's own page", status_code=403, headers=PAGE_HEADERS)
        response = _see_other("/signin")
        response.delete_cookie(COOKIE)
        return response

    def _signed_in(self, request: Request, token: str) -> Response:
        value = self._access.cookie_for(token)
        if value is None:
            return self._templates.page("signin.html", status_code=403, wrong=True)
        response = _see_other("/")
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, value, max_age=30 * 86400, httponly=True, samesite="lax", secure=secure)
        return response

    def _digests_for(self, request: Request) -> Callable[[], Awaitable[Digests]]:
        """The overview's digests, or those of the asset that the request names."""
        device, asset = request.query_params.get("device"), request.query_params.get("asset")
        if device is None or asset is None:
            return self._pulse.digests

        def read(connection: Connection, now_ns: int) -> Digests:
            return {"asset": digest(read_asset(connection, self._heard_since(now_ns), device, asset))}

        return lambda: run_in_threadpool(self._read, read)

    async def _asset_page(self, request: Request, template: str) -> Response:
        device, asset = request.path_params["device"], request.path_params["asset"]

        def read(connection: Connection, now_ns: int) -> Response:
            view = read_asset(connection, self._heard_since(now_ns), device, asset)
            if view is None:
                return self._templates.page("missing.html", status_code=404, device=device, asset=asset)
            title = profile_title(view.tile.profile, self._profiles_dir)
            return self._templates.page(template, view=view, title=title, digest=digest(view), now_ns=now_ns)

        return await run_in_threadpool(self._read, read)

    def _heard_since(self, now_ns: int) -> int:
        return now_ns - self._silent_after_ns

    def _read(self, read: Callable[[Connection, int], Any]) -> Any:
        """`read` in one transaction that only reads, at the time as it is now."""
        with self._engine.begin() as connection:
            return read(connection, self._clock())


def _see_other(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303, headers=PAGE_HEADERS)


def _refused() -> Response:
    return PlainTextResponse("sign in first", status_code=401, headers=PAGE_HEADERS)


def _same_origin(request: Request) -> bool:
    """Whether a browser sent this from one of the hub's own pages; clients that say nothing about it are no browsers."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
