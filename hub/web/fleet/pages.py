"""The whole fleet, and single devices.

/fleet                  every asset, as a map or as a list: see fleet_filter.py for what its address says
/devices/{device}       one device
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, func, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hub.operators.rights import AUDIT
from hub.state.schema import assets, bundles, device_slots, devices
from hub.web.desk import Desk
from hub.web.fleet.device import read_device, read_device_audit
from hub.web.fleet.filter import fleet_filter
from hub.web.fleet.list import list_digest, read_list
from hub.web.fleet.map import fleet_digest, read_map
from hub.web.guard import PageGuard, principal_of
from hub.web.part import Part

MAX_CHOICES: Final = 500  # in a select: beyond that, typing is quicker
_AUDIT_PART: Final = "deviceaudit"
PARTS: Final[Mapping[str, Part]] = {
    "fleetmap": Part(
        lambda connection, look: read_map(connection, look.heard_since_ns, fleet_filter(look.query)),
        known=lambda connection, look: fleet_digest(connection, look.heard_since_ns),
    ),
    "fleetlist": Part(
        lambda connection, look: read_list(connection, look.heard_since_ns, fleet_filter(look.query)),
        known=lambda connection, look: list_digest(connection, look.heard_since_ns),
    ),
    "device": Part(
        lambda connection, look: read_device(connection, look.heard_since_ns, look.get("device")), scope=("device",)
    ),
    _AUDIT_PART: Part(
        lambda connection, look: read_device_audit(connection, look.get("device")), scope=("device",), right=AUDIT
    ),
}


class FleetPages:
    """The endpoints and what they share."""

    nav = (("/fleet", "Fleet"),)

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def parts(self) -> Mapping[str, Part]:
        return PARTS

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [guard.page("/fleet", self.fleet), guard.page("/devices/{device}", self.device)]

    async def fleet(self, request: Request) -> Response:
        wanted = fleet_filter(request.query_params)
        part = "fleetlist" if wanted.view == "list" else "fleetmap"
        return await self._desk.page(
            request, "fleet.html", [part], lambda connection, _look: {"wanted": wanted, "part": part, **_choices(connection)}
        )

    async def device(self, request: Request) -> Response:
        parts = ["device", _AUDIT_PART] if principal_of(request).may(AUDIT) else ["device"]
        return await self._desk.page(request, "device.html", parts, query=dict(request.path_params))


def _choices(connection: Connection) -> dict[str, Any]:
    """What the filters offer."""
    sites = select(devices.c.site).distinct().order_by(devices.c.site).limit(MAX_CHOICES)
    profiles = select(assets.c.profile).distinct().order_by(assets.c.profile).limit(MAX_CHOICES)
    held = device_slots.join(bundles, bundles.c.bundle_id == device_slots.c.bundle_id)
    models = select(bundles.c.profile, bundles.c.version, bundles.c.bundle_id, func.count()).select_from(held)
    models = models.where(device_slots.c.slot == "active").group_by(bundles.c.profile, bundles.c.version, bundles.c.bundle_id)
    newest = models.order_by(bundles.c.profile, bundles.c.version.desc()).limit(MAX_CHOICES)
    return {
        "sites": connection.execute(sites).scalars().all(),
        "profiles": connection.execute(profiles).scalars().all(),
        "models": connection.execute(newest).all(),
    }
