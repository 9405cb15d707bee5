"""Rollouts as they proceed.

/rollouts/{rollout}/{step}   pause, resume, abort or roll back: a form's POST
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hub.rollout.service import RolloutService
from hub.web.desk import Desk
from hub.web.guard import PageGuard, principal_of, refused, see_other
from hub.web.part import Part
from models.errors import RolloutError


class RolloutPages:
    """The endpoints and what they share."""

    nav = ()

    def __init__(self, desk: Desk, rollouts: RolloutService) -> None:
        self._desk = desk
        self._rollouts = rollouts

    def parts(self) -> Mapping[str, Part]:
        return {}

    def routes(self, guard: PageGuard) -> list[BaseRoute]:
        return [guard.action("/rollouts/{rollout_id}/{step}", self.steer)]

    async def steer(self, request: Request) -> Response:
        rollout_id, step = request.path_params["rollout_id"], request.path_params["step"]
        actor = principal_of(request).actor
        try:
            await run_in_threadpool(self._rollouts.steer, rollout_id, step, now_ns=self._desk.clock(), actor=actor)
        except RolloutError as error:
            return refused(409, str(error))
        return see_other("/#rollouts")
