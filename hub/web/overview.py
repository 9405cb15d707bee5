"""The overview: a table of parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hub.web.alert_rows import read_alerts, read_faults
from hub.web.desk import Desk
from hub.web.guard import PageGuard
from hub.web.learning import read_models
from hub.web.part import Part
from hub.web.queries import STATES, read_fleet, read_ledger, read_tiles
from hub.web.rollout_rows import read_rollouts
from hub.web.signin import SignInPages

PARTS: Final[Mapping[str, Part]] = {  # in the order of the page
    "fleet": Part(lambda connection, look: read_fleet(connection, look.heard_since_ns)),
    "alerts": Part(lambda connection, _look: read_alerts(connection)),
    "tiles": Part(lambda connection, look: read_tiles(connection, look.heard_since_ns, state_filter(look.query))),
    "faults": Part(lambda connection, _look: read_faults(connection)),
    "rollouts": Part(lambda connection, _look: read_rollouts(connection)),
    "models": Part(lambda connection, _look: read_models(connection)),
    "ledger": Part(lambda connection, _look: read_ledger(connection)),
}


class OverviewPage:
    """The first page: what needs attention, and how everything is."""

    nav = (("/", "Overview"),)

    def __init__(self, desk: Desk, signing: SignInPages) -> None:
        self._desk = desk
        self._signing = signing

    def parts(self) -> Mapping[str, Part]:
        return PARTS

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        page = guard.page("/", self.page)
        return [Route("/", self._signing.or_by_address(page.endpoint))]

    async def page(self, request: Request) -> Response:
        return await self._desk.page(request, "overview.html", PARTS)


def state_filter(query: Mapping[str, str]) -> str:
    """The `?state=` of an address; "" where it is absent or no state."""
    wanted = query.get("state", "")
    return wanted if wanted in STATES else ""
