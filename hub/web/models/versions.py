"""What /models shows: the registry by profile, as a line of versions, with where each of them is.

As in `queries.py`: pure functions of a connection, no ages, a fixed number of statements, lists cut in SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select

from hub.rollout.machine import OPEN
from hub.state.schema import assets, bundle_approvals, bundles, device_slots, fleet_bundles, rollouts, training_runs
from hub.web.models.cards import number, part, whole
from hub.web.rollout_rows import FAILED

MAX_VERSIONS: Final = 12  # of a profile
MAX_RUNS: Final = 4


@dataclass(frozen=True, slots=True)
class Rollout:
    rollout_id: str
    state: str
    created_ns: int
    ended_ns: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Holders:
    """How many devices have a bundle in that slot, by their last word."""

    active: int = 0
    shadow: int = 0
    previous: int = 0

    @property
    def anywhere(self) -> bool:
        return bool(self.active or self.shadow or self.previous)


@dataclass(frozen=True, slots=True)
class VersionRow:
    """`fate`: current, trying (in a rollout), failed (halted, rolled back, aborted), waiting (never rolled out), past.
    AUCs in 0..1. `signed`: False = it waits for its profile's key."""

    bundle_id: str
    version: int
    created_ns: int
    size: int
    signed: bool
    run_id: str | None
    fate: str
    holders: Holders
    int8_bytes: int | None
    auc_int8: float | None
    auc_float: float | None
    latency_us: float | None
    n_windows: int | None
    n_devices: int | None
    approver: str
    rollout: Rollout | None


@dataclass(frozen=True, slots=True)
class RunRow:
    """A training run that has brought no bundle: under way, or failed."""

    run_id: str
    state: str
    started_ns: int
    error: str


@dataclass(frozen=True, slots=True)
class ProfileModels:
    """`n_devices`: with such an asset. `current_id` None = the baseline detector decides. `n_older`: versions not shown."""

    profile: str
    n_devices: int
    current_id: str | None
    versions: tuple[VersionRow, ...]
    n_older: int
    runs: tuple[RunRow, ...]


def read_versions(connection: Connection) -> tuple[ProfileModels, ...]:
    """By profile, newest version first."""
    watching = select(assets.c.profile, func.count(assets.c.device_id.distinct())).group_by(assets.c.profile)
    n_devices: dict[str, int] = dict(connection.execute(watching).tuples().all())
    rows = _ranked(connection, bundles, bundles.c.version, MAX_VERSIONS)
    n_all: dict[str, int] = dict(
        connection.execute(select(bundles.c.profile, func.count()).group_by(bundles.c.profile)).tuples().all()
    )
    current = dict(connection.execute(select(fleet_bundles.c.profile, fleet_bundles.c.bundle_id)).tuples().all())
    ids = [row.bundle_id for row in rows]
    holders = read_holders(connection)
    answering = select(bundle_approvals.c.bundle_id, bundle_approvals.c.approver).where(bundle_approvals.c.bundle_id.in_(ids))
    approvers = dict(connection.execute(answering).tuples().all())
    tried = read_rollouts_of(connection, ids)
    runs = [row for row in _ranked(connection, training_runs, training_runs.c.started_ns, MAX_RUNS) if not row.bundle_id]
    shown: dict[str, list[VersionRow]] = {}
    for row in rows:
        rollout = next(iter(tried.get(row.bundle_id, ())), None)
        fate = fate_of(row.bundle_id, current.get(row.profile), rollout)
        one = _version(row, fate, holders.get(row.bundle_id, Holders()), approvers.get(row.bundle_id, ""), rollout)
        shown.setdefault(row.profile, []).append(one)
    return tuple(
        ProfileModels(
            profile=profile,
            n_devices=n_devices.get(profile, 0),
            current_id=current.get(profile),
            versions=tuple(shown.get(profile, ())),
            n_older=max(0, n_all.get(profile, 0) - MAX_VERSIONS),
            runs=tuple(
                RunRow(run.run_id, run.state, run.started_ns, run.error or "") for run in runs if run.profile == profile
            ),
        )
        for profile in sorted({*n_devices, *n_all, *current, *(run.profile for run in runs)})
    )


def read_holders(connection: Connection, bundle_id: str | None = None) -> dict[str, Holders]:
    """By bundle: all of them, or that one."""
    table = device_slots.c
    chosen = select(table.bundle_id, table.slot, func.count(table.device_id.distinct())).group_by(table.bundle_id, table.slot)
    if bundle_id is not None:
        chosen = chosen.where(table.bundle_id == bundle_id)
    counted: dict[str, dict[str, int]] = {}
    for held, slot, n in connection.execute(chosen):
        if slot in Holders.__dataclass_fields__:
            counted.setdefault(held, {})[slot] = n
    return {held: Holders(**slots) for held, slots in counted.items()}


def read_rollouts_of(connection: Connection, bundle_ids: Sequence[str]) -> dict[str, list[Rollout]]:
    """By bundle, newest first."""
    names = ("rollout_id", "state", "created_ns", "ended_ns", "reason")
    chosen = select(rollouts.c.bundle_id, *(rollouts.c[name] for name in names)).where(rollouts.c.bundle_id.in_(bundle_ids))
    found: dict[str, list[Rollout]] = {}
    for bundle_id, *values in connection.execute(chosen.order_by(rollouts.c.created_ns.desc())):
        found.setdefault(bundle_id, []).append(Rollout(*values))
    return found


def fate_of(bundle_id: str, current_id: str | None, rollout: Rollout | None) -> str:
    """See `VersionRow`; `rollout`: its latest."""
    if rollout and rollout.state in OPEN:
        return "trying"
    if bundle_id == current_id:
        return "current"
    if rollout is None:
        return "waiting"
    return "failed" if rollout.state in FAILED else "past"


def _ranked(connection: Connection, table: Any, order: Any, limit: int) -> Sequence[Any]:
    """The newest `limit` rows of each profile, newest first; of runs without their records, of bundles without manifests."""
    columns = [column for column in table.c if column.name not in ("record", "manifest")]
    rank = func.row_number().over(partition_by=table.c.profile, order_by=order.desc()).label("rank")
    ranked = select(*columns, rank).subquery()
    return connection.execute(select(ranked).where(ranked.c.rank <= limit).order_by(ranked.c.profile, ranked.c.rank)).all()


def _version(row: Any, fate: str, holders: Holders, approver: str, rollout: Rollout | None) -> VersionRow:
    evaluation, data = part(row.card, "evaluation"), part(row.card, "data")
    devices = data.get("devices")
    return VersionRow(
        bundle_id=row.bundle_id,
        version=row.version,
        created_ns=row.created_ns,
        size=row.size,
        signed=row.signed_ns is not None,
        run_id=row.run_id,
        fate=fate,
        holders=holders,
        int8_bytes=whole(part(row.card, "model").get("int8_bytes")),
        auc_int8=number(part(evaluation, "auc", "int8").get("all")),
        auc_float=number(part(evaluation, "auc", "float").get("all")),
        latency_us=number(evaluation.get("latency_us_median")),
        n_windows=whole(data.get("usable")),
        n_devices=len(devices) if isinstance(devices, list | Mapping) else None,
        approver=approver,
        rollout=rollout,
    )
