"""The addresses of the pages.

    /                            the overview; ?state=alarm shows only such assets; ?token=… signs in
    /parts/{name}                one part of it, for refreshing in place
    /assets/{device}/{asset}     one asset          /assets/{device}/{asset}/part and /scores.json for its refreshing and plot
    /events                      the stream of what has changed (server-sent events)
    /rollouts/{rollout}/{step}   pause, resume, abort or roll back: a form's POST
    /signin, /signout            see signin.py
    /static/…                    styles, scripts, pictures

1. Everything but signing in and static files asks who it is (guard.py); a page sends strangers to /signin.
2. Reading takes no lock in the state database, and happens in worker threads: a slow page stops no ingest.
3. What changes something is a POST of this origin. What somebody may not do is not offered to them, and refused all the same.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from hub.access import Access
from hub.operators.rights import ROLLOUT, Principal
from hub.operators.signin import SignIn
from hub.rollout.service import RolloutService
from hub.state.database import reading
from hub.web.asset import profile_title, read_asset
from hub.web.guard import PageGuard, principal_of, refused, see_other
from hub.web.inbox import read_asset_alerts
from hub.web.live import Digests, Pulse, digest, stream
from hub.web.overview import PARTS, Look, headline, read_digests, read_part, read_parts, state_filter
from hub.web.queries import read_tile
from hub.web.render import PAGE_HEADERS, ContentAddressedFiles, Templates
from hub.web.scores import read_scores
from hub.web.seams import Windows
from hub.web.signin import SignInPages
from hub.web.words import NS_PER_S
from models.errors import RolloutError

SILENT_AFTER_S: Final = 90.0  # three check-ins at the default pace
STREAM_CHECK_S: Final = 15.0  # so long after a session has ended, its open streams end too


def web_routes(
    engine: Engine,
    access: Access,
    signin: SignIn,
    rollouts: RolloutService,
    lake: Windows,
    *,
    session_max_s: int,
    silent_after_s: float = SILENT_AFTER_S,
    profiles_dir: Path | None = None,
    clock: Callable[[], int] = time.time_ns,
    stopping: Callable[[], bool] = lambda: False,
) -> list[BaseRoute]:
    """Routes for the hub's app. `stopping` tells open streams to end, so that the server need not wait for them."""
    templates = Templates()
    pages = _Pages(engine, access, rollouts, lake, templates, silent_after_s, profiles_dir, clock, stopping)
    signing = SignInPages(access, signin, templates, session_max_s)
    guard = PageGuard(access)
    overview = guard.page("/", pages.overview)
    return [
        Route("/", signing.or_by_address(overview.endpoint)),
        guard.part("/parts/{name}", pages.part),
        guard.page("/assets/{device}/{asset}", pages.asset),
        guard.part("/assets/{device}/{asset}/part", pages.asset_part),
        guard.part("/assets/{device}/{asset}/scores.json", pages.scores),
        guard.part("/events", pages.events),
        guard.action("/rollouts/{rollout_id}/{step}", pages.steer),
        *signing.routes(),
        Mount("/static", ContentAddressedFiles(), name="static"),
    ]


class _Pages:
    """The endpoints and what they share."""

    def __init__(
        self,
        engine: Engine,
        access: Access,
        rollouts: RolloutService,
        lake: Windows,
        templates: Templates,
        silent_after_s: float,
        profiles_dir: Path | None,
        clock: Callable[[], int],
        stopping: Callable[[], bool],
    ) -> None:
        self._engine = reading(engine)
        self._access = access
        self._rollouts = rollouts
        self._lake = lake
        self._templates = templates
        self._silent_after_ns = int(silent_after_s * NS_PER_S)
        self._profiles_dir = profiles_dir
        self._clock = clock
        self._stopping = stopping
        self._pulse = Pulse(lambda: self._read(lambda connection, now_ns: read_digests(connection, self._heard_since(now_ns))))

    async def overview(self, request: Request) -> Response:
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
                **_asking(request),
            )

        return await run_in_threadpool(self._read, read)

    async def part(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in PARTS:
            return refused(404, "no such part")
        state = state_filter(request.query_params)

        def read(connection: Connection, now_ns: int) -> Response:
            view, known = read_part(connection, name, Look(self._heard_since(now_ns), state))
            sentence = headline(view) if name == "fleet" else ""
            return self._templates.page(
                f"parts/{name}.html",
                view=view,
                digest=known,
                state=state,
                now_ns=now_ns,
                headline=sentence,
                **_asking(request),
            )

        return await run_in_threadpool(self._read, read)

    async def asset(self, request: Request) -> Response:
        return await self._asset_page(request, "asset.html")

    async def asset_part(self, request: Request) -> Response:
        return await self._asset_page(request, "parts/asset.html")

    async def scores(self, request: Request) -> Response:
        """What the asset's plot is drawn from; see `scores.read_scores`."""
        device, asset = request.path_params["device"], request.path_params["asset"]

        def read(connection: Connection, now_ns: int) -> Any:
            tile = read_tile(connection, self._heard_since(now_ns), device, asset)
            return tile and (tile, read_asset_alerts(connection, device, asset), now_ns)

        found = await run_in_threadpool(self._read, read)
        if found is None:
            return refused(404, "no such asset")
        figures = await run_in_threadpool(read_scores, self._lake, *found)  # the state is not kept open meanwhile
        return JSONResponse(figures, headers=PAGE_HEADERS)

    async def events(self, request: Request) -> Response:

        events = stream(self._digests_for(request), _Gone(request, self._access, self._stopping))
        return StreamingResponse(events, media_type="text/event-stream", headers={**PAGE_HEADERS, "X-Accel-Buffering": "no"})

    async def steer(self, request: Request) -> Response:
        rollout_id, step = request.path_params["rollout_id"], request.path_params["step"]
        actor = principal_of(request).actor
        try:
            await run_in_threadpool(self._rollouts.steer, rollout_id, step, now_ns=self._clock(), actor=actor)
        except RolloutError as error:
            return refused(409, str(error))
        return see_other("/#rollouts")

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
            values = {"view": view, "title": title, "digest": digest(view), "now_ns": now_ns, **_asking(request)}
            return self._templates.page(template, **values)

        return await run_in_threadpool(self._read, read)

    def _heard_since(self, now_ns: int) -> int:
        return now_ns - self._silent_after_ns

    def _read(self, read: Callable[[Connection, int], Any]) -> Any:
        """`read` in one transaction that only reads, at the time as it is now."""
        with self._engine.begin() as connection:
            return read(connection, self._clock())


class _Gone:
    """Whether a stream has nobody to go to any more: asked before each message. A session that has ended is noticed within
    STREAM_CHECK_S."""

    def __init__(self, request: Request, access: Access, stopping: Callable[[], bool]) -> None:
        self._request = request
        self._access = access
        self._stopping = stopping
        self._checked_at = time.monotonic()

    async def __call__(self) -> bool:
        if self._stopping() or await self._request.is_disconnected():
            return True
        if time.monotonic() - self._checked_at < STREAM_CHECK_S:
            return False
        self._checked_at = time.monotonic()
        return await self._access.principal(self._request) is None


def _asking(request: Request) -> dict[str, Any]:
    """What every page with the frame needs: who is signed in, and whether they may steer rollouts."""
    principal: Principal = principal_of(request)
    return {"who": principal, "may_steer": principal.may(ROLLOUT)}
