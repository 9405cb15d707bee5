"""A small fleet in a real state database: what the pages' tests look at. Times are relative to `now_ns`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Table, insert

from hub.lake.lake import DeltaLake
from hub.lake.tables import SCHEMAS
from hub.state.schema import (
    alerts,
    assets,
    bundles,
    commissionings,
    device_slots,
    devices,
    fleet_bundles,
    ledger,
    rollout_events,
    rollouts,
    sensor_faults,
    stage_evidence,
    training_runs,
)

S = 1_000_000_000
SPEC = "0123456789abcdef"
ALARM_S = {"pump-2": 190, "pump-4": 75}  # seconds in alarm
FLEET = (  # device, site, seconds since seen, [(asset, profile, state, p-value)]
    ("gw-lyon-01", "lyon", 4, [("pump-1", "pump", "normal", 0.43), ("pump-2", "pump", "alarm", 2.1e-7)]),
    ("gw-lyon-02", "lyon", 11, [("pump-3", "pump", "normal", 0.061), ("fan-1", "fan", "normal", 0.72)]),
    ("gw-lyon-03", "lyon", 840, [("fan-2", "fan", "normal", 0.31)]),
    ("gw-brest-01", "brest", 7, [("motor-1", "motor", "normal", 0.008), ("motor-2", "motor", "commissioning", None)]),
    ("gw-brest-02", "brest", 2, [("pump-4", "pump", "alarm", 1.4e-6)]),
    ("gw-brest-03", "brest", 19, [("fan-3", "fan", "silent", None), ("pump-5", "pump", "normal", 0.55)]),
    ("edge-host", "office", 1, [("this-machine", "host", "normal", 0.24)]),
)


def add(connection: Connection, table: Table, **values: Any) -> None:
    connection.execute(insert(table).values(values))


def add_device(connection: Connection, device_id: str, site: str, last_seen_ns: int, **checkin: Any) -> None:
    said = {"backlog_items": 0, "backlog_bytes": 0, "rss_bytes": 41_300_000, "survival_days": 212.0, "sources": {"plc": "up"}}
    add(
        connection,
        devices,
        device_id=device_id,
        public_key=b"k" * 32,
        site=site,
        hardware="Raspberry Pi 4 Model B",
        agent_version="0.1.0",
        enrolled_ns=last_seen_ns - 86_400 * S,
        last_seen_ns=last_seen_ns,
        checkin={**said, **checkin},
        **{name: {**said, **checkin}[name] for name in ("backlog_items", "survival_days")},
    )


def add_asset(
    connection: Connection, device_id: str, asset: str, profile: str, state: str, p: float | None, since_ns: int
) -> None:
    values = {"device_id": device_id, "asset": asset, "profile": profile, "state": state, "p_value": p, "since_ns": since_ns}
    add(connection, assets, spec_hash=SPEC, **values)


def add_alert(connection: Connection, device_id: str, asset: str, profile: str, opened_ns: int, **values: Any) -> None:
    row = {
        "device_id": device_id,
        "alert_id": f"{asset}-{opened_ns}",
        "asset": asset,
        "profile": profile,
        "detector": "baseline",
        "severity": "warning",
        "opened_ns": opened_ns,
        "closed_ns": None,
        "p_value": 2e-6,
        "score": 14.2,
        "top": [["vibration", 0.62], ["current", 0.21], ["pressure", 0.08]],
        "received_ns": opened_ns + S,
        "time_quality": "synced",
    }
    add(connection, alerts, **{**row, **values})


def add_bundle(connection: Connection, profile: str, version: int, created_ns: int, card: dict[str, Any] | None = None) -> str:
    bundle_id = f"{profile}-{version}-5f3a"
    add(
        connection,
        bundles,
        bundle_id=bundle_id,
        profile=profile,
        version=version,
        spec_hash=SPEC,
        sha256="ab" * 32,
        size=24_180,
        created_ns=created_ns,
        signed_ns=created_ns,
        manifest={"bundle_id": bundle_id},
        card=card or {},
    )
    return bundle_id


CARD: dict[str, Any] = {
    "model": {"architecture": "dense-autoencoder", "features": 35, "int8_bytes": 11_432},
    "evaluation": {
        "held_out_windows": 1184,
        "auc": {
            "int8": {"shift": 0.97, "variance": 0.95, "all": 0.962},
            "float": {"shift": 0.97, "variance": 0.95, "all": 0.964},
            "baseline": {"shift": 0.91, "variance": 0.84, "all": 0.883},
        },
        "false_alarms": {"share": 0.0118, "windows": 1184},
        "latency_us_median": 41.3,
    },
}


def seed_fleet(connection: Connection, now_ns: int) -> None:
    """Seven devices: two assets in alarm, one device silent, one rollout under way, one rolled back, one done."""
    for device_id, site, seen_s, watched in FLEET:
        waiting = {"backlog_items": 1204, "backlog_bytes": 412_000} if device_id == "gw-brest-03" else {}
        add_device(connection, device_id, site, now_ns - seen_s * S, **waiting)
        for asset, profile, state, p in watched:
            add_asset(connection, device_id, asset, profile, state, p, now_ns - ALARM_S.get(asset, 7300) * S)
    add_alert(connection, "gw-lyon-01", "pump-2", "pump", now_ns - 190 * S, severity="critical", p_value=2.1e-7)
    add_alert(
        connection, "gw-brest-02", "pump-4", "pump", now_ns - 75 * S, p_value=1.4e-6, top=[["flow", 0.71], ["current", 0.2]]
    )
    add_alert(connection, "gw-lyon-01", "pump-2", "pump", now_ns - 2600 * S, closed_ns=now_ns - 2400 * S, p_value=3e-6)
    add(
        connection,
        sensor_faults,
        device_id="gw-brest-03",
        fault_id="f1",
        source="plc",
        asset="pump-5",
        channel="pressure",
        fault="stuck",
        detail="3.412 bar for 40 s; it moves by 0.02 at least when it is well",
        opened_ns=now_ns - 3900 * S,
    )
    _seed_models(connection, now_ns)
    _seed_rollouts(connection, now_ns)
    for lane, received, evicted, redelivered in (
        ("aggregates", 48_112, 0, 318),
        ("alerts", 27, 0, 2),
        ("evidence", 811, 96, 0),
    ):
        add_ledger(connection, "gw-lyon-01", lane, received, n_evicted=evicted, n_redelivered=redelivered, now_ns=now_ns)
    add_ledger(connection, "gw-brest-03", "aggregates", 6_120, ahead=[[6_325, 6_330]], now_ns=now_ns)


def add_ledger(connection: Connection, device_id: str, lane: str, received: int, now_ns: int, **values: Any) -> None:
    ahead = values.pop("ahead", [])
    row = {"cursor": received, "ahead": ahead, "n_received": received + sum(b - a + 1 for a, b in ahead), "n_evicted": 0}
    zeros = {"n_redelivered": 0, "n_rejected": 0, "updated_ns": now_ns}
    add(connection, ledger, device_id=device_id, epoch="e1", lane=lane, **{**row, **zeros, **values})


def _seed_models(connection: Connection, now_ns: int) -> None:
    for version in (1, 2, 3):
        add_bundle(connection, "pump", version, now_ns - (4 - version) * 3600 * S, CARD)
    add_bundle(connection, "fan", 1, now_ns - 1800 * S, CARD)
    add(connection, fleet_bundles, profile="pump", bundle_id="pump-1-5f3a", since_ns=now_ns - 9000 * S)
    add(connection, fleet_bundles, profile="fan", bundle_id="fan-1-5f3a", since_ns=now_ns - 1200 * S)
    for device_id, bundle_id, profile, slot in (
        ("gw-lyon-01", "pump-3-5f3a", "pump", "active"),
        ("gw-lyon-01", "pump-1-5f3a", "pump", "previous"),
        ("gw-lyon-02", "pump-1-5f3a", "pump", "active"),
        ("gw-lyon-02", "fan-1-5f3a", "fan", "active"),
        ("gw-lyon-03", "fan-1-5f3a", "fan", "active"),
        ("gw-brest-02", "pump-1-5f3a", "pump", "active"),
        ("gw-brest-03", "pump-1-5f3a", "pump", "active"),
    ):
        figures = {"n_windows": 300, "score_us_median": 41.0}
        add(connection, device_slots, device_id=device_id, profile=profile, slot=slot, bundle_id=bundle_id, **figures)
    run = {"started_ns": now_ns - 40 * S, "record": {}, "profile": "motor", "state": "running"}
    add(connection, training_runs, run_id="r1", **run)
    add(
        connection,
        commissionings,
        device_id="gw-lyon-01",
        asset="pump-2",
        spec_hash=SPEC,
        profile="pump",
        n_windows=60,
        start_ns=now_ns - 80_000 * S,
        end_ns=now_ns - 79_000 * S,
        location=b"",
        scale=b"",
    )


PLAN: dict[str, Any] = {
    "stages": [
        {"name": "shadow", "mode": "shadow", "devices": ["gw-lyon-01"]},
        {"name": "canary", "mode": "active", "devices": ["gw-lyon-01"]},
        {"name": "wave 1", "mode": "active", "devices": ["gw-lyon-02", "gw-brest-02", "gw-brest-03"]},
    ]
}


def gate(name: str, verdict: str, reason: str, **figures: Any) -> dict[str, Any]:
    return {"gate": name, "verdict": verdict, "reason": reason, "figures": figures}


def add_rollout(connection: Connection, bundle_id: str, version_before: str | None, created_ns: int, **values: Any) -> None:
    row = {
        "rollout_id": f"roll-{bundle_id}",
        "profile": bundle_id.split("-", maxsplit=1)[0],
        "bundle_id": bundle_id,
        "incumbent_id": version_before,
        "state": "running",
        "stage": 1,
        "stage_since_ns": created_ns,
        "plan": PLAN,
        "created_ns": created_ns,
        "reason": "",
    }
    add(connection, rollouts, **{**row, **values})


def add_event(connection: Connection, bundle_id: str, stage: str, event: str, at_ns: int, gates: list[dict[str, Any]]) -> None:
    figures = {"reason": "; ".join(each["reason"] for each in gates), "gates": gates}
    add(
        connection,
        rollout_events,
        rollout_id=f"roll-{bundle_id}",
        stage=stage,
        event=event,
        at_ns=at_ns,
        figures=figures,
        final=False,
    )


def _seed_rollouts(connection: Connection, now_ns: int) -> None:
    add_rollout(connection, "pump-3-5f3a", "pump-1-5f3a", now_ns - 700 * S, stage_since_ns=now_ns - 140 * S)
    waiting = [
        gate("presence", "pass", "1 of 1 devices hold it (1 needed)"),
        gate("self_test", "pass", "1 devices took it, none refused"),
        gate("restarts", "pass", "0 restarts on 1 devices"),
        gate("latency", "pass", "slowest 41 µs a window on gw-lyon-01"),
        gate("evidence", "wait", "38 of 60 windows; 1 of 1 devices with at least 30"),
        gate("low_p", "wait", "2.6% of 38 windows with p <= 0.01, incumbent 5.3%, limit 15.9%", limit=0.159),
        gate("alarm_rate", "wait", "0.0% of 38 windows in alarm, incumbent 2.6%, limit 8.9%", limit=0.089),
    ]
    add_event(connection, "pump-3-5f3a", "canary", "wait", now_ns - 10 * S, waiting)
    _add_evidence(connection, "pump-3-5f3a", "canary", 38, alarm=(0, 1), low_p=(1, 2))
    reason = "alarm_rate: 71.4% of 28 windows in alarm, incumbent 0.0%, limit 5.0%"
    ended = {"state": "rolled_back", "ended_ns": now_ns - 2000 * S, "reason": reason}
    add_rollout(connection, "pump-2-5f3a", "pump-1-5f3a", now_ns - 2600 * S, **ended)
    halted = [
        gate("presence", "pass", "1 of 1 devices hold it (1 needed)"),
        gate("self_test", "pass", "1 devices took it, none refused"),
        gate("low_p", "halt", "82.1% of 28 windows with p <= 0.01, incumbent 0.0%, limit 8.0%", limit=0.08),
        gate("alarm_rate", "halt", "71.4% of 28 windows in alarm, incumbent 0.0%, limit 5.0%", limit=0.05),
    ]
    add_event(connection, "pump-2-5f3a", "canary", "halt", now_ns - 2100 * S, halted)
    _add_evidence(connection, "pump-2-5f3a", "canary", 28, alarm=(20, 0), low_p=(23, 0))
    done = {"state": "done", "stage": 2, "ended_ns": now_ns - 9000 * S, "reason": "every stage passed"}
    add_rollout(connection, "pump-1-5f3a", None, now_ns - 10_000 * S, **done)


def _add_evidence(
    connection: Connection, bundle_id: str, stage: str, n: int, alarm: tuple[int, int], low_p: tuple[int, int]
) -> None:
    add(
        connection,
        stage_evidence,
        rollout_id=f"roll-{bundle_id}",
        stage=stage,
        device_id="gw-lyon-01",
        n_windows=n,
        n_alarm_candidate=alarm[0],
        n_alarm_incumbent=alarm[1],
        n_low_p_candidate=low_p[0],
        n_low_p_incumbent=low_p[1],
        n_faulty=3,
    )


def seed_windows(lake: DeltaLake, now_ns: int, n: int = 360) -> None:
    """`n` windows of gw-lyon-01's pump-2, ten seconds apart: commissioning, then calm, then an alarm at the end."""
    rows = [_window(k, now_ns - (n - k) * 10 * S, n) for k in range(n)]
    lake.append("aggregates", pa.Table.from_pylist(rows, schema=SCHEMAS["aggregates"]), "log", n)


def _window(k: int, end_ns: int, n: int) -> dict[str, Any]:
    alarmed, learning = k > n - 20, k < 60
    noise = (math.sin(k * 12.9898) * 43758.5453) % 1  # scattered over 0..1, the same on every run
    p = 10 ** -(5.6 + 1.5 * noise) if alarmed else max(1e-4, noise)
    start_ns = end_ns - 10 * S
    return {
        "device_id": "gw-lyon-01",
        "epoch": "e1",
        "lane": "aggregates",
        "seq": k + 1,
        "profile": "pump",
        "day": datetime.fromtimestamp(start_ns / S, UTC).date(),
        "asset": "pump-2",
        "spec_hash": SPEC,
        "start_ns": start_ns,
        "end_ns": end_ns,
        "features": [0.0],
        "n_readings": 250,
        "n_late": 0,
        "faulty": [],
        "commissioning": learning,
        "alarm": alarmed,
        "scores": [{"detector": "pump-3-5f3a", "score": 1.0, "p_value": None if learning else p, "alarm": alarmed}],
        "top": ["vibration"],
        "wall_ns": end_ns,
        "mono_ns": end_ns,
        "boot_id": "b",
        "synced": True,
        "received_ns": end_ns + S,
    }
