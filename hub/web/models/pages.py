"""Models, where they came from and where they are.

/models                       the registry, by profile
/models/{bundle}              one model: its card with pictures
/models/{bundle}/approval     answer for it: a form's POST
/runs/{run}                   one training run
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote

from sqlalchemy import Connection, Engine
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hub.api.bodies import read_body
from hub.api.problems import Problem
from hub.registry.approval import approve
from hub.web.desk import Desk
from hub.web.guard import PageGuard, principal_of, refused, see_other
from hub.web.models.run import read_run
from hub.web.models.versions import read_versions
from hub.web.models.view import read_model_card, read_model_state
from hub.web.part import Look, Part
from models.contract.names import is_name
from models.errors import BundleError

_MAX_FORM_BYTES: Final = 32 * 1024


class ModelPages:
    """The endpoints and what they share. `engine` writes; the desk's only reads."""

    nav = (("/models", "Models"),)

    def __init__(self, desk: Desk, engine: Engine) -> None:
        self._desk = desk
        self._engine = engine

    def parts(self) -> Mapping[str, Part]:
        return {
            "registry": Part(lambda connection, _look: read_versions(connection)),
            "model": Part(lambda connection, look: read_model_state(connection, look.get("bundle")), scope=("bundle",)),
            "run": Part(lambda connection, look: read_run(connection, look.get("run")), scope=("run",)),
        }

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [
            guard.page("/models", self.registry),
            guard.page("/models/{bundle}", self.model),
            guard.action("/models/{bundle}/approval", self.approve),
            guard.page("/runs/{run}", self.run),
        ]

    async def registry(self, request: Request) -> Response:
        return await self._desk.page(request, "models.html", ["registry"])

    async def model(self, request: Request) -> Response:
        def more(connection: Connection, look: Look) -> Mapping[str, Any]:
            return {"card": read_model_card(connection, look.get("bundle"))}

        return await self._desk.page(request, "model.html", ["model"], more, query=dict(request.path_params))

    async def run(self, request: Request) -> Response:
        return await self._desk.page(request, "run.html", ["run"], query=dict(request.path_params))

    async def approve(self, request: Request) -> Response:
        bundle_id = request.path_params["bundle"]
        try:
            body = await read_body(request, _MAX_FORM_BYTES)
        except Problem as problem:
            return refused(problem.status, str(problem))
        fields = parse_qs(body.decode("utf-8", "replace"))
        principal = principal_of(request)
        by = fields.get("by", [principal.name])[0].strip()
        note = fields.get("note", [""])[0].strip()
        try:
            await run_in_threadpool(self._approve, bundle_id, by, principal.actor, note)
        except BundleError as error:
            return refused(409, str(error))
        return see_other(f"/models/{quote(bundle_id, safe='')}" if is_name(bundle_id) else "/models")

    def _approve(self, bundle_id: str, by: str, actor: str, note: str) -> None:
        with self._engine.begin() as connection:
            approve(connection, bundle_id, approver=by, actor=actor, note=note, now_ns=self._desk.clock())
