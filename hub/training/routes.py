"""Operators' routes about learning: what an alert was, who approves a bundle, and its card for people."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine

from hub.access import Access
from hub.api.guard import Actor, guarded_by
from hub.api.openapi import problems
from hub.api.problems import Problem
from hub.registry.approval import approval_of, approve
from hub.registry.holding import devices_holding
from hub.registry.registry import Registry
from hub.state.database import reading
from hub.training.card_html import card_html
from hub.training.feedback import FeedbackError, give_feedback
from models.errors import BundleError

_MAX_BODY = 64 * 1024
Note = Annotated[str, Field(max_length=2000)]


class FeedbackGiven(BaseModel):
    """What an operator says of an alert."""

    model_config = ConfigDict(extra="forbid")
    label: Literal["confirm", "false-alarm", "maintenance"]
    note: Note = ""


class ApprovalGiven(BaseModel):
    """`by`: who answers for the bundle."""

    model_config = ConfigDict(extra="forbid")
    by: Annotated[str, Field(min_length=1, max_length=200)]
    note: Note = ""


class LearningApi:
    """The endpoints and what they share."""

    def __init__(self, engine: Engine, access: Access, registry: Registry, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._engine = engine
        self._access = access
        self._registry = registry
        self._now_ns = now_ns

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1", route_class=guarded_by(self._access, _MAX_BODY))
        router.post("/alerts/{device_id}/{alert_id}/feedback", status_code=204, responses=problems(404))(self.feedback)
        router.post("/bundles/{bundle_id}/approval", status_code=204, responses=problems(404))(self.approve)
        router.get("/bundles/{bundle_id}/card.html", response_class=HTMLResponse, responses=problems(404))(self.card)
        return router

    def feedback(self, device_id: str, alert_id: str, said: FeedbackGiven, actor: Actor) -> None:
        """Say what an alert was; the latest word counts in training and evaluation."""
        try:
            with self._engine.begin() as connection:
                give_feedback(connection, device_id, alert_id, said.label, actor=actor, note=said.note, now_ns=self._now_ns())
        except FeedbackError as error:
            raise Problem(404, "not-found", str(error)) from None

    def approve(self, bundle_id: str, given: ApprovalGiven, actor: Actor) -> None:
        """Answer for a bundle; needed before its rollout where the hub requires it."""
        self._get(bundle_id)
        with self._engine.begin() as connection:
            approve(connection, bundle_id, approver=given.by, actor=actor, note=given.note, now_ns=self._now_ns())

    def card(self, bundle_id: str) -> HTMLResponse:
        """The bundle's model card as one HTML file."""
        entry = self._get(bundle_id)
        with reading(self._engine).begin() as connection:
            text = card_html(entry, approval_of(connection, bundle_id), devices_holding(connection, bundle_id))
        return HTMLResponse(text, headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"})

    def _get(self, bundle_id: str) -> dict[str, object]:
        try:
            return self._registry.get(bundle_id)
        except BundleError as error:
            raise Problem(404, "not-found", str(error)) from None
