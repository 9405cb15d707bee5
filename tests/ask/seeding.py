"""The fleet that the questions are about, in a real state database and lake. All times are Paris time, 2026.

It is Wednesday 18 March, 15:00: last week is 9 to 15 March. Whoever writes a question reads its answer off these tables.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa
from sqlalchemy import Connection, insert

from hub.lake.lake import DeltaLake
from hub.lake.tables import SCHEMAS
from hub.state import schema

S: Final = 1_000_000_000
ZONE: Final = "Europe/Paris"
SPEC: Final = "0123456789abcdef"


def at(text: str) -> int:
    """Unix ns of "MM-DD hh:mm", or of "YYYY-MM-DD hh:mm"."""
    moment = datetime.fromisoformat(text if len(text) > 11 else f"2026-{text}").replace(tzinfo=ZoneInfo(ZONE))
    return int(moment.timestamp()) * S


NOW_NS: Final = at("03-18 15:00")
_HERE: Final = "03-18 14:59"  # what is online was seen a minute ago

DEVICES: Final = (  # device, site, hardware, agent, enrolled, last seen, state, items waiting, days it lasts alone
    ("gw-lyon-01", "lyon", "Raspberry Pi 4 Model B", "0.1.0", "01-05 09:00", _HERE, "active", 0, 212.0),
    ("gw-lyon-02", "lyon", "Raspberry Pi 4 Model B", "0.0.9", "01-05 09:00", _HERE, "active", 0, 212.0),
    ("gw-brest-01", "brest", "Raspberry Pi 5 Model B", "0.1.0", "01-05 09:00", _HERE, "active", 0, 212.0),
    ("gw-brest-02", "brest", "Raspberry Pi 4 Model B", "0.1.0", "01-05 09:00", "03-16 12:00", "active", 1204, 212.0),
    ("gw-ste-01", "saint-etienne", "Raspberry Pi 4 Model B", "0.1.0", "03-02 09:00", _HERE, "active", 15, 40.0),
    ("edge-host", "office", "Raspberry Pi 4 Model B", "0.1.0", "01-05 09:00", _HERE, "active", 0, 212.0),
    ("gw-old-01", "brest", "Raspberry Pi 3 Model B", "0.0.8", "2025-06-01 09:00", "01-15 08:00", "revoked", 0, 10.0),
)
ASSETS: Final = (  # device, asset, profile, state as last said
    ("gw-lyon-01", "pump-1", "pump", "normal"),
    ("gw-lyon-01", "pump-2", "pump", "alarm"),
    ("gw-lyon-02", "pump-3", "pump", "normal"),
    ("gw-lyon-02", "fan-1", "fan", "normal"),
    ("gw-brest-01", "motor-1", "motor", "normal"),
    ("gw-brest-01", "motor-2", "motor", "commissioning"),
    ("gw-brest-01", "pump-4", "pump", "alarm"),
    ("gw-brest-02", "compressor-1", "compressor", "normal"),
    ("gw-brest-02", "fan-2", "fan", "normal"),
    ("gw-ste-01", "pump-5", "pump", "normal"),
    ("gw-ste-01", "bearing-1", "bearing", "normal"),
    ("gw-ste-01", "fan-3", "fan", "silent"),
    ("edge-host", "this-machine", "host", "normal"),
)
ALERTS: Final = (  # id, device, asset, severity, opened, closed ("" = open), shares of the channels
    (
        "a01",
        "gw-lyon-01",
        "pump-2",
        "critical",
        "03-18 14:10",
        "",
        [("vibration", 0.62), ("current", 0.15), ("pressure", 0.08)],
    ),
    ("a02", "gw-brest-01", "pump-4", "warning", "03-18 13:40", "", [("flow", 0.71), ("current", 0.15)]),
    ("a03", "gw-lyon-01", "pump-2", "warning", "03-17 08:30", "03-17 09:15", [("vibration", 0.55), ("temperature", 0.3)]),
    ("a04", "gw-lyon-02", "pump-3", "critical", "03-11 10:00", "03-11 12:30", [("vibration", 0.7), ("current", 0.1)]),
    ("a05", "gw-lyon-01", "pump-1", "warning", "03-12 22:00", "03-12 22:20", [("flow", 0.6), ("pressure", 0.3)]),
    ("a06", "gw-lyon-01", "pump-2", "warning", "03-10 06:00", "03-10 06:30", [("vibration", 0.5), ("current", 0.4)]),
    ("a07", "gw-brest-01", "motor-1", "critical", "03-13 14:00", "03-13 19:00", [("temperature", 0.8), ("current", 0.1)]),
    ("a08", "gw-ste-01", "pump-5", "warning", "03-14 03:00", "03-14 03:40", [("pressure", 0.65), ("flow", 0.25)]),
    ("a09", "gw-ste-01", "bearing-1", "critical", "03-16 09:00", "03-16 15:00", [("acceleration", 1.0)]),
    ("a10", "gw-brest-02", "compressor-1", "warning", "03-15 23:30", "03-16 00:30", [("pressure", 0.5), ("temperature", 0.45)]),
    ("a11", "gw-lyon-02", "fan-1", "warning", "03-09 08:00", "03-09 08:10", [("airflow", 0.6), ("speed", 0.15)]),
    ("a12", "gw-brest-02", "fan-2", "critical", "02-20 11:00", "02-20 13:00", [("vibration", 0.9)]),
    ("a13", "gw-lyon-01", "pump-1", "warning", "02-25 16:00", "02-25 16:30", [("current", 0.7)]),
    ("a14", "gw-brest-01", "motor-1", "warning", "03-17 20:00", "03-17 20:50", [("vibration", 0.6), ("temperature", 0.25)]),
    ("a15", "gw-brest-01", "pump-4", "critical", "03-05 09:00", "03-05 10:30", [("flow", 0.8)]),
    ("a16", "gw-lyon-02", "pump-3", "warning", "03-17 09:30", "03-17 09:40", [("current", 0.6), ("vibration", 0.15)]),
    ("a17", "edge-host", "this-machine", "warning", "03-16 18:00", "03-16 18:05", [("memory_used", 0.9)]),
    ("a18", "gw-ste-01", "pump-5", "critical", "02-10 07:00", "02-10 11:00", [("vibration", 0.75)]),
)
FEEDBACK: Final = (("a04", "confirm"), ("a05", "false-alarm"), ("a16", "false-alarm"), ("a10", "maintenance"))
FAULTS: Final = (  # id, device, asset, channel, fault, opened, closed
    ("f1", "gw-ste-01", "pump-5", "pressure", "stuck", "03-18 09:00", ""),
    ("f2", "gw-brest-01", "pump-4", "flow", "missing", "03-17 10:00", "03-17 10:45"),
    ("f3", "gw-lyon-02", "fan-1", "speed", "spike", "03-12 12:00", "03-12 12:01"),
    ("f4", "gw-ste-01", "fan-3", "", "link", "03-16 07:00", ""),
    ("f5", "gw-lyon-01", "pump-1", "temperature", "stuck", "02-12 08:00", "02-12 10:00"),
    ("f6", "gw-brest-02", "compressor-1", "pressure", "out_of_range", "03-14 16:00", "03-14 16:20"),
    ("f7", "gw-brest-01", "motor-2", "current", "noise", "03-11 05:00", "03-11 06:00"),
    ("f8", "gw-lyon-01", "pump-2", "vibration", "missing", "03-10 18:00", "03-10 18:30"),
)
LEDGER: Final[tuple[tuple[Any, ...], ...]] = (  # device, lane, cursor, ahead, evicted, redelivered
    ("gw-lyon-01", "aggregates", 48_112, [], 0, 318),
    ("gw-lyon-01", "alerts", 27, [], 0, 2),
    ("gw-lyon-01", "evidence", 811, [], 96, 0),
    ("gw-brest-02", "aggregates", 6_120, [[6_325, 6_330]], 0, 0),  # 204 are missing
    ("gw-ste-01", "alerts", 9, [[12, 12]], 0, 0),  # 2 are missing
)
MODELS: Final = (  # profile, version, created
    ("pump", 1, "02-01 10:00"),
    ("pump", 2, "03-03 10:00"),
    ("pump", 3, "03-16 10:00"),
    ("fan", 1, "02-15 10:00"),
    ("motor", 1, "03-10 10:00"),
)
ACTIVE: Final = (  # device, model
    ("gw-lyon-01", "pump-3-5f3a"),
    ("gw-lyon-02", "pump-1-5f3a"),
    ("gw-lyon-02", "fan-1-5f3a"),
    ("gw-brest-01", "pump-1-5f3a"),
    ("gw-ste-01", "pump-1-5f3a"),
    ("gw-ste-01", "fan-1-5f3a"),
)
ROLLOUTS: Final[tuple[tuple[Any, ...], ...]] = (  # model, before it, state, stage, created, ended, reason
    ("pump-3-5f3a", "pump-1-5f3a", "running", 1, "03-18 09:00", "", ""),
    ("pump-2-5f3a", "pump-1-5f3a", "rolled_back", 1, "03-04 09:00", "03-05 12:00", "alarm_rate: 71.4% of 28 windows in alarm"),
    ("pump-1-5f3a", None, "done", 2, "02-02 09:00", "02-03 09:00", "every stage passed"),
    ("fan-1-5f3a", None, "done", 2, "02-16 09:00", "02-17 09:00", "every stage passed"),
    ("motor-1-5f3a", None, "halted", 0, "03-11 09:00", "03-11 11:00", "latency: slowest 9000 µs a window"),
)
RUNS: Final[tuple[tuple[Any, ...], ...]] = (  # run, profile, state, started, ended, model, error
    ("r1", "motor", "running", "03-18 14:50", "", None, None),
    ("r2", "pump", "done", "03-16 10:00", "03-16 10:05", "pump-3-5f3a", None),
    ("r3", "fan", "failed", "03-13 10:00", "03-13 10:01", None, "12 windows; at least 200 are needed"),
    ("r4", "pump", "done", "03-03 10:00", "03-03 10:04", "pump-2-5f3a", None),
)
# Windows: one an hour of these three from 17 March, 00:00, to 18 March, 15:00. In alarm, by the hour at which they end:
WATCHED: Final = (("gw-lyon-01", "pump-1", "pump"), ("gw-lyon-01", "pump-2", "pump"), ("gw-brest-01", "motor-1", "motor"))
ALARMED: Final = {("pump-2", "03-18 15:00"): 2e-7, ("pump-2", "03-17 09:00"): 3e-6, ("motor-1", "03-17 21:00"): 1e-5}

_STAGES: Final[list[dict[str, Any]]] = [
    {"name": name, "mode": "active", "devices": []} for name in ("shadow", "canary", "wave 1")
]


def seed(connection: Connection) -> None:
    """All of the above into the state."""
    profile_of = {asset: profile for _, asset, profile, _ in ASSETS}
    for device, site, hardware, agent, enrolled, seen, state, waiting, days in DEVICES:
        checkin = {"backlog_items": waiting, "backlog_bytes": waiting * 300, "rss_bytes": 41_300_000, "survival_days": days}
        _add(
            connection,
            schema.devices,
            device_id=device,
            public_key=b"k" * 32,
            site=site,
            hardware=hardware,
            agent_version=agent,
            enrolled_ns=at(enrolled),
            last_seen_ns=at(seen),
            state=state,
            checkin=checkin | {"survival": {"days": days}},
        )
    for device, asset, profile, state in ASSETS:
        values = {"device_id": device, "asset": asset, "profile": profile, "state": state, "spec_hash": SPEC}
        _add(connection, schema.assets, **values, p_value=0.4, since_ns=at("03-17 08:00"))
    for alert, device, asset, severity, opened, closed, top in ALERTS:
        _add(
            connection,
            schema.alerts,
            device_id=device,
            alert_id=alert,
            asset=asset,
            profile=profile_of[asset],
            detector="baseline",
            severity=severity,
            opened_ns=at(opened),
            closed_ns=at(closed) if closed else None,
            p_value=2e-6,
            score=14.2,
            top=[list(share) for share in top],
            received_ns=at(opened) + S,
            time_quality="synced",
        )
    device_of = {alert: device for alert, device, *_ in ALERTS}
    for alert, label in FEEDBACK:
        said = {"device_id": device_of[alert], "alert_id": alert, "at_ns": at("03-18 10:00")}
        _add(connection, schema.alert_feedback, **said, label=label, actor="user:ana", note="")
    for fault, device, asset, channel, kind, opened, closed in FAULTS:
        values = {"device_id": device, "fault_id": fault, "source": "plc", "asset": asset, "channel": channel, "fault": kind}
        times = {"opened_ns": at(opened), "closed_ns": at(closed) if closed else None}
        _add(connection, schema.sensor_faults, **values, **times, detail="as told", time_quality="synced")
    _seed_learning(connection)


def _seed_learning(connection: Connection) -> None:
    for device, lane, cursor, ahead, evicted, redelivered in LEDGER:
        n = cursor - evicted + sum(last - first + 1 for first, last in ahead)
        counts = {"n_received": n, "n_evicted": evicted, "n_redelivered": redelivered, "n_rejected": 0}
        place = {"device_id": device, "epoch": "e1", "lane": lane, "cursor": cursor, "ahead": ahead}
        _add(connection, schema.ledger, **place, **counts, updated_ns=NOW_NS)
    for profile, version, created in MODELS:
        model = f"{profile}-{version}-5f3a"
        values = {"bundle_id": model, "profile": profile, "version": version, "spec_hash": SPEC, "sha256": "ab" * 32}
        times = {"created_ns": at(created), "signed_ns": at(created)}
        _add(connection, schema.bundles, **values, **times, size=24_180, manifest={}, card={})
    for device, model in ACTIVE:
        slot = {"device_id": device, "profile": model.split("-")[0], "slot": "active", "bundle_id": model}
        _add(connection, schema.device_slots, **slot, n_windows=300, score_us_median=41.0)
    for profile in ("pump", "fan"):
        _add(connection, schema.fleet_bundles, profile=profile, bundle_id=f"{profile}-1-5f3a", since_ns=at("02-17 09:00"))
    for model, before, state, stage, created, ended, reason in ROLLOUTS:
        _add(
            connection,
            schema.rollouts,
            rollout_id=f"roll-{model}",
            profile=model.split("-")[0],
            bundle_id=model,
            incumbent_id=before,
            state=state,
            stage=stage,
            stage_since_ns=at(created),
            plan={"stages": _STAGES},
            created_ns=at(created),
            ended_ns=at(ended) if ended else None,
            reason=reason,
        )
    for run, trained, run_state, begun, done, made, error in RUNS:
        when = {"started_ns": at(begun), "ended_ns": at(done) if done else None}
        values = {"run_id": run, "profile": trained, "state": run_state, "bundle_id": made, "error": error, "record": {}}
        _add(connection, schema.training_runs, **values, **when)


def seed_lake(lake: DeltaLake) -> None:
    """The hourly windows, in one commit."""
    first = datetime(2026, 3, 17, 1, tzinfo=ZoneInfo(ZONE))
    ends = [first + timedelta(hours=n) for n in range(39)]
    rows = [_window(n, end, *watched) for watched in WATCHED for n, end in enumerate(ends)]
    lake.append("aggregates", pa.Table.from_pylist(rows, schema=SCHEMAS["aggregates"]), "log", len(rows))


def _window(n: int, end: datetime, device: str, asset: str, profile: str) -> dict[str, Any]:
    end_ns = int(end.timestamp()) * S
    p = ALARMED.get((asset, f"{end:%m-%d %H:%M}"))
    alarmed = p is not None
    score = {"detector": "baseline", "score": 14.0 if alarmed else 1.0, "p_value": p or 0.5 + n / 1000, "alarm": alarmed}
    return {
        "device_id": device,
        "epoch": "e1",
        "lane": "aggregates",
        "seq": n + 1 + 100 * (asset == "pump-2"),
        "profile": profile,
        "day": (end - timedelta(hours=1)).astimezone(ZoneInfo("UTC")).date(),
        "asset": asset,
        "spec_hash": SPEC,
        "start_ns": end_ns - 3600 * S,
        "end_ns": end_ns,
        "features": [0.0],
        "n_readings": 250,
        "n_late": 0,
        "faulty": [],
        "commissioning": False,
        "alarm": alarmed,
        "scores": [score],
        "top": ["vibration"],
        "partial": False,
        "end_mono_ns": 0,
        "wall_ns": end_ns,
        "mono_ns": end_ns,
        "boot_id": "b",
        "synced": True,
        "received_ns": end_ns + S,
    }


def _add(connection: Connection, table: Any, **values: Any) -> None:
    connection.execute(insert(table).values(values))
