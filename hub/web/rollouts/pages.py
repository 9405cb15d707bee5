"""Rollouts as they proceed.

/rollouts                     all of them, and what to start one with
/rollouts/new?bundle=ID       the plan as it would be, before anything begins; POST /rollouts begins
/rollouts/{rollout}           one of them
/rollouts/{rollout}/{step}    GET asks whether it is meant; POST pauses, resumes, aborts or rolls back
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hub.api.problems import Problem
from hub.rollout.gates import GateSettings
from hub.rollout.machine import Plan
from hub.rollout.service import RolloutService, Wishes
from hub.web.desk import Desk
from hub.web.forms import read_form, whole_number
from hub.web.guard import PageGuard, principal_of, refused, see_other
from hub.web.part import Look, Part
from hub.web.rollouts.list import read_rollout_list, read_startable
from hub.web.rollouts.view import RolloutPage, read_rollout, rollout_digest
from models.errors import RolloutError

STEPS: Final = {  # what is asked before it is done
    "pause": ("Pause", "It stays at its stage until it is resumed. Its evidence is still judged: a flood of alarms halts it."),
    "resume": ("Resume", "Its gates may take it to the next stage again."),
    "rollback": (
        "Roll back",
        "Every device returns to what it ran before at its next check-in, and the hub watches that they do.",
    ),
    "abort": (
        "Abort",
        "It ends at once. Devices return to what they ran before at their next check-in; nobody waits for their word.",
    ),
}
_WISHES: Final = ("bundle", "canaries", "waves", "min_windows", "skip_shadow")
MAX_DEVICES: Final = 1_000_000
KEPT_S: Final = 5.0
MAX_KEPT: Final = 8


class RolloutPages:
    """The endpoints and what they share."""

    nav = (("/rollouts", "Rollouts"),)

    def __init__(self, desk: Desk, rollouts: RolloutService) -> None:
        self._desk = desk
        self._rollouts = rollouts
        self._kept: dict[str, tuple[str, float, RolloutPage]] = {}
        self._plans: dict[tuple[str, Wishes], tuple[float, Plan]] = {}

    def parts(self) -> Mapping[str, Part]:
        return {
            "rollout_list": Part(read_rollout_list),
            "rollout": Part(self._read, scope=("rollout",), known=rollout_digest),
        }

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [
            guard.page("/rollouts", self.all),
            guard.page("/rollouts/new", self.plan),
            guard.action("/rollouts", self.start),
            guard.page("/rollouts/{rollout_id}", self.one),
            guard.page("/rollouts/{rollout_id}/{step}", self.ask),
            guard.action("/rollouts/{rollout_id}/{step}", self.steer),
        ]

    async def all(self, request: Request) -> Response:
        def more(connection: Connection, _look: Look) -> Mapping[str, Any]:
            return {"startable": read_startable(connection)}

        return await self._desk.page(request, "rollouts.html", ["rollout_list"], more)

    async def one(self, request: Request) -> Response:
        return await self._desk.page(request, "rollout.html", ["rollout"], query=_scope(request))

    async def plan(self, request: Request) -> Response:
        """What a rollout of `?bundle=` would look like."""
        return await self._plan(request, {name: request.query_params.get(name, "") for name in _WISHES})

    async def start(self, request: Request) -> Response:
        try:
            fields = await read_form(request, _WISHES)
        except Problem as problem:
            return refused(problem.status, str(problem))
        wishes = wishes_of(fields)
        actor = principal_of(request).actor

        def begin() -> str:
            return self._rollouts.start(
                fields["bundle"][:64],
                now_ns=self._desk.clock(),
                skip_shadow=wishes.skip_shadow,
                canaries=wishes.canaries,
                min_windows=wishes.min_windows,
                waves=wishes.waves,
                actor=actor,
            )

        try:
            rollout_id = await run_in_threadpool(begin)
        except RolloutError as error:
            return await self._plan(request, fields, str(error))
        return see_other(f"/rollouts/{quote(rollout_id, safe='')}")

    async def ask(self, request: Request) -> Response:
        step = request.path_params["step"]
        if step not in STEPS:
            return refused(404, "no such step")

        def more(_connection: Connection, _look: Look) -> Mapping[str, Any]:
            return {"step": step, "words": STEPS[step]}

        return await self._desk.page(request, "rollout_step.html", ["rollout"], more, query=_scope(request))

    async def steer(self, request: Request) -> Response:
        rollout_id, step = request.path_params["rollout_id"], request.path_params["step"]
        actor = principal_of(request).actor
        try:
            await run_in_threadpool(self._rollouts.steer, rollout_id, step, now_ns=self._desk.clock(), actor=actor)
        except RolloutError as error:
            return refused(409, str(error))
        return see_other(f"/rollouts/{quote(rollout_id, safe='')}")

    def _read(self, connection: Connection, look: Look) -> RolloutPage | None:
        """The view of thousands of devices takes a tenth of a second: it is kept for KEPT_S while nothing happens."""
        rollout_id, digest = look.get("rollout"), rollout_digest(connection, look)
        known = self._kept.get(rollout_id)
        if known is not None and known[0] == digest and time.monotonic() < known[1]:
            return known[2]
        view = read_rollout(connection, look)
        if view is not None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[rollout_id] = digest, time.monotonic() + KEPT_S, view
        return view

    def _preview(self, bundle_id: str, wishes: Wishes) -> Plan:
        """As `RolloutService.preview`, kept for KEPT_S: drawing thousands of devices takes a tenth of a second, too."""
        known = self._plans.get((bundle_id, wishes))
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        plan = self._rollouts.preview(bundle_id, wishes, now_ns=self._desk.clock())
        if len(self._plans) >= MAX_KEPT:
            self._plans.clear()
        self._plans[bundle_id, wishes] = time.monotonic() + KEPT_S, plan
        return plan

    async def _plan(self, request: Request, fields: Mapping[str, str], wrong: str = "") -> Response:
        """`wrong`: why what was asked for could not be begun."""
        wishes = wishes_of(fields)

        def preview(bundle_id: str) -> tuple[Plan | None, str]:
            if not bundle_id:
                return None, ""
            try:
                return self._preview(bundle_id, wishes), wrong
            except RolloutError as error:
                return None, wrong or str(error)

        plan, said = await run_in_threadpool(preview, fields["bundle"][:64])

        def more(connection: Connection, _look: Look) -> Mapping[str, Any]:
            values = {"plan": plan, "wrong": said, "wishes": wishes, "chosen": fields["bundle"][:64], "gates": GateSettings()}
            return {**values, "startable": read_startable(connection)}

        response = await self._desk.page(request, "rollout_new.html", [], more)
        if said:
            response.status_code = 409
        return response


def wishes_of(fields: Mapping[str, str]) -> Wishes:
    """What a form or an address asks for; what is no number there counts as not said."""
    return Wishes(
        skip_shadow=fields["skip_shadow"] == "yes",
        canaries=whole_number(fields["canaries"], 1, MAX_DEVICES),
        min_windows=whole_number(fields["min_windows"], 1, 1_000_000_000),
        waves=whole_number(fields["waves"], 1, 1000) or 1,
    )


def _scope(request: Request) -> dict[str, str]:
    return {"rollout": request.path_params["rollout_id"]}
