"""What the page of one rollout shows: its stages, cohort, gates as they were judged over time, and its history.

1. Invariants 1 to 3 of `queries.py` hold here too: no ages, and a fixed number of statements.
2. Figures are those that the gates judged; nothing is judged again here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select

from hub.rollout.gates import GATES
from hub.rollout.history import Point, Shares, points_of
from hub.rollout.machine import OPEN, Plan
from hub.state.schema import bundle_failures, device_slots, devices, rollout_events, rollout_history, rollouts, stage_evidence
from hub.web.line_plot import LinePlot, line_plot
from hub.web.live import digest
from hub.web.part import Look
from hub.web.rollout_rows import RolloutView, read_rollouts
from hub.web.rollouts.cohort import Cohort, read_cohort
from hub.web.words import label, percent

MAX_EVENTS: Final = 200
MAX_TICKS: Final = 60  # of a gate's strip
_SHARES: Final = (("alarm_rate", "windows in alarm"), ("low_p", "windows with p ≤ 0.01"))


@dataclass(frozen=True, slots=True)
class Progress:
    """Evidence against the least that is needed."""

    name: str
    gathered: float
    needed: float
    unit: str

    @property
    def share(self) -> float:
        return min(1.0, self.gathered / self.needed) if self.needed else 1.0


@dataclass(frozen=True, slots=True)
class Strip:
    """One gate's verdicts over a stage, oldest first: (verdict, windows by then)."""

    gate: str
    ticks: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class StageStory:
    """How a stage went. `plots`: (what, plot) of the shares that are compared."""

    stage: str
    n_points: int
    n_windows: int
    verdict: str
    strips: tuple[Strip, ...]
    plots: tuple[tuple[str, LinePlot], ...]


@dataclass(frozen=True, slots=True)
class EventView:
    """A decision."""

    at_ns: int
    stage: str
    event: str
    reason: str


@dataclass(frozen=True, slots=True)
class RolloutPage:
    """`rollout`: as on the overview. `steps`: what may be done to it now. `n_events`: of which `events` are the newest."""

    rollout: RolloutView
    created_ns: int
    min_windows: int
    progress: tuple[Progress, ...]
    cohort: Cohort
    stories: tuple[StageStory, ...]
    events: tuple[EventView, ...]
    n_events: int
    steps: tuple[str, ...]


def read_rollout(connection: Connection, look: Look) -> RolloutPage | None:
    """The rollout that the query names; None where there is none."""
    rollout_id = look.get("rollout")
    row = connection.execute(select(rollouts).where(rollouts.c.rollout_id == rollout_id)).one_or_none()
    if row is None:
        return None
    [view] = read_rollouts(connection, only=rollout_id)
    plan = Plan.from_json(row.plan)
    events = _events(connection, rollout_id)
    n_events = connection.execute(select(func.count()).where(rollout_events.c.rollout_id == rollout_id)).scalar_one()
    points = points_of(connection, rollout_id)
    return RolloutPage(
        rollout=view,
        created_ns=row.created_ns,
        min_windows=plan.gates.min_windows,
        progress=_progress(events) if row.state in OPEN else (),
        cohort=read_cohort(connection, row, plan, look.heard_since_ns),
        stories=tuple(_story(stage.name, [p for p in points if p.stage == stage.name]) for stage in plan.stages),
        events=tuple(_event(event) for event in events),
        n_events=n_events,
        steps=steps_of(row.state),
    )


def rollout_digest(connection: Connection, look: Look) -> str:
    """What the page's part is known by: cheaper than the whole of it, and changes with everything that it shows."""
    rollout_id = look.get("rollout")
    table = rollouts.c
    chosen = select(table.state, table.stage, table.stage_since_ns, table.reason, table.bundle_id, table.profile)
    row = connection.execute(chosen.where(table.rollout_id == rollout_id)).one_or_none()
    if row is None:
        return ""
    event, evidence, slot = rollout_events.c, stage_evidence.c, device_slots.c
    mine = slot.profile == row.profile, slot.bundle_id == row.bundle_id
    heard = select(func.count()).where(devices.c.last_seen_ns < look.heard_since_ns)
    looks = (
        select(func.max(event.event_id), func.max(event.at_ns)).where(event.rollout_id == rollout_id),
        select(func.sum(evidence.n_windows), func.count()).where(evidence.rollout_id == rollout_id),
        select(slot.slot, func.count()).where(*mine).group_by(slot.slot).order_by(slot.slot),
        select(func.count()).where(bundle_failures.c.bundle_id == row.bundle_id),
        select(func.max(rollout_history.c.at_ns)).where(rollout_history.c.rollout_id == rollout_id),
        heard.select_from(devices),
    )
    return digest([tuple(row), *(connection.execute(query).all() for query in looks)])


def steps_of(state: str) -> tuple[str, ...]:
    """What people may do to a rollout in this state."""
    return {
        "running": ("pause", "rollback", "abort"),
        "paused": ("resume", "rollback", "abort"),
        "halted": ("abort",),
        "done": ("rollback",),
    }.get(state, ())


def _events(connection: Connection, rollout_id: str) -> list[Any]:
    """Newest first."""
    table = rollout_events.c
    query = select(rollout_events).where(table.rollout_id == rollout_id).order_by(table.event_id.desc()).limit(MAX_EVENTS)
    return list(connection.execute(query))


def _event(row: Any) -> EventView:
    figures = row.figures if isinstance(row.figures, Mapping) else {}
    return EventView(row.at_ns, row.stage, row.event, str(figures.get("reason") or ""))


def _progress(events: Sequence[Any]) -> tuple[Progress, ...]:
    """By what the gates said last."""
    judged = (event.figures.get("gates") for event in events if event.event in ("wait", "pass", "halt"))
    gates: Sequence[Any] = next(filter(None, judged), [])
    figures = {each["gate"]: each.get("figures", {}) for each in gates}
    wanted = (
        ("clean windows", "evidence", "windows", "min_windows", "window"),
        ("devices with their share of them", "evidence", "devices_enough", "needed", "device"),
        ("devices that hold it", "presence", "present", "needed", "device"),
        ("devices that have timed it", "latency", "timed", "needed", "device"),
    )
    return tuple(
        Progress(name, figures[gate][gathered], figures[gate][needed], unit)
        for name, gate, gathered, needed, unit in wanted
        if gathered in figures.get(gate, {}) and needed in figures[gate]
    )


def _story(stage: str, points: Sequence[Point]) -> StageStory:
    step = max(1, -(-len(points) // MAX_TICKS))
    shown = [*points[:-1:step], *points[-1:]]
    strips = tuple(
        Strip(label(gate), tuple((point.verdicts[gate], point.n_windows) for point in shown if gate in point.verdicts))
        for gate in GATES
        if any(gate in point.verdicts for point in shown)
    )
    plots = tuple((what, plot) for gate, what in _SHARES if (plot := _plot(gate, what, points)))
    last = points[-1] if points else None
    return StageStory(stage, len(points), last.n_windows if last else 0, last.verdict if last else "", strips, plots)


def _plot(gate: str, what: str, points: Sequence[Point]) -> LinePlot | None:
    told: list[tuple[int, Shares]] = [(p.n_windows, shares) for p in points if p.n_windows and (shares := getattr(p, gate))]
    if not told:
        return None
    last = told[-1][1]
    columns = {
        name: [getattr(shares, name) for _, shares in told] for name in ("candidate", "incumbent", "limit", "low", "high")
    }
    return line_plot(
        [n for n, _ in told],
        [("limit", columns["limit"]), ("incumbent", columns["incumbent"]), ("candidate", columns["candidate"])],
        band=(columns["low"], columns["high"]),
        least_top=max(0.1, 1.6 * last.limit, min(1.0, 1.1 * last.high)),
        most_top=1.0,
        words=(
            f"{what}: the new model {percent(last.candidate)}, between {percent(last.low)} and {percent(last.high)} with "
            f"99 % confidence; the old one {percent(last.incumbent)}; the new one may reach {percent(last.limit)}"
        ),
    )
