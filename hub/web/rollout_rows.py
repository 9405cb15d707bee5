"""What the pages show of rollouts: how far each has come, what its gates say, and on what evidence.

1. Invariants 1 to 3 of `queries.py` hold here too.
2. Figures are those that the gates judged; nothing is judged again here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, case, func, select

from hub.rollout.machine import OPEN
from hub.state.schema import bundles, rollout_events, rollouts, stage_evidence
from hub.web.words import label

MAX_ROLLOUTS: Final = 6
FAILED: Final = ("halted", "rolled_back", "aborted")


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage of a rollout. `progress`: done, current, failed, ahead."""

    name: str
    mode: str
    n_devices: int
    progress: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate and incumbent on the same windows; shares in 0..1. `limit`: what the candidate may reach, None = unknown."""

    name: str
    candidate: float
    incumbent: float
    limit: float | None


@dataclass(frozen=True, slots=True)
class GateView:
    """What one gate said last: pass, wait or halt, and why."""

    name: str
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the current stage has gathered so far."""

    n_devices: int
    n_windows: int
    n_faulty: int
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class RolloutView:
    """`verdict`: what the gates came to last (pass, wait, halt), "" before the first time; `gates` says each one's part.
    `returning`: while halted, who has yet to return to the incumbent.
    """

    rollout_id: str
    profile: str
    bundle_id: str
    version: int | None
    incumbent_id: str | None
    incumbent_version: int | None
    state: str
    stages: tuple[StageView, ...]
    stage_since_ns: int
    ended_ns: int | None
    reason: str
    returning: str
    verdict: str
    gates: tuple[GateView, ...]
    evidence: Evidence | None

    @property
    def here(self) -> str:
        """The stage it is at; "" where the plan is not known."""
        return next((stage.name for stage in self.stages if stage.progress in ("current", "failed")), "")


def read_rollouts(connection: Connection, limit: int = MAX_ROLLOUTS, only: str = "") -> tuple[RolloutView, ...]:
    """Those that are not ended first, then the latest ended ones; or the one that is called `only`."""
    rank = case((rollouts.c.state.in_(OPEN), 0), else_=1)
    before = bundles.alias("before")
    joined = rollouts.outerjoin(bundles, bundles.c.bundle_id == rollouts.c.bundle_id).outerjoin(
        before, before.c.bundle_id == rollouts.c.incumbent_id
    )
    chosen = select(rollouts, bundles.c.version, before.c.version.label("incumbent_version")).select_from(joined)
    if only:
        chosen = chosen.where(rollouts.c.rollout_id == only)
    rows = connection.execute(chosen.order_by(rank, rollouts.c.created_ns.desc()).limit(limit)).all()
    ids = [row.rollout_id for row in rows]
    said = _latest_said(connection, ids)
    evidence = _evidence(connection, ids)
    return tuple(_rollout(row, said, evidence) for row in rows)


def _latest_said(connection: Connection, ids: Sequence[str]) -> dict[tuple[str, str], Row[Any]]:
    """The latest event of each rollout and of each word that the gates have, by (rollout, word)."""
    table = rollout_events.c
    spoken = table.rollout_id.in_(ids) & table.event.in_(("pass", "wait", "halt"))
    latest = select(func.max(table.event_id)).where(spoken).group_by(table.rollout_id, table.event)
    rows = connection.execute(select(rollout_events).where(table.event_id.in_(latest)))
    return {(row.rollout_id, row.event): row for row in rows}


def _deciding(row: Row[Any], said: Mapping[tuple[str, str], Row[Any]]) -> Row[Any] | None:
    """What to show the gates by: what stopped the rollout where something did, else what they said last."""
    stopped = said.get((row.rollout_id, "halt"))
    if row.state in FAILED and stopped:
        return stopped
    events = [event for word in ("pass", "wait", "halt") if (event := said.get((row.rollout_id, word)))]
    return max(events, key=lambda event: event.event_id, default=None)


def _evidence(connection: Connection, ids: Sequence[str]) -> dict[tuple[str, str], Row[Any]]:
    """The sums over the devices of each stage, by (rollout, stage)."""
    table = stage_evidence.c
    names = ("n_windows", "n_alarm_candidate", "n_alarm_incumbent", "n_low_p_candidate", "n_low_p_incumbent", "n_faulty")
    sums = [func.sum(table[name]).label(name) for name in names]
    chosen = select(table.rollout_id, table.stage, func.count().label("n_devices"), *sums).where(table.rollout_id.in_(ids))
    rows = connection.execute(chosen.group_by(table.rollout_id, table.stage))
    return {(row.rollout_id, row.stage): row for row in rows}


def _rollout(
    row: Row[Any], said: Mapping[tuple[str, str], Row[Any]], evidence: Mapping[tuple[str, str], Row[Any]]
) -> RolloutView:
    planned = row.plan.get("stages", []) if isinstance(row.plan, Mapping) else []
    stages = tuple(_stage(stage, index, row) for index, stage in enumerate(planned))
    here = stages[row.stage].name if 0 <= row.stage < len(stages) else ""
    event = _deciding(row, said)
    gates = event.figures.get("gates", []) if event else []
    gathered = evidence.get((row.rollout_id, here))
    waiting = said.get((row.rollout_id, "wait"))
    return RolloutView(
        rollout_id=row.rollout_id,
        profile=row.profile,
        bundle_id=row.bundle_id,
        version=row.version,
        incumbent_id=row.incumbent_id,
        incumbent_version=row.incumbent_version,
        state=row.state,
        stages=stages,
        stage_since_ns=row.stage_since_ns,
        ended_ns=row.ended_ns,
        reason=row.reason,
        returning=waiting.figures.get("reason", "") if row.state == "halted" and waiting else "",
        verdict=event.event if event else "",
        gates=tuple(GateView(label(str(each["gate"])), each["verdict"], each["reason"]) for each in gates),
        evidence=_gathered(gathered, gates) if gathered and gathered.n_windows else None,
    )


def _gathered(row: Row[Any], gates: Sequence[Mapping[str, Any]]) -> Evidence:
    limits = {each["gate"]: each["figures"].get("limit") for each in gates}
    n = row.n_windows
    comparisons = (
        Comparison("in alarm", row.n_alarm_candidate / n, row.n_alarm_incumbent / n, limits.get("alarm_rate")),
        Comparison("unlikely (p ≤ 0.01)", row.n_low_p_candidate / n, row.n_low_p_incumbent / n, limits.get("low_p")),
    )
    return Evidence(row.n_devices, n, row.n_faulty, comparisons)


def _stage(stage: Mapping[str, Any], index: int, row: Row[Any]) -> StageView:
    if row.state == "done" or index < row.stage:
        progress = "done"
    elif index > row.stage:
        progress = "ahead"
    else:
        progress = "failed" if row.state in FAILED else "current"
    return StageView(str(stage.get("name", index + 1)), str(stage.get("mode", "")), len(stage.get("devices") or ()), progress)
