"""A month of data as the hub counts it: days, gaps, losses, sensor faults, refusals, erasures."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, insert

from hub.audit.log import record
from hub.erasure.erasure import ask
from hub.lake.days import DAY_NS
from hub.lake.lake import DeltaLake
from hub.state.schema import device_days, ledger, losses, profile_days, quarantine, received_days, sensor_faults
from tests.web.seeding import S, seed_windows

WINDOWS_A_DAY = 8640
DETECTORS = (("baseline", -30, -18), ("pump-1-5f3a", -18, -6), ("pump-3-5f3a", -6, 1))


def seed_data(engine: Engine, lake: DeltaLake | None, now_ns: int, device_ids: list[str]) -> None:
    today = now_ns // DAY_NS
    _seed_days(engine, device_ids, today)
    _seed_faults(engine, device_ids, now_ns)
    with engine.begin() as connection:
        item = {"epoch": "e1", "lane": "aggregates", "kind": "aggregate", "body": b"x"}
        reasons = ["features: 35 values, spec 0123456789abcdef has 26"] * 7 + ["end_ns before start_ns"] * 2
        rows = [
            {
                **item,
                "device_id": device_ids[k % len(device_ids)],
                "seq": k,
                "reason": reason,
                "received_ns": now_ns - k * 600 * S,
            }
            for k, reason in enumerate(reasons, start=1)
        ]
        connection.execute(insert(quarantine), rows)
        ask(connection, device_ids[-1], "user:ann", now_ns - 60 * S)
        told: dict[str, Any] = {"log_records": 0, "state_rows": 12, "lake_rows": 8401}
        record(connection, at_ns=now_ns - 9 * DAY_NS, actor="user:ann", action="data.erase", subject="gw-old", details=told)
        for k in range(60):
            record(connection, at_ns=now_ns - (60 - k) * 900 * S, actor="cli:root", action="rollout.pass", subject=f"r{k}")
    if lake is not None:
        for days_ago in (6, 5, 4, 3, 2, 1, 0):
            seed_windows(lake, now_ns - days_ago * DAY_NS, n=60 + 40 * (7 - days_ago))


def add_profile_day(engine: Engine, profile: str, detector: str, day: int, n: int, **values: int) -> None:
    row = {"n_windows": n, "n_learning": 0, "n_faulty": 0, "n_alarm": 0, "n_clean": n, "n_unlikely": n // 20}
    row |= {"watched_ns": n * 10 * S, "n_readings": n * 250}
    with engine.begin() as connection:
        connection.execute(insert(profile_days).values(profile=profile, detector=detector, day=day, **row | values))


def _seed_days(engine: Engine, device_ids: list[str], today: int) -> None:
    """Of the third device a gap on one day, of the second an eviction over two, of the fourth half a day merged."""
    zeros = {"n_merged": 0, "n_faulty": 0, "n_late": 0}
    days = []
    for k, device_id in enumerate(device_ids):
        for ago in range(25, -1, -1):
            first = (25 - ago) * WINDOWS_A_DAY + 1
            row = {"device_id": device_id, "epoch": "e1", "day": today - ago, "n_windows": WINDOWS_A_DAY, **zeros}
            row |= {"first_seq": first, "last_seq": first + WINDOWS_A_DAY - 1}
            if k == 2 and ago == 4:
                row["n_windows"] -= 3000
            if k == 3 and ago == 9:
                row |= {"n_windows": WINDOWS_A_DAY // 2, "n_merged": WINDOWS_A_DAY // 2, "n_late": 400}
            days.append(row)
    total = 26 * WINDOWS_A_DAY
    accounts = []
    for k, device_id in enumerate(device_ids):
        account = {"cursor": total, "ahead": [], "n_received": total, "n_evicted": 0, "n_merged": 0}
        if k == 1:
            account |= {"n_received": total - 5000, "n_evicted": 5000}
        if k == 2:
            gap_at = 21 * WINDOWS_A_DAY + 2000
            account |= {"cursor": gap_at, "ahead": [[gap_at + 3001, total]], "n_received": total - 3000}
        if k == 3:
            account |= {"n_received": total - WINDOWS_A_DAY // 2, "n_merged": WINDOWS_A_DAY // 2}
        rest = {"n_redelivered": 0, "n_rejected": 0, "updated_ns": 1}
        accounts.append({"device_id": device_id, "epoch": "e1", "lane": "aggregates", **account, **rest})
    evicted = {
        "epoch": "e1",
        "lane": "aggregates",
        "seq": 9 * WINDOWS_A_DAY,
        "first_seq": 1,
        "kind": "eviction",
        "n_items": 5000,
    }
    evicted |= {
        "reason": "outbox full",
        "start_ns": (today - 13) * DAY_NS,
        "end_ns": (today - 12) * DAY_NS + 5,
        "received_ns": 1,
    }
    with engine.begin() as connection:
        connection.execute(insert(device_days), days)
        connection.execute(ledger.delete().where(ledger.c.device_id.in_(device_ids)))
        connection.execute(insert(ledger), accounts)
        connection.execute(insert(losses).values(device_id=device_ids[1], **evicted))
        kinds = (("aggregate", 240), ("health", 300), ("evidence", 9000), ("alert", 260))
        received = [
            {"day": today - ago, "kind": kind, "n_items": n, "n_bytes": n * size}
            for ago in range(30)
            for kind, size in kinds
            if (n := {"aggregate": 40_000 + 900 * (29 - ago), "health": 1500, "evidence": 30 + ago % 7 * 9, "alert": 12}[kind])
        ]
        connection.execute(insert(received_days), received)
    n = len(device_ids) * WINDOWS_A_DAY
    for detector, since, until in DETECTORS:
        for ago in range(since, until):
            unlikely = int(n * (0.05 + (0.10 if ago > -4 else 0.0)))
            add_profile_day(engine, "pump", detector, today + ago, n, n_faulty=n // (40 + ago), n_unlikely=unlikely)
    for ago in range(-30, 1):
        add_profile_day(engine, "fan", "baseline", today + ago, n // 3)


def _seed_faults(engine: Engine, device_ids: list[str], now_ns: int) -> None:
    pairs = (
        ("pressure", "stuck", 9),
        ("flow", "spike", 14),
        ("vibration", "missing", 4),
        ("", "link", 6),
        ("current", "step", 2),
    )
    rows = []
    for channel, fault, n in pairs:
        for k in range(n):
            opened_ns = now_ns - int((k * 37 % 29 + 0.4) * DAY_NS)
            row = {"device_id": device_ids[k % len(device_ids)], "fault_id": f"{channel}-{fault}-{k}", "source": "plc"}
            row |= {"asset": "pump-1" if channel else "", "channel": channel, "fault": fault, "detail": "told"}
            rows.append(row | {"opened_ns": opened_ns, "closed_ns": None if k == 0 else opened_ns + 900 * S})
    with engine.begin() as connection:
        connection.execute(insert(sensor_faults), rows)
