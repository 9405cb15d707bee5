"""How a stage's evidence and verdicts went: points over time, so that people see where a gate comes from and where it goes.

An event `wait` holds only what the gates said last. Here a point is kept whenever a gate changes its mind, or the windows have
grown by a fiftieth; so a stage has some dozens of points, and never more than MAX_POINTS: beyond that every second one goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select

from hub.rollout.gates import GateVerdict, Verdict
from hub.rollout.store import Rollout
from hub.state.schema import rollout_history

MAX_POINTS: Final = 600  # of a stage
_GROWTH: Final = 50


@dataclass(frozen=True, slots=True)
class Shares:
    """The candidate's and the incumbent's share of the windows, in 0..1; what the candidate may reach; its bounds."""

    candidate: float
    incumbent: float
    limit: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """What the gates said of a stage at one moment. `verdicts`: by gate."""

    at_ns: int
    stage: str
    verdict: str
    n_windows: int
    verdicts: dict[str, str]
    alarm_rate: Shares | None
    low_p: Shares | None


def note_point(
    connection: Connection, rollout: Rollout, verdict: Verdict, verdicts: Sequence[GateVerdict], now_ns: int
) -> None:
    """Keep what was just judged, where it tells more than the point before."""
    figures = {each.gate: each.figures for each in verdicts}
    told = {each.gate: each.verdict for each in verdicts}
    n_windows = int(figures.get("evidence", {}).get("windows", 0))
    last = _last(connection, rollout.rollout_id, rollout.current.name)
    if last is not None:
        grown = n_windows - last.n_windows >= max(1, last.n_windows // _GROWTH)
        if (not grown and told == last.verdicts) or now_ns <= last.at_ns:
            return
    row = {"rollout_id": rollout.rollout_id, "stage": rollout.current.name, "at_ns": now_ns, "verdict": verdict}
    shares = {gate: _compact(figures.get(gate, {})) for gate in ("alarm_rate", "low_p")}
    connection.execute(insert(rollout_history).values(**row, n_windows=n_windows, verdicts=told, **shares))
    _thin(connection, rollout.rollout_id, rollout.current.name)


def points_of(connection: Connection, rollout_id: str) -> list[Point]:
    """Oldest first, of all stages."""
    query = select(rollout_history).where(rollout_history.c.rollout_id == rollout_id).order_by(rollout_history.c.at_ns)
    return [_point(row) for row in connection.execute(query)]


def _last(connection: Connection, rollout_id: str, stage: str) -> Row[Any] | None:
    mine = (rollout_history.c.rollout_id == rollout_id) & (rollout_history.c.stage == stage)
    query = select(rollout_history).where(mine).order_by(rollout_history.c.at_ns.desc()).limit(1)
    return connection.execute(query).first()


def _thin(connection: Connection, rollout_id: str, stage: str) -> None:
    mine = (rollout_history.c.rollout_id == rollout_id) & (rollout_history.c.stage == stage)
    query = select(rollout_history.c.at_ns).where(mine).order_by(rollout_history.c.at_ns)
    times = list(connection.execute(query).scalars())
    if len(times) > MAX_POINTS:
        connection.execute(delete(rollout_history).where(mine, rollout_history.c.at_ns.in_(times[1:-1:2])))


def _compact(figures: dict[str, Any]) -> dict[str, float] | None:
    names = ("candidate", "incumbent", "limit", "low", "high")
    return {name: figures[name] for name in names} if all(name in figures for name in names) else None


def _point(row: Row[Any]) -> Point:
    alarm_rate, low_p = (Shares(**shares) if shares else None for shares in (row.alarm_rate, row.low_p))
    return Point(row.at_ns, row.stage, row.verdict, row.n_windows, row.verdicts, alarm_rate, low_p)
