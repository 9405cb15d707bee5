"""What the operators' API and the command line read from the state: plain queries, one function per question."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table, func, select

from hub.api.shapes import DeviceLedger, LaneView
from hub.devices.clones import cloned_of
from hub.ledger.ledger import LaneAccount, LaneKey, load_all, load_device
from hub.ledger.ranges import size
from hub.rollout.machine import OPEN
from hub.state.schema import (
    alerts,
    assets,
    bundle_failures,
    bundles,
    device_slots,
    devices,
    quarantine,
    rollouts,
    sensor_faults,
    training_runs,
)

RowDict = dict[str, Any]
_DEVICE_COLUMNS = ("device_id", "site", "hardware", "agent_version", "enrolled_ns", "last_seen_ns", "state", "state_reason")


def list_devices(connection: Connection, online_since_ns: int) -> list[RowDict]:
    """Every device with its assets and slots, by id."""
    assets_of, slots_of = _by_device(connection, assets), _by_device(connection, device_slots)
    columns = [*(devices.c[name] for name in _DEVICE_COLUMNS), devices.c.checkin["survival"].label("survival")]
    columns.append(devices.c.writers["cloned"].label("cloned"))
    rows = connection.execute(select(*columns).order_by(devices.c.device_id)).mappings()
    return [
        {
            **row,
            "online": row["last_seen_ns"] >= online_since_ns,
            "assets": assets_of[row["device_id"]],
            "slots": slots_of[row["device_id"]],
        }
        for row in rows
    ]


def device_detail(connection: Connection, device_id: str, online_since_ns: int) -> RowDict | None:
    """One device with everything that is known of it; None where it is not enrolled."""
    row = connection.execute(select(devices).where(devices.c.device_id == device_id)).mappings().first()
    if row is None:
        return None
    return {
        **{name: row[name] for name in (*_DEVICE_COLUMNS, "checkin", "health")},
        "survival": (row["checkin"] or {}).get("survival"),
        "cloned": cloned_of(row["writers"]),
        **{name: row[name] for name in ("state_ns", "claim_id", "profiles", "key_since_ns")},
        "online": row["last_seen_ns"] >= online_since_ns,
        "assets": _rows_of(connection, assets, device_id),
        "slots": _rows_of(connection, device_slots, device_id),
        "failures": _rows_of(connection, bundle_failures, device_id),
    }


def device_ledger(connection: Connection, device_id: str) -> DeviceLedger:
    """The account of one device; without lanes where it never sent anything."""
    accounts = load_device(connection, device_id)
    lanes = [_lane_view(key, account) for key, account in accounts.items()]
    return DeviceLedger(device_id=device_id, restarts=_restarts(accounts), lanes=lanes)


def ledger_totals(connection: Connection) -> dict[str, int]:
    """Sums over all devices, epochs and lanes, named as in `FleetLedger`."""
    accounts = load_all(connection)
    totals = Counter(devices=len({device_id for device_id, _, _ in accounts}), restarts=_restarts(accounts))
    totals.update(dict.fromkeys(("items", "received", "missing", "evicted", "merged", "redelivered", "rejected"), 0))
    for account in accounts.values():
        totals.update(
            items=account.n_received + account.n_evicted + account.n_merged,
            received=account.n_received,
            missing=size(account.missing),
            evicted=account.n_evicted,
            merged=account.n_merged,
            redelivered=account.n_redelivered,
            rejected=account.n_rejected,
        )
    return dict(totals)


def list_alerts(connection: Connection, *, open_only: bool = False, device_id: str = "", limit: int = 200) -> list[RowDict]:
    """Newest first."""
    return _events(connection, alerts, open_only, device_id, limit)


def list_sensor_faults(
    connection: Connection, *, open_only: bool = False, device_id: str = "", limit: int = 200
) -> list[RowDict]:
    """Newest first."""
    return _events(connection, sensor_faults, open_only, device_id, limit)


def list_quarantine(connection: Connection, limit: int = 200) -> list[RowDict]:
    """What was refused and why, newest first; bodies as their sizes."""
    columns = [column for column in quarantine.c if column.name != "body"]
    query = select(*columns, func.length(quarantine.c.body).label("n_bytes")).order_by(quarantine.c.received_ns.desc())
    return [dict(row) for row in connection.execute(query.limit(limit)).mappings()]


def list_training_runs(connection: Connection, limit: int = 200) -> list[RowDict]:
    """Newest first."""
    query = select(training_runs).order_by(training_runs.c.started_ns.desc()).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def fleet_counts(connection: Connection, online_since_ns: int) -> RowDict:
    """How many there are of everything, named as in `Summary`."""
    open_alerts = select(alerts.c.severity, func.count()).where(alerts.c.closed_ns.is_(None)).group_by(alerts.c.severity)
    states = select(assets.c.state, func.count()).group_by(assets.c.state)
    n_devices = select(func.count()).select_from(devices)
    open_faults = select(func.count()).select_from(sensor_faults).where(sensor_faults.c.closed_ns.is_(None))
    open_rollouts = select(func.count()).select_from(rollouts).where(rollouts.c.state.in_(OPEN))
    return {
        "devices": connection.execute(n_devices).scalar_one(),
        "devices_online": connection.execute(n_devices.where(devices.c.last_seen_ns >= online_since_ns)).scalar_one(),
        "assets": dict(connection.execute(states).tuples().all()),
        "alerts_open": dict(connection.execute(open_alerts).tuples().all()),
        "sensor_faults_open": connection.execute(open_faults).scalar_one(),
        "rollouts_running": connection.execute(open_rollouts).scalar_one(),
        "bundles": connection.execute(select(func.count()).select_from(bundles)).scalar_one(),
    }


def _events(connection: Connection, table: Table, open_only: bool, device_id: str, limit: int) -> list[RowDict]:
    query = select(table).order_by(table.c.opened_ns.desc()).limit(limit)
    if open_only:
        query = query.where(table.c.closed_ns.is_(None))
    if device_id:
        query = query.where(table.c.device_id == device_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def _by_device(connection: Connection, table: Table) -> defaultdict[str, list[RowDict]]:
    found: defaultdict[str, list[RowDict]] = defaultdict(list)
    for row in connection.execute(select(table)).mappings():
        found[row["device_id"]].append(dict(row))
    return found


def _rows_of(connection: Connection, table: Table, device_id: str) -> list[RowDict]:
    return [dict(row) for row in connection.execute(select(table).where(table.c.device_id == device_id)).mappings()]


def _restarts(keys: Iterable[LaneKey]) -> int:
    epochs = {(device_id, epoch) for device_id, epoch, _ in keys}
    return len(epochs) - len({device_id for device_id, _ in epochs})


def _lane_view(key: LaneKey, account: LaneAccount) -> LaneView:
    _, epoch, lane = key
    return LaneView(
        epoch=epoch,
        lane=lane,
        cursor=account.seen.cursor,
        highest=account.seen.highest,
        received=account.n_received,
        evicted=account.n_evicted,
        merged=account.n_merged,
        redelivered=account.n_redelivered,
        rejected=account.n_rejected,
        n_missing=size(account.missing),
        missing=account.missing,
        updated_ns=account.updated_ns,
    )
