"""The views over the hub's state, as Arrow tables: read in one snapshot, at most MAX_ROWS of each, the newest first.

They are copies: what DuckDB runs never reaches the database itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, Select, func, select

from hub.ask.catalog import ViewName
from hub.ledger.ranges import Seen, size
from hub.state.json_values import whole_number
from hub.state.schema import (
    alert_feedback,
    alerts,
    assets,
    bundles,
    device_slots,
    devices,
    fleet_bundles,
    ledger,
    rollouts,
    sensor_faults,
    training_runs,
)
from hub.web.queries import state_now

MAX_ROWS: Final = 50_000
CAUSE_SHARE: Final = 0.2  # of an alert's score, from which on a channel counts among its causes
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FURTHEST_NS: Final = 4_102_444_800 * 10**9  # 2100: a time beyond is a broken clock's, and shown as that
_TIME: Final = pa.timestamp("us", tz="UTC")
_LIST: Final = pa.list_(pa.string())
_WHERE: Final = [("device", pa.string()), ("site", pa.string())]
_ASSET: Final = [("asset", pa.string()), ("profile", pa.string())]
_LASTED: Final = [("opened", _TIME), ("closed", _TIME), ("is_open", pa.bool_()), ("duration_s", pa.float64())]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """When the state is looked at. `heard_since_ns`: devices last heard before are offline."""

    now_ns: int
    heard_since_ns: int


def load_view(connection: Connection, view: ViewName, moment: Moment) -> pa.Table:
    """All columns of one view; of more than MAX_ROWS rows the newest. `windows` is the lake's: see `engine.py`."""
    schema = pa.schema(_SCHEMAS[view])
    rows = _LOAD[view](connection, moment)
    return pa.Table.from_pylist(rows, schema=schema)


def sites_table(connection: Connection) -> pa.Table:
    """Each device's site."""
    rows = connection.execute(select(devices.c.device_id, devices.c.site)).all()
    return pa.table(
        {"device_id": pa.array([r[0] for r in rows], pa.string()), "site": pa.array([r[1] for r in rows], pa.string())}
    )


def _time(at_ns: int | None) -> datetime | None:
    return None if at_ns is None else _EPOCH + timedelta(microseconds=min(max(at_ns, 0), _FURTHEST_NS) // 1000)


def _lasted(row: Any, now_ns: int) -> Row:
    ended_ns = now_ns if row.closed_ns is None else row.closed_ns
    times = {"opened": _time(row.opened_ns), "closed": _time(row.closed_ns), "is_open": row.closed_ns is None}
    return times | {"duration_s": max(0, ended_ns - row.opened_ns) / 1e9}


def _alerts(connection: Connection, moment: Moment) -> list[Row]:
    names = ("asset", "profile", "severity", "p_value", "score", "detector", "top", "opened_ns", "closed_ns")
    columns = [alerts.c.device_id, alerts.c.alert_id, *(alerts.c[name] for name in names), devices.c.site]
    joined = alerts.outerjoin(devices, devices.c.device_id == alerts.c.device_id)
    said = _verdicts(connection)
    rows = connection.execute(select(*columns).select_from(joined).order_by(alerts.c.opened_ns.desc()).limit(MAX_ROWS))
    return [
        {
            **{name: getattr(row, name) for name in names[:6]},
            **_lasted(row, moment.now_ns),
            "device": row.device_id,
            "site": row.site or "",
            "cause": str(row.top[0][0]) if row.top else None,
            "causes": [str(channel) for channel, share in row.top or () if share >= CAUSE_SHARE],
            "verdict": said.get((row.device_id, row.alert_id)),
            "alert": row.alert_id,
        }
        for row in rows
    ]


def _verdicts(connection: Connection) -> dict[tuple[str, str], str]:
    """The latest word on each alert."""
    columns = (alert_feedback.c.device_id, alert_feedback.c.alert_id, alert_feedback.c.label)
    newest = select(*columns).order_by(alert_feedback.c.at_ns.desc()).limit(MAX_ROWS)
    return {(device, alert): label for device, alert, label in reversed(connection.execute(newest).all())}


def _faults(connection: Connection, moment: Moment) -> list[Row]:
    names = ("asset", "channel", "source", "fault", "detail", "opened_ns", "closed_ns")
    columns = [sensor_faults.c.device_id, *(sensor_faults.c[name] for name in names), devices.c.site, assets.c.profile]
    here = (assets.c.device_id == sensor_faults.c.device_id) & (assets.c.asset == sensor_faults.c.asset)
    joined = sensor_faults.outerjoin(devices, devices.c.device_id == sensor_faults.c.device_id).outerjoin(assets, here)
    rows = connection.execute(select(*columns).select_from(joined).order_by(sensor_faults.c.opened_ns.desc()).limit(MAX_ROWS))
    return [
        {
            **{name: getattr(row, name) for name in names[:5]},
            **_lasted(row, moment.now_ns),
            "device": row.device_id,
            "site": row.site or "",
            "profile": row.profile or "",
        }
        for row in rows
    ]


def _assets(connection: Connection, moment: Moment) -> list[Row]:
    active = (
        (device_slots.c.device_id == assets.c.device_id)
        & (device_slots.c.profile == assets.c.profile)
        & (device_slots.c.slot == "active")
    )
    state = state_now(moment.heard_since_ns).label("state")
    columns = (assets.c.asset, assets.c.profile, state, assets.c.p_value, device_slots.c.bundle_id.label("model"))
    joined = assets.join(devices, devices.c.device_id == assets.c.device_id).outerjoin(device_slots, active)
    wanted = select(assets.c.device_id.label("device"), devices.c.site, *columns, assets.c.since_ns).select_from(joined)
    return _rows(connection, wanted.order_by(devices.c.site, assets.c.asset), since="since_ns")


def _devices(connection: Connection, moment: Moment) -> list[Row]:
    said = devices.c.checkin
    columns = [
        devices.c.device_id.label("device"),
        *(devices.c[name] for name in ("site", "state", "hardware", "agent_version", "last_seen_ns", "enrolled_ns")),
        (devices.c.last_seen_ns >= moment.heard_since_ns).label("online"),
        *(whole_number(said[name]).label(name) for name in ("backlog_items", "backlog_bytes", "rss_bytes")),
        said["survival_days"].as_float().label("alone_days"),
    ]
    wanted = select(*columns).order_by(devices.c.device_id)
    return _rows(connection, wanted, last_seen="last_seen_ns", enrolled="enrolled_ns")


def _rollouts(connection: Connection, _moment: Moment) -> list[Row]:
    newest = select(rollouts).order_by(rollouts.c.created_ns.desc()).limit(MAX_ROWS)
    return [
        {
            **{name: getattr(row, name) for name in ("profile", "state", "reason")},
            "rollout": row.rollout_id,
            "model": row.bundle_id,
            "incumbent": row.incumbent_id,
            "stage": _stage(row.plan, row.stage),
            "started": _time(row.created_ns),
            "ended": _time(row.ended_ns),
        }
        for row in connection.execute(newest)
    ]


def _stage(plan: Mapping[str, Any], index: int) -> str | None:
    stages = plan.get("stages") or []
    return str(stages[index]["name"]) if 0 <= index < len(stages) else None


def _models(connection: Connection, _moment: Moment) -> list[Row]:
    active = select(device_slots.c.bundle_id, func.count()).where(device_slots.c.slot == "active")
    holding: dict[str, int] = dict(connection.execute(active.group_by(device_slots.c.bundle_id)).tuples().all())
    fleet = set(connection.execute(select(fleet_bundles.c.bundle_id)).scalars())
    columns = (bundles.c.bundle_id.label("model"), bundles.c.profile, bundles.c.version, bundles.c.size.label("size_bytes"))
    rows = _rows(connection, select(*columns, bundles.c.created_ns).order_by(bundles.c.created_ns.desc()), created="created_ns")
    return [row | {"n_devices": holding.get(row["model"], 0), "in_fleet": row["model"] in fleet} for row in rows]


def _runs(connection: Connection, _moment: Moment) -> list[Row]:
    names = (training_runs.c.run_id.label("run"), training_runs.c.bundle_id.label("model"))
    columns = (training_runs.c[name] for name in ("profile", "state", "error", "started_ns", "ended_ns"))
    newest = select(*names, *columns).order_by(training_runs.c.started_ns.desc())
    rows = _rows(connection, newest, started="started_ns", ended="ended_ns")
    return [
        row | {"duration_s": (row["ended"] - row["started"]).total_seconds() if row["ended"] is not None else None}
        for row in rows
    ]


def _ledger(connection: Connection, _moment: Moment) -> list[Row]:
    """A row a device and lane, over all its epochs."""
    counts = ("n_received", "n_evicted", "n_merged", "n_redelivered", "n_rejected")
    columns = [ledger.c[name] for name in ("device_id", "lane", "cursor", "ahead", *counts)]
    joined = ledger.outerjoin(devices, devices.c.device_id == ledger.c.device_id)
    found: dict[tuple[str, str], Row] = {}
    newest = select(*columns, devices.c.site).select_from(joined).order_by(ledger.c.updated_ns.desc()).limit(MAX_ROWS)
    for row in connection.execute(newest):
        place = {"device": row.device_id, "site": row.site or "", "lane": row.lane}
        sums = found.setdefault((row.device_id, row.lane), place | dict.fromkeys(("n_missing", *counts), 0))
        seen = Seen(row.cursor, tuple((first, last) for first, last in row.ahead))
        sums["n_missing"] += size(seen.missing)
        for name in counts:
            sums[name] += getattr(row, name)
    return list(found.values())


def _rows(connection: Connection, wanted: Select[Any], **times: str) -> list[Row]:
    """`times`: column of the view, and the one in Unix ns that it is made of."""
    rows = connection.execute(wanted.limit(MAX_ROWS)).mappings()
    return [{**row, **{name: _time(row[source]) for name, source in times.items()}} for row in rows]


_LOAD: Final[Mapping[ViewName, Callable[[Connection, Moment], list[Row]]]] = {
    "alerts": _alerts,
    "sensor_faults": _faults,
    "assets": _assets,
    "devices": _devices,
    "rollouts": _rollouts,
    "models": _models,
    "training_runs": _runs,
    "ledger": _ledger,
}
_TEXT: Final = pa.string()
_SCHEMAS: Final[Mapping[ViewName, list[tuple[str, pa.DataType]]]] = {
    "alerts": [
        *_WHERE,
        *_ASSET,
        ("severity", _TEXT),
        *_LASTED,
        ("cause", _TEXT),
        ("causes", _LIST),
        ("p_value", pa.float64()),
        ("score", pa.float64()),
        *((name, _TEXT) for name in ("detector", "verdict", "alert")),
    ],
    "sensor_faults": [*_WHERE, *_ASSET, *((name, _TEXT) for name in ("channel", "source", "fault", "detail")), *_LASTED],
    "assets": [*_WHERE, *_ASSET, ("state", _TEXT), ("p_value", pa.float64()), ("since", _TIME), ("model", _TEXT)],
    "devices": [
        *_WHERE,
        ("state", _TEXT),
        ("online", pa.bool_()),
        ("last_seen", _TIME),
        ("enrolled", _TIME),
        ("hardware", _TEXT),
        ("agent_version", _TEXT),
        ("backlog_items", pa.int64()),
        ("backlog_bytes", pa.int64()),
        ("alone_days", pa.float64()),
        ("rss_bytes", pa.int64()),
    ],
    "rollouts": [
        *((name, _TEXT) for name in ("rollout", "profile", "model", "incumbent", "state", "stage")),
        ("started", _TIME),
        ("ended", _TIME),
        ("reason", _TEXT),
    ],
    "models": [
        ("model", _TEXT),
        ("profile", _TEXT),
        ("version", pa.int64()),
        ("created", _TIME),
        ("size_bytes", pa.int64()),
        ("n_devices", pa.int64()),
        ("in_fleet", pa.bool_()),
    ],
    "training_runs": [
        *((name, _TEXT) for name in ("run", "profile", "state")),
        ("started", _TIME),
        ("ended", _TIME),
        ("duration_s", pa.float64()),
        ("model", _TEXT),
        ("error", _TEXT),
    ],
    "ledger": [
        *_WHERE,
        ("lane", _TEXT),
        *((f"n_{name}", pa.int64()) for name in ("received", "missing", "evicted", "merged", "redelivered", "rejected")),
    ],
}
