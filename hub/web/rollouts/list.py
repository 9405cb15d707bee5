"""Every rollout that there was, newest first, a page at a time, without the plans of thousands of devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select, tuple_

from hub.rollout.machine import OPEN
from hub.state.schema import bundles, fleet_bundles, rollout_events, rollouts
from hub.web.part import Look
from hub.web.rollout_rows import FAILED, StageView

MAX_ROWS: Final = 25
MAX_BUNDLES: Final = 40


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """`stages`: as planned when it began, empty where that is not known. `n_devices`: that it is for in all."""

    rollout_id: str
    profile: str
    bundle_id: str
    version: int | None
    incumbent_id: str | None
    incumbent_version: int | None
    state: str
    created_ns: int
    ended_ns: int | None
    stage_since_ns: int
    reason: str
    stages: tuple[StageView, ...]
    n_devices: int


@dataclass(frozen=True, slots=True)
class RolloutList:
    """`older`: what an address continues with, "" on the last page. `states`: how many rollouts are in each."""

    rows: tuple[RolloutRow, ...]
    older: str
    states: tuple[tuple[str, int], ...]

    @property
    def n_all(self) -> int:
        return sum(n for _, n in self.states)

    @property
    def n_open(self) -> int:
        return sum(n for state, n in self.states if state in OPEN)


@dataclass(frozen=True, slots=True)
class Startable:
    """A bundle that a rollout could begin with. `current`: what its profile's devices run, None = the baseline detector."""

    bundle_id: str
    profile: str
    version: int
    created_ns: int
    current: str | None


def read_rollout_list(connection: Connection, look: Look) -> RolloutList:
    """`?before=NS.ID`: those older than that one."""
    before = bundles.alias("before")
    joined = rollouts.outerjoin(bundles, bundles.c.bundle_id == rollouts.c.bundle_id).outerjoin(
        before, before.c.bundle_id == rollouts.c.incumbent_id
    )
    names = ("rollout_id", "profile", "bundle_id", "incumbent_id", "state", "stage", "created_ns", "ended_ns", "stage_since_ns")
    columns = [*(rollouts.c[name] for name in names), rollouts.c.reason, bundles.c.version]
    query = select(*columns, before.c.version.label("incumbent_version")).select_from(joined)
    order = tuple_(rollouts.c.created_ns, rollouts.c.rollout_id)
    if after := _after(look.get("before")):
        query = query.where(order < tuple_(*after))
    query = query.order_by(rollouts.c.created_ns.desc(), rollouts.c.rollout_id.desc()).limit(MAX_ROWS + 1)
    rows = connection.execute(query).all()
    shown = rows[:MAX_ROWS]
    plans = _plans(connection, [row.rollout_id for row in shown])
    older = f"{shown[-1].created_ns}.{shown[-1].rollout_id}" if len(rows) > MAX_ROWS else ""
    counted = connection.execute(select(rollouts.c.state, func.count()).group_by(rollouts.c.state).order_by(rollouts.c.state))
    return RolloutList(tuple(_row(row, plans.get(row.rollout_id, [])) for row in shown), older, tuple(counted.tuples()))


def read_startable(connection: Connection) -> tuple[Startable, ...]:
    """Signed bundles, newest first, but those that their profiles' devices run already."""
    current = fleet_bundles.c.bundle_id
    joined = bundles.outerjoin(fleet_bundles, fleet_bundles.c.profile == bundles.c.profile)
    columns = (bundles.c.bundle_id, bundles.c.profile, bundles.c.version, bundles.c.created_ns, current.label("current"))
    wanted = bundles.c.signed_ns.is_not(None), (current.is_(None) | (current != bundles.c.bundle_id))
    query = select(*columns).select_from(joined).where(*wanted).order_by(bundles.c.created_ns.desc(), bundles.c.bundle_id)
    return tuple(Startable(*row) for row in connection.execute(query.limit(MAX_BUNDLES)))


def _after(text: str) -> tuple[int, str] | None:
    at, _, rollout_id = text.partition(".")
    return (int(at), rollout_id) if at.isascii() and at.isdigit() and len(at) < 20 and len(rollout_id) <= 64 else None


def _plans(connection: Connection, ids: list[str]) -> dict[str, list[Any]]:
    """Stages with their sizes, as they were noted when the rollouts began."""
    event = rollout_events.c
    query = select(event.rollout_id, event.figures).where(event.rollout_id.in_(ids), event.event == "started")
    found = connection.execute(query).tuples()
    return {rollout_id: figures.get("stages", []) for rollout_id, figures in found if isinstance(figures, Mapping)}


def _row(row: Any, planned: list[Any]) -> RolloutRow:
    stages = tuple(_stage(stage, index, row) for index, stage in enumerate(planned))
    own = {name: getattr(row, name) for name in RolloutRow.__dataclass_fields__ if name not in ("stages", "n_devices")}
    n_devices = sum(stage.n_devices for stage in stages if stage.mode == "active")  # the shadow stage's are the canary's
    return RolloutRow(**own, stages=stages, n_devices=n_devices)


def _stage(stage: Mapping[str, Any], index: int, row: Any) -> StageView:
    if row.state == "done" or index < row.stage:
        progress = "done"
    else:
        progress = "ahead" if index > row.stage else "failed" if row.state in FAILED else "current"
    return StageView(str(stage.get("name", "")), str(stage.get("mode", "")), int(stage.get("devices", 0)), progress)
