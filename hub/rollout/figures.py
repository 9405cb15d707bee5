"""What the hub knows about a stage's devices, gathered from the tables that check-ins and evidence fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, and_, func, select

from hub.rollout.cohorts import Member, age_group
from hub.rollout.gates import Counts, DeviceFigures, StageFigures
from hub.rollout.machine import reached_devices
from hub.rollout.store import Rollout
from hub.state.json_values import whole_number
from hub.state.schema import assets, bundle_failures, commissionings, device_slots, devices, stage_evidence

RECENT_NS = 15 * 60 * 1_000_000_000


def eligible_members(connection: Connection, profile: str, spec_hash: str, now_ns: int) -> list[Member]:
    """Devices with an asset of this profile that computes this feature spec."""
    query = (
        select(devices.c.device_id, devices.c.site, devices.c.hardware, devices.c.last_seen_ns)
        .join(assets, assets.c.device_id == devices.c.device_id)
        .where(assets.c.profile == profile, assets.c.spec_hash == spec_hash)
        .distinct()
        .order_by(devices.c.device_id)
    )
    own = commissionings.c
    oldest = select(own.device_id, func.min(own.start_ns)).where(own.profile == profile).group_by(own.device_id)
    since = dict(connection.execute(oldest).tuples().all())
    return [
        Member(
            row.device_id,
            row.site,
            row.hardware,
            recent=row.last_seen_ns >= now_ns - RECENT_NS,
            age=age_group(since.get(row.device_id), now_ns),
        )
        for row in connection.execute(query).all()
    ]


@dataclass(frozen=True, slots=True)
class Agent:
    """What a device's agent said of itself at its latest check-in. `starts`: how often it had started."""

    starts: int
    rss_bytes: int


def agents_of(connection: Connection, device_ids: Sequence[str]) -> dict[str, Agent]:
    """By device; devices that never checked in are left out. The database picks the two numbers from the JSON: for thousands
    of devices, reading whole check-ins here would take most of a decision's time."""
    told = devices.c.checkin
    starts, rss = whole_number(told["starts"]).label("starts"), whole_number(told["rss_bytes"]).label("rss")
    query = select(devices.c.device_id, starts, rss).where(devices.c.device_id.in_(device_ids), told.is_not(None))
    return {row.device_id: Agent(row.starts, row.rss or 0) for row in connection.execute(query) if row.starts is not None}


def stage_figures(connection: Connection, rollout: Rollout) -> StageFigures:
    """The figures on which the rollout's current stage is judged."""
    stage = rollout.current
    seen = _last_seen(connection, stage.devices)
    slots = _slots(connection, rollout)
    counts = _counts(connection, rollout)
    failures = _failures(connection, rollout)
    agents = agents_of(connection, stage.devices)
    figures = []
    for device_id in stage.devices:
        slot = slots.get(device_id)
        agent = agents.get(device_id)
        starts, rss = rollout.plan.starts.get(device_id), rollout.plan.rss_bytes.get(device_id)
        figures.append(
            DeviceFigures(
                device_id=device_id,
                present=slot is not None and seen.get(device_id, 0) >= rollout.since_ns,
                counts=counts.get(device_id, Counts()),
                score_us=slot.score_us_median if slot is not None else None,
                n_timed=slot.n_windows if slot is not None else 0,
                restarts=0 if agent is None or starts is None else _restarts(agent.starts, starts),
                rss_growth_bytes=None if agent is None or rss is None else agent.rss_bytes - rss,
                failure=failures.get(device_id, ""),
            )
        )
    return StageFigures(rollout.plan.gates, figures, stage.present_share)


def _restarts(starts: int, before: int) -> int:
    """Of an agent that had started `before` times when the stage began; on a new outbox it counts from 1 again."""
    return starts - before if starts >= before else starts


@dataclass(frozen=True, slots=True)
class Return:
    """How far a halted rollout's devices are on their way back, as three disjoint lists of device ids."""

    returned: list[str]
    pending: list[str]
    absent: list[str]

    def to_json(self) -> dict[str, Any]:
        return {"returned": len(self.returned), "pending": self.pending[:20], "absent": self.absent[:20]}


def returning(connection: Connection, rollout: Rollout, now_ns: int) -> Return:
    """Who no longer holds the candidate, by a report made after the halt; who still may; who has not been seen for long.

    Whoever came when the candidate was the fleet's may hold it, too, and is in no stage of the plan. An absent device is not
    waited for: its next check-in, whenever that is, sends it back.
    """
    held = device_slots.c
    query = select(held.device_id).where(held.bundle_id == rollout.bundle_id, held.slot.in_(("active", "shadow")))
    holders = set(connection.execute(query.where(held.profile == rollout.profile)).scalars())
    reached = sorted({*reached_devices(rollout.plan, rollout.stage), *holders})
    seen = _last_seen(connection, reached)
    away_ns = now_ns - round(rollout.plan.absent_after_s * 1e9)
    lists = Return([], [], [])
    for device_id in reached:
        last = seen.get(device_id, 0)
        if last >= rollout.since_ns and device_id not in holders:
            lists.returned.append(device_id)
        else:
            (lists.absent if last < away_ns else lists.pending).append(device_id)
    return lists


def _last_seen(connection: Connection, device_ids: Sequence[str]) -> dict[str, int]:
    query = select(devices.c.device_id, devices.c.last_seen_ns).where(devices.c.device_id.in_(device_ids))
    return {row.device_id: row.last_seen_ns for row in connection.execute(query)}


def _slots(connection: Connection, rollout: Rollout) -> dict[str, Any]:
    """By device: the row of the slot that should hold the candidate, where it does."""
    slot = device_slots.c
    here = and_(slot.profile == rollout.profile, slot.slot == rollout.current.mode, slot.bundle_id == rollout.bundle_id)
    query = select(device_slots).where(here, slot.device_id.in_(rollout.current.devices))
    return {row.device_id: row for row in connection.execute(query)}


def _counts(connection: Connection, rollout: Rollout) -> dict[str, Counts]:
    evidence = stage_evidence.c
    here = and_(evidence.rollout_id == rollout.rollout_id, evidence.stage == rollout.current.name)
    names = [field.name for field in fields(Counts)]
    rows = connection.execute(select(stage_evidence).where(here))
    return {row.device_id: Counts(*(getattr(row, name) for name in names)) for row in rows}


def _failures(connection: Connection, rollout: Rollout) -> dict[str, str]:
    """Refusals of the candidate: first told while this rollout is on, or told again in a check-in since it began.

    A refusal from before that is no longer told had a cause that is gone.
    """
    failure = bundle_failures.c
    query = select(failure.device_id, failure.reason, failure.at_ns, devices.c.checkin, devices.c.last_seen_ns)
    query = query.join(devices, devices.c.device_id == failure.device_id)
    here = and_(failure.bundle_id == rollout.bundle_id, failure.device_id.in_(rollout.current.devices))
    return {
        row.device_id: row.reason
        for row in connection.execute(query.where(here))
        if row.at_ns >= rollout.created_ns or (row.last_seen_ns >= rollout.created_ns and _tells(row.checkin, rollout))
    }


def _tells(checkin: dict[str, Any] | None, rollout: Rollout) -> bool:
    return any(failure["bundle_id"] == rollout.bundle_id for failure in (checkin or {}).get("failures", ()))
