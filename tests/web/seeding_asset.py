"""Assets with real features in the lake and a normal in the state: what the pages of assets and alerts are tested on."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, update

from hub.lake.lake import DeltaLake
from hub.lake.tables import SCHEMAS
from hub.state.schema import assets, commissionings
from models.contract.config import load_profile
from models.contract.items import pack_floats
from models.contract.profile import Profile
from models.features.normal import LocalNormal
from models.features.spec import FeatureSpec
from tests.web.seeding import S, add, add_asset, add_device

PUMP, BEARING = load_profile("pump"), load_profile("bearing")
USUAL = {
    "flow": (41.0, 0.4),
    "pressure": (3.4, 0.03),
    "current": (11.8, 0.15),
    "temperature": (46.0, 0.1),
    "vibration": (2.4, 0.25),
}
N_LEARNED = 60


def samples(rng: np.random.Generator, profile: Profile, n: int, wrong: float = 0.0) -> NDArray[np.float64]:
    """(n, channels) of normal running; `wrong`: how much of a fault there is in vibration and flow, or in a bearing."""
    t = np.arange(n) / profile.windowing.rate_hz
    if profile.name == "bearing":
        ringing = wrong * 0.8 * np.sin(2 * np.pi * 420 * t) * (np.sin(2 * np.pi * 30 * t) > 0.6)
        return (0.3 * np.sin(2 * np.pi * 25 * t) + 0.05 * rng.standard_normal(n) + ringing)[:, np.newaxis]
    x = np.stack([level + wide * rng.standard_normal(n) for level, wide in USUAL.values()], axis=1)
    x[:, 4] += wrong * (3.0 + 1.5 * rng.standard_normal(n))
    x[:, 0] -= wrong * 1.5
    return np.asarray(x)


def vectors(profile: Profile, n: int, seed: int, wrong: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """(n, n_features) of windows one after another."""
    rng, spec = np.random.default_rng(seed), FeatureSpec(profile)
    shares = np.zeros(n) if wrong is None else wrong
    calm = [spec.compute(samples(rng, profile, profile.windowing.n_samples)) for _ in range(min(n, 90))]  # then again
    made = [
        calm[k % len(calm)] if share == 0 else spec.compute(samples(rng, profile, profile.windowing.n_samples, share))
        for k, share in enumerate(shares)
    ]
    return np.stack(made)


@cache
def learned(profile: Profile, seed: int, shift: float = 0.0) -> LocalNormal:
    """What an asset learns of N_LEARNED windows; `shift`: its levels lie that share higher than others'."""
    return LocalNormal.fit(vectors(profile, N_LEARNED, seed) * np.float32(1 + shift))


def add_learned(connection: Connection, device_id: str, asset: str, profile: Profile, normal: LocalNormal, end_ns: int) -> None:
    row = {"device_id": device_id, "asset": asset, "profile": profile.name, "spec_hash": profile.spec_hash}
    blobs = {"location": pack_floats(normal.location), "scale": pack_floats(normal.scale)}
    connection.execute(
        delete(commissionings).where((commissionings.c.device_id == device_id) & (commissionings.c.asset == asset))
    )
    add(connection, commissionings, **row, n_windows=N_LEARNED, start_ns=end_ns - 600 * S, end_ns=end_ns, **blobs)


def add_sisters(connection: Connection, n: int, now_ns: int, profile: Profile = PUMP) -> None:
    """`n` more assets of the profile, on a device each, all at lyon; the last one's level is a third higher."""
    normals = [learned(profile, seed) for seed in range(100, 104)]
    for k in range(n):
        device_id = f"gw-sister-{k:04}"
        add_device(connection, device_id, "lyon", now_ns)
        add_asset(
            connection, device_id, f"{profile.name}-s{k}", profile.name, "normal", 0.02 + 0.9 * ((k * 7) % 13) / 13, now_ns
        )
        one = normals[k % len(normals)]
        factor = np.float32(1 + 0.01 * ((k * 5) % 11 - 5) + (0.33 if k == n - 1 else 0))
        add_learned(
            connection, device_id, f"{profile.name}-s{k}", profile, LocalNormal(one.location * factor, one.scale), now_ns
        )


def fill_windows(
    lake: DeltaLake,
    now_ns: int,
    n: int = 360,
    device_id: str = "gw-lyon-01",
    asset: str = "pump-2",
    profile: Profile = PUMP,
    alarmed: int = 20,
    seed: int = 1,
    learning: int = N_LEARNED,
    at_rest: int = 0,
    rested: int = 0,
) -> None:
    """`n` windows with real features that end now: the first `learning` of commissioning, the last `alarmed` wrong, the machine
    at rest in the first `at_rest` of them, and a pump without current in the last `rested`."""
    hop_ns = round(profile.windowing.hop * S)
    wrong = np.where(np.arange(n) >= n - alarmed, 1.0, 0.0)
    features = vectors(profile, n, seed, wrong)
    rng = np.random.default_rng(seed)
    still = samples(rng, profile, profile.windowing.n_samples) * 0.002
    features[n - rested :] = FeatureSpec(profile).compute(still) if rested else features[n:]
    rows = []
    for k in range(n):
        end_ns = now_ns - (n - 1 - k) * hop_ns
        p = float(10 ** -(5.6 + 1.5 * rng.random())) if wrong[k] else float(max(1e-3, rng.random()))
        start_ns = end_ns - round(profile.windowing.window_s * S)
        score = {"detector": "baseline", "score": 1.0, "p_value": None if k < learning else p, "alarm": bool(wrong[k])}
        row = {"seq": k + 1, "start_ns": start_ns, "end_ns": end_ns, "features": features[k].tolist(), "scores": [score]}
        row |= {"commissioning": k < learning, "alarm": bool(wrong[k]), "top": ["vibration"], "n_readings": 250, "n_late": 0}
        row |= {"asset": asset, "profile": profile.name, "spec_hash": profile.spec_hash, "faulty": [], "partial": k < at_rest}
        row |= {"scores": [], "top": [], "partial": True} if k >= n - rested else {}
        rows.append(row | _stamped(device_id, "aggregates", start_ns, end_ns))
    lake.append("aggregates", pa.Table.from_pylist(rows, schema=SCHEMAS["aggregates"]), f"log-{device_id}-{asset}", n)


def fill_evidence(
    lake: DeltaLake, device_id: str, asset: str, alert_id: str, opened_ns: int, profile: Profile = PUMP, rename: str = ""
) -> None:
    """Three windows up to an alert's opening; the last two are wrong. `rename`: what the last channel is called instead."""
    n, rate_hz, rng = profile.windowing.n_samples, profile.windowing.rate_hz, np.random.default_rng(3)
    channels = [*profile.channel_names[:-1], rename or profile.channel_names[-1]]
    values = np.concatenate([samples(rng, profile, n), samples(rng, profile, 2 * n, 1.0)])
    start_ns = opened_ns - round(len(values) / rate_hz * S)
    row = {"seq": 1, "alert_id": alert_id, "asset": asset, "sample": False, "start_ns": start_ns, "rate_hz": rate_hz}
    row |= {"channels": channels, "values": values.astype(np.float32).ravel().tolist()}
    row |= _stamped(device_id, "evidence", start_ns, opened_ns)
    lake.append("evidence", pa.Table.from_pylist([row], schema=SCHEMAS["evidence"]), f"log-{alert_id}", 1)


def _stamped(device_id: str, lane: str, start_ns: int, at_ns: int) -> dict[str, Any]:
    """What every row of the lake has: whose it is, and when."""
    day = datetime.fromtimestamp(start_ns / S, UTC).date()
    stamp = {"wall_ns": at_ns, "mono_ns": at_ns, "boot_id": "b", "synced": True, "received_ns": at_ns + S}
    return {"device_id": device_id, "epoch": "e1", "lane": lane, "day": day, **stamp}


def seed_asset(connection: Connection, lake: DeltaLake, now_ns: int, sisters: int = 12) -> str:
    """The seeded fleet's pump-2 with all that its page shows; the id of its open alert."""
    own = (assets.c.device_id == "gw-lyon-01") & (assets.c.asset == "pump-2")
    connection.execute(update(assets).where(own).values(spec_hash=PUMP.spec_hash))
    add_learned(connection, "gw-lyon-01", "pump-2", PUMP, learned(PUMP, 1), now_ns - 3000 * S)
    add_sisters(connection, sisters, now_ns)
    opened_ns = now_ns - 190 * S
    fill_windows(lake, now_ns)
    alert_id = f"pump-2-{opened_ns}"
    fill_evidence(lake, "gw-lyon-01", "pump-2", alert_id, opened_ns)
    return alert_id
