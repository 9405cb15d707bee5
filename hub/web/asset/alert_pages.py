"""The pages of single alerts: what rang, and the evidence down to the sample.

/assets/{device}/{asset}/alerts/{alert}                  the page
/assets/{device}/{asset}/alerts/{alert}/evidence.json    its raw samples, and spectra of fast channels
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

from hub.web.asset.alerts import AssetAlert, read_alert
from hub.web.asset.evidence import figures, read_excerpt
from hub.web.asset.kinds import kind_of
from hub.web.asset.view import profile_title, read_commissioning
from hub.web.desk import Desk
from hub.web.guard import PageGuard, refused
from hub.web.part import Look, Part
from hub.web.queries import Tile, read_tile
from hub.web.render import PAGE_HEADERS
from hub.web.seams import Windows
from hub.web.words import NS_PER_S

_NONE = "The lake has no samples of this alert: they are still on their way, or were dropped for lack of room."
_AROUND_NS = 600 * NS_PER_S  # on either side, where the asset's page is linked to


@dataclass(frozen=True, slots=True)
class AlertView:
    """`title`: what people call such assets. `from_s`, `to_s`: what the asset's page is to show, Unix s, None = until now."""

    alert: AssetAlert
    tile: Tile
    title: str
    from_s: int
    to_s: int | None


class AlertPages:
    """The endpoints and what they share."""

    nav = ()

    def __init__(self, desk: Desk, lake: Windows, profiles_dir: Path | None) -> None:
        self._desk = desk
        self._lake = lake
        self._profiles_dir = profiles_dir

    def parts(self) -> Mapping[str, Part]:
        return {"alert": Part(self._read, scope=("device", "asset", "alert"))}

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [
            guard.page("/assets/{device}/{asset}/alerts/{alert}", self.page),
            guard.part("/assets/{device}/{asset}/alerts/{alert}/evidence.json", self.evidence),
        ]

    async def page(self, request: Request) -> Response:
        return await self._desk.page(request, "alert.html", ["alert"], query=dict(request.path_params))

    async def evidence(self, request: Request) -> Response:
        """See `evidence.figures`; `{"none": why}` where the lake has no samples."""
        names = [request.path_params[name] for name in ("device", "asset", "alert")]
        return await run_in_threadpool(self._figures, *names)

    def _figures(self, device_id: str, asset: str, alert_id: str) -> Response:
        def read(connection: Connection, _now_ns: int) -> Any:
            return read_alert(connection, device_id, asset, alert_id), read_commissioning(connection, device_id, asset)

        alert, learned = self._desk.read(read)
        if alert is None:
            return refused(404, "no such alert")
        excerpt = read_excerpt(self._lake, device_id, alert)
        if excerpt is None:
            return JSONResponse({"none": _NONE}, headers=PAGE_HEADERS)
        kind = kind_of(alert.profile, self._profiles_dir, learned)
        return JSONResponse(figures(excerpt, alert, kind), headers=PAGE_HEADERS)

    def _read(self, connection: Connection, look: Look) -> AlertView | None:
        device_id, asset = look.get("device"), look.get("asset")
        tile = read_tile(connection, look.heard_since_ns, device_id, asset)
        alert = read_alert(connection, device_id, asset, look.get("alert")) if tile else None
        if tile is None or alert is None:
            return None
        from_s = (alert.said_opened_ns - _AROUND_NS) // NS_PER_S
        to_s = None if alert.closed_ns is None else (alert.closed_ns + _AROUND_NS) // NS_PER_S
        return AlertView(alert, tile, profile_title(tile.profile, self._profiles_dir), from_s, to_s)
