"""The alert inbox, and what people do there.

/alerts                              by incident; see inbox_filter.py for what its address says
/alerts/{device}/{alert}/{step}      a form's POST: acknowledge, incident (acknowledges all of it), note, or a word of feedback;
                                     `feedback` takes the word from the form, and leads back to the asset
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote

from sqlalchemy import Engine, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hub.alerts.handling import HandlingError, acknowledge, add_note
from hub.api.bodies import read_body
from hub.api.problems import Problem
from hub.notify.config import Notify
from hub.state.schema import alerts
from hub.training.feedback import LABELS, FeedbackError, Label, give_feedback
from hub.web.desk import Desk
from hub.web.guard import PageGuard, principal_of, refused, see_other
from hub.web.inbox.filter import inbox_filter
from hub.web.inbox.told import read_told
from hub.web.inbox.view import choices, inbox_digest, incident_of, read_inbox
from hub.web.part import Part

MAX_FORM_BYTES: Final = 16 * 1024  # a note of 2000 characters, each percent-encoded
STEPS: Final = ("acknowledge", "incident", "note", *LABELS)


class InboxPages:
    """The endpoints and what they share. `engine` writes."""

    nav = (("/alerts", "Alerts"),)

    def __init__(self, desk: Desk, engine: Engine, notify: Notify) -> None:
        self._desk = desk
        self._engine = engine
        self._parts: Mapping[str, Part] = {
            "inbox": Part(
                lambda connection, look: read_inbox(connection, inbox_filter(look.query)),
                known=lambda connection, _look: inbox_digest(connection),
            ),
            "told": Part(lambda connection, _look: read_told(connection, notify)),
        }

    def parts(self) -> Mapping[str, Part]:
        return self._parts

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [guard.page("/alerts", self.page), guard.action("/alerts/{device}/{alert}/{step}", self.act)]

    async def page(self, request: Request) -> Response:
        wanted = inbox_filter(request.query_params)
        return await self._desk.page(
            request, "alerts.html", self._parts, lambda connection, _look: {"wanted": wanted, **choices(connection)}
        )

    async def act(self, request: Request) -> Response:
        """What was done, and back to the inbox as it was filtered."""
        try:
            body = await read_body(request, MAX_FORM_BYTES)
        except Problem as problem:
            return refused(problem.status, str(problem))
        fields = parse_qs(body.decode("utf-8", "replace"))
        note = fields.get("note", [""])[0].replace("\r\n", "\n").strip()
        step = request.path_params["step"]
        by_word = step == "feedback"
        step = fields.get("label", [""])[0] if by_word else step
        if step not in (LABELS if by_word else STEPS):
            return refused(404, f"no such step; there are {', '.join(STEPS)}")
        try:
            asset = await run_in_threadpool(self._do, request, step, note)
        except (HandlingError, FeedbackError) as error:
            return refused(409, str(error))
        if by_word:
            return see_other(f"/assets/{quote(request.path_params['device'], safe='')}/{quote(asset, safe='')}")
        return see_other("/alerts" + inbox_filter(request.query_params).query())

    def _do(self, request: Request, step: str, note: str) -> str:
        """The alert's asset."""
        device, alert = request.path_params["device"], request.path_params["alert"]
        by: dict[str, Any] = {"actor": principal_of(request).actor, "now_ns": self._desk.clock()}
        with self._engine.begin() as connection:
            if step == "acknowledge":
                acknowledge(connection, [(device, alert)], **by)
            elif step == "incident":
                acknowledge(connection, incident_of(connection, device, alert) or [(device, alert)], **by)
            elif step != "note":
                label: Label = next(label for label in LABELS if label == step)
                give_feedback(connection, device, alert, label, note=note, **by)
            if step == "note" or (note and step not in LABELS):  # with a word of feedback the note is kept beside it
                add_note(connection, device, alert, note, **by)
            mine = (alerts.c.device_id == device) & (alerts.c.alert_id == alert)
            return str(connection.execute(select(alerts.c.asset).where(mine)).scalar_one())
