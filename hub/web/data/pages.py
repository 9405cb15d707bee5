"""What came, what is kept, how good it is, and who may answer for it.

/data               the lake, completeness, quality, drift, retention, quarantine
/data/catalogue     profiles, channels, features
/data/audit         who changed what; ?actor=…&action=…&before=NUMBER; ?verify=yes follows the newest of the chain
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import Connection, Engine
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hub.audit.log import AuditBroken, head_of, read_entries, verify_latest
from hub.lake.days import DAY_NS
from hub.settings import HubConfig
from hub.state.database import reading
from hub.web.data.catalogue import read_catalogue
from hub.web.data.completeness import read_completeness
from hub.web.data.lake import read_drift, read_lake
from hub.web.data.views import read_keeping, read_quality, read_received
from hub.web.desk import Desk
from hub.web.forms import whole_number
from hub.web.guard import PageGuard
from hub.web.kept import Kept
from hub.web.part import Look, Part

LAKE_S: Final = 30.0
DRIFT_S: Final = 600.0  # it reads a day of the lake
STATE_S: Final = 10.0
MAX_ENTRIES: Final = 50
MAX_VERIFIED: Final = 5000
MAX_NUMBER: Final = 10**12
_MAX_WORD: Final = 128


class DataPages:
    """The endpoints and what they share. `engine`: as the figures beside the pages read it."""

    nav = (("/data", "Data"),)

    def __init__(self, desk: Desk, engine: Engine, lake: Any, config: HubConfig, profiles_dir: Path | None) -> None:
        self._desk = desk
        self._engine = reading(engine)
        self._config = config
        self._profiles_dir = profiles_dir
        self._lake = Kept(lambda: read_lake(engine, lake, config), LAKE_S)
        self._drift = Kept(lambda: read_drift(engine, lake, config, profiles_dir, desk.clock), DRIFT_S)
        self._completeness = self._of_state(read_completeness)
        self._quality = self._of_state(read_quality, LAKE_S)
        self._received = self._of_state(read_received)
        self._keeping = self._of_state(lambda connection, _today: read_keeping(connection))

    def parts(self) -> Mapping[str, Part]:
        kept: dict[str, Kept[Any]] = {
            "data_lake": self._lake,
            "data_completeness": self._completeness,
            "data_quality": self._quality,
            "data_drift": self._drift,
            "data_received": self._received,
            "data_keeping": self._keeping,
        }
        return {name: Part(_reader(figures)) for name, figures in kept.items()}

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [
            guard.page("/data", self.page),
            guard.page("/data/catalogue", self.catalogue),
            guard.page("/data/audit", self.audit),
        ]

    async def page(self, request: Request) -> Response:
        return await self._desk.page(request, "data.html", self.parts())

    async def catalogue(self, request: Request) -> Response:
        def more(connection: Connection, _look: Look) -> Mapping[str, Any]:
            return {"profiles": read_catalogue(connection, self._profiles_dir, self._config.catalogue)}

        return await self._desk.page(request, "catalogue.html", [], more)

    async def audit(self, request: Request) -> Response:
        asked = {name: request.query_params.get(name, "")[:_MAX_WORD] for name in ("actor", "action", "before", "verify")}
        before = whole_number(asked["before"], 1, MAX_NUMBER)

        def more(connection: Connection, _look: Look) -> Mapping[str, Any]:
            wanted = {"actor": asked["actor"], "action": asked["action"]}
            entries = read_entries(connection, before=before, limit=MAX_ENTRIES + 1, **wanted)
            shown = entries[:MAX_ENTRIES]
            filters = {name: value for name, value in wanted.items() if value}
            older = urlencode({**filters, "before": shown[-1].number}) if len(entries) > MAX_ENTRIES else ""
            verdict = _verified(connection) if asked["verify"] == "yes" else None
            head = head_of(connection)
            return {"entries": shown, "older": older, **wanted, "before": before, "head": head, "verdict": verdict}

        return await self._desk.page(request, "audit.html", [], more)

    def _of_state(self, read: Callable[[Connection, int], Any], max_age_s: float = STATE_S) -> Kept[Any]:
        def work() -> Any:
            with self._engine.begin() as connection:
                return read(connection, self._desk.clock() // DAY_NS)

        return Kept(work, max_age_s)


def _reader(figures: Kept[Any]) -> Callable[[Connection, Look], Any]:
    """A view that is always there: what is being worked out is told as `now` = None."""
    return lambda _connection, _look: figures.view()


def _verified(connection: Connection) -> tuple[bool, str]:
    """Whether the newest entries are as they were written, and in words."""
    try:
        n, head = verify_latest(connection, MAX_VERIFIED)
    except AuditBroken as error:
        return False, str(error)
    return True, f"{n:,} entries, the newest ones, are as they were written. Head: {head}" if n else "There is no entry yet."
