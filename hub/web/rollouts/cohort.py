"""The picture of a rollout's cohort: which devices, by site and hardware, have taken the candidate up, and which have not.

At most MAX_GROUPS groups with MAX_CELLS devices each are drawn, the most urgent first; all are counted.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select

from hub.rollout.machine import Plan
from hub.state.schema import assets, bundle_failures, device_slots, devices, stage_evidence
from hub.web.words import UPTAKE

MAX_GROUPS: Final = 12
MAX_CELLS: Final = 60
FAILED: Final = ("halted", "rolled_back", "aborted")
_NAMES: Final = tuple(UPTAKE)
_RANK: Final = {name: rank for rank, name in enumerate(_NAMES)}


@dataclass(frozen=True, slots=True)
class Cell:
    """One device. `uptake`: a key of UPTAKE. `n_windows`: clean windows it has brought in the present stage."""

    device_id: str
    uptake: str
    stage: str
    n_windows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Group:
    """The devices of one site and hardware; `cells` are the most urgent of `n_devices`."""

    site: str
    hardware: str
    n_devices: int
    counts: tuple[tuple[str, int], ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Cohort:
    """`counts`: of all devices by uptake, those that there are, the most urgent first. `n_groups`: also those not drawn."""

    n_devices: int
    counts: tuple[tuple[str, int], ...]
    groups: tuple[Group, ...]
    n_groups: int


@dataclass(frozen=True, slots=True)
class _Facts:
    state: str
    stage: int
    bundle_id: str
    heard_since_ns: int
    holds: frozenset[tuple[str, str]]  # device, slot
    refused: Mapping[str, str]


def read_cohort(connection: Connection, row: Any, plan: Plan, heard_since_ns: int) -> Cohort:
    """`row`: of `rollouts`. Five statements, whatever the number of devices."""
    facts = _Facts(row.state, row.stage, row.bundle_id, heard_since_ns, _holds(connection, row), _refused(connection, row))
    first_stage: dict[str, int] = {}
    for index, stage in enumerate(plan.stages):
        for device_id in stage.devices:
            first_stage.setdefault(device_id, index)
    modes = _modes(plan, row.stage)
    windows = _windows(connection, row, plan)
    members: defaultdict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for device_id, site, hardware, last_seen_ns in _devices(connection, row.profile):
        if device_id in first_stage:
            uptake = _uptake(device_id, modes.get(device_id), last_seen_ns, facts)
            members[site, hardware].append((_RANK[uptake], device_id))

    def cell(rank: int, device_id: str) -> Cell:
        stage = plan.stages[first_stage[device_id]].name
        return Cell(device_id, _NAMES[rank], stage, windows.get(device_id, 0), facts.refused.get(device_id, ""))

    groups = []
    for (site, hardware), ranked in members.items():
        counts = Counter(rank for rank, _ in ranked)
        cells = tuple(cell(*one) for one in heapq.nsmallest(MAX_CELLS, ranked))
        groups.append(Group(site, hardware, len(ranked), _ordered({_NAMES[rank]: n for rank, n in counts.items()}), cells))
    groups.sort(key=lambda group: (_urgency(group), -group.n_devices, group.site, group.hardware))
    total: Counter[str] = Counter()
    for group in groups:
        total.update(dict(group.counts))
    return Cohort(total.total(), _ordered(total), tuple(groups[:MAX_GROUPS]), len(groups))


def _modes(plan: Plan, stage: int) -> dict[str, str]:
    """How each device that has been reached should hold the candidate; see `machine.assignment`, here for all at once."""
    modes: dict[str, str] = {}
    for reached in plan.stages[: stage + 1]:
        modes.update(dict.fromkeys(reached.devices, reached.mode))
    return modes


def _uptake(device_id: str, mode: str | None, last_seen_ns: int, facts: _Facts) -> str:
    held = (device_id, mode or "") in facts.holds
    if mode is None:
        return "ahead"
    if device_id in facts.refused:
        return "refused"
    if facts.state in FAILED:
        return "holding" if held or (device_id, "shadow") in facts.holds or (device_id, "active") in facts.holds else "returned"
    if held:
        return "taken"
    return "offline" if last_seen_ns < facts.heard_since_ns else "waiting"


def _ordered(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((name, counts[name]) for name in UPTAKE if counts.get(name))


def _urgency(group: Group) -> int:
    """Groups where something was refused come first."""
    return 0 if dict(group.counts).get("refused") else 1


def _devices(connection: Connection, profile: str) -> Any:
    query = select(devices.c.device_id, devices.c.site, devices.c.hardware, devices.c.last_seen_ns).where(
        devices.c.device_id.in_(select(assets.c.device_id).where(assets.c.profile == profile))
    )
    return connection.execute(query).all()


def _holds(connection: Connection, row: Any) -> frozenset[tuple[str, str]]:
    slot = device_slots.c
    query = select(slot.device_id, slot.slot).where(slot.profile == row.profile, slot.bundle_id == row.bundle_id)
    return frozenset((row.device_id, row.slot) for row in connection.execute(query).all())


def _refused(connection: Connection, row: Any) -> dict[str, str]:
    failure = bundle_failures.c
    query = select(failure.device_id, failure.reason).where(failure.bundle_id == row.bundle_id, failure.at_ns >= row.created_ns)
    return dict(connection.execute(query).tuples().all())


def _windows(connection: Connection, row: Any, plan: Plan) -> dict[str, int]:
    if not 0 <= row.stage < len(plan.stages):
        return {}
    evidence = stage_evidence.c
    here = (evidence.rollout_id == row.rollout_id) & (evidence.stage == plan.stages[row.stage].name)
    return dict(connection.execute(select(evidence.device_id, evidence.n_windows).where(here)).tuples().all())
