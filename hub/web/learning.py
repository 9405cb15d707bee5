"""What the pages show of models: which one a profile runs, since when, how large, how good, and on how many devices.

1. As in `queries.py`: pure functions of a connection, no ages, a fixed number of statements a view.
2. Cards are JSON from other parts of the hub: a key that is absent is left out, never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from sqlalchemy import Connection, func, select

from hub.state.schema import (
    assets,
    bundles,
    device_slots,
    fleet_bundles,
    rollouts,
    training_runs,
)
from hub.web.rollout_rows import FAILED
from hub.web.words import percent

MAX_VERSIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Version:
    """One published bundle. `fate`: current, rolled_back (also halted or aborted), or "" for any other."""

    bundle_id: str
    version: int
    fate: str


@dataclass(frozen=True, slots=True)
class Grade:
    """`auc` in 0..1: the chance that a window with an injected fault scores above a normal one; 0.5 is a coin toss."""

    name: str
    auc: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One number for people: what it is and what it says."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """A profile and its model. `bundle_id` None = the baseline detector, in service since the first boot.

    `n_holding` of `n_devices` devices have it in their active slot. `training`: the latest run's state, "" for none.
    """

    profile: str
    bundle_id: str | None
    version: int | None
    bundle_bytes: int | None
    int8_bytes: int | None
    since_ns: int | None
    n_devices: int
    n_holding: int
    versions: tuple[Version, ...]
    grades: tuple[Grade, ...]
    highlights: tuple[Figure, ...]
    training: str
    training_error: str


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the views are put together from, by profile or by bundle."""

    published: Mapping[str, list[Any]]
    decided: Mapping[str, Any]
    details: Mapping[str, Any]
    n_devices: Mapping[str, int]
    holding: Mapping[tuple[str, str | None], int]
    failed: Set[str]
    runs: Mapping[str, Any]


def read_models(connection: Connection) -> tuple[ModelView, ...]:
    """One view for each profile that has an asset, a bundle or a decision: those with a model of theirs first, by name."""
    decided = {row.profile: row for row in connection.execute(select(fleet_bundles))}
    current = [row.bundle_id for row in decided.values() if row.bundle_id]
    facts = _Facts(
        published=_versions(connection),
        decided=decided,
        details={row.bundle_id: row for row in connection.execute(select(bundles).where(bundles.c.bundle_id.in_(current)))},
        n_devices=dict(connection.execute(_devices_by_profile()).tuples().all()),
        holding=_holding(connection),
        failed=set(connection.execute(select(rollouts.c.bundle_id).where(rollouts.c.state.in_(FAILED))).scalars()),
        runs=_latest_runs(connection),
    )
    views = (_model(profile, facts) for profile in sorted({*facts.published, *decided, *facts.n_devices}))
    return tuple(sorted(views, key=lambda view: not view.versions))


def _model(profile: str, facts: _Facts) -> ModelView:
    decided = facts.decided.get(profile)
    bundle_id = decided.bundle_id if decided else None
    bundle = facts.details.get(bundle_id) if bundle_id else None
    run = facts.runs.get(profile)
    published = facts.published.get(profile, [])[-MAX_VERSIONS:]
    return ModelView(
        profile=profile,
        bundle_id=bundle_id,
        version=bundle.version if bundle else None,
        bundle_bytes=bundle.size if bundle else None,
        int8_bytes=_int8_bytes(bundle.card) if bundle else None,
        since_ns=decided.since_ns if decided else None,
        n_devices=facts.n_devices.get(profile, 0),
        n_holding=facts.holding.get((profile, bundle_id), 0) if bundle_id else 0,
        versions=tuple(Version(v.bundle_id, v.version, _fate(v.bundle_id, bundle_id, facts.failed)) for v in published),
        grades=grades(bundle.card) if bundle else (),
        highlights=highlights(bundle.card) if bundle else (),
        training=run.state if run else "",
        training_error=(run.error or "") if run else "",
    )


def grades(card: Any) -> tuple[Grade, ...]:
    """How well the int8 model, the float model it came from, and the baseline tell injected faults from normal windows."""
    auc = _evaluation(card).get("auc")
    if not isinstance(auc, Mapping):
        return ()
    overall = {name: each.get("all") for name, each in auc.items() if isinstance(each, Mapping)}
    return tuple(Grade(name, value) for name in ("int8", "float", "baseline") if _is_number(value := overall.get(name)))


def highlights(card: Any) -> tuple[Figure, ...]:
    """The few figures of a card's evaluation that people ask for first, as far as it has them."""
    evaluation = _evaluation(card)
    found = []
    alarms = evaluation.get("false_alarms")
    share = alarms.get("share") if isinstance(alarms, Mapping) else None
    if _is_number(share):
        found.append(Figure("healthy windows with p ≤ 0.01", percent(float(share))))
    if _is_number(windows := evaluation.get("held_out_windows")):
        found.append(Figure("judged on held-out windows", f"{windows:,.0f}"))
    if _is_number(latency := evaluation.get("latency_us_median")):
        found.append(Figure("a window takes", f"{latency:,.0f} µs"))
    return tuple(found)


def _evaluation(card: Any) -> Mapping[str, Any]:
    found = card.get("evaluation") if isinstance(card, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _fate(bundle_id: str, current_id: str | None, failed: Set[str]) -> str:
    if bundle_id == current_id:
        return "current"
    return "rolled_back" if bundle_id in failed else ""


def _versions(connection: Connection) -> dict[str, list[Any]]:
    chosen = select(bundles.c.profile, bundles.c.bundle_id, bundles.c.version).order_by(bundles.c.profile, bundles.c.version)
    by_profile: dict[str, list[Any]] = {}
    for row in connection.execute(chosen):
        by_profile.setdefault(row.profile, []).append(row)
    return by_profile


def _int8_bytes(card: Any) -> int | None:
    """The int8 model's own size as its card tells it."""
    model = card.get("model") if isinstance(card, Mapping) else None
    stated = model.get("int8_bytes") if isinstance(model, Mapping) else None
    return stated if isinstance(stated, int) else None


def _devices_by_profile() -> Any:
    return select(assets.c.profile, func.count(assets.c.device_id.distinct())).group_by(assets.c.profile)


def _holding(connection: Connection) -> dict[tuple[str, str | None], int]:
    """How many devices have a bundle in their active slot, by (profile, bundle)."""
    by_bundle = select(device_slots.c.profile, device_slots.c.bundle_id, func.count()).where(device_slots.c.slot == "active")
    rows = connection.execute(by_bundle.group_by(device_slots.c.profile, device_slots.c.bundle_id))
    return {(profile, bundle_id): n for profile, bundle_id, n in rows}


def _latest_runs(connection: Connection) -> dict[str, Any]:
    latest = select(training_runs.c.profile, func.max(training_runs.c.started_ns).label("at")).group_by(training_runs.c.profile)
    last = latest.subquery()
    chosen = select(training_runs.c.profile, training_runs.c.state, training_runs.c.error).join(
        last, (last.c.profile == training_runs.c.profile) & (last.c.at == training_runs.c.started_ns)
    )
    return {row.profile: row for row in connection.execute(chosen)}
