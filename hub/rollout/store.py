"""Rollouts as rows: reading them into values, writing what was decided, always inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Text, cast, insert, select, tuple_, update

from hub.audit.log import record
from hub.rollout.machine import OPEN, Plan, Stage, State
from hub.state.schema import bundles, fleet_bundles, rollout_events, rollouts
from models.errors import RolloutError

HUB: Final = "hub"  # the actor of what gates decide


@dataclass(frozen=True, slots=True)
class Rollout:
    """One row of `rollouts`. `incumbent_id` None = the baseline detector. `since_ns`: in this stage, or halted, since then."""

    rollout_id: str
    profile: str
    bundle_id: str
    incumbent_id: str | None
    state: State
    stage: int
    since_ns: int
    plan: Plan
    created_ns: int
    ended_ns: int | None
    reason: str

    @property
    def current(self) -> Stage:
        return self.plan.stages[self.stage]


_COLUMNS: Final = [column for column in rollouts.c if column.name != "plan"] + [cast(rollouts.c.plan, Text).label("plan")]


@lru_cache(8)
def _plan_of(text: str) -> Plan:
    """Of thousands of devices it takes 20 ms to read, and each batch of check-ins and of windows asks for it."""
    return msgspec.json.decode(text, type=Plan)


def _from_row(row: Row[Any]) -> Rollout:
    return Rollout(
        rollout_id=row.rollout_id,
        profile=row.profile,
        bundle_id=row.bundle_id,
        incumbent_id=row.incumbent_id,
        state=row.state,
        stage=row.stage,
        since_ns=row.stage_since_ns,
        plan=_plan_of(row.plan),
        created_ns=row.created_ns,
        ended_ns=row.ended_ns,
        reason=row.reason,
    )


def load(connection: Connection, rollout_id: str) -> Rollout:
    """Raises RolloutError where there is none."""
    row = connection.execute(select(*_COLUMNS).where(rollouts.c.rollout_id == rollout_id)).first()
    if row is None:
        known = [r.rollout_id for r in latest(connection, limit=5)]
        raise RolloutError(f"no rollout {rollout_id!r}; {_the_latest(known)}")
    return _from_row(row)


def in_states(connection: Connection, states: Sequence[State] = OPEN, profile: str | None = None) -> list[Rollout]:
    """Rollouts in any of `states`, oldest first."""
    query = select(*_COLUMNS).where(rollouts.c.state.in_(states)).order_by(rollouts.c.created_ns)
    if profile is not None:
        query = query.where(rollouts.c.profile == profile)
    return [_from_row(row) for row in connection.execute(query)]


def latest(
    connection: Connection, limit: int = 50, profile: str | None = None, after: tuple[int, str] | None = None
) -> list[Rollout]:
    """Newest first. `after`: creation time and id of the last one that is known already."""
    order = tuple_(rollouts.c.created_ns, rollouts.c.rollout_id)
    query = select(*_COLUMNS).order_by(rollouts.c.created_ns.desc(), rollouts.c.rollout_id.desc()).limit(limit)
    if after is not None:
        query = query.where(order < tuple_(*after))
    if profile is not None:
        query = query.where(rollouts.c.profile == profile)
    return [_from_row(row) for row in connection.execute(query)]


def add(connection: Connection, rollout: Rollout) -> None:
    """A new row."""
    values = {
        "rollout_id": rollout.rollout_id,
        "profile": rollout.profile,
        "bundle_id": rollout.bundle_id,
        "incumbent_id": rollout.incumbent_id,
        "state": rollout.state,
        "stage": rollout.stage,
        "stage_since_ns": rollout.since_ns,
        "plan": rollout.plan.to_json(),
        "created_ns": rollout.created_ns,
        "ended_ns": rollout.ended_ns,
        "reason": rollout.reason,
    }
    connection.execute(insert(rollouts).values(values))


def change(connection: Connection, rollout_id: str, **values: Any) -> None:
    """Set columns of the row, by their names in the schema."""
    connection.execute(update(rollouts).where(rollouts.c.rollout_id == rollout_id).values(values))


def note_event(
    connection: Connection,
    rollout: Rollout,
    event: str,
    figures: dict[str, Any],
    *,
    now_ns: int,
    final: bool = False,
    actor: str = HUB,
) -> None:
    """Add an event, and but for `wait` an entry of the audit log. A `wait` right after a `wait` of the same stage takes its
    place, and is no write where nothing changed."""
    stage = rollout.current.name
    if event == "wait":
        query = select(rollout_events).where(rollout_events.c.rollout_id == rollout.rollout_id)
        last = connection.execute(query.order_by(rollout_events.c.event_id.desc()).limit(1)).first()
        if last is not None and (last.event, last.stage) == (event, stage):
            if last.figures != figures:
                here = rollout_events.c.event_id == last.event_id
                connection.execute(update(rollout_events).where(here).values(at_ns=now_ns, figures=figures))
            return
    if event != "wait":
        told = {"stage": stage, "bundle": rollout.bundle_id} | ({"reason": figures["reason"]} if figures.get("reason") else {})
        record(connection, at_ns=now_ns, actor=actor, action=f"rollout.{event}", subject=rollout.rollout_id, details=told)
    row = {
        "rollout_id": rollout.rollout_id,
        "at_ns": now_ns,
        "stage": stage,
        "event": event,
        "figures": figures,
        "final": final,
    }
    connection.execute(insert(rollout_events).values(row))


def events_of(connection: Connection, rollout_id: str) -> list[dict[str, Any]]:
    """In the order in which they happened."""
    query = select(rollout_events).where(rollout_events.c.rollout_id == rollout_id).order_by(rollout_events.c.event_id)
    return [
        {"at_ns": row.at_ns, "stage": row.stage, "event": row.event, "figures": row.figures, "final": row.final}
        for row in connection.execute(query)
    ]


def bundle_row(connection: Connection, bundle_id: str) -> Row[Any]:
    """The bundle's row. Raises RolloutError where there is none."""
    row = connection.execute(select(bundles).where(bundles.c.bundle_id == bundle_id)).first()
    if row is None:
        query = select(bundles.c.bundle_id).order_by(bundles.c.created_ns.desc()).limit(5)
        known = connection.execute(query).scalars().all()
        raise RolloutError(f"no bundle {bundle_id!r}; {_the_latest(known)}")
    return row


def _the_latest(known: Sequence[str]) -> str:
    return f"the latest are {', '.join(known)}" if known else "there is none yet"


def fleet_bundle(connection: Connection, profile: str) -> str | None:
    """What the profile's devices run outside of rollouts; None = the baseline detector."""
    query = select(fleet_bundles.c.bundle_id).where(fleet_bundles.c.profile == profile)
    bundle_id: str | None = connection.execute(query).scalar()
    return bundle_id


def set_fleet_bundle(connection: Connection, profile: str, bundle_id: str | None, now_ns: int) -> None:
    """From now on the profile's devices should run `bundle_id`."""
    here = fleet_bundles.c.profile == profile
    values = {"bundle_id": bundle_id, "since_ns": now_ns}
    if connection.execute(update(fleet_bundles).where(here).values(values)).rowcount == 0:
        connection.execute(insert(fleet_bundles).values(profile=profile, **values))
