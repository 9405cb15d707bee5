"""A fleet of any size in a hub's state, at once: what the pages' benchmark and their tests look at. The same on every run."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, insert

from hub.state.schema import alerts, assets, bundles, device_slots, devices, ledger

S: Final = 1_000_000_000
SPEC: Final = "0123456789abcdef"
SITES: Final = 25
PROFILES: Final = ("pump", "fan", "motor", "host")


def device_of(n: int) -> str:
    return f"gw-{n:05}"


def state_of(n: int) -> str:
    """One asset in 100 alarms, one in 50 learns, one in 200 is silent."""
    n = n * 2_654_435_761 // 128 % 1000  # scattered over sites and profiles
    return "alarm" if n < 10 else "commissioning" if n < 30 else "silent" if n < 35 else "normal"


def seed_many(connection: Connection, now_ns: int, n_devices: int) -> None:
    """`n_devices` with two assets each; one device in 40 is not heard; alerts for the alarms; two models."""
    connection.execute(
        insert(bundles), [_bundle(profile, version, now_ns) for profile in ("pump", "fan") for version in (1, 2)]
    )
    rows = [_device(n, now_ns) for n in range(n_devices)]
    connection.execute(insert(devices), rows)
    watched = [_asset(n, which, now_ns) for n in range(n_devices) for which in (0, 1)]
    connection.execute(insert(assets), watched)
    slots = [_slot(row) for row in watched if row["profile"] in ("pump", "fan")]
    connection.execute(insert(device_slots), list({(row["device_id"], row["profile"]): row for row in slots}.values()))
    lanes = [(n, lane) for n in range(n_devices) for lane in ("alerts", "aggregates", "evidence")]
    connection.execute(insert(ledger), [_lane(n, lane, now_ns) for n, lane in lanes])
    alarms = [row for row in watched if row["state"] == "alarm"]
    if alarms:
        connection.execute(insert(alerts), [_alert(n, row, now_ns) for n, row in enumerate(alarms)])


def _bundle(profile: str, version: int, now_ns: int) -> dict[str, Any]:
    of = {"profile": profile, "version": version, "spec_hash": SPEC, "sha256": f"{version:064x}", "size": 24_000}
    return {**of, "bundle_id": f"{profile}-{version}-5f3a", "created_ns": now_ns - 3600 * S, "manifest": {}, "card": {}}


def _alert(n: int, row: dict[str, Any], now_ns: int) -> dict[str, Any]:
    """Three in four of these came within minutes of others."""
    opened_ns = now_ns - (n % 4 * 3000 + n % 11) * S
    return {
        **{name: row[name] for name in ("device_id", "asset", "profile")},
        "alert_id": f"{row['asset']}-{n}",
        "detector": "baseline",
        "severity": "critical" if n % 3 == 1 else "warning",
        "opened_ns": opened_ns,
        "p_value": 1e-7,
        "score": 14.2,
        "top": [["vibration", 0.62], ["current", 0.21]],
        "received_ns": opened_ns + S,
        "time_quality": "synced",
    }


def _device(n: int, now_ns: int) -> dict[str, Any]:
    backlog = 1200 + n if n % 60 == 5 else n % 3
    survival = {"days": 200.0 - n % 170, "bytes_per_day": 2.1e6, "lanes": {"aggregates": {"items": backlog, "bytes": 900}}}
    said = {
        "at": {"wall_ns": now_ns - 20 * S, "mono_ns": 10**13, "boot_id": "b" * 32, "synced": True},
        "starts": 3,
        "uptime_s": 86_400.0,
        "backlog_items": backlog,
        "backlog_bytes": backlog * 400,
        "rss_bytes": 57_000_000,
        "peak_rss_bytes": 61_000_000,
        "survival_days": 200.0 - n % 170,
        "survival": survival,
        "sources": {"plc": "up", "broker": "up"},
    }
    return {
        "device_id": device_of(n),
        "public_key": b"k" * 32,
        "site": f"site-{n % SITES:02}",
        "hardware": "Raspberry Pi 4 Model B",
        "agent_version": "0.1.0",
        "enrolled_ns": now_ns - 30 * 86_400 * S,
        "last_seen_ns": now_ns - (900 if n % 40 == 9 else n % 30) * S,
        "checkin": said,
        "backlog_items": backlog,
        "survival_days": said["survival_days"],
        "state": "suspended" if n % 500 == 21 else "active",
        "state_reason": "in repair" if n % 500 == 21 else "",
    }


def _asset(n: int, which: int, now_ns: int) -> dict[str, Any]:
    number = 2 * n + which
    state = state_of(number)
    return {
        "device_id": device_of(n),
        "asset": f"{PROFILES[number % 4]}-{number}",
        "profile": PROFILES[number % 4],
        "spec_hash": SPEC,
        "state": state,
        "p_value": {"alarm": 1e-7, "normal": 0.4}.get(state),
        "since_ns": now_ns - 7200 * S,
    }


def _slot(row: dict[str, Any]) -> dict[str, Any]:
    version = 2 if int(row["device_id"][-1]) < 2 else 1
    held = {"bundle_id": f"{row['profile']}-{version}-5f3a", "n_windows": 300, "score_us_median": 41.0}
    return {"device_id": row["device_id"], "profile": row["profile"], "slot": "active", **held}


def _lane(n: int, lane: str, now_ns: int) -> dict[str, Any]:
    zeros = dict.fromkeys(("n_evicted", "n_merged", "n_redelivered", "n_rejected"), 0)
    ahead = [[40_010, 40_020]] if n % 200 == 3 and lane == "aggregates" else []
    counts = {"cursor": 40_000, "ahead": ahead, "n_received": 40_000 + (11 if ahead else 0), "updated_ns": now_ns}
    return {"device_id": device_of(n), "epoch": "e1", "lane": lane, **counts, **zeros}
