"""What the operators' API and the command line read from the state: plain queries, one function per question."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Column, Connection, Select, Table, func, select, tuple_

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


def list_devices(connection: Connection, online_since_ns: int, *, limit: int | None = None, after: str = "") -> list[RowDict]:
    """Devices with their assets and slots, by id, from the first one after `after` on."""
    columns = [*(devices.c[name] for name in _DEVICE_COLUMNS), devices.c.checkin["survival"].label("survival")]
    columns.append(devices.c.writers["cloned"].label("cloned"))
    wanted = select(*columns).where(devices.c.device_id > after).order_by(devices.c.device_id).limit(limit)
    rows = connection.execute(wanted).mappings().all()
    span = (rows[0]["device_id"], rows[-1]["device_id"]) if rows else ("", "")
    assets_of, slots_of = _by_device(connection, assets, span), _by_device(connection, device_slots, span)
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


def list_alerts(
    connection: Connection,
    *,
    open_only: bool = False,
    device_id: str = "",
    limit: int = 200,
    after: tuple[int, str, str] | None = None,
) -> list[RowDict]:
    """Newest first. `after`: `opened_ns`, device and alert id of the last one known already."""
    return _events(connection, alerts, alerts.c.alert_id, open_only, device_id, limit, after)


def list_sensor_faults(
    connection: Connection,
    *,
    open_only: bool = False,
    device_id: str = "",
    limit: int = 200,
    after: tuple[int, str, str] | None = None,
) -> list[RowDict]:
    """Newest first. `after`: `opened_ns`, device and fault id of the last one known already."""
    return _events(connection, sensor_faults, sensor_faults.c.fault_id, open_only, device_id, limit, after)


QUARANTINE_KEY: Final = ("received_ns", "device_id", "epoch", "lane", "seq")


def list_quarantine(
    connection: Connection, limit: int = 200, after: tuple[int, str, str, str, int] | None = None
) -> list[RowDict]:
    """What was refused and why, newest first; bodies as their sizes. `after`: QUARANTINE_KEY of the last one known already."""
    columns = [column for column in quarantine.c if column.name != "body"]
    query = select(*columns, func.length(quarantine.c.body).label("n_bytes"))
    return _newest(connection, query, [quarantine.c[name] for name in QUARANTINE_KEY], limit, after)


def list_training_runs(connection: Connection, limit: int = 200, after: tuple[int, str] | None = None) -> list[RowDict]:
    """Newest first. `after`: `started_ns` and id of the last one known already."""
    key = [training_runs.c.started_ns, training_runs.c.run_id]
    return _newest(connection, select(training_runs), key, limit, after)


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


def _events(
    connection: Connection,
    table: Table,
    identity: Column[Any],
    open_only: bool,
    device_id: str,
    limit: int,
    after: tuple[int, str, str] | None,
) -> list[RowDict]:
    query = select(table)
    if open_only:
        query = query.where(table.c.closed_ns.is_(None))
    if device_id:
        query = query.where(table.c.device_id == device_id)
    return _newest(connection, query, [table.c.opened_ns, table.c.device_id, identity], limit, after)


def _newest(
    connection: Connection, query: Select[Any], key: Sequence[Column[Any]], limit: int, after: tuple[Any, ...] | None
) -> list[RowDict]:
    """Rows by falling `key`, which tells every row apart."""
    if after is not None:
        query = query.where(tuple_(*key) < tuple_(*after))
    rows = connection.execute(query.order_by(*(column.desc() for column in key)).limit(limit)).mappings()
    return [dict(row) for row in rows]


def _by_device(connection: Connection, table: Table, span: tuple[str, str]) -> defaultdict[str, list[RowDict]]:
    """Rows of the devices from the first to the last of `span`."""
    found: defaultdict[str, list[RowDict]] = defaultdict(list)
    for row in connection.execute(select(table).where(table.c.device_id.between(*span))).mappings():
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
