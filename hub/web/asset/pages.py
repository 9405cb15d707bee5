"""The pages of single assets.

/assets/{device}/{asset}                 the page; ?span=24h or ?from=…&to=… says what its plots show, ?feature=… of what
/assets/{device}/{asset}/story           what is, since when and what to do, for refreshing in place
/assets/{device}/{asset}/scores.json     what its plots are drawn from; by default of the last week

What comes of the lake is read in worker threads, and the state is not kept open meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from hub.web.asset.alerts import AssetAlert, read_asset_alerts
from hub.web.asset.kinds import Kind, kind_of
from hub.web.asset.scores import Marks, read_scores
from hub.web.asset.sensor_bands import read_bands
from hub.web.asset.sisters import read_sisters
from hub.web.asset.story import Story, read_story
from hub.web.asset.view import AssetView, read_asset, read_commissioning
from hub.web.desk import Desk
from hub.web.guard import PageGuard, refused
from hub.web.part import Look, Part
from hub.web.queries import Tile, read_tile
from hub.web.render import PAGE_HEADERS
from hub.web.seams import Windows
from hub.web.time_range import SPANS_S, TimeRange, time_range


@dataclass(frozen=True, slots=True)
class Asset:
    """What the state knows of an asset that its pages need before they look into the lake."""

    tile: Tile
    alerts: tuple[AssetAlert, ...]
    kind: Kind | None
    now_ns: int

    @property
    def open_alert(self) -> AssetAlert | None:
        return next((alert for alert in self.alerts if alert.closed_ns is None), None)


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
            guard.part("/assets/{device}/{asset}/story", self.story),
            guard.part("/assets/{device}/{asset}/scores.json", self.scores),
        ]

    async def page(self, request: Request) -> Response:
        found = await run_in_threadpool(self._asset_and_story, request)
        if found is None:
            return self._desk.missing(self._desk.look(self._desk.clock()))
        asset, story = found

        def more(connection: Connection, _look: Look) -> Mapping[str, Any]:
            sisters = read_sisters(connection, asset.tile, asset.kind) if asset.kind else None
            within = time_range(request.query_params, asset.now_ns)
            return {"story": story, "sisters": sisters, "within": within, "spans": SPANS_S}

        return await self._desk.page(request, "asset.html", ["asset"], more, query=dict(request.path_params))

    async def story(self, request: Request) -> Response:
        def told() -> Response:
            found = self._asset_and_story(request)
            if found is None:
                return refused(404, "no such asset")
            asset, story = found
            frame = self._desk.frame(request, self._desk.look(asset.now_ns), asset.now_ns)
            return self._desk.templates.page("asset_story.html", story=story, **frame)

        return await run_in_threadpool(told)

    async def scores(self, request: Request) -> Response:
        """What the asset's plots are drawn from; see `scores.read_scores`."""

        def figures() -> Any:
            asset = self._asset(request)
            if asset is None:
                return None
            within = time_range(request.query_params, asset.now_ns, "7d")
            marks = Marks(asset.alerts, self._bands(asset, within))
            return read_scores(self._lake, asset.tile, within, marks, asset.kind, request.query_params.get("feature", ""))

        found = await run_in_threadpool(figures)
        return refused(404, "no such asset") if found is None else JSONResponse(found, headers=PAGE_HEADERS)

    def _read(self, connection: Connection, look: Look) -> AssetView | None:
        return read_asset(connection, look.heard_since_ns, look.get("device"), look.get("asset"), self._profiles_dir)

    def _asset_and_story(self, request: Request) -> tuple[Asset, Story] | None:
        asset = self._asset(request)
        if asset is None:
            return None
        return asset, read_story(self._lake, asset.tile, asset.open_alert, asset.kind, asset.now_ns)

    def _asset(self, request: Request) -> Asset | None:
        return load_asset(self._desk, request.path_params["device"], request.path_params["asset"], self._profiles_dir)

    def _bands(self, asset: Asset, within: TimeRange) -> Any:
        tile = asset.tile
        return self._desk.read(lambda connection, _: read_bands(connection, tile.device_id, tile.asset, within))


def load_asset(desk: Desk, device_id: str, asset: str, profiles_dir: Path | None) -> Asset | None:
    """None where the hub does not know it. Blocks."""

    def read(connection: Connection, now_ns: int) -> Any:
        tile = read_tile(connection, desk.look(now_ns).heard_since_ns, device_id, asset)
        if tile is None:
            return None
        return tile, read_asset_alerts(connection, device_id, asset), read_commissioning(connection, device_id, asset), now_ns

    found = desk.read(read)
    if found is None:
        return None
    tile, alerts, learned, now_ns = found
    return Asset(tile, alerts, kind_of(tile.profile, profiles_dir, learned), now_ns)
