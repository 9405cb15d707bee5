"""What the page of one training run shows: its record, and how far it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from hub.state.schema import training_runs
from hub.web.models.cards import part, text, whole
from hub.web.models.view import Judged, judged, told_rows

STEPS = ("dataset", "training", "evaluation", "bundle")


@dataclass(frozen=True, slots=True)
class Step:
    """`progress`: done, current, failed, ahead."""

    name: str
    progress: str
    told: str


@dataclass(frozen=True, slots=True)
class RunView:
    """`state`: running, done, failed. `repeats`: the run that this one did again, "" = none."""

    run_id: str
    profile: str
    state: str
    started_ns: int
    ended_ns: int | None
    error: str
    bundle_id: str | None
    seed: int | None
    repeats: str
    model_sha256: str
    host: str
    steps: tuple[Step, ...]
    judged: Judged
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


def read_run(connection: Connection, run_id: str) -> RunView | None:
    """None where there is no such run."""
    row = connection.execute(select(training_runs).where(training_runs.c.run_id == run_id)).one_or_none()
    if row is None:
        return None
    record = part(row.record)
    return RunView(
        run_id=run_id,
        profile=row.profile,
        state=row.state,
        started_ns=row.started_ns,
        ended_ns=row.ended_ns,
        error=row.error or "",
        bundle_id=row.bundle_id,
        seed=whole(record.get("seed")),
        repeats=text(record.get("repeats")),
        model_sha256=text(record.get("model_sha256")),
        host=text(record.get("host")),
        steps=_steps(row, record),
        judged=judged(part(record, "evaluation")),
        rows=told_rows(record.get("dataset"), record.get("trainer"), record.get("versions"), None),
    )


def _steps(row: Any, record: Mapping[str, Any]) -> tuple[Step, ...]:
    """How far it came, by what its record holds: a run writes it when it ends, so one under way tells only that it is."""
    data = part(record, "dataset")
    there = {
        "dataset": f"{data.get('usable', '?'):,} windows" if isinstance(data.get("usable"), int) else "",
        "training": text(part(record, "trainer").get("architecture")) if "model_sha256" in record else "",
        "evaluation": "judged" if part(record, "evaluation") else "",
        "bundle": row.bundle_id or ("compared, not published" if record.get("repeats") and row.state == "done" else ""),
    }
    steps, stopped = [], False
    for name in STEPS:
        done = bool(there[name]) or (name == "training" and "model_sha256" in record)
        progress = (
            "done" if done else "ahead" if stopped else {"running": "current", "failed": "failed"}.get(row.state, "ahead")
        )
        stopped = stopped or not done
        steps.append(Step(name, progress, there[name]))
    return tuple(steps)
