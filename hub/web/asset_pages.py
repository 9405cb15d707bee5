"""The pages of single assets.

/assets/{device}/{asset}                 the page
/assets/{device}/{asset}/scores.json     what its plot is drawn from
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from hub.web.asset import AssetView, read_asset
from hub.web.desk import Desk
from hub.web.guard import PageGuard, refused
from hub.web.inbox import read_asset_alerts
from hub.web.part import Look, Part
from hub.web.queries import read_tile
from hub.web.render import PAGE_HEADERS
from hub.web.scores import read_scores
from hub.web.seams import Windows


class AssetPages:
    """The endpoints and what they share."""

    nav = ()

    def __init__(self, desk: Desk, lake: Windows, profiles_dir: Path | None) -> None:
        self._desk = desk
        self._lake = lake
        self._profiles_dir = profiles_dir

    def parts(self) -> Mapping[str, Part]:
        return {"asset": Part(self._read, scope=("device", "asset"))}

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [
            guard.page("/assets/{device}/{asset}", self.page),
            guard.part("/assets/{device}/{asset}/scores.json", self.scores),
        ]

    async def page(self, request: Request) -> Response:
        return await self._desk.page(request, "asset.html", ["asset"], query=dict(request.path_params))

    async def scores(self, request: Request) -> Response:
        """What the asset's plot is drawn from; see `scores.read_scores`."""
        device, asset = request.path_params["device"], request.path_params["asset"]

        def read(connection: Connection, now_ns: int) -> Any:
            tile = read_tile(connection, self._desk.look(now_ns).heard_since_ns, device, asset)
            return tile and (tile, read_asset_alerts(connection, device, asset), now_ns)

        found = await run_in_threadpool(self._desk.read, read)
        if found is None:
            return refused(404, "no such asset")
        figures = await run_in_threadpool(read_scores, self._lake, *found)  # the state is not kept open meanwhile
        return JSONResponse(figures, headers=PAGE_HEADERS)

    def _read(self, connection: Connection, look: Look) -> AssetView | None:
        return read_asset(connection, look.heard_since_ns, look.get("device"), look.get("asset"), self._profiles_dir)
