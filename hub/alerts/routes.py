"""Operators' routes about single alerts: all that is known of one, that somebody is on it, and notes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine

from hub.access import Access
from hub.alerts.handling import MAX_NOTE, HandlingError, acknowledge, add_note, alert_detail
from hub.api.guard import Actor, guarded_by
from hub.api.openapi import problems
from hub.api.problems import Problem
from hub.api.shapes import AlertView
from hub.state.database import reading

_MAX_BODY = 64 * 1024


class NoteGiven(BaseModel):
    """What somebody found."""

    model_config = ConfigDict(extra="forbid")
    note: Annotated[str, Field(min_length=1, max_length=MAX_NOTE, pattern=r"\S")]


class Acknowledged(BaseModel):
    """Who is on it, and since when."""

    at_ns: int
    actor: str


class Said(BaseModel):
    """What somebody said an alert was."""

    at_ns: int
    actor: str
    label: str
    note: str


class Note(BaseModel):
    """What somebody found."""

    at_ns: int
    actor: str
    note: str


class AlertDetail(AlertView):
    """An alert with what people did about it; `feedback` and `notes` in order, the latest word of feedback counts."""

    acknowledged: Acknowledged | None
    feedback: list[Said]
    notes: list[Note]


class AlertsApi:
    """The endpoints and what they share."""

    def __init__(self, engine: Engine, access: Access, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._engine = engine
        self._access = access
        self._now_ns = now_ns

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1/alerts/{device_id}/{alert_id}", route_class=guarded_by(self._access, _MAX_BODY))
        router.get("", responses=problems(404))(self.detail)
        router.post("/acknowledge", status_code=204, responses=problems(404))(self.acknowledge)
        router.post("/notes", status_code=204, responses=problems(404))(self.note)
        return router

    def detail(self, device_id: str, alert_id: str) -> AlertDetail:
        """One alert, and what people did about it."""
        with reading(self._engine).begin() as connection:
            found = alert_detail(connection, device_id, alert_id)
        if found is None:
            raise Problem(404, "not-found", f"no alert {alert_id} of {device_id}")
        return AlertDetail(**found)

    def acknowledge(self, device_id: str, alert_id: str, actor: Actor) -> None:
        """Say that you are on it; the first who says so stands."""
        try:
            with self._engine.begin() as connection:
                acknowledge(connection, [(device_id, alert_id)], actor=actor, now_ns=self._now_ns())
        except HandlingError as error:
            raise Problem(404, "not-found", str(error)) from None

    def note(self, device_id: str, alert_id: str, given: NoteGiven, actor: Actor) -> None:
        """Append a note."""
        try:
            with self._engine.begin() as connection:
                add_note(connection, device_id, alert_id, given.note, actor=actor, now_ns=self._now_ns())
        except HandlingError as error:
            raise Problem(404, "not-found", str(error)) from None
