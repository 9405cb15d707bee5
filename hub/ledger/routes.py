"""The account of a device over a span of time, for operators; whoever may look may ask (the least role)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import Engine

from hub.access import Access
from hub.api.guard import guarded_by
from hub.api.openapi import problems
from hub.api.problems import Problem
from hub.lake.lake import Lake
from hub.ledger.ledger import load_device
from hub.ledger.span import SpanLedger, span_ledger
from hub.state.database import reading
from models.contract.clock import NS_PER_S

MAX_NS = 2**63 - 1
DEFAULT_SPAN_NS = 7 * 86_400 * NS_PER_S
Ns = Annotated[int | None, Query(ge=0, le=MAX_NS)]


class LedgerApi:
    """One endpoint."""

    def __init__(self, engine: Engine, access: Access, lake: Lake, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._engine = reading(engine)
        self._access = access
        self._lake = lake
        self._now_ns = now_ns

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1", route_class=guarded_by(self._access, 0))
        router.get("/devices/{device_id}/ledger/span", responses=problems(404))(self.span)
        return router

    def span(self, device_id: str, since_ns: Ns = None, until_ns: Ns = None) -> SpanLedger:
        """What was received of a device in a span, late, merged, evicted and why, and what is missing; by default of the last
        seven days."""
        until_ns = self._now_ns() if until_ns is None else until_ns
        since_ns = max(0, until_ns - DEFAULT_SPAN_NS) if since_ns is None else since_ns
        if since_ns >= until_ns:
            raise Problem(422, "bad-request", f"since_ns {since_ns} is not before until_ns {until_ns}")
        with self._engine.begin() as connection:
            if not load_device(connection, device_id):
                raise Problem(404, "not-found", f"nothing was received of a device {device_id}")
            return span_ledger(connection, self._lake, device_id, since_ns, until_ns)
