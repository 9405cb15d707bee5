"""What the learning brought, for scripts; whoever may look may ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter
from sqlalchemy import Engine

from hub.access import Access
from hub.api.guard import guarded_by
from hub.lake.lake import Lake
from hub.state.database import reading
from hub.value.report import ValueFigures
from hub.value.shapes import ValueReport


class ValueApi:
    """One endpoint."""

    def __init__(
        self, engine: Engine, access: Access, lake: Lake, profiles_dir: Path | None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._engine = reading(engine)
        self._access = access
        self._lake = lake
        self._figures = ValueFigures(profiles_dir)
        self._now_ns = now_ns

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1", route_class=guarded_by(self._access, 0))
        router.get("/value")(self.value)
        return router

    def value(self) -> ValueReport:
        """False alarms and delays by model, bytes not sent, alerts by what operators said; definitions in docs/value.md."""
        with self._engine.begin() as connection:
            return self._figures.report(connection, self._lake.dataset("aggregates"), self._now_ns())
